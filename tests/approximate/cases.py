"""Causal kernels that recurrences are tried on, as functions of the distance, so that they go on beyond the grid."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

F64 = torch.float64


def causal(taps: Tensor) -> Tensor:
    """The kernel ``(heads, 2n − 1)`` of values at the distances 0 … n − 1."""
    return torch.cat([taps.flip(1), torch.zeros_like(taps[:, 1:])], dim=1)


def _bumps(m: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    height, center = torch.randn(6, generator=generator, dtype=F64), 400 * torch.rand(6, generator=generator, dtype=F64)
    return (height[:, None] * torch.exp(-((m - center[:, None]) ** 2) / (2 * 40.0**2))).sum(dim=0)


TRUTHS: dict[str, Callable[[Tensor], Tensor]] = {
    "gaussian": lambda m: torch.exp(-(m**2) / (2 * (40.0**2 + 1e-5))),
    "decays": lambda m: 0.6 * 0.9**m + 0.4 * 0.99**m,
    "power 1/2": lambda m: (1 + m) ** -0.5,
    "power 2": lambda m: (1 + m / 8) ** -2.0,
    "bumps": _bumps,
}


def truth(name: str, tokens: int) -> Tensor:
    """``(1, tokens)`` in float64."""
    return TRUTHS[name](torch.arange(tokens, dtype=F64))[None]
