"""Direct solvers: elimination of a small mask, Levinson's recursion on a line, and one of them for each axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.kernels import Separable
from retconv.operators.fft import FFTProduct
from retconv.operators.implicit import Implicit
from retconv.operators.residuals import SolveError, refined
from retconv.watching import is_derived, is_differentiated, is_visible

#: Tokens up to which a mask is eliminated where nobody names a method: the time of one head is then about 50 ms.
DENSE = 1024


class DenseSolve:
    """``M⁻¹ y`` by LU factors of the dense mask, for every kernel that is not singular.

    Args:
        kernel: ``(heads, 2 n_1 − 1, …)`` in the computing dtype.
        grid: The grid.

    Raises:
        DenseLimitError: If the mask would exceed the memory limit.
        SolveError: If it is singular to working precision.
    """

    def __init__(self, kernel: Tensor, grid: Grid) -> None:
        self.mask = kernel_to_mask(kernel, grid)
        self.factors, self.pivots, _ = torch.linalg.lu_factor_ex(self.mask)
        if is_visible(self.factors):
            diagonal = self.factors.detach().diagonal(dim1=1, dim2=2).abs()
            share = (diagonal.amin(dim=1) / diagonal.amax(dim=1)).nan_to_num(nan=0.0)
            bad = share <= grid.size * torch.finfo(kernel.dtype).eps
            if bool(bad.any()):
                head = int(bad.int().argmax())
                raise SolveError(
                    f"solve: the mask of head {head} is singular to working precision: its smallest pivot is "
                    f"{float(share[head]):.2g} of its largest; add to the kernel's entry at offset 0",
                    condition=float("inf"),
                )

    def __call__(self, y: Tensor) -> Tensor:
        """Apply to ``y`` ``(heads, N, columns)``."""
        return torch.linalg.lu_solve(self.factors, self.pivots, y)

    def condition(self) -> Tensor:
        """``‖M‖₁ ‖M⁻¹‖₁``, ``(heads,)``."""
        identity = torch.eye(self.mask.shape[1], dtype=self.mask.dtype, device=self.mask.device)
        inverse = self(identity.expand_as(self.mask))
        return torch.linalg.matrix_norm(self.mask, ord=1) * torch.linalg.matrix_norm(inverse, ord=1)


class Levinson:
    """``M⁻¹ y`` on a line by Levinson's recursion, ``scipy.linalg.solve_toeplitz``: O(N²) a column, in O(N) memory.

    On a CPU, in float64, with gradients by implicit differentiation. It is stable where the mask is positive definite;
    elsewhere refinement and the residual say how well it went.

    Args:
        kernel: ``(heads, 2n − 1)`` in the computing dtype.
        grid: The line.
        tolerance: Largest relative residual of a column.
    """

    def __init__(self, kernel: Tensor, grid: Grid, tolerance: float) -> None:
        self.kernel, self.grid, self.tolerance = kernel, grid, tolerance
        self._product = FFTProduct(kernel.detach(), grid)

    def __call__(self, y: Tensor) -> Tensor:
        """Apply to ``y`` ``(heads, N, columns)``."""
        require_values("levinson", y, self.kernel)
        return Implicit.apply(y, self.kernel, self) if is_differentiated(y, self.kernel) else self.values(y)

    def values(self, y: Tensor) -> Tensor:
        """The solution, unseen by autograd.

        Raises:
            SolveError: If a leading block is singular, or the residual stays above the tolerance.
        """
        return refined(self._recursion, self._product, y.detach(), self.tolerance, "levinson")

    def adjoint(self) -> Levinson:
        """The solver of ``Mᵀ``."""
        return Levinson(self.kernel.detach().flip(1), self.grid, self.tolerance)

    def _recursion(self, y: Tensor) -> Tensor:
        solve = _solve_toeplitz()
        n = self.grid.size
        kernel = self.kernel.detach().cpu().resolve_neg()
        columns, rows = kernel[:, :n].flip(1).numpy(), kernel[:, n - 1 :].numpy()
        heads = []
        for head, right in enumerate(y.cpu().resolve_neg().numpy()):
            try:
                heads.append(solve((columns[head], rows[head]), right))
            except np.linalg.LinAlgError as error:
                raise SolveError(
                    f"solve: Levinson's recursion divides by zero in head {head}: a leading block of the mask is "
                    f"singular, though the mask itself need not be; use method='dense'"
                ) from error
        return torch.from_numpy(np.stack(heads)).to(y.device, y.dtype)


class SeparableSolve:
    """``M⁻¹ y`` of one outer product, ``M = T_1 ⊗ … ⊗ T_D`` (law 5): the solution along each axis in turn.

    Args:
        factors: One outer product, in the computing dtype.
        grid: The grid.
        tolerance: Largest relative residual of a column of one axis, where that takes Levinson's recursion.

    Raises:
        SolveError: If the mask of an axis is singular.
    """

    def __init__(self, factors: Separable, grid: Grid, tolerance: float) -> None:
        self.grid = grid
        self.axes: list[DenseSolve | Levinson] = []
        for factor, n in zip(factors.factors, grid.shape, strict=True):
            kernel, line = factor[:, 0], Grid(n)
            self.axes.append(DenseSolve(kernel, line) if n <= DENSE else Levinson(kernel, line, tolerance))

    def __call__(self, y: Tensor) -> Tensor:
        """Apply to ``y`` ``(heads, N, columns)``."""
        heads, size, columns = y.shape
        x, before = y, 1
        for axis, n in zip(self.axes, self.grid.shape, strict=True):
            after = size * columns // (before * n)
            lines = x.reshape(heads, before, n, after).transpose(1, 2).reshape(heads, n, before * after)
            x = axis(lines).reshape(heads, n, before, after).transpose(1, 2)
            before *= n
        return x.reshape(y.shape)

    def condition(self) -> Tensor | None:
        """``‖M‖₁ ‖M⁻¹‖₁``, the product of those of the axes; None where an axis is too long to know its own."""
        total: Tensor | None = None
        for axis in self.axes:
            if isinstance(axis, Levinson):
                return None
            total = axis.condition() if total is None else total * axis.condition()
        return total


def require_values(method: str, *tensors: Tensor) -> None:
    """Refuse watchers that hide values, or whose derivatives an iteration does not have."""
    if not is_visible(*tensors) or is_derived(*tensors):
        raise ValueError(
            f"solve: method {method!r} decides by values, which torch.vmap, torch.func, forward mode and tracers hide: "
            f"call it outside of them, or use method='dense', which takes at most {DENSE} tokens without being named"
        )


def _solve_toeplitz() -> Callable[..., Any]:
    # 0.2 s of import that only a long line needs.
    from scipy.linalg import solve_toeplitz

    return solve_toeplitz
