"""A planted convolution: which masks find it, from how many samples, and how near they come.

Tokens are white and targets are ``y = M* x + noise``, with M* of a kernel. Then the expected squared error on new
tokens is ``‖M − M*‖²`` itself, and theory says before any run what it will be, s² being the variance of the noise:

- a family with p parameters that holds M*: ``p s² / n``, as for every efficient estimator, when n is large;
- the element-wise mask, whose rows are ordinary regressions on N tokens: ``N² s² / (n − N − 1)`` for each head, exactly
  (the mean of an inverse Wishart matrix); below n = N, where it takes the shortest solution,
  ``‖M*‖² (1 − n/N) + N² s² n / (N (N − n − 1))``;
- its projection onto convolutions: ``P s² / (n − N − 1)`` with P offsets, exactly, as errors of rows are independent;
  hence a residual of ``(N² − P) s² / (n − N − 1)``, squared, above the planted one, for a planted convolution 0;
- a family that does not hold M*: no less than its distance from it, whatever the number of samples.

Hypotheses. Each family that holds the planted kernel comes as near as its number of parameters says; ELM becomes a
convolution only as fast as its noise is averaged away, ``1/√n``; decay and mixture stay away from a free kernel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pandas as pd
import torch
from torch import Tensor

from retconv.convert import kernel_to_mask, project
from retconv.grid import Grid
from retconv.planted.fit import FAMILIES, build, count, learn
from retconv.planted.tables import Bound, scatter
from retconv.planted.targets import HEADS, NOISE, PLANTED, Samples, planted_kernel, samples

#: Which families hold which planted kernel.
HOLDS = {
    *((family, planted) for family in ("elm", "table") for planted in PLANTED),
    ("gmm", "mixture"),
    ("decay", "decay"),
}
#: Samples, as multiples of the number of tokens N; at N itself the expectation for ELM is infinite.
RATIOS = (0.25, 0.5, 2, 4, 8, 16, 32, 64, 128)
SMALL_RATIOS = (0.5, 32)
#: From so many samples, as a multiple of N, ``p s² / n`` must hold, up to ``SLACK``.
ENOUGH = 8
SLACK = 0.25


def elm_error(mask: Tensor, n: int, noise: float = NOISE) -> float:
    """Expected ``‖M − M*‖²`` of the element-wise mask, all heads together; infinite where n is about N."""
    heads, tokens, _ = mask.shape
    if n > tokens + 1:
        return heads * tokens**2 * noise**2 / (n - tokens - 1)
    if n < tokens - 1:
        variance = heads * tokens * noise**2 * n / (tokens - n - 1)
        return float(mask.square().sum()) * (1 - n / tokens) + variance
    return math.inf


def elm_residual(mask: Tensor, grid: Grid, n: int, noise: float = NOISE) -> float:
    """Expected residual ``‖M − P M‖ / ‖M‖`` of the element-wise mask, all heads together, for n > N + 1; else NaN."""
    heads, tokens, _ = mask.shape
    if n <= tokens + 1:
        return math.nan
    each = heads * noise**2 / (n - tokens - 1)
    off = _off(mask, grid) + (tokens**2 - math.prod(grid.kernel_shape)) * each
    return math.sqrt(off / (float(mask.square().sum()) + tokens**2 * each))


def _off(mask: Tensor, grid: Grid) -> float:
    """``‖M − P M‖²``, all heads together."""
    return float((project(mask, grid).residual.square() * mask.square().sum((1, 2))).sum())


def residual(mask: Tensor, grid: Grid) -> float:
    """``‖M − P M‖ / ‖M‖``, all heads together: 0 iff the mask is a convolution (law 3)."""
    return math.sqrt(_off(mask, grid) / float(mask.square().sum()))


def floor(family: str, mask: Tensor, grid: Grid, starts: int) -> float:
    """``‖M − M*‖²`` of the nearest member of a family, all heads together: what is left with endless samples.

    On white tokens endless samples weigh every entry of the mask alike, as the unit vectors do. The nearest member is
    searched for from so many starts, head by head.
    """
    unit = torch.eye(grid.size, dtype=mask.dtype).expand(1, HEADS, -1, -1)
    left = []
    for seed in range(starts):
        fitted = build(family, grid, seed)
        learn(fitted, grid, Samples(unit, mask[None], grid.size))
        left.append((fitted(grid).detach() - mask).square().sum((1, 2)))
    return float(torch.stack(left).min(dim=0).values.sum())


def rows(
    planted: str, mask: Tensor, grid: Grid, families: tuple[str, ...], ratios: tuple[float, ...], seeds: range
) -> Iterator[dict[str, object]]:
    """One fit a row: every family on the same samples."""
    norm = float(mask.square().sum())
    for ratio in ratios:
        n = round(ratio * grid.size)
        for seed in seeds:
            # One stream for each target, size and seed; the families share it.
            stream = torch.Generator().manual_seed(sum(map(ord, planted)) * 10**6 + 1000 * n + seed)
            data = samples(mask, grid, n, stream)
            for family in families:
                fitted = build(family, grid, seed)
                loss = learn(fitted, grid, data)
                entries = fitted(grid).detach()
                convolution = kernel_to_mask(project(entries, grid).kernel, grid)
                yield {
                    "planted": planted,
                    "family": family,
                    "n": n,
                    "seed": seed,
                    "grid": "×".join(map(str, grid.shape)),
                    "parameters": count(fitted),
                    "loss": loss,
                    "squared": float((entries - mask).square().sum()),
                    "squared_projected": float((convolution - mask).square().sum()),
                    "distance": math.sqrt(float((entries - mask).square().sum()) / norm),
                    "residual": residual(entries, grid),
                    "norm": norm,
                }


def expected(planted: str, family: str, parameters: int, mask: Tensor, grid: Grid, n: int) -> float:
    """Expected ``‖M − M*‖²`` where theory has it, else NaN."""
    if family == "elm":
        return elm_error(mask, n)
    return parameters * NOISE**2 / n if (family, planted) in HOLDS else math.nan


def table(small: bool = False, report: Callable[[], object] = lambda: None) -> pd.DataFrame:
    """Every planted kernel, family, number of samples and seed; ``expected`` and ``floor`` beside what was found.

    Args:
        small: A 3×5 grid, two numbers of samples and three seeds.
        report: Called after every planted kernel.
    """
    grid, ratios, seeds = (Grid((3, 5)), SMALL_RATIOS, range(3)) if small else (Grid((6, 6)), RATIOS, range(8))
    starts = 2 if small else 8
    fits: list[dict[str, object]] = []
    for planted in PLANTED:
        mask = kernel_to_mask(planted_kernel(planted, grid), grid)
        floors = {f: 0.0 if (f, planted) in HOLDS else floor(f, mask, grid, starts) for f in FAMILIES}
        for row in rows(planted, mask, grid, tuple(FAMILIES), ratios, seeds):
            family, parameters, n = str(row["family"]), int(str(row["parameters"])), int(str(row["n"]))
            theory = expected(planted, family, parameters, mask, grid, n)
            fits.append(row | {"expected": theory, "floor": floors[family], "tokens": grid.size})
            if family == "elm":
                fits[-1]["expected_residual"] = elm_residual(mask, grid, n)
        report()
    return pd.DataFrame(fits)


def bounds(data: pd.DataFrame) -> list[Bound]:
    """What the table must show; see the module."""
    limits = []
    enough = data[data["n"] >= ENOUGH * data["tokens"]]
    for (planted, family), own in enough.groupby(["planted", "family"], sort=False):
        if (family, planted) in HOLDS:
            low, high = scatter(int(own["parameters"].sum()), SLACK)
            ratio = float((own["squared"] / own["expected"]).mean())
            limits.append(
                Bound(f"{family} finds planted {planted}: squared distance over its theory", low, ratio, high)
            )
        else:
            nearest, norm = own["floor"].iloc[0], own["norm"].iloc[0]
            least = float((own["squared"] / nearest).min())
            # A floor is a minimum that was searched for: to a hundredth.
            limits.append(
                Bound(f"{family} stays away from planted {planted}: over its distance", 0.99, least, math.inf)
            )
            limits.append(
                Bound(f"that distance, relative to planted {planted}", 0.05, math.sqrt(nearest / norm), math.inf)
            )
    elm = enough[enough["family"] == "elm"]
    ratio = float((elm["residual"] / elm["expected_residual"]).mean())
    limits.append(Bound("ELM's residual over its theory", 0.95, ratio, 1.05))
    pooled = float((elm["squared_projected"] / elm["squared"]).mean())
    offsets = data.loc[data["family"] == "table", "parameters"].iloc[0] / elm["parameters"].iloc[0]
    limits.append(Bound("projecting ELM divides its squared distance by N²/P", 0.8 * offsets, pooled, 1.25 * offsets))
    few = data[(data["family"] == "elm") & (data["n"] < data["tokens"])]
    limits.append(Bound("ELM from fewer samples than tokens finds little", 0.5, float(few["distance"].min()), math.inf))
    return limits
