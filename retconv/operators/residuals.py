"""What a solver leaves: residuals, and the error of one that must not be passed over."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from retconv.watching import is_visible, unwatched


class SolveError(ArithmeticError):
    """A system with a mask has no solution that a method reaches to the accuracy that was asked for.

    Attributes:
        condition: An estimate of the mask's condition number; NaN where it is not the reason.
        residual: The relative residual that was reached; NaN where the method did not start.

    Example:
        >>> op = retconv.operator(torch.ones(1, 5), 3)  # the sum of all tokens has no inverse
        >>> try:
        ...     op.solve(torch.ones(1, 3, 1))
        ... except SolveError as error:
        ...     print(error.condition)
        inf
    """

    def __init__(self, message: str, condition: float = float("nan"), residual: float = float("nan")) -> None:
        super().__init__(message)
        self.condition, self.residual = condition, residual


def units(y: Tensor) -> Tensor:
    """A unit for each column of ``(heads, N, columns)``, a power of two, in which no square is 0 or infinite."""
    most = math.floor(math.log2(torch.finfo(y.dtype).max)) - 1
    return y.abs().amax(dim=1, keepdim=True).log2().floor().clamp(-most, most).exp2()


def relative(product: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """``y − M x``, and its norm relative to that of y, ``(heads, columns)``; 0 of a column that is 0 on both sides."""
    rest, unit = y - product(x), units(y)
    norm, scale = (torch.linalg.vector_norm(z / unit, dim=1) for z in (rest, y))
    return rest, torch.where(norm == 0, 0.0, norm / scale)


def refined(
    solver: Callable[[Tensor], Tensor],
    product: Callable[[Tensor], Tensor],
    y: Tensor,
    tolerance: float,
    method: str,
    steps: int = 2,
) -> Tensor:
    """What a direct solver gives, checked by the fast product and bettered by what the residual is short of.

    Where values are hidden it is neither checked nor bettered.

    Args:
        solver: ``y ↦ M⁻¹ y`` up to rounding.
        product: ``x ↦ M x``, in O(N log N).
        y: ``(heads, N, columns)`` in the computing dtype.
        tolerance: Largest relative residual of a column.
        method: By which name it is called.
        steps: Refinements at most.

    Raises:
        SolveError: If the residual stays above the tolerance.
    """
    x = solver(y)
    if not is_visible(x, y):
        return x
    with unwatched():
        exact, target = x.detach(), y.detach()
        rest, error = relative(product, exact, target)
        for _ in range(steps):
            if not error.numel() or bool((error <= tolerance).all()):
                break
            exact = exact + solver(rest).detach()
            rest, error = relative(product, exact, target)
        worst = float(error.max()) if error.numel() else 0.0
        # Written so that NaN is above every tolerance.
        if not worst <= tolerance:
            raise SolveError(
                f"solve: by {method!r} the relative residual is {worst:.3g}, above the tolerance of {tolerance:.3g}: "
                "the mask is too ill-conditioned, or y is not finite; add to the kernel's entry at offset 0, or raise "
                "the tolerance",
                residual=worst,
            )
        correction = exact - x.detach()
    return x + correction
