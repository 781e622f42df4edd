"""Public convolutions and Toeplitz products, raced where they are installed.

Of the kernel all that can be made beforehand is ready before the clock starts. The features are tokens by channels, as
attention has them: what reads channels first brings them into that order in its time, as ours does; its result may stay
a view.
"""

from __future__ import annotations

import torch
from scipy.linalg import matmul_toeplitz
from scipy.signal import oaconvolve
from torch import Tensor

from retconv.bench.peers.installed import Adapter, Named, found
from retconv.bench.peers.rows import Run
from retconv.grid import Grid
from retconv.kernels import Separable


def peers(kernel: Tensor, grid: Grid, x: Tensor) -> dict[str, Run]:
    """The peers' products with the mask of a kernel, by name.

    Args:
        kernel: ``(heads, 2 n_1 − 1, …)``.
        grid: The grid.
        x: ``(…, heads, N, channels)``.
    """
    return found(ADAPTERS, kernel, grid, x)


def _flipped(kernel: Tensor) -> Tensor:
    """What a convolution takes, where the mask has ``K[k − q]``."""
    return kernel.flip(tuple(range(1, kernel.ndim)))


def _images(grid: Grid, x: Tensor) -> Tensor:
    """Channels first, ``(…, heads, channels, n_1, …)``."""
    return x.mT.unflatten(-1, grid.shape).contiguous()


def _scipy(kernel: Tensor, grid: Grid, x: Tensor) -> Named:
    """Overlap-add; on one axis also its Toeplitz product, which takes one matrix."""
    axes = tuple(range(-grid.ndim, 0))
    flipped = _flipped(kernel)[:, None].numpy()
    flipped = flipped.reshape((1,) * (x.ndim - 3) + flipped.shape)

    def overlap_add() -> Tensor:
        y = torch.from_numpy(oaconvolve(_images(grid, x).numpy(), flipped, mode="full", axes=axes))
        for axis, n in zip(axes, grid.shape, strict=True):
            y = y.narrow(axis, n - 1, n)
        return y.flatten(-grid.ndim).mT

    yield "scipy oaconvolve", overlap_add
    if grid.ndim == len(kernel) == 1:
        past, future = _flipped(kernel)[0, grid.size - 1 :].numpy(), kernel[0, grid.size - 1 :].numpy()

        def toeplitz() -> Tensor:
            columns = x.movedim(-2, 0)
            y = matmul_toeplitz((past, future), columns.flatten(1).numpy())
            return torch.from_numpy(y).view(columns.shape).movedim(0, -2)

        yield "scipy matmul_toeplitz", toeplitz


def _linear_operator(kernel: Tensor, grid: Grid, x: Tensor) -> Named:
    """A Kronecker product of symmetric Toeplitz matrices, where the mask is one, with Toeplitz and dense factors."""
    from linear_operator.operators import KroneckerProductLinearOperator, ToeplitzLinearOperator

    lines = _lines(kernel, grid)
    if lines is None:
        return
    factors = [ToeplitzLinearOperator(f[:, n - 1 :]) for f, n in zip(lines, grid.shape, strict=True)]
    if grid.ndim == 1:
        yield "linear_operator Toeplitz", lambda: factors[0] @ x
        return
    whole = KroneckerProductLinearOperator(*factors)
    dense = KroneckerProductLinearOperator(*(factor.to_dense() for factor in factors))
    yield "linear_operator Kronecker of Toeplitz", lambda: whole @ x
    yield "linear_operator Kronecker, dense factors", lambda: dense @ x


def _lines(kernel: Tensor, grid: Grid) -> list[Tensor] | None:
    """Symmetric kernels of the axes, ``(heads, 2 n − 1)``, with the kernel as outer product; None if there are none."""
    lines = []
    for axis in range(grid.ndim):
        center = (slice(None) if other == axis else n for other, n in enumerate(grid.center))
        line = kernel[(slice(None), *center)]
        lines.append(line / line[:, grid.center[axis], None] if axis else line)
    if not all(torch.equal(line, line.flip(1)) for line in lines):
        return None
    product = Separable(tuple(line[:, None] for line in lines)).kernel()
    return lines if torch.allclose(product, kernel) else None


def _pylops(kernel: Tensor, grid: Grid, x: Tensor) -> Named:
    """One operator for each head: it convolves with one kernel."""
    from pylops.signalprocessing import ConvolveND

    axes = tuple(range(-grid.ndim, 0))
    shape = (*x.shape[:-3], x.shape[-1], *grid.shape)  # of one head
    operators = [
        ConvolveND(shape, filters.numpy(), offset=grid.center, axes=axes, dtype="float32")
        for filters in _flipped(kernel)
    ]

    def apply() -> Tensor:
        images = _images(grid, x).unbind(-2 - grid.ndim)
        parts = [torch.from_numpy(op @ head.numpy()) for op, head in zip(operators, images, strict=True)]
        return torch.stack(parts, dim=-2 - grid.ndim).flatten(-grid.ndim).mT

    yield "pylops ConvolveND", apply


def _nvsubquadratic(kernel: Tensor, grid: Grid, x: Tensor) -> Named:
    """Heads are its hidden channels, and our channels are in its batch: a kernel is then transformed once a head."""
    from nvsubquadratic.ops import fftconv

    convolve = getattr(fftconv, f"fftconv{grid.ndim}d_fp32_bhl")
    flipped = _flipped(kernel)[None]

    def apply() -> Tensor:
        moved = x.movedim(-1, -3)  # shape: (…, channels, heads, N)
        images = moved.reshape(-1, len(kernel), *grid.shape).contiguous()
        return convolve(images, flipped).reshape(moved.shape).movedim(-3, -1)

    yield "nvSubquadratic fftconv", apply


ADAPTERS: dict[str, Adapter] = {
    "scipy": _scipy,
    "linear-operator": _linear_operator,
    "pylops": _pylops,
    "nvsubquadratic": _nvsubquadratic,
}
