"""1-D kernels that are sums of complex exponentials: what recurrences run in O(N)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from retconv.watching import is_readable


@dataclass(frozen=True)
class Exponentials:
    """A 1-D kernel as two sums of complex exponentials, one for each side of offset 0.

    ``K[δ] = Re Σ_r past_weights[r] · past_poles[r]^(−δ)`` for δ ≤ 0, and
    ``K[δ] = Re Σ_r future_weights[r] · future_poles[r]^δ`` for δ > 0, or 0 there if the kernel is causal.
    A real pole is a RetNet head; a complex one, γ e^{iθ}, is a RetNet head with xPos rotation.

    Attributes:
        past_weights: complex ``(heads, order)``.
        past_poles: complex ``(heads, order)``, ``|λ| ≤ 1``.
        future_weights: complex ``(heads, order)``, or None if the kernel is causal.
        future_poles: complex ``(heads, order)``, or None.

    Raises:
        ValueError: If the shapes disagree, or on a CPU a pole is outside the unit circle.

    Example:
        >>> decay = Exponentials(torch.tensor([[1.0]]), torch.tensor([[0.5]]))
        >>> decay.kernel(3).tolist()
        [[0.25, 0.5, 1.0, 0.0, 0.0]]
    """

    past_weights: Tensor
    past_poles: Tensor
    future_weights: Tensor | None = None
    future_poles: Tensor | None = None

    def __post_init__(self) -> None:
        """Check that weights and poles belong together and that every pole decays."""
        if (self.future_weights is None) != (self.future_poles is None):
            raise ValueError("Exponentials: give both future_weights and future_poles, or neither for a causal kernel")
        for side, weights, poles in self._sides():
            if weights.ndim != 2 or weights.shape != poles.shape or weights.shape[0] != self.past_weights.shape[0]:
                raise ValueError(
                    f"Exponentials: weights and poles must be (heads, order), got {side} {tuple(weights.shape)} and "
                    f"{tuple(poles.shape)}"
                )
            if is_readable(poles) and poles.numel():
                largest = float(torch.linalg.vector_norm(poles.detach(), torch.inf))
                if largest > 1:
                    raise ValueError(
                        f"Exponentials: {side} poles must lie in the unit circle, got one of modulus {largest:.6g}"
                    )

    @property
    def causal(self) -> bool:
        """Whether the kernel is 0 for δ > 0."""
        return self.future_weights is None

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.past_poles.shape[0]

    @property
    def order(self) -> int:
        """Number of exponentials of the longer side."""
        return max(weights.shape[1] for _, weights, _ in self._sides())

    def kernel(self, n: int) -> Tensor:
        """The kernel table of a line of n tokens, real ``(heads, 2n − 1)``."""
        sides = [self._side(weights, poles, n) for _, weights, poles in self._sides()]
        past = sides[0].flip(-1)
        return torch.cat([past, torch.zeros_like(past[:, 1:]) if self.causal else sides[1][:, 1:]], dim=1)

    def _side(self, weights: Tensor, poles: Tensor, n: int) -> Tensor:
        # A power of a pole multiplies its rounding: all is computed wide, and cast last.
        wide = torch.complex64 if poles.device.type == "mps" else torch.complex128
        values = (weights.to(wide)[..., None] * powers(poles.to(wide), n - 1)).real.sum(dim=1)
        return values.to(torch.promote_types(weights.real.dtype, poles.real.dtype))

    def times(self, scale: float) -> Exponentials:
        """The kernel times a number."""
        future = None if self.future_weights is None else scale * self.future_weights
        return Exponentials(scale * self.past_weights, self.past_poles, future, self.future_poles)

    def part(self, heads: slice) -> Exponentials:
        """The kernel of some heads."""
        of = (self.past_weights, self.past_poles, self.future_weights, self.future_poles)
        return Exponentials(*(None if x is None else x[heads] for x in of))  # type: ignore[arg-type]

    def _sides(self) -> list[tuple[str, Tensor, Tensor]]:
        sides = [("past", self.past_weights, self.past_poles)]
        if self.future_weights is not None and self.future_poles is not None:
            sides.append(("future", self.future_weights, self.future_poles))
        return sides


def powers(poles: Tensor, last: int) -> Tensor:
    """``λ^0 … λ^last`` of each pole ``(heads, order)``, in a last axis."""
    exponent = torch.arange(2, max(last, 1) + 1, device=poles.device)
    # From 2 on: torch's complex 0⁰ is NaN, and so is the gradient of 0¹.
    table = torch.cat([torch.ones_like(poles)[..., None], poles[..., None], poles[..., None] ** exponent], dim=-1)
    return table[..., : last + 1]
