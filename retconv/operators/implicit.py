"""Gradients of a solution without those of the steps that led to it: implicit differentiation."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd import Function

from retconv.grid import Grid
from retconv.operators.fft import lengths


class Solver(Protocol):
    """What solves by values, unseen by autograd."""

    grid: Grid

    def values(self, y: Tensor) -> Tensor:
        """``M⁻¹ y`` of ``(heads, N, columns)``, detached."""
        ...

    def adjoint(self) -> Solver:
        """The solver of ``Mᵀ``."""
        ...


class Implicit(Function):
    """``x = M⁻¹ y`` of a kernel: ``dy = M⁻ᵀ g`` and ``dK[δ] = −Σ_q dy[q] x[q + δ]``, from ``dx = M⁻¹ (dy − dM x)``.

    The backward pass is a solution and a correlation, which have gradients of their own.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, kernel: Tensor, solver: Solver) -> Tensor:
        """Solve by values."""
        x = solver.values(y)
        ctx.save_for_backward(x, kernel)
        ctx.solver = solver
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None]:
        """Solve with the adjoint, and correlate with the solution."""
        x, kernel = ctx.saved_tensors
        flipped = kernel.flip(tuple(range(1, kernel.ndim)))
        dual = Implicit.apply(gradients[0], flipped, ctx.solver.adjoint())
        return dual, -correlation(dual, x, ctx.solver.grid) if ctx.needs_input_grad[1] else None, None


def correlation(a: Tensor, b: Tensor, grid: Grid) -> Tensor:
    """``C[δ] = Σ_q Σ_c a[q, c] b[q + δ, c]`` of two ``(heads, N, columns)``, laid out as a kernel."""
    axes, sizes = tuple(range(2, 2 + grid.ndim)), lengths(grid)
    first, second = (torch.fft.rfftn(z.mT.reshape(len(z), z.shape[2], *grid.shape), s=sizes, dim=axes) for z in (a, b))
    axes = tuple(range(1, 1 + grid.ndim))
    wrapped = torch.fft.irfftn((first.conj() * second).sum(dim=1), s=sizes, dim=axes)
    centred = wrapped.roll(grid.center, axes)
    return centred[(slice(None), *(slice(side) for side in grid.kernel_shape))]
