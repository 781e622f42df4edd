"""One sequence as a sum of complex exponentials: poles from the Hankel matrix, refined by least squares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retconv.approximate.hankel import hankel_poles
from retconv.approximate.variable_projection import Array, Model, solve

Complex = NDArray[np.complex128]

#: Slowest and fastest rate −log|λ| of a pole: it stays inside the unit circle, and its powers stay numbers.
SLOWEST, FASTEST = 1e-12, 36.0
#: How many of the starting sets of poles are refined, the best of each number of real poles.
REFINED = 4


@dataclass(frozen=True)
class Sum:
    """``Re Σ_r w_r λ_r^m``.

    Attributes:
        weights: w, complex ``(terms,)``.
        poles: λ, complex ``(terms,)``, inside the unit circle, imaginary part ≥ 0; the slowest first.
    """

    weights: Complex
    poles: Complex


@dataclass(frozen=True)
class _Terms:
    """Terms of which the nonlinear parameters are searched: θ = (log rates of all, angles of the pairs).

    Attributes:
        distance: m, ``(points, 1)``.
        real: Which terms are real poles, of fixed angle 0 or π.
        angle: Angles of all terms at the start.
    """

    distance: Array
    real: NDArray[np.bool_]
    angle: Array

    def log_poles(self, theta: Array) -> Complex:
        """``log λ = −rate + i·angle`` of every term."""
        angle = self.angle.copy()
        angle[~self.real] = theta[len(angle) :]
        return -np.exp(theta[: len(angle)]) + 1j * angle

    def weights(self, linear: Array) -> Complex:
        """Complex weights from the real coefficients of ``Re λ^m``, then those of ``Im λ^m`` of the pairs."""
        weights = linear[: len(self.angle)].astype(np.complex128)
        weights[~self.real] -= 1j * linear[len(self.angle) :]
        return weights

    def basis(self, theta: Array) -> Array:
        """``Re λ^m`` of all terms and ``Im λ^m`` of the pairs."""
        powers = np.exp(self.distance * self.log_poles(theta))
        return np.concatenate([powers.real, powers.imag[:, ~self.real]], axis=1)

    def slopes(self, theta: Array, linear: Array) -> Array:
        """Derivatives of ``Re Σ w λ^m``: by the log rate ``Re(w m λ^m)·(−rate)``, by the angle ``−Im(w m λ^m)``."""
        log_poles = self.log_poles(theta)
        grown = self.distance * np.exp(self.distance * log_poles) * self.weights(linear)
        return np.concatenate([grown.real * log_poles.real, -grown.imag[:, ~self.real]], axis=1)

    def model(self) -> Model:
        """Bounds keep every pole inside the unit circle; angles may pass 0 and π a little."""
        terms, pairs = len(self.angle), int((~self.real).sum())
        low = np.concatenate([np.full(terms, np.log(SLOWEST)), np.full(pairs, -0.5)])
        high = np.concatenate([np.full(terms, np.log(FASTEST)), np.full(pairs, np.pi + 0.5)])
        return Model(self.basis, self.slopes, (low, high))


def fit_sequence(values: Array, first: int, order: int, cutoff: float) -> Sum:
    """Fit ``values[j] ≈ Re Σ_r w_r λ_r^(first + j)`` with at most ``order`` terms.

    Least squares in weights and poles from the best starting sets of poles that the Hankel matrix offers; of the
    refined ones, that of smallest ℓ1 error counts, since that is what a certificate states; an exact one ends it.

    Args:
        values: ``(n,)``, real.
        first: Exponent of the first value.
        order: Terms, a real pole or a conjugate pair each.
        cutoff: Of relative singular values of the exponentials, so that weights that cancel do not grow beyond it.
    """
    if not values.any():
        return Sum(np.zeros(0, np.complex128), np.zeros(0, np.complex128))
    # Weights and costs of order 1, whatever the unit of the kernel.
    unit = np.abs(values).max()
    distance = (first + np.arange(len(values), dtype=np.float64))[:, None]
    starts: dict[tuple[int, int], tuple[float, _Terms, Array]] = {}
    for poles in hankel_poles(values / unit, order):
        rate = np.clip(np.abs(np.log(np.maximum(np.abs(poles), np.exp(-FASTEST)))), SLOWEST, FASTEST)
        terms = _Terms(distance, poles.imag == 0, np.angle(poles))
        theta = np.concatenate([np.log(rate), np.angle(poles[poles.imag != 0])])
        basis = terms.basis(theta)
        left = values / unit - basis @ np.linalg.lstsq(basis, values / unit, rcond=cutoff)[0]
        # Refinement cannot turn a pair into two real poles or back.
        kind = (len(poles), int(terms.real.sum()))
        cost = float(left @ left)
        if kind not in starts or cost < starts[kind][0]:
            starts[kind] = (cost, terms, theta)
    # Rounding alone. Among exact fits noise would choose, and to it a pair at angle 1e-9 is as good as a real pole.
    exact = 4 * np.finfo(np.float64).eps * len(values)
    best: tuple[float, Sum] | None = None
    for _, terms, theta in sorted(starts.values(), key=lambda start: start[0])[:REFINED]:
        solution = solve(terms.model(), values / unit, [theta], cutoff=cutoff)
        weights, log_poles = terms.weights(solution.linear), terms.log_poles(solution.theta)
        error = float(np.abs(values / unit - (np.exp(distance * log_poles) @ weights).real).sum())
        if best is None or error < best[0]:
            best = (error, _ordered(unit * weights, np.where(terms.real, np.exp(log_poles).real, np.exp(log_poles))))
        if best[0] <= exact:
            break
    assert best is not None
    return best[1]


def _ordered(weights: Complex, poles: Complex) -> Sum:
    """The slowest pole first, and of each conjugate pair the one with imaginary part ≥ 0."""
    lower = poles.imag < 0
    weights, poles = np.where(lower, weights.conj(), weights), np.where(lower, poles.conj(), poles)
    order = np.argsort(-np.abs(poles), kind="stable")
    return Sum(weights[order], poles[order])
