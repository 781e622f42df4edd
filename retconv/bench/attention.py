"""``retconv bench attention``: what a mask costs, in each placement, against plain attention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from retconv.attention import attend
from retconv.bench.timing import peak_bytes, progress, race, synchronised
from retconv.grid import Grid
from retconv.masks import DecayMask, GaussianMixtureMask, KernelTableMask, Mask

PLAIN = "plain SDPA"
#: Masks by name.
MASKS: dict[str, Callable[[int, Grid], Mask]] = {
    "gmm": lambda heads, grid: GaussianMixtureMask(heads, start="local", generator=torch.Generator().manual_seed(0)),
    "table": lambda heads, grid: KernelTableMask(grid, heads),
    "log-gaussian": lambda heads, grid: GaussianMixtureMask.from_parameters(
        torch.full((heads, 1), max(grid.shape) / 4), torch.ones(heads, 1)
    ),
    "fixed decay": lambda heads, grid: DecayMask(heads),
}
#: What is raced: placement, mask and backend.
CONTENDERS: tuple[tuple[str, str, str], ...] = (
    ("multiply_logits", "table", "auto"),
    ("multiply_logits", "table", "reference"),
    ("multiply_logits", "gmm", "auto"),
    ("bias_logits", "gmm", "auto"),
    ("bias_logits", "log-gaussian", "auto"),
    ("bias_logits", "log-gaussian", "channels"),
    ("bias_logits", "fixed decay", "auto"),
    ("multiply_weights", "gmm", "auto"),
    ("retention", "gmm", "auto"),
    ("convolution", "gmm", "auto"),
)
PASSES = ("forward", "forward + backward")
#: Scores in all, batch · heads · N², that the batch is chosen for where none is given.
SCORES = 1.2e7


@dataclass(frozen=True)
class Case:
    """One size of attention: the batch is chosen for ``SCORES`` if it is 0."""

    grid: Grid
    dim: int
    width: int
    batch: int
    dtype: str
    device: str
    compiled: bool

    @property
    def heads(self) -> int:
        """Heads that share the width."""
        return max(1, self.width // self.dim)

    @property
    def elements(self) -> int:
        """The batch."""
        return self.batch or max(1, round(SCORES / (self.heads * self.grid.length**2)))

    def row(self, passed: str) -> dict[str, object]:
        """The columns that tell this case from others."""
        mode = "compiled" if self.compiled else "eager"
        return {
            "grid": "×".join(map(str, self.grid.shape)),
            "kind": f"heads of {self.dim}, {self.dtype}, {self.device}, {mode}, {passed}",
            "tokens": self.grid.length,
            "dim": self.dim,
            "heads": self.heads,
            "batch": self.elements,
            "dtype": self.dtype,
            "device": self.device,
            "mode": mode,
            "pass": passed,
        }


def bench(cases: list[Case], rounds: int) -> pd.DataFrame:
    """Race every placement and mask against plain fused attention without a mask.

    Args:
        cases: The sizes.
        rounds: Timed rounds.

    Returns:
        The rows of ``race`` with the case and ``placement``, ``mask``, ``backend`` in front; ``ratio``, the time
        relative to plain attention (median of ratios within rounds) with quartiles; and ``memory``, the most bytes that
        tensors made in the call hold at once, relative to plain attention (on CPU).
    """
    tables = []
    for case, passed in progress([(case, passed) for case in cases for passed in PASSES], "bench attention"):
        # All contenders are variants of one function: beyond a few of them torch would fall back to eager unseen.
        torch.compiler.reset()
        with torch._dynamo.config.patch(recompile_limit=2 * len(CONTENDERS)):
            tables.append(_table(case, passed, rounds))
    return pd.concat(tables, ignore_index=True)


def _table(case: Case, passed: str, rounds: int) -> pd.DataFrame:
    contenders = _contenders(case, passed == PASSES[1])
    table = race({name: run for name, (run, _) in contenders.items()}, rounds, PLAIN)
    for i, column in enumerate(("placement", "mask", "backend")):
        table.insert(i, column, [labels[i] for _, labels in contenders.values()])
    for i, (column, value) in enumerate(case.row(passed).items()):
        table.insert(i, column, value)
    speedup = table.loc[:, ["speedup", "speedup_q3", "speedup_q1"]]
    table["ratio"], table["ratio_q1"], table["ratio_q3"] = (1 / speedup[c] for c in speedup)
    if case.device == "cpu" and not case.compiled:
        peaks = {name: peak_bytes(run) for name, (run, _) in contenders.items()}
        table["memory"] = table["contender"].map(peaks) / peaks[PLAIN]
    return table.drop(columns=["speedup", "speedup_q1", "speedup_q3", "ms_min", "ms_max"])


def _contenders(case: Case, backward: bool) -> dict[str, tuple[Callable[[], object], tuple[str, str, str]]]:
    """Functions and their labels by name, plain attention first."""
    size = (3, case.elements, case.heads, case.grid.length, case.dim)
    dtype = getattr(torch, case.dtype)
    q, k, v = torch.randn(*size).to(case.device, dtype).requires_grad_(backward).unbind()
    upstream = torch.randn_like(v)
    q, k, v = (x.detach().requires_grad_(backward) for x in (q, k, v))
    wrap = torch.compile if case.compiled else lambda function: function
    fused = wrap(partial(F.scaled_dot_product_attention, q, k, v))
    runs: dict[str, tuple[Callable[[], object], tuple[str, str, str]]] = {
        PLAIN: (_step(fused, upstream, (q, k, v), backward), ("none", "none", "sdpa"))
    }
    for placement, name, backend in CONTENDERS:
        mask = MASKS[name](case.heads, case.grid).to(case.device)
        function = wrap(partial(attend, q, k, v, mask, case.grid, placement=placement, backend=backend))
        leaves = ((v,) if placement == "convolution" else (q, k, v)) + tuple(mask.parameters())
        label = f"{placement}, {name}" + (f", {backend}" if backend != "auto" else "")
        runs[label] = (_step(function, upstream, leaves, backward), (placement, name, backend))
    return runs


def _step(
    function: Callable[[], Tensor], upstream: Tensor, leaves: tuple[Tensor, ...], backward: bool
) -> Callable[[], object]:
    def step() -> object:
        with torch.set_grad_enabled(backward):
            out = function()
        # A constant factor of a Gaussian leaves a softmax without prefix tokens as it is, and has no gradient.
        return torch.autograd.grad(out, leaves, upstream, allow_unused=True) if backward else out

    return synchronised(step, upstream.device)
