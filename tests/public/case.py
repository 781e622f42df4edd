"""An operation as a case that runs on any device and in any precision, and what cases are given."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from retconv.checks import relative_error, tolerance
from retconv.masks import DecayMask, GaussianMixtureMask, Mask, RetNetMask

HEADS, SHAPE = 2, (3, 5)
SIZE = math.prod(SHAPE)


@dataclass(frozen=True)
class Case:
    """An operation and what it is given, in float64 on the CPU.

    Attributes:
        run: Of ``given``, moved; a tensor.
        given: Tensors and modules.
        roundings: Of intermediate results in a half type, whose sum the budget allows.
        by_value: Whether what it does depends on values, which fake tensors lack.
    """

    run: Callable[..., Tensor]
    given: tuple[Tensor | nn.Module, ...]
    roundings: int = 1
    by_value: bool = False

    def results(
        self,
        device: torch.device,
        dtype: torch.dtype,
        rounded: torch.dtype | None = None,
        autocast: torch.dtype | None = None,
    ) -> list[Tensor]:
        """Output, then the gradients in every tensor and parameter given; first rounded to another dtype if asked."""
        given: list[Any] = [copy.deepcopy(x).to(rounded or dtype).to(device, dtype) for x in self.given]
        leaves: list[Tensor] = []
        for x in given:
            leaves += list(x.parameters()) if isinstance(x, nn.Module) else [x.requires_grad_()]
        with torch.autocast(device.type, autocast, enabled=autocast is not None):
            out = self.run(*given)
        if not out.requires_grad:
            return [out]
        upstream = normal(99, *out.shape).to(rounded or dtype).to(device, out.dtype)
        gradients = torch.autograd.grad(out, leaves, upstream, allow_unused=True)
        return [out, *(g for g in gradients if g is not None)]

    def check(self, device: torch.device, dtype: torch.dtype) -> None:
        """On a device and in a precision it is what it is on the CPU in float64 from the same, rounded inputs."""
        self.compare(self.results(device, dtype), device, dtype)

    def compare(self, found: list[Tensor], device: torch.device, dtype: torch.dtype) -> None:
        """Results of inputs that were rounded to a dtype are exact within its budget."""
        exact = self.results(torch.device("cpu"), torch.float64, rounded=dtype)
        budget = tolerance(dtype) * (1 if dtype.itemsize > 2 else self.roundings)
        for i, (actual, expected) in enumerate(zip(found, exact, strict=True)):
            assert actual.device.type == device.type
            error = relative_error(actual.cpu(), expected)
            assert error <= budget, f"{f'gradient {i}' if i else 'output'}: error {error:.2e} above {budget:.2e}"


def normal(seed: int, *size: int) -> Tensor:
    """Standard normal numbers of a seed."""
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def positive(seed: int, *size: int) -> Tensor:
    """Numbers in [1, 2)."""
    return 1 + torch.rand(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def qkv(size: int = SIZE, heads: int = HEADS) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of two samples."""
    return normal(1, 2, heads, size, 4), normal(2, 2, heads, size, 4), normal(3, 2, heads, size, 4)


def kernel(shape: tuple[int, ...] = SHAPE) -> Tensor:
    """A positive kernel without any symmetry."""
    return positive(4, HEADS, *(2 * n - 1 for n in shape)) / math.prod(shape)


def gaussians(components: int = 2) -> Mask:
    """A mixture of narrow, positive Gaussians."""
    return GaussianMixtureMask.from_parameters(positive(5, HEADS, components), positive(6, HEADS, components))


def decay(kind: str = "manhattan") -> Mask:
    """A learnable decay."""
    return DecayMask(HEADS, kind, torch.tensor([0.6, 0.9], dtype=torch.float64), learnable=True)


def retnet() -> Mask:
    """A learnable causal decay."""
    return RetNetMask(HEADS, torch.tensor([0.6, 0.9], dtype=torch.float64), learnable=True)


def of(function: Callable[..., Tensor], *last: Any, **named: Any) -> Callable[..., Tensor]:
    """The function with its last arguments fixed."""
    return lambda *given: function(*given, *last, **named)
