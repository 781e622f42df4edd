"""``retconv bench masks``: building a Gaussian mixture mask, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pandas as pd
import torch
from torch import Tensor

from retconv.bench.timing import peak_bytes, progress, race
from retconv.grid import Grid
from retconv.kernels import GAUSSIAN_EPSILON
from retconv.masks import GaussianMixtureMask

REFERENCE = "exponentials (heads, K, N, N)"


def bench(grids: Sequence[Grid], heads: int, components: int, rounds: int) -> pd.DataFrame:
    """Race our mask, built from its kernel, against the ``(heads, components, N, N)`` exponentials.

    Args:
        grids: The grids.
        heads: Number of heads.
        components: Gaussians per head.
        rounds: Timed rounds.

    Returns:
        The rows of ``race`` with ``grid`` and ``mib``, the peak memory of forward and backward beyond the parameters.
    """
    tables = []
    for grid in progress(grids, "bench masks"):
        mask = GaussianMixtureMask(heads, components, generator=torch.Generator().manual_seed(0))
        position = grid.coordinates().float()
        squared = torch.cdist(position, position, compute_mode="donot_use_mm_for_euclid_dist").square()
        upstream = torch.randn(heads, grid.size, grid.size, generator=torch.Generator().manual_seed(1))

        contenders: dict[str, Callable[[], object]] = {
            "kernel, then gather": partial(_from_kernel, mask, grid, upstream),
            REFERENCE: partial(_exponentials, mask, squared, upstream),
        }
        table = race(contenders, rounds, REFERENCE)
        table.insert(0, "grid", "×".join(map(str, grid.shape)))
        table["mib"] = [peak_bytes(run) / 2**20 for run in contenders.values()]
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _from_kernel(mask: GaussianMixtureMask, grid: Grid, upstream: Tensor) -> None:
    mask(grid).backward(upstream)


def _exponentials(mask: GaussianMixtureMask, squared: Tensor, upstream: Tensor) -> None:
    variance = mask.sigma[..., None, None].square() + GAUSSIAN_EPSILON
    terms = mask.alpha[..., None, None] * torch.exp(-squared / (2 * variance))
    terms.sum(dim=1).backward(upstream)
