"""A planted mask in softmax attention with content: what of it is found, and what cannot be.

Attention of known keys and values and an unknown query projection has a planted mask; its outputs, with noise, are
given. What softmax leaves free follows from its formula, as ``retconv.planted.attention.seen`` says:

- beside logits, softmax(S + B), of an element-wise bias a constant of each row; of a kernel table one constant, since
  every query has the offset 0 and so all rows share theirs; of a decay, ``B = |δ|₁ log γ``, nothing;
- before logits, softmax(M ⊙ S), the scale that M shares with the scores; nothing where both projections are given.

Hypotheses. As many directions of the parameters change no output as the formula says. What is free is not found: an
L-BFGS step is a sum of gradients, so a free constant stays where it started, exactly. Everything else is found, at a
mean squared distance of ``s² tr(F⁺) / n``, F being the Fisher information at what was planted (Cramér and Rao). A mask
that is learnt in the wrong placement leaves an error above the noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.kernels import manhattan_decay
from retconv.masks import DecayMask, ElementwiseMask, KernelTableMask, Mask
from retconv.planted.attention import (
    CHANNELS,
    FEATURES,
    Content,
    Free,
    MaskedAttention,
    Placement,
    content,
    information,
    seen,
)
from retconv.planted.fit import minimise
from retconv.planted.tables import Bound, scatter
from retconv.planted.targets import HEADS, planted_kernel

#: Standard deviation of the noise on the outputs.
NOISE = 0.2
SIZES, SMALL_SIZES = (32, 128, 512), (256,)
#: Sequences over which the information is averaged.
AVERAGED = 512
#: From so many sequences on the mean squared distance must be that of theory, up to scatter and this much.
ENOUGH, SLACK = 128, 0.5
#: What is free must make the distance so many times larger where it is counted.
APART = 3.0
#: A mask in the wrong placement must leave so many times the noise.
WRONG = 1.1


@dataclass(frozen=True)
class Arm:
    """What is planted, and what learns it.

    Attributes:
        name: Its name.
        family: ``"table"``, ``"elm"`` or ``"decay"``, of the planted mask and of the one that learns.
        planted: Where the planted mask acts.
        free: What is free.
        learnt: Where the mask that learns acts.
        learn_queries: Whether the query projection is learnt.
    """

    name: str
    family: str
    planted: Placement
    free: Free
    learnt: Placement
    learn_queries: bool = True

    def free_directions(self, grid: Grid) -> int:
        """Directions of the parameters that change no output, of all heads, by the formula."""
        return HEADS * {"nothing": 0, "constant": 1, "rows": grid.size, "scale": 1}[self.free]


ARMS = (
    Arm("bias, table", "table", "bias_logits", "constant", "bias_logits"),
    Arm("bias, element-wise", "elm", "bias_logits", "rows", "bias_logits"),
    Arm("bias, decay", "decay", "bias_logits", "nothing", "bias_logits"),
    Arm("mask, table", "table", "multiply_logits", "scale", "multiply_logits"),
    Arm("mask, table, queries given", "table", "multiply_logits", "nothing", "multiply_logits", learn_queries=False),
    Arm("bias learnt as mask", "table", "bias_logits", "constant", "multiply_logits"),
    Arm("mask learnt as bias", "table", "multiply_logits", "scale", "bias_logits"),
)


def _projection(seed: int, scale: float) -> Tensor:
    shape = (HEADS, FEATURES, CHANNELS)
    drawn = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return scale * drawn / FEATURES**0.5


def _mask(family: str, grid: Grid, start: float) -> Mask:
    if family == "decay":
        return DecayMask(HEADS, gamma=0.5, learnable=True).double()
    mask = KernelTableMask(grid, HEADS) if family == "table" else ElementwiseMask(grid, HEADS, per_head=True)
    torch.nn.init.constant_(mask.weight, start)
    mask.double()
    return mask


def plant(arm: Arm, grid: Grid) -> MaskedAttention:
    """The attention that is planted, always the same one.

    A bias is ``|δ|₁ log γ`` with γ = 0.6, 0.8, plus a normal number of spread 0.5 for each offset, and, where it is
    element-wise, one of spread 1 for each query: the part that nobody can find. A mask that multiplies is 1.5 times the
    planted mixture.
    """
    stream = torch.Generator().manual_seed(1)
    gamma = torch.tensor([0.6, 0.8], dtype=torch.float64)
    bias = manhattan_decay(grid.offsets(), gamma).log()
    bias += 0.5 * torch.randn(bias.shape, dtype=torch.float64, generator=stream)
    kernel = bias if arm.planted == "bias_logits" else 1.5 * planted_kernel("mixture", grid)
    rows = torch.randn(HEADS, grid.size, 1, dtype=torch.float64, generator=stream)
    values = {"table": kernel, "elm": kernel_to_mask(kernel, grid) + rows, "decay": (-gamma.log()).log()}
    mask = _mask(arm.family, grid, 0.0)
    with torch.no_grad():
        (parameter,) = mask.parameters()
        parameter.copy_(values[arm.family])
    queries, keys = _projection(2, 1.0), _projection(3, 1.0 if arm.planted == "bias_logits" else 2.0)
    return MaskedAttention(mask, grid, arm.planted, arm.family != "decay", queries, keys, arm.learn_queries)


def start(arm: Arm, planted: MaskedAttention, seed: int) -> MaskedAttention:
    """What learns: a neutral mask, a decay at γ = 0.5, and small random queries, or the given ones."""
    mask = _mask(arm.family, planted.grid, 0.0 if arm.learnt == "bias_logits" else 1.0)
    queries = _projection(10 + seed, 0.5) if arm.learn_queries else planted.queries.detach()
    return MaskedAttention(
        mask, planted.grid, arm.learnt, arm.family != "decay", queries, planted.keys, arm.learn_queries
    )


def observe(planted: MaskedAttention, n: int, seed: int) -> tuple[Content, Tensor]:
    """Content of n sequences, and the outputs of the planted attention with noise."""
    stream = torch.Generator().manual_seed(1000 * n + seed)
    inputs = content(planted.grid, HEADS, n, stream)
    with torch.no_grad():
        outputs = planted(inputs)
    return inputs, outputs + NOISE * torch.randn(outputs.shape, dtype=outputs.dtype, generator=stream)


def learn(model: MaskedAttention, inputs: Content, outputs: Tensor) -> float:
    """Fit mask and queries to outputs; the mean squared error that is left, over that of the noise."""
    energy = outputs.square().sum()
    free = [p for p in model.parameters() if p.requires_grad]
    left = minimise(lambda: (model(inputs) - outputs).square().sum() / energy, free)
    return left * float(energy) / (NOISE**2 * outputs.numel())


def rows(
    arm: Arm, grid: Grid, sizes: tuple[int, ...], seeds: range, averaged: int = AVERAGED
) -> list[dict[str, object]]:
    """One fit a row, with what theory says beside it."""
    planted = plant(arm, grid)
    right = arm.learnt == arm.planted
    about = information(planted, content(grid, HEADS, averaged, torch.Generator().manual_seed(4)), arm.free)
    truth = planted.entries().detach()
    visible = seen(truth, truth, arm.free)
    fits: list[dict[str, object]] = []
    for n in sizes:
        for seed in seeds:
            model = start(arm, planted, seed)
            left = learn(model, *observe(planted, n, seed))
            entries = model.entries().detach()
            squared = (seen(entries, truth, arm.free) - visible).square().sum()
            fits.append(
                {
                    "arm": arm.name,
                    "planted": arm.planted,
                    "learnt": arm.learnt,
                    "family": arm.family,
                    "free": arm.free,
                    "n": n,
                    "seed": seed,
                    "grid": "×".join(map(str, grid.shape)),
                    "unseen": about.unseen,
                    "unseen_formula": arm.free_directions(grid),
                    "left": left,
                }
            )
            if right:
                fits[-1] |= {
                    "raw": float((entries - truth).norm() / truth.norm()),
                    "distance": float(squared.sqrt() / visible.norm()),
                    "squared": float(squared),
                    "expected": NOISE**2 / n * about.squared,
                    "degrees": about.degrees,
                }
    return fits


def table(small: bool = False, report: Callable[[], object] = lambda: None) -> pd.DataFrame:
    """Every arm, number of sequences and seed.

    Args:
        small: A 2×3 grid, one number of sequences and three seeds.
        report: Called after every arm.
    """
    grid, sizes, seeds = (Grid((2, 3)), SMALL_SIZES, range(3)) if small else (Grid((3, 4)), SIZES, range(8))
    fits = []
    for arm in ARMS:
        fits += rows(arm, grid, sizes, seeds)
        report()
    return pd.DataFrame(fits)


def bounds(data: pd.DataFrame) -> list[Bound]:
    """What the table must show; see the module."""
    limits = []
    for arm, own in data.groupby("arm", sort=False):
        most = own[own["n"] == own["n"].max()]
        if (own["planted"] != own["learnt"]).any():
            limits.append(Bound(f"{arm}: error left over the noise", WRONG, float(most["left"].min()), float("inf")))
            continue
        unseen, formula = own["unseen"].iloc[0], own["unseen_formula"].iloc[0]
        limits.append(Bound(f"{arm}: directions that change no output", formula, unseen, formula))
        enough = own[own["n"] >= ENOUGH]
        ratio = float((enough["squared"] / enough["expected"]).mean())
        low, high = scatter(int(enough["degrees"].sum()), SLACK)
        limits.append(Bound(f"{arm}: squared distance of what is seen over its theory", low, ratio, high))
        limits.append(Bound(f"{arm}: distance of what is seen, from most sequences", 0, most["distance"].mean(), 0.15))
        if own["free"].iloc[0] != "nothing":
            apart = float((most["raw"] / most["distance"]).mean())
            limits.append(Bound(f"{arm}: distance with what is free, over that without", APART, apart, float("inf")))
    return limits
