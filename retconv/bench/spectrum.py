"""``retconv bench spectrum``: the largest singular values of a mask that is never formed."""

from __future__ import annotations

import resource
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch
from scipy.sparse.linalg import svds
from torch import Tensor

from retconv.analysis.spectrum import singular_values
from retconv.bench.timing import progress, race
from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.kernels import gaussian, manhattan_decay

#: Kernels of one axis whose outer products are the masks: their singular values are products of the lines' (law 8).
KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "manhattan": lambda offset: manhattan_decay(offset, torch.tensor([0.9], dtype=torch.float64)),
    "gaussian": lambda offset: gaussian(offset, torch.tensor([2.0], dtype=torch.float64)),
    "narrow gaussian": lambda offset: gaussian(offset, torch.tensor([0.5], dtype=torch.float64)),
}
OURS, DENSE = "operator", "dense mask, scipy svds"
#: Masks of more tokens are not formed: at 64×64 one takes 128 MiB.
DENSE_TOKENS = 4096


def bench(grids: Sequence[Grid], kinds: tuple[str, ...], k: int, rounds: int) -> pd.DataFrame:
    """Race Lanczos iteration on the fast operator against scipy's on the dense mask, both in float64.

    Args:
        grids: Grids of two axes.
        kinds: Of ``KINDS``.
        k: How many singular values.
        rounds: Timed rounds.

    Returns:
        The rows of ``race`` with ``grid``, ``kind``, ``error``, the largest relative error against the products of the
        lines' values, ``dense_mib``, what one head's mask would take, and ``rss_mib``, the peak resident memory of the
        process so far.
    """
    tables = []
    for grid, kind in progress([(g, kind) for g in grids for kind in kinds], "bench spectrum"):
        lines = [KINDS[kind](Grid(n).offsets()) for n in grid.shape]
        kernel = torch.einsum("ha,hb->hab", *lines)
        contenders: dict[str, Callable[[], Tensor]] = {OURS: partial(singular_values, kernel, grid, k)}
        if grid.size <= DENSE_TOKENS:
            contenders[DENSE] = partial(_dense, kernel_to_mask(kernel, grid)[0].numpy(), k)
        table = race(contenders, rounds, OURS)
        values = [torch.linalg.svdvals(kernel_to_mask(line, n)[0]) for line, n in zip(lines, grid.shape, strict=True)]
        known = torch.outer(*values).flatten().sort(descending=True).values[:k]
        table.insert(0, "grid", "×".join(map(str, grid.shape)))
        table.insert(1, "kind", kind)
        table["error"] = [float((run().flatten() / known - 1).abs().max()) for run in contenders.values()]
        table["dense_mib"] = grid.size**2 * 8 / 2**20
        table["rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _dense(mask: np.ndarray, k: int) -> Tensor:
    values = svds(mask, k, return_singular_vectors=False, random_state=0)
    return torch.from_numpy(np.sort(values)[::-1].copy())
