"""Law 13: the eigenvalues of growing grids distribute like samples of the symbol."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from retconv.analysis.reading import is_symmetric, resolve
from retconv.analysis.spectrum.symbols import frequencies, sampled_symbol
from retconv.analysis.spectrum.values import eigenvalues, singular_values
from retconv.grid import Grid, GridLike
from retconv.masks import MaskLike

#: Samples of the symbol for each eigenvalue, by number of axes.
_SAMPLES = {1: 64, 2: 8, 3: 4}


class Szego(NamedTuple):
    """Eigenvalues of a mask beside the symbol of its kernel.

    Attributes:
        values: ``(heads, N)``, ascending: eigenvalues if every head is symmetric, else singular values.
        symbol: ``(heads, N, m)``, ascending samples of the symbol (of its modulus, beside singular values): m for each
            eigenvalue, those of the same quantile.
        distance: ``(heads,)``, the Wasserstein-1 distance of the two distributions, relative to the largest sample in
            magnitude: the mean of ``|λ_i − a_{i,j}|``. It tends to 0 as the grid grows if the weights
            are absolutely summable.

    Example:
        >>> apart = [retconv.analysis.spectrum.szego(retconv.DecayMask(heads=1), n).distance.item() for n in (16, 256)]
        >>> apart[1] < apart[0]
        True
    """

    values: Tensor
    symbol: Tensor
    distance: Tensor


def szego(mask: MaskLike, grid: GridLike, limit: Callable[[Tensor], Tensor] | None = None) -> Szego:
    """Compare the eigenvalue distribution of a mask with the distribution of its symbol.

    Where the mask is symmetric its eigenvalues follow the symbol (Szegő's theorem, which holds on
    grids of several axes too); where it is not, its singular values follow the modulus of the symbol (Avram–Parter).

    Args:
        mask: One that has a kernel.
        grid: The grid.
        limit: The symbol of the unbounded kernel, as a function from ``(*S, D)`` frequencies to ``(heads, *S)``, for
            instance ``lambda theta: manhattan_decay_symbol(theta, 0.9)``; by default that of the kernel cut at the
            grid's largest offset.

    Returns:
        Both distributions and their distance.

    Raises:
        ValueError: If the mask has no kernel, or the grid is periodic.
        DenseLimitError: If the mask would exceed the memory limit: all its eigenvalues are needed.

    Example:
        >>> szego(retconv.DecayMask(heads=1, gamma=0.5), 64).distance.item() < 0.05
        True
    """
    Grid.of(grid).require_open("szego", "use torus_symbol: on a torus its samples are the eigenvalues")
    subject = resolve(mask, grid)
    if subject.kernel is None:
        raise ValueError("szego: the mask has no kernel, hence no symbol: use retconv.project for the nearest one")
    per_axis = _SAMPLES[subject.grid.ndim]
    sizes = tuple(per_axis * n for n in subject.grid.shape)
    theta = frequencies(sizes, subject.values.device)
    samples = sampled_symbol(subject.kernel, sizes) if limit is None else limit(theta).to(torch.complex128)
    if samples.shape not in ((1, *sizes), (subject.heads, *sizes)):
        raise ValueError(
            f"szego: limit must give a symbol of each of {subject.heads} heads or one of all, "
            f"{(subject.heads, *sizes)}, got shape {tuple(samples.shape)}"
        )
    samples = samples.expand(subject.heads, *sizes)
    if bool(is_symmetric(subject).all()):
        values, samples = eigenvalues(subject.kernel, subject.grid), samples.real
    else:
        values, samples = singular_values(subject.kernel, subject.grid), samples.abs()
    values = values.sort(dim=1).values
    ranked = samples.flatten(1).sort(dim=1).values.reshape(subject.heads, subject.grid.size, -1)
    scale = ranked.abs().amax(dim=(1, 2))
    distance = (values[..., None] - ranked).abs().mean(dim=(1, 2)) / torch.where(scale == 0, 1.0, scale)
    return Szego(values, ranked, distance)
