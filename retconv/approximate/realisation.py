"""A causal kernel as a linear recurrence: its poles and weights, its states, and what it gives beyond the grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from retconv.approximate.boundary import check_choice, check_count, check_table
from retconv.approximate.certificate import Approximation, certify, double
from retconv.approximate.exponential_sums import OrderError
from retconv.approximate.sequence import Complex, Sum
from retconv.approximate.variable_projection import Array
from retconv.kernels import Exponentials
from retconv.kernels.exponentials import powers

#: Most states that a tolerance may ask for.
MAX_STATES = 128


@dataclass(frozen=True, repr=False)
class Realisation(Approximation):
    """A causal kernel K' = ``Re Σ_r w_r λ_r^m`` at distance m = −δ, which ``retention.recurrent`` runs token by token.

    Inside the grid, m < n, the certificate is what it costs (law 12), beside rounding, which ``growth`` magnifies.
    Beyond, the recurrence goes on: what it says there is told by ``response``, and what it costs by ``beyond`` against
    the true continuation (law 24).

    Attributes:
        exponentials: Poles and weights, complex128 ``(heads, terms)``, filled up with terms of weight 0.
        states: Real numbers of state for each pair of features: 1 for a real pole, 2 for a conjugate pair, of which one
            is stored; int64 ``(heads,)`` on the CPU.

    Example:
        >>> kernel = retconv.RetNetMask(heads=1, gamma=0.5).kernel(retconv.Grid(16))
        >>> fit = retconv.approximate.balanced_truncation(kernel, tolerance=1e-6)
        >>> fit.states.tolist()
        [1]
    """

    exponentials: Exponentials
    states: Tensor

    @property
    def growth(self) -> Tensor:
        """``Σ_r |w_r| / max |K'|``, float64 ``(heads,)``: by so much are roundings of the states magnified."""
        largest = double(self.kernel).abs().amax(dim=1)
        return self.exponentials.past_weights.abs().sum(dim=1).cpu() / largest.clamp(
            min=torch.finfo(largest.dtype).tiny
        )

    def response(self, tokens: int) -> Tensor:
        """K' at the distances 0 … tokens − 1, on the grid and beyond: float64 ``(heads, tokens)``.

        Raises:
            ValueError: If there is no token.
        """
        check_count("response", "tokens", tokens)
        line = self.exponentials
        return (line.past_weights[..., None] * powers(line.past_poles, tokens - 1)).real.sum(dim=1)

    def beyond(self, truth: Tensor) -> Tensor:
        """``Σ_{m ≥ n} |K'[−m] − K[−m]| / Σ_{m < n} |K[−m]|``: the error beyond the grid in the unit of ``relative``.

        Args:
            truth: K at the distances 0, 1, …, further than the n tokens of the grid: ``(heads, tokens)``.

        Returns:
            float64 ``(heads,)`` on the CPU.

        Raises:
            ValueError: If the truth is not of these heads or ends with the grid.
        """
        size, heads = self.kernel.shape[1] // 2 + 1, self.kernel.shape[0]
        if truth.ndim != 2 or truth.shape[0] != heads or truth.shape[1] <= size:
            raise ValueError(
                f"beyond: truth must be (heads, tokens) with {heads} heads and more than the {size} tokens of the "
                f"grid, got shape {tuple(truth.shape)}"
            )
        error = (double(self.response(truth.shape[1])) - double(truth)).abs()[:, size:].sum(dim=1)
        return error / double(truth)[:, :size].abs().sum(dim=1)


def taps(kernel: Tensor, name: str) -> Array:
    """The values of a causal kernel at the distances 0 … n − 1, float64 ``(heads, n)``.

    Raises:
        ValueError: If the kernel is no real finite table on a line, or it weighs the future.
    """
    check_table(kernel, name)
    if kernel.ndim != 2:
        raise ValueError(f"{name}: a recurrence along a line needs a kernel (heads, 2n − 1), got {tuple(kernel.shape)}")
    size = kernel.shape[1] // 2 + 1
    if bool(kernel[:, size:].any()):
        raise ValueError(
            f"{name}: a recurrence needs a causal kernel, 0 for δ > 0, got a weight of "
            f"{float(kernel[:, size:].abs().max()):.6g} there: realise each side by itself"
        )
    return double(kernel[:, :size].flip(1)).numpy()


def realised(kernel: Tensor, sums: list[Sum]) -> Realisation:
    """The realisation whose heads are these sums."""
    terms = max(1, *(len(s.poles) for s in sums))
    # A filling pole of weight 0 lies inside the circle.
    weights, poles = (np.full((len(sums), terms), filling, np.complex128) for filling in (0.0, 0.5))
    for h, s in enumerate(sums):
        weights[h, : len(s.poles)], poles[h, : len(s.poles)] = s.weights, s.poles
    line = Exponentials(*(torch.tensor(t, device=kernel.device) for t in (weights, poles)))
    states = torch.tensor([int((1 + (s.poles.imag != 0)).sum()) for s in sums])
    approximation = line.kernel(kernel.shape[1] // 2 + 1).to(kernel.device, kernel.dtype)
    return Realisation(**certify(kernel, approximation), exponentials=line, states=states)


def one_of_each_pair(poles: Complex, weights: Complex) -> Sum:
    """Of poles in conjugate pairs those with imaginary part ≥ 0, with twice the weight where they stand for two."""
    upper = poles.imag >= 0
    poles, weights = poles[upper], weights[upper]
    weights = np.where(poles.imag > 0, 2 * weights, weights.real)
    order = np.argsort(-np.abs(poles), kind="stable")
    return Sum(weights[order], poles[order])


def by_states(
    name: str,
    kernel: Tensor,
    states: int | None,
    tolerance: float | None,
    fits: Callable[[Array], Callable[[int], Sum]],
) -> Realisation:
    """Realise each head with so many states, or with the fewest up to ``MAX_STATES`` that reach a tolerance.

    Args:
        name: Of the function that is called, for messages.
        kernel: ``(heads, 2n − 1)``, causal.
        states: How many at most, or None.
        tolerance: Largest relative certificate, or None.
        fits: Of a head's taps the sum of so many states.

    Raises:
        ValueError: If not exactly one is given, either is out of range, or the kernel is not causal.
        OrderError: If no number of states reaches the tolerance.
    """
    check_choice(name, "states", states, tolerance)
    if states is not None:
        check_count(name, "states", states)
    sums = []
    for h, head in enumerate(taps(kernel, name)):
        fit = fits(head)
        if states is not None:
            sums.append(fit(states))
            continue
        best, least, last = float("inf"), 1, min(MAX_STATES, len(head))
        for count in range(1, last + 1):
            candidate = fit(count)
            relative = float(realised(kernel[h : h + 1], [candidate]).relative)
            # Packed with other heads, sums run in another order: rounding must not lift them over the tolerance.
            if relative <= (tolerance or 0.0) * (1 - 1e-9):
                sums.append(candidate)
                break
            if relative < best:
                best, least = relative, count
        else:
            raise OrderError(
                f"{name}: no number of states up to {last} reaches tolerance {tolerance:g} for head {h}, the best has "
                f"{best:.3g}: give a larger tolerance, or states={least}"
            )
    return realised(kernel, sums)
