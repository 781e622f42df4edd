"""Geometry: the one place that knows where tokens lie and what an offset is.

Tokens lie on a grid of shape ``n = (n_1, …, n_D)`` in row-major order, ``N = ∏ n_d``. The convention of the whole
package is fixed here: **offset = key − query**. A kernel has shape ``(heads, 2 n_1 − 1, …, 2 n_D − 1)`` and its entry
for offset δ stands at index ``δ + n − 1``. Along a periodic axis, where offsets count modulo n, it has n entries, and
that for δ stands at index ``δ + ⌊(n − 1)/2⌋`` (law 23).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, wraps
from typing import Any, ParamSpec

import torch
from torch import Tensor

from retconv.memory import require_memory
from retconv.watching import fake_mode, is_traced, refuse_script, unwatched

P = ParamSpec("P")
_CACHES: list[Callable[[], None]] = []


@dataclass(frozen=True)
class Grid:
    """A 1-, 2- or 3-dimensional grid of tokens, with optional prefix tokens before it.

    Prefix tokens (class token, registers) come first in the sequence, take part in no convolution, and are neutral in
    a mask: 1 where masks multiply, 0 where they add.

    Args:
        shape: Tokens along each axis, ``(n_1, …, n_D)`` with D in {1, 2, 3}; an int is a 1-D grid.
        prefix: Number of prefix tokens.
        periodic: Which axes close into a ring; one bool serves all axes. Along such an axis offsets count modulo n:
            ``M[q, k] = K[(k − q) mod n]``, and a kernel has n entries, of ``δ = −⌊(n − 1)/2⌋ … ⌊n/2⌋`` (law 23).

    Raises:
        ValueError: If the shape has no axis or more than three, an axis is not a positive integer, the prefix is
            negative, or periodic is not one bool, or one for each axis.

    Example:
        >>> Grid((2, 3), prefix=1)
        Grid((2, 3), prefix=1)
        >>> Grid((2, 3)).kernel_shape
        (3, 5)
        >>> Grid((4, 7), periodic=(True, False)).kernel_shape
        (4, 13)
    """

    shape: tuple[int, ...]
    prefix: int = 0
    periodic: tuple[bool, ...] = ()

    def __init__(self, shape: int | Sequence[int], prefix: int = 0, periodic: bool | Sequence[bool] = False) -> None:
        axes = (shape,) if isinstance(shape, int) else tuple(shape)
        if not 1 <= len(axes) <= 3:
            raise ValueError(f"Grid: a grid has 1, 2 or 3 axes, got {len(axes)} in shape {axes}")
        if not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in axes):
            raise ValueError(f"Grid: every axis must be a positive int, got shape {axes}")
        if not isinstance(prefix, int) or isinstance(prefix, bool) or prefix < 0:
            raise ValueError(f"Grid: prefix must be an int of at least 0, got {prefix!r}")
        rings = tuple(periodic) if isinstance(periodic, Sequence) else (periodic,) * len(axes)
        if len(rings) != len(axes) or not all(isinstance(ring, bool) for ring in rings):
            raise ValueError(f"Grid: periodic must be a bool, or one for each axis of {axes}, got {periodic!r}")
        object.__setattr__(self, "shape", axes)
        object.__setattr__(self, "prefix", prefix)
        object.__setattr__(self, "periodic", rings)

    def __repr__(self) -> str:
        suffix = f", prefix={self.prefix}" if self.prefix else ""
        suffix += "" if self.is_open else f", periodic={self.periodic}"
        return f"Grid({self.shape}{suffix})"

    @classmethod
    def of(cls, grid: Grid | int | Sequence[int]) -> Grid:
        """Return ``grid`` itself, or the grid of that shape: lets callers write ``(14, 14)`` for ``Grid((14, 14))``."""
        refuse_script("a mask on a grid")
        if isinstance(grid, Grid | int | Sequence) and not isinstance(grid, str):
            return grid if isinstance(grid, Grid) else cls(grid)
        raise TypeError(
            f"expected a Grid, a shape such as (14, 14) or a number of tokens, got {grid!r}: "
            "of a text, Grid.parse('14x14')"
        )

    @classmethod
    def parse(cls, text: str) -> Grid:
        """Read a grid as a person writes it: ``"14x14"``, ``"7"``, ``"2x3x4"``, or ``"14x14+1"`` with one prefix token.

        A ring is written behind an axis that is periodic: ``"14ox14"``, ``"7o"``.

        Raises:
            ValueError: If the text is not of that form.
        """
        shape, _, prefix = text.lower().replace("×", "x").partition("+")
        axes = shape.split("x")
        try:
            sides = [int(n.removesuffix("o")) for n in axes]
            return cls(sides, prefix=int(prefix or 0), periodic=[n.endswith("o") for n in axes])
        except ValueError as error:
            raise ValueError(f"Grid.parse: expected a form like '14x14' or '14x14+1', got {text!r}") from error

    @property
    def ndim(self) -> int:
        """Number of axes, D."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of grid tokens, N = ∏ n_d, prefix tokens not counted."""
        return math.prod(self.shape)

    @property
    def length(self) -> int:
        """Sequence length: prefix tokens and grid tokens together."""
        return self.prefix + self.size

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """Shape of one head's kernel: ``2 n_d − 1`` along each open axis, ``n_d`` along each periodic one."""
        return tuple(n if ring else 2 * n - 1 for n, ring in zip(self.shape, self.periodic, strict=True))

    @property
    def center(self) -> tuple[int, ...]:
        """Index of offset 0 in a kernel: ``n_d − 1`` along each open axis, ``⌊(n_d − 1)/2⌋`` along a periodic one."""
        return tuple((n - 1) // 2 if ring else n - 1 for n, ring in zip(self.shape, self.periodic, strict=True))

    @property
    def is_open(self) -> bool:
        """Whether no axis is periodic."""
        return not any(self.periodic)

    def without_prefix(self) -> Grid:
        """The same grid with no prefix tokens."""
        return Grid(self.shape, periodic=self.periodic) if self.prefix else self

    def opened(self) -> Grid:
        """The same tokens with every axis open: a mask on a periodic grid is one on that grid too (law 23)."""
        return self if self.is_open else Grid(self.shape, self.prefix)

    def require_open(self, name: str, remedy: str) -> None:
        """Refuse a periodic grid.

        Args:
            name: What works on open grids only.
            remedy: What to do instead.

        Raises:
            ValueError: If an axis is periodic.
        """
        if not self.is_open:
            raise ValueError(f"{name} is for open grids, got {self}: {remedy}")

    def coordinates(self, device: torch.device | str | None = None) -> Tensor:
        """Coordinates of the grid tokens in row-major order.

        Returns:
            int64 tensor ``(N, D)``: row i holds the grid position of token i.

        Raises:
            DenseLimitError: If it would exceed the memory limit.
        """
        self._require_table("coordinates", self.shape)
        axes = [torch.arange(n, device=device) for n in self.shape]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(self.size, self.ndim)

    def offsets(self, device: torch.device | str | None = None) -> Tensor:
        """Every offset key − query that two tokens of the grid can have, laid out as a kernel.

        Returns:
            int64 tensor ``(2 n_1 − 1, …, 2 n_D − 1, D)``: the entry at index ``δ + n − 1`` is δ. Along a periodic axis
            it is the nearest one of those that are equal modulo n, n/2 where there are two: that of the torus.

        Raises:
            DenseLimitError: If it would exceed the memory limit.
        """
        self._require_table("offsets", self.kernel_shape)
        sides = zip(self.kernel_shape, self.center, strict=True)
        axes = [torch.arange(-center, side - center, device=device) for side, center in sides]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)

    def offset_index(self, device: torch.device | str | None = None) -> Tensor:
        """Which kernel entry each pair of tokens reads.

        Returns:
            int64 tensor ``(N, N)``: entry ``[q, k]`` is the flat index of offset ``k − q`` in a kernel of one head.

        Raises:
            DenseLimitError: If the tensor would exceed the memory limit.
        """
        self.require_dense(1, torch.int64)
        position = self.coordinates(device)
        index = torch.zeros(self.size, self.size, dtype=torch.int64, device=device)
        for d, (side, center) in enumerate(zip(self.kernel_shape, self.center, strict=True)):
            step = position[None, :, d] - position[:, None, d] + center
            index *= side
            index += step % side if self.periodic[d] else step
        return index

    def pair_count(self, device: torch.device | str | None = None) -> Tensor:
        """Number of token pairs that share each offset, ``∏_d (n_d − |δ_d|)``; along a periodic axis n_d share each.

        Returns:
            int64 tensor of shape ``kernel_shape``; its sum is N².
        """
        shape, ends = torch.tensor(self.shape, device=device), torch.tensor(self.periodic, device=device).logical_not()
        return (shape - self.offsets(device).abs() * ends).prod(dim=-1)

    def _require_table(self, what: str, shape: tuple[int, ...]) -> None:
        """Refuse a table of D integers for each entry of a shape above the memory limit."""
        if not is_traced():
            needed = math.prod(shape) * self.ndim * torch.int64.itemsize
            require_memory(needed, f"{what} of {self}", "choose a smaller grid")

    def require_dense(self, heads: int = 1, dtype: torch.dtype = torch.float32) -> None:
        """Refuse to build a dense ``(heads, length, length)`` object above the memory limit.

        Args:
            heads: Leading dimension of the object.
            dtype: Its element type.

        While ``torch.compile`` traces nothing is refused: it cannot read the limit, and would cut its graph here.

        Raises:
            DenseLimitError: If it would take more bytes than the limit in force (see ``dense_limit``).
        """
        if is_traced():
            return
        what = f"a dense ({heads}, {self.length}, {self.length}) {dtype} object on {self}"
        require_memory(
            heads * self.length**2 * dtype.itemsize, what, "use retconv.operator(kernel, grid), which never forms it"
        )


#: A grid, or its shape where there is no prefix token; an int is a line.
GridLike = Grid | int | tuple[int, ...]


def kept(make: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Keep what a function of hashable arguments returns between calls: tables of a grid cost launches and copies.

    Callers must not write to it.
    """

    # A table made in inference mode would be of no use to autograd later, a fake one to those who want values, and one
    # made under a transform of torch.func must not outlive it, nor one on what is torch's default device just now.
    @lru_cache(maxsize=64)
    def cached(fake: object, *args: Any, **kwargs: Any) -> Tensor:
        with unwatched(), torch.device("cpu"):
            return make(*args, **kwargs)

    _CACHES.append(cached.cache_clear)

    @wraps(make)
    def keep(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        # torch.compile looks through a cache, and warns that it does.
        return make(*args, **kwargs) if is_traced() else cached(fake_mode(), *args, **kwargs)  # type: ignore[arg-type]

    return keep


def forget_kept() -> None:
    """Make every table that ``kept`` keeps anew when it is next asked for."""
    for clear in _CACHES:
        clear()
