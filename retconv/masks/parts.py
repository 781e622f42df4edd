"""The forms of a mask one by one: their heads, and the kernels that they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from retconv.grid import Grid
from retconv.kernels.parameters import require_tensor


def part(form: Any, heads: slice) -> Any:
    """A form of some heads of the mask."""
    if isinstance(form, Tensor):
        return form[heads]
    if isinstance(form, tuple):
        return tuple(tensor[heads] for tensor in form)
    return form.part(heads)


#: Forms whose recursions, factors and channels know no rings: on a periodic grid a mask has none of them.
ON_OPEN_GRIDS = frozenset({"decay", "exponentials", "factors", "gaussian"})

#: Kernels of other forms, the cheapest first.
KERNELS: dict[str, Callable[[Any, Grid], Tensor]] = {
    "decay": lambda decay, grid: decay.kernel(grid),
    "exponentials": lambda exponentials, grid: exponentials.kernel(grid.size),
    "factors": lambda factors, grid: factors.kernel(),
}


_Reader = Callable[[Any, Grid], Any]
_READERS: list[tuple[tuple[type, ...], _Reader]] = []


def reads(*kinds: type) -> Callable[[_Reader], _Reader]:
    """Register how masks of some types are read."""

    # Not by singledispatch: its cache, which the first call fills, is guarded, so that a caller would compile twice.
    def register(reader: _Reader) -> _Reader:
        _READERS.append((kinds, reader))
        return reader

    return register


def read(mask: Any, grid: Grid) -> Any:
    """The ``Forms`` of a mask in whatever form it is given; ``retconv.masks.readers`` knows the forms."""
    for kinds, reader in _READERS:
        if isinstance(mask, kinds):
            return reader(mask, grid)
    forms = getattr(mask, "forms", None)
    if forms is None:
        if type(mask).__name__ == "ndarray":
            require_tensor(mask, "mask")
        raise TypeError(
            f"expected a mask module, a tensor, or kernels.Decay, Gates and the like, got {type(mask).__name__}"
        )
    return forms(grid)
