"""Systems with a mask: ``M x = y`` by the method that the mask has, and ``log det M``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from retconv.convert import unroll
from retconv.grid import Grid
from retconv.kernels import Decay, Separable
from retconv.kernels.parameters import check, compute_dtype
from retconv.names import unknown
from retconv.operators.compiled import Kind
from retconv.operators.conjugate import ConjugateGradients
from retconv.operators.determinants import decay_logdet, dense_logdet, separable_logdet
from retconv.operators.direct import DENSE, DenseSolve, Levinson, SeparableSolve
from retconv.operators.fft import FFTProduct
from retconv.operators.residuals import refined, relative
from retconv.operators.stencils import DecayInverse
from retconv.operators.tokens import apart, require_tokens, side_by_side
from retconv.precision import as_written
from retconv.watching import is_visible, is_watched, unwatched

SolveMethod = Literal["recursive", "separable", "dense", "levinson", "cg"]

#: The methods by name; ``"auto"`` takes the first that applies, ``"dense"`` of up to ``DENSE`` tokens.
SOLVE_METHODS: tuple[str, ...] = get_args(SolveMethod)
#: Largest relative residual of a column, ``‖y − M x‖ / ‖y‖``, unless told otherwise.
TOLERANCE = 1e-8


@dataclass(frozen=True)
class Solution:
    """What ``MaskOperator.solution`` gives.

    Attributes:
        x: The solution, in the shape and dtype of y.
        residual: ``‖y − M x‖ / ‖y‖`` of the worst column of each head, float64 ``(heads,)``, before x is cast to the
            dtype of y.
        method: By which it was found.
        iterations: Steps of conjugate gradients; 0 of the other methods.
        condition: The condition number, float64 ``(heads,)``. ``"dense"`` and ``"separable"``: in the 1-norm, up to a
            relative error of ε times itself: of 1e16 and more only the order is known. ``"recursive"`` and ``"cg"``: in
            the 2-norm a bound from above, or for ``"cg"`` where the symbol gives none one from below, by Rayleigh
            quotients. NaN where it is not known: of Levinson's recursion.

    Example:
        >>> op = retconv.operator(retconv.DecayMask(heads=1, gamma=0.5), 3)
        >>> solution = op.solution(torch.tensor([[1.0], [0.0], [0.0]]))
        >>> solution.method, solution.x
        ('recursive', tensor([[[ 1.3333],
                 [-0.6667],
                 [ 0.0000]]]))
    """

    x: Tensor
    residual: Tensor
    method: str
    iterations: int
    condition: Tensor


class Solvable(ABC):
    """What a mask as an operator can do backwards: the part of ``MaskOperator`` for ``M⁻¹`` and ``log det M``."""

    kernel: Tensor
    grid: Grid
    decay: Decay | None
    #: The causal decay of which it is the adjoint, or None.
    mirrored: Decay | None
    _solvers: dict[tuple[str, float], Callable[[Tensor], Tensor]]

    _sources: list[Tensor]

    @property
    def _recursion(self) -> Decay | None:
        """The decay that runs, one way or the other."""
        return self.decay or self.mirrored

    @property
    def _kind(self) -> Kind:
        """Which way it runs."""
        if self.mirrored is not None:
            return "anticausal"
        return "causal" if self.decay is not None and self.decay.causal else "two_sided"

    @property
    @abstractmethod
    def factors(self) -> Separable | None:
        """The kernel as a sum of outer products, or None."""

    def solve(self, y: Tensor, method: str = "auto", tolerance: float = TOLERANCE) -> Tensor:
        """``x`` with ``M x = y``, to a stated relative residual of each column, or an error.

        ``"recursive"``: the inverse of a decay has two or three diagonals an axis (laws 6 to 8), O(N) and exact up to
        rounding in every entry; of γ near 1 that alone leaves a residual, which is not looked at. ``"separable"``: one
        outer product is solved for axis by axis. ``"dense"``: LU factors, for any mask. ``"levinson"``: any Toeplitz
        mask on a line, O(N²). ``"cg"``: conjugate gradients with a circulant preconditioner, for large masks that are
        symmetric, positive definite and of a condition number up to 1e6; the mask is never formed.

        It computes in float64 and casts last, autocast or not. Gradients in y and in the mask are those of the
        solution, ``dx = M⁻¹ (dy − dM x)``, and of every order. ``"levinson"`` and ``"cg"`` read values: transforms of
        ``torch.func``, forward mode and tracers are refused by name, and a GPU is waited for. The other methods run
        under all of them, where residuals are then not looked at.

        Args:
            y: ``(…, heads, N, d)``, or ``(N, d)`` for all heads alike; an operator of one head takes any number.
            method: ``"auto"``, which takes the first that applies of ``SOLVE_METHODS``, or one of them.
            tolerance: Largest relative residual ``‖y − M x‖ / ‖y‖`` of a column, in float64; not of ``"recursive"``.

        Returns:
            ``(…, heads, N, d)`` in y's dtype.

        Raises:
            ValueError: If y does not belong on the grid, the method is unknown or does not apply, or the tolerance is
                not positive.
            SolveError: If a mask is singular, or for conjugate gradients indefinite or too ill-conditioned, or the
                tolerance is not reached.

        Source:
            The inverse of a decay is that of a first-order autoregression's covariance (proofs ``causal_inverse`` and
            ``two_sided_inverse``). Levinson's recursion: Golub and Van Loan, Matrix Computations, section 4.7.

        Example:
            >>> op = retconv.operator(retconv.DecayMask(1, gamma=0.9), (14, 14))
            >>> op @ op.solve(y)  # y
        """
        return self._solved(y, method, tolerance)[0]

    def solution(self, y: Tensor, method: str = "auto", tolerance: float = TOLERANCE) -> Solution:
        """The same as ``solve``, with its residual, method, steps and condition number.

        Args:
            y: As for ``solve``.
            method: As for ``solve``.
            tolerance: As for ``solve``.

        Raises:
            ValueError: As ``solve``.
            SolveError: As ``solve``.
        """
        x, columns, right, method, solver = self._solved(y, method, tolerance, widely=True)
        with torch.no_grad():
            worst = right.new_zeros(len(right))
            if right.numel():
                product = FFTProduct(self._wide_kernel(right.dtype).detach(), self.grid)
                worst = relative(product, columns.detach(), right.detach())[1].amax(dim=1)
            condition = self._condition(solver, right)
        return Solution(x, worst, method, getattr(solver, "iterations", 0), condition)

    def logdet(self) -> Tensor:
        """``log det M`` of each head: of a decay and of one outer product in closed form, else of small masks.

        A causal decay has determinant 1; a two-sided one on n tokens ``(1 − γ²)^(n−1)``; of a Kronecker product
        ``log det = Σ_d (N / n_d) log det M_d``. Other masks are eliminated, up to 1,024 tokens.

        Returns:
            ``(heads,)`` in the dtype of kernel or γ, computed in float64, differentiable. Where values are hidden, by
            ``torch.func`` or a tracer, NaN of a determinant that is not positive or not known.

        Raises:
            SolveError: If a determinant is not positive, where the message states its sign and magnitude; or it is not
                known, since an eliminated mask is singular to working precision.
            ValueError: If the mask has too many tokens and no closed form, or γ is not below 1.

        Example:
            >>> retconv.operator(retconv.DecayMask(1, "two_sided", gamma=0.6), 11).logdet()  # 10 log 0.64 = −4.46
        """
        wide, dtype = compute_dtype(self.kernel.device), self.kernel.dtype
        with as_written(self.kernel.device):
            decay = self._recursion
            if decay is not None:
                self._require_regular()
                return decay_logdet(Decay(decay.gamma.to(wide), decay.causal), self.grid).to(dtype)
            if self._is_outer and max(self.grid.shape) <= DENSE:
                return separable_logdet(self._wide_factors(wide), self.grid).to(dtype)
            return dense_logdet(self._wide_kernel(wide), self.grid).to(dtype)

    def _solved(
        self, y: Tensor, method: str, tolerance: float, widely: bool = False
    ) -> tuple[Tensor, Tensor, Tensor, str, Any]:
        """The solution, itself and the right side as columns, the method and the solver."""
        if not tolerance > 0:
            raise ValueError(f"solve: tolerance must be positive, got {tolerance!r}")
        if method not in ("auto", *SOLVE_METHODS):
            raise ValueError(unknown("method to solve by", method, ("auto", *SOLVE_METHODS)))
        heads = len(self.kernel)
        y = require_tokens(y, "y", heads, self.grid)
        with as_written(y.device):
            method = self._method(method)
            right = side_by_side(y, heads)
            wide = compute_dtype(y.device)
            if method != "recursive" or widely:
                right = right.to(wide)
            solver = self._solver(method, wide, tolerance)
            if not right.numel():
                # Nothing to solve for, which depends on the kernel all the same.
                columns = right * self.kernel.to(right.dtype).flatten(1).sum(dim=1)[:, None, None]
            elif method in ("dense", "separable") and is_visible(right, *self._sources):
                product = FFTProduct(self._wide_kernel(wide).detach(), self.grid)
                columns = refined(solver, product, right, tolerance, method)
            else:
                columns = solver(right)
            return apart(columns, y).to(y.dtype), columns, right, method, solver

    @property
    def _is_outer(self) -> bool:
        """Whether the kernel is one outer product of several axes."""
        factors = self.factors if self.grid.ndim > 1 else None
        return factors is not None and factors.rank == 1

    def _wide_factors(self, dtype: torch.dtype) -> Separable:
        factors = self.factors
        assert factors is not None
        return Separable(tuple(factor.to(dtype) for factor in factors.factors))

    def _wide_kernel(self, dtype: torch.dtype) -> Tensor:
        """The kernel in the computing dtype: of a decay and of outer products made anew there, not rounded before."""
        decay = self._recursion
        if self.kernel.dtype == dtype or (decay is None and self.factors is None):
            return self.kernel.to(dtype)
        if decay is None:
            return self._wide_factors(dtype).kernel()
        kernel = Decay(decay.gamma.to(dtype), decay.causal).kernel(self.grid)
        return kernel if self.mirrored is None else kernel.flip(1)

    def _method(self, method: str) -> str:
        applies: dict[str, Callable[[], bool]] = {
            "recursive": lambda: self._recursion is not None,
            "separable": lambda: self._is_outer,
            "dense": lambda: method == "dense" or self.grid.size <= DENSE,
            "levinson": lambda: self.grid.ndim == 1,
            "cg": lambda: True,
        }
        if method == "auto":
            return next(name for name, does in applies.items() if does())
        if not applies[method]():
            choices = ", ".join(name for name, does in applies.items() if does())
            raise ValueError(f"solve: method {method!r} does not apply to this kernel on {self.grid}: one of {choices}")
        return method

    def _solver(self, method: str, dtype: torch.dtype, tolerance: float) -> Callable[[Tensor], Tensor]:
        """A solver, kept for the next call where nobody watches the mask and it is no record of one solution."""
        if method == "cg" or is_watched(*self._sources):
            return self._prepare_solver(method, dtype, tolerance)
        solver = self._solvers.get((method, tolerance))
        if solver is None:
            with unwatched():
                solver = self._solvers[method, tolerance] = self._prepare_solver(method, dtype, tolerance)
        return solver

    def _prepare_solver(self, method: str, dtype: torch.dtype, tolerance: float) -> Callable[[Tensor], Tensor]:
        if method == "recursive":
            self._require_regular()
            decay = self._recursion
            assert decay is not None
            return DecayInverse(decay.gamma, self.grid, self._kind)
        if method == "separable":
            return SeparableSolve(self._wide_factors(dtype), self.grid, tolerance)
        kernel = self._wide_kernel(dtype)
        if method == "dense":
            return DenseSolve(kernel, self.grid)
        # These know no rings: on the open grid it is the same matrix (law 23).
        kernel, grid = unroll(kernel, self.grid), self.grid.opened()
        return (Levinson if method == "levinson" else ConjugateGradients)(kernel, grid, tolerance)

    def _require_regular(self) -> None:
        """Refuse γ = 1, of which all rows are the same, where it may be looked at."""
        if self.decay is not None and not self.decay.causal and self.grid.size > 1 and is_visible(self.decay.gamma):
            gamma = self.decay.gamma
            check(gamma, "solve and logdet: gamma", gamma < 1, "must be below 1: without decay all rows are equal")

    def _condition(self, solver: Any, like: Tensor) -> Tensor:
        if isinstance(solver, DecayInverse):
            gamma = solver.gamma.detach().to(like)
            if solver.kind == "two_sided":
                return ((1 + gamma) / (1 - gamma)) ** (2 * sum(n > 1 for n in self.grid.shape))
            # ‖M‖ ≤ Σ γ^i over the line, and ‖M⁻¹‖ ≤ 1 + γ (law 12).
            powers = gamma[:, None] ** torch.arange(self.grid.size, device=like.device, dtype=like.dtype)
            return powers.sum(dim=1) * (1 + gamma)
        condition = None if isinstance(solver, Levinson) else solver.condition()
        return like.new_full((len(like),), torch.nan) if condition is None else condition.detach()
