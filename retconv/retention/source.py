"""What a mask offers to retention: its kernel, its outer products, and the exponentials that recurrences run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from retconv.convert.shapes import check_kernel
from retconv.grid import Grid
from retconv.kernels import Exponentials, Separable
from retconv.masks import DecayMask, Mask, RetNetMask

#: Whatever names a mask that has a kernel.
Source = Tensor | Mask | Separable | Exponentials


@dataclass(frozen=True)
class Forms:
    """A mask on a grid, in every form that it has.

    Attributes:
        grid: The grid, without prefix tokens.
        heads: Number of kernels.
        mask: The mask as it was given.
        line: On one axis the kernel as a sum of exponentials, or None.
    """

    grid: Grid
    heads: int
    mask: Source
    line: Exponentials | None

    @cached_property
    def kernel(self) -> Tensor:
        """``(heads, 2 n_1 − 1, …, 2 n_D − 1)``, built when a form first needs it: recurrences do not."""
        if isinstance(self.mask, Exponentials):
            return self.mask.kernel(self.grid.size)
        if isinstance(self.mask, Separable):
            return self.mask.kernel()
        return self.mask.kernel(self.grid) if isinstance(self.mask, Mask) else self.mask

    @cached_property
    def factors(self) -> Separable | None:
        """The kernel as a sum of outer products, or None."""
        if isinstance(self.mask, Mask):
            return self.mask.separable(self.grid)
        return self.mask if isinstance(self.mask, Separable) else None

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of the methods that apply."""
        names = ["parallel", "tiled"]
        if self.line is not None:
            names += ["recurrent", "chunkwise"] if self.line.causal else ["scan"]
        elif self.factors is not None and self.factors.gamma is not None:
            names += ["scan"]
        return (*names, "fft", "convolution")

    def part(self, heads: slice) -> Tensor | Separable:
        """Kernel or outer products of some heads, for an operator of their own."""
        if self.factors is None:
            return self.kernel[heads]
        gamma = None if self.factors.gamma is None else self.factors.gamma[heads]
        return Separable(tuple(f[heads] for f in self.factors.factors), gamma, self.factors.causal)


def forms(mask: Source, grid: Grid) -> Forms:
    """Find every form of a mask on a grid.

    Raises:
        ValueError: If the mask does not belong on the grid.
        NotAConvolutionError: If it has no kernel.
    """
    if isinstance(mask, Exponentials):
        if grid.ndim != 1:
            raise ValueError(f"a sum of exponentials is a kernel on one axis, got {grid}: use Grid({grid.size})")
        return Forms(grid, mask.past_poles.shape[0], mask, mask)
    found = _decay_line(mask) if grid.ndim == 1 else None
    if isinstance(mask, Mask) and found is not None:
        return Forms(grid, mask.heads, mask, found)
    made = Forms(grid, mask.heads if isinstance(mask, Mask) else _heads(mask), mask, found)
    check_kernel(made.kernel, grid)
    return made


def _heads(mask: Tensor | Separable) -> int:
    return (mask.factors[0] if isinstance(mask, Separable) else mask).shape[0]


def line(mask: Source) -> Exponentials:
    """The exponentials of a mask on one axis, whatever its length.

    Raises:
        ValueError: If it is not known to be a sum of exponentials.
    """
    if isinstance(mask, Exponentials):
        return mask
    found = _decay_line(mask)
    if found is None:
        name = type(mask).__name__
        raise ValueError(
            f"{name} is not known to be a sum of exponentials, which a recurrence needs: use RetNetMask, "
            "kernels.Exponentials, or retconv.approximate.exponentials(kernel) with its certificate"
        )
    return found


def scaled(line: Exponentials, scale: float) -> Exponentials:
    """The kernel times a number: ``(s S) ⊙ M = S ⊙ (s M)``, so that q need not be multiplied."""
    future = None if line.future_weights is None else scale * line.future_weights
    return Exponentials(scale * line.past_weights, line.past_poles, future, line.future_poles)


def _decay_line(mask: Tensor | Mask | Separable) -> Exponentials | None:
    """A decay on one axis is one exponential with a real pole: the fields of ``Exponentials`` are then real.

    A mask module's gamma tells all: its kernel need not be built.
    """
    if isinstance(mask, RetNetMask | DecayMask) and not getattr(mask, "normalize", False):
        gamma, causal = mask.gamma, isinstance(mask, RetNetMask)
    elif isinstance(mask, Separable) and len(mask.factors) == 1 and mask.gamma is not None:
        gamma, causal = mask.gamma, mask.causal
    else:
        return None
    poles = gamma[:, None]
    ones = torch.ones_like(poles)
    return Exponentials(ones, poles) if causal else Exponentials(ones, poles, ones, poles)
