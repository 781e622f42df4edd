"""Least squares in parameters of which some are linear: those are solved for, only the others are searched.

Golub and Pereyra 1973 (SIAM J. Numer. Anal. 10, 413-432), with Kaufman's 1975 simplification of the Jacobian.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Relative change of the cost at which a search ends. Where the model is exact the cost falls to rounding before that.
PRECISION = 1e-10
#: Relative change of the parameters, and gradient, at which it ends: as far as float64 goes.
STEP = 1e-15


@dataclass(frozen=True)
class Model:
    """``y ≈ Φ(θ) c``: nonlinear parameters θ, linear ones c.

    Attributes:
        basis: θ ↦ Φ, ``(points, linear)``.
        slopes: (θ, c) ↦ ``∂(Φ c)/∂θ``, ``(points, nonlinear)``.
        bounds: Lowest and highest θ, each ``(nonlinear,)``.
    """

    basis: Callable[[Array], Array]
    slopes: Callable[[Array, Array], Array]
    bounds: tuple[Array, Array]


@dataclass(frozen=True)
class Solution:
    """The best of several searches.

    Attributes:
        theta: Nonlinear parameters.
        linear: Linear parameters.
    """

    theta: Array
    linear: Array


def solve(
    model: Model,
    values: Array,
    starts: Iterable[Array],
    weights: Array | None = None,
    cutoff: float = np.finfo(np.float64).eps,
) -> Solution:
    """Minimise ``Σ_i w_i (y_i − (Φ(θ) c)_i)²`` over θ and c from several starts.

    For each θ the linear c(θ) is the least-squares solution of smallest norm, by a singular value decomposition from
    which relative singular values up to ``cutoff`` are left out: c is then at most about ``‖y‖ / cutoff``. With P the
    projector onto the range of Φ, the residual ``(I − P) y`` has, up to a term that does not change the gradient,
    the Jacobian ``−(I − P) ∂(Φ c)/∂θ`` at fixed c (Kaufman).

    Args:
        model: Basis, slopes and bounds.
        values: y, ``(points,)``.
        starts: Values of θ to start from; they are brought inside the bounds.
        weights: w, ``(points,)``, nonnegative; 1 if not given.
        cutoff: Of relative singular values of Φ.

    Returns:
        The solution of least cost over all starts; ties go to the earlier start.
    """
    # 0.3 s of import that whoever only measures a kernel need not wait for.
    from scipy.optimize import least_squares

    scale = np.ones_like(values) if weights is None else np.sqrt(weights)
    # In a unit of the values' own, a power of two: a search ends by absolute numbers too, and squares may overflow.
    unit = int(np.frexp(np.abs(values).max(initial=0.0))[1]) - 1
    y = scale * np.ldexp(values, -unit)
    low, high = model.bounds

    latest: dict[bytes, tuple[Array, Array, Array]] = {}

    def project(theta: Array) -> tuple[Array, Array, Array]:
        """Orthonormal basis of the range of Φ, linear parameters, and residual Φ c − y."""
        # The search asks for residual and Jacobian in turn at one θ.
        key = theta.tobytes()
        if key not in latest:
            latest.clear()
            latest[key] = decompose(theta)
        return latest[key]

    def decompose(theta: Array) -> tuple[Array, Array, Array]:
        basis = scale[:, None] * model.basis(theta)
        u, s, vt = np.linalg.svd(basis, full_matrices=False)
        large = s > s[0] * cutoff
        u = u[:, large]
        inner = u.T @ y
        return u, vt[large].T @ (inner / s[large]), u @ inner - y

    def residual(theta: Array) -> Array:
        return project(theta)[2]

    def jacobian(theta: Array) -> Array:
        u, linear, _ = project(theta)
        slopes = scale[:, None] * model.slopes(theta, linear)
        return slopes - u @ (u.T @ slopes)

    best, least = None, np.inf
    for start in starts:
        # A start on a bound has no gradient in trf: a hair inside it does.
        inside = np.clip(start, low + 1e-9 * (high - low), high - 1e-9 * (high - low))
        fit = least_squares(
            residual, inside, jacobian, model.bounds, ftol=PRECISION, xtol=STEP, gtol=STEP, max_nfev=200
        )
        if best is None or fit.cost < least:
            best, least = fit.x, fit.cost
    assert best is not None
    return Solution(best, np.ldexp(project(best)[1], unit))
