"""What there is to see of a mask, whatever object it stands in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from retconv.grid import Grid

#: Heads that are drawn; of more the picture says how many there are.
HEADS = 6
#: Frequencies along each axis, at least; odd, so that 0 is in the middle.
_FREQUENCIES = 65


@dataclass(frozen=True)
class Picture:
    """What is drawn of a mask, and said of each of its heads.

    Attributes:
        title: What it is.
        kernel: ``(heads, *kernel_shape)``, or None where there is none.
        row: ``(heads, *shape)``, what one query sees, or None.
        query: That query's position on the grid.
        mass: Radii, increasing, and ``(heads, radii)``, the share of the kernel's ℓ1 mass within each; or None.
        rings: Which axes are periodic; none, if not given.
        nearest: Whether the kernel is that of the nearest convolution, not the mask's own.
        facts: Of every head, by what they are called.
    """

    title: str
    kernel: Tensor | None
    row: Tensor | None = None
    query: tuple[int, ...] = ()
    mass: tuple[Tensor, Tensor] | None = None
    rings: tuple[bool, ...] = ()
    nearest: bool = False
    facts: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, title: str, grid: Grid, kernel: Tensor | None, entries: Tensor | None, **more: Any) -> Picture:
        """The picture of a mask on a grid, by the row of the query in the middle.

        Args:
            title: What it is.
            grid: The grid, without prefix tokens.
            kernel: Its kernel, or the nearest one.
            entries: ``(heads, N, keys)``, of a mask that is not its kernel; such keys need not lie on the grid.
            **more: Further attributes.
        """
        query = tuple(n // 2 for n in grid.shape)
        if entries is None:
            assert kernel is not None
            places = (_keys(*axis) for axis in zip(query, grid.shape, grid.center, grid.periodic, strict=True))
            index = torch.meshgrid(*places, indexing="ij")
            row = torch.stack([head[tuple(i.to(kernel.device) for i in index)] for head in kernel])
        else:
            row = entries[:, int(np.ravel_multi_index(query, grid.shape))]
            row = row.unflatten(1, grid.shape) if row.shape[1] == grid.size else row
        return cls(title, kernel, row, query, rings=grid.periodic, **more)

    @property
    def heads(self) -> int:
        """Number of heads."""
        values = self.row if self.kernel is None else self.kernel
        assert values is not None
        return len(values)

    def symbol(self, head: int) -> np.ndarray | None:
        """The modulus of one head's symbol, frequency 0 in the middle; None where a weight is not finite.

        Along a periodic axis it is of the n frequencies that a ring of n tokens has.
        """
        kernel = None if self.kernel is None else values_of(self.kernel[head])
        if kernel is None or not np.isfinite(kernel).all():
            return None
        rings = self.rings or (False,) * kernel.ndim
        sizes = [n if ring else max(n, _FREQUENCIES) for n, ring in zip(kernel.shape, rings, strict=True)]
        return np.abs(np.fft.fftshift(np.fft.fftn(kernel, sizes, range(kernel.ndim))))


def _keys(query: int, n: int, center: int, ring: bool) -> Tensor:
    """Where along one axis of a kernel the offsets from a query to every key stand."""
    place = torch.arange(n) - query + center
    return place % n if ring else place


def values_of(tensor: Tensor) -> np.ndarray:
    """The numbers of a tensor of any device and dtype, in float64."""
    return tensor.detach().cpu().double().numpy()


def told(tensor: Tensor) -> list[float]:
    """Numbers of every head, for ``Picture.facts``."""
    return [float(value) for value in tensor.detach()]
