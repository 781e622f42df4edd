"""Between kernels of open and of periodic axes (law 23): a periodic kernel unrolls, an open one wraps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from retconv.convert.folding import fold, unfold
from retconv.convert.shapes import check_kernel
from retconv.grid import Grid, GridLike, kept
from retconv.kernels.parameters import check_real, require_tensors


def unroll(kernel: Tensor, grid: GridLike) -> Tensor:
    """The kernel, on the open grid, of the very same mask: ``K'[δ] = K[δ mod n]`` for ``|δ| < n`` (law 23).

    A circulant mask is a Toeplitz one: by this, what works on open grids serves periodic ones. The adjoint is ``wrap``.

    Args:
        kernel: ``(heads, *grid.kernel_shape)``, any real floating dtype.
        grid: The grid; nothing is done along its open axes.

    Returns:
        ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``, bit-exact copies; on an open grid the kernel itself.

    Raises:
        ValueError: If the kernel's shape is not the grid's, or it is not real.

    Example:
        >>> unroll(torch.tensor([[3.0, 0.0, 1.0, 2.0]]), retconv.Grid(4, periodic=True))  # of δ = −1, 0, 1, 2
        tensor([[1., 2., 3., 0., 1., 2., 3.]])
    """
    grid = Grid.of(grid)
    check_kernel(kernel, grid)
    for axis, (n, ring) in enumerate(zip(grid.shape, grid.periodic, strict=True), start=1):
        if ring:
            kernel = kernel.index_select(axis, _places(n, kernel.device))
    return kernel


def wrap(kernel: Tensor, grid: GridLike) -> Tensor:
    """The wrapped sum ``Σ_j K[δ + j n]`` of an open kernel, along the periodic axes of a grid (law 23).

    It is the mask that a wave sees which goes round the torus: its DFT samples the symbol of K at ``2π j / n``, so that
    it keeps law 11, which the function of the torus distance (a closed form at ``grid.offsets()``) may lose. It is
    exact for a kernel of that support; of a closed form, a table of offsets up to R leaves out what lies beyond R. For
    decay and Gaussians, ``kernels.wrapped_decay`` and ``kernels.wrapped_gaussian`` sum every image.

    Args:
        kernel: ``(heads, odd, …)``, offset 0 in the middle, of any reach along periodic axes, and of 2n − 1 entries
            along open ones.
        grid: The grid.

    Returns:
        ``(heads, *grid.kernel_shape)``, in the kernel's dtype; half types are summed in float32. On an open grid it is
        the kernel itself.

    Raises:
        ValueError: If the kernel is not real, has other axes, an even side, or not 2n − 1 entries along an open axis.

    Example:
        >>> wrap(torch.tensor([[1.0, 2.0, 4.0, 2.0, 1.0]]), retconv.Grid(3, periodic=True))  # 1 at −2 falls on 2 at 1
        tensor([[3., 4., 3.]])
    """
    grid = Grid.of(grid)
    require_tensors(kernel=kernel)
    sides, shape = tuple(kernel.shape[1:]), grid.kernel_shape
    ends = zip(sides, shape, grid.periodic, strict=False)
    if len(sides) != grid.ndim or any(side % 2 == 0 or not (ring or side == full) for side, full, ring in ends):
        raise ValueError(
            f"wrap: kernel must be (heads, odd, …) with {grid.ndim} odd sides, 2n − 1 along open axes, got shape "
            f"{tuple(kernel.shape)} on {grid}: use retconv.resize(kernel, grid.opened())"
        )
    check_real(kernel, "kernel")
    wide = kernel.to(torch.promote_types(kernel.dtype, torch.float32))
    for axis, (n, ring) in enumerate(zip(grid.shape, grid.periodic, strict=True), start=1):
        if ring:
            side = wide.shape[axis]
            # Zeros up to whole rings, the first of which starts at the ring's first offset.
            before = ((n - 1) // 2 - side // 2) % n
            padded = F.pad(wide.movedim(axis, -1), (before, -(side + before) % n))
            wide = padded.unflatten(-1, (-1, n)).sum(dim=-2).movedim(-1, axis)
    return wide.to(kernel.dtype)


def gathered(kernel: Tensor, grid: Grid) -> Tensor:
    """Gather a kernel of this grid into ``(heads, *n, *n)``, queries, then keys."""
    return unfold(kernel if grid.is_open else unroll(kernel, grid), grid.shape)


def summed(mask: Tensor, grid: Grid) -> Tensor:
    """Sum a mask ``(heads, *n, *n)`` over pairs of equal offset into the shape of a kernel of this grid."""
    sums = fold(mask, grid.shape)
    return sums if grid.is_open else wrap(sums, grid)


def flipped(kernel: Tensor, grid: Grid) -> Tensor:
    """The kernel of the transposed mask, ``K[−δ]`` (law 5)."""
    axes = tuple(range(1, kernel.ndim))
    # On a ring of even length n the entry of n/2, which is its own opposite, has none before it.
    shifts = [(n % 2 - 1) * ring for n, ring in zip(grid.shape, grid.periodic, strict=True)]
    turned = kernel.flip(axes)
    return turned.roll(shifts, axes) if any(shifts) else turned


@kept
def _places(n: int, device: torch.device) -> Tensor:
    """Where the kernel of a ring of n tokens holds the offsets ``1 − n … n − 1``."""
    return (torch.arange(1 - n, n, device=device) + (n - 1) // 2) % n
