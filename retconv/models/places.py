"""Where a mask goes in a model: an attention module, and the grid of its tokens at any time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from retconv.grid import Grid


class FeatureMap:
    """Follows the shape of the feature map that a module last put out: the grid of the tokens made from it.

    It is a forward hook, so it sees a new image size as soon as the model does.

    Attributes:
        shape: Height and width, once the module has run.
    """

    def __init__(self, module: nn.Module) -> None:
        self.shape: tuple[int, ...] = ()
        self.handle: RemovableHandle = module.register_forward_hook(self)

    def __call__(self, module: nn.Module, args: Any, output: Tensor) -> None:
        """Note the shape: the module's own ``grid_size`` if it has one, else that of its output."""
        self.shape = tuple(getattr(module, "grid_size", output.shape[-2:]))

    def release(self) -> None:
        """Follow no more."""
        self.handle.remove()


@dataclass
class Window:
    """The window that a windowed attention works on, read where the model itself keeps it.

    Attributes:
        owner: The module that holds it.
        attribute: Its name there.
    """

    owner: nn.Module
    attribute: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width of the window."""
        return tuple(getattr(self.owner, self.attribute))

    def release(self) -> None:
        """Nothing to let go of."""


@dataclass
class Place:
    """An attention module and the grid that its tokens lie on.

    Attributes:
        name: The module's name in the model.
        heads: Number of heads.
        prefix: Prefix tokens before the grid's.
        source: Knows the shape of the grid at any time.
        call: How its weights are computed: ``"attention"`` by torch's attention function, ``"talking heads"`` and
            ``"cosine"`` by hand.
        fused: What the module's ``fused_attn`` was, None if it has none.
    """

    name: str
    heads: int
    prefix: int
    source: FeatureMap | Window
    call: str
    fused: bool | None

    def grid(self, length: int | None = None) -> Grid:
        """The grid now.

        Raises:
            ValueError: If it does not account for ``length`` tokens.
        """
        grid = Grid(self.source.shape, prefix=self.prefix)
        if length is not None and grid.length != length:
            raise ValueError(
                f"attention '{self.name}' sees {length} tokens, but its feature map makes {grid}, {grid.length} "
                "tokens: they must not be dropped, merged or added between the two (set patch dropout to 0)"
            )
        return grid


def release(places: Iterable[Place], others: Iterable[Place] = ()) -> None:
    """Stop following the feature maps of places, except those that other places need."""
    needed = {id(place.source) for place in others}
    for source in {id(place.source): place.source for place in places}.values():
        if id(source) not in needed:
            source.release()
