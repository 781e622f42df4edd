"""The exact spectrum of a mask on a torus (law 23)."""

from __future__ import annotations

import torch
from torch import Tensor

from retconv.convert.shapes import check_kernel
from retconv.grid import Grid, GridLike
from retconv.kernels.parameters import compute_dtype


def torus_symbol(kernel: Tensor, grid: GridLike) -> Tensor:
    """The symbol of a kernel on a torus at its own frequencies: all eigenvalues of the mask (law 23).

    The mask is block-circulant with circulant blocks: plane waves ``exp(i θ·p)`` with ``θ = 2π j / n`` go round the
    torus without a seam, and each is an eigenvector, of the eigenvalue ``a(θ) = Σ_δ K[δ] exp(i δ·θ)``. Of an open
    kernel K that is wrapped (``retconv.wrap``) these are samples of the symbol of K itself.

    Args:
        kernel: ``(heads, n_1, …, n_D)``, real.
        grid: The grid, of which every axis is periodic; prefix tokens are left out.

    Returns:
        complex128 ``(heads, n_1, …, n_D)``, at the frequencies ``analysis.spectrum.frequencies(grid.shape)`` in
        rad/token, differentiable with respect to the kernel.

    Raises:
        ValueError: If an axis is open, or the kernel is not real or not the grid's.

    Source:
        Davis 1979, Circulant Matrices, theorems 3.2.2 and 5.8.1.

    Example:
        >>> torus_symbol(torch.tensor([[1.0, 2.0, 1.0]]), Grid(3, periodic=True)).real
        tensor([[1., 4., 1.]], dtype=torch.float64)
    """
    grid = Grid.of(grid)
    if not all(grid.periodic):
        raise ValueError(
            f"torus_symbol: every axis must be periodic, got {grid}: on an open axis use sampled_symbol, which is no "
            "spectrum but its limit (law 13)"
        )
    check_kernel(kernel, grid)
    axes = tuple(range(1, kernel.ndim))
    first = kernel.to(compute_dtype(kernel.device)).roll([-center for center in grid.center], axes)
    return torch.fft.fftshift(torch.fft.ifftn(first, dim=axes, norm="forward"), dim=axes)
