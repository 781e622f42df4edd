"""Where a mask goes in a model: an attention module, and the grid of its tokens at any time."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from retconv.cross import Cross
from retconv.grid import Grid
from retconv.models.layout import Layout
from retconv.watching import is_backward, is_forward


class FeatureMap:
    """Follows the shape of the feature map that a part of a module last put out: the grid of the tokens made from it.

    It is a forward hook, so it sees a new image size as soon as the model does. It belongs to the part's owner, and so
    goes over to a new part that the owner takes, as timm's patch embedding does when its patch size changes.

    Args:
        owner: The module that has the part.
        attribute: The part's name there; empty if it is the owner itself.

    Attributes:
        shape: Height and width, or frames, height and width, once the part has run.
        count: How many maps it put out at once.
        users: Names of the places whose masks follow it.
    """

    def __init__(self, owner: nn.Module, attribute: str) -> None:
        self.owner, self.attribute = owner, attribute
        self.shape: tuple[int, ...] = ()
        self.count = 0
        self.users: set[str] = set()
        # The shapes since backward last ran a part of the model again.
        self._recent: set[tuple[int, ...]] = set()
        self._ran_again = False
        self.part = self._now()
        self.watching = owner.register_forward_pre_hook(self._follow) if attribute else None
        self.handle: RemovableHandle = self.part.register_forward_hook(self)

    def __call__(self, module: nn.Module, args: Any, output: Tensor) -> None:
        """Note the shape: the module's own ``grid_size`` if it has one, else that of its output behind channels."""
        if not isinstance(output, Tensor):
            return
        size = getattr(module, "grid_size", None)
        self.shape = tuple(size) if isinstance(size, tuple | list) else tuple(output.shape[2:])
        self.count = output.shape[0]
        if is_forward():
            if self._ran_again:
                self._recent, self._ran_again = set(), False
            self._recent.add(self.shape)

    def again(self) -> set[tuple[int, ...]]:
        """The maps that backward may be running a part of the model again for."""
        self._ran_again = True
        return self._recent

    def _now(self) -> nn.Module:
        return getattr(self.owner, self.attribute) if self.attribute else self.owner

    def _follow(self, module: nn.Module, args: Any) -> None:
        if self._now() is not self.part:
            self.handle.remove()
            self.part = self._now()
            self.handle = self.part.register_forward_hook(self)

    def release(self) -> None:
        """Follow no more."""
        self.handle.remove()
        if self.watching is not None:
            self.watching.remove()


class OwnInput:
    """Follows the shape of what an attention itself is given, where that is a map and not a row of tokens.

    Args:
        module: The attention.
        channels_last: Whether channels are its last axis, or the second.

    Attributes:
        shape: Height and width, once the attention has been called.
    """

    def __init__(self, module: nn.Module, channels_last: bool) -> None:
        self.channels_last = channels_last
        self.shape: tuple[int, ...] = ()
        self.handle: RemovableHandle = module.register_forward_pre_hook(self, with_kwargs=True)

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note the shape."""
        x = next(x for x in (*args, *kwargs.values()) if isinstance(x, Tensor))
        self.shape = tuple(x.shape[1:-1] if self.channels_last else x.shape[2:])

    def release(self) -> None:
        """Follow no more."""
        self.handle.remove()


@dataclass
class Window:
    """The window that a windowed attention works on, or its whole map, read where the model itself keeps it.

    Attributes:
        owner: The module that holds it.
        attribute: Its name there: a number of tokens along each axis, or one for both.
    """

    owner: nn.Module
    attribute: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width of the window."""
        size = getattr(self.owner, self.attribute)
        return (size, size) if isinstance(size, int) else tuple(size)

    def release(self) -> None:
        """Nothing to let go of."""


@dataclass
class Coarser:
    """A feature map with fewer tokens, a whole factor along each axis, which no module of its own puts out.

    Attributes:
        map: The finer feature map.
        factor: The factor.
    """

    map: FeatureMap
    factor: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width, rounded up."""
        return self._of(self.map.shape)

    def again(self) -> set[tuple[int, ...]]:
        """As of the finer map."""
        return {self._of(shape) for shape in self.map.again()}

    def _of(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(-(-side // self.factor) for side in shape)

    def release(self) -> None:
        """Follow no more."""
        self.map.release()


@dataclass
class Fixed:
    """A grid that was given.

    Attributes:
        shape: Height and width.
    """

    shape: tuple[int, ...]

    def release(self) -> None:
        """Nothing to let go of."""


Source = FeatureMap | OwnInput | Window | Coarser | Fixed


@dataclass
class Place:
    """An attention module and the grid that its tokens lie on.

    Attributes:
        name: The module's name in the model.
        prefix: Prefix tokens before the grid's.
        source: Knows the shape of the grid at any time.
        call: How its weights are computed: ``"attention"`` by torch's attention function, ``"multihead"`` by
            ``torch.nn.MultiheadAttention``, ``"softmax"`` by hand.
        layout: Where its heads are.
        products: By hand: which of its matrix products that have heads are the scores of queries and keys, counted from
            0; none where heads are mixed between the product and the softmax.
        softmaxes: By hand: which of its softmaxes make the weights, counted from 0.
        biased: By hand: whether anything is added to the scores before the softmax.
        fused: What the module's ``fused_attn`` was, None if it has none.
        keys: Knows the shape of the keys' grid, where that is a coarser one; None if queries and keys are one grid's.
        hook: Keeps torch's encoder layer from computing the attention itself.
    """

    name: str
    prefix: int
    source: Source
    call: str
    layout: Layout
    products: tuple[int, ...] = ()
    softmaxes: tuple[int, ...] = ()
    biased: bool = False
    fused: bool | None = None
    keys: Source | None = None
    hook: RemovableHandle | None = None

    @property
    def sources(self) -> tuple[Source, ...]:
        """All that it follows."""
        return (self.source,) if self.keys is None else (self.source, self.keys)

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.layout.heads

    def between(self, queries: int, keys: int) -> Grid | Cross:
        """The grid now, or that of queries and that of keys.

        Keys lie at the centres of what a convolution pools them from, otherwise of their cells.

        Raises:
            ValueError: If it does not account for so many queries or keys.
        """
        grid = self.grid(queries)
        if self.keys is None:
            return self.grid(keys)
        coarse = Grid(self.keys.shape, prefix=self.prefix)
        if coarse.length != keys:
            raise ValueError(
                f"attention '{self.name}' sees {keys} keys, but the map that they are pooled to makes {coarse}: remove "
                "the masks and add them anew"
            )
        convolution = getattr(self.keys, "part", None)
        if isinstance(convolution, nn.Conv2d | nn.Conv3d) and _pools(convolution, grid.shape, coarse.shape):
            spans: Any = zip(convolution.kernel_size, convolution.padding, strict=True)
            origin = [Fraction(span - 1, 2) - padding for span, padding in spans]
            return Cross(grid, coarse, stride=convolution.stride, origin=origin)
        return Cross(grid, coarse)

    def grid(self, length: int | None = None) -> Grid:
        """The grid now, that of the queries; where backward runs the attention again, that of so many tokens.

        Raises:
            ValueError: If it does not account for ``length`` tokens, or backward could mean several maps.
        """
        grid = Grid(self.source.shape, prefix=self.prefix)
        if length is not None and isinstance(self.source, FeatureMap | Coarser) and is_backward():
            shapes = {shape for shape in self.source.again() if math.prod(shape) == length - self.prefix}
            if len(shapes) > 1:
                raise ValueError(
                    f"attention '{self.name}' is run again in backward (gradient checkpointing) after maps of "
                    f"{', '.join(map(str, sorted(shapes)))}, all of {length - self.prefix} tokens, and nothing says "
                    "which: go backward after each of them, or leave checkpointing off"
                )
            grid = Grid(next(iter(shapes), grid.shape), prefix=self.prefix)
        if length is not None and grid.length != length:
            raise ValueError(
                f"attention '{self.name}' sees {length} tokens, but its feature map makes {grid}, {grid.length} "
                "tokens: they must not be dropped, merged or added between the two (set patch dropout to 0), and where "
                "the embedding was exchanged, remove the masks and add them anew"
            )
        return grid


def _pools(convolution: nn.Conv2d | nn.Conv3d, fine: tuple[int, ...], coarse: tuple[int, ...]) -> bool:
    """Whether a convolution makes a map of one shape of one of another, in steps."""
    if isinstance(convolution.padding, str) or len(convolution.stride) != len(fine):
        return False
    sides = zip(fine, convolution.padding, convolution.kernel_size, convolution.stride, coarse, strict=True)
    return all((n + 2 * p - k) // s + 1 == m for n, p, k, s, m in sides) and max(convolution.stride) > 1


def release(places: Iterable[Place], others: Iterable[Place] = ()) -> None:
    """Stop following the feature maps of places, except those that other places need."""
    needed = {id(root(source)) for place in others for source in place.sources}
    for source in {id(root(source)): source for place in places for source in place.sources}.values():
        if id(root(source)) not in needed:
            source.release()


def join(place: Place) -> None:
    """Follow the feature maps of a place that gets a mask until ``leave`` lets go of it."""
    for source in (source for source in map(root, place.sources) if isinstance(source, FeatureMap)):
        source.users.add(place.name)


def leave(places: Iterable[Place]) -> None:
    """Stop following the feature maps of places whose masks are taken out, once no other mask follows them."""
    for place in places:
        for source in map(root, place.sources):
            if isinstance(source, FeatureMap):
                source.users.discard(place.name)
            if not isinstance(source, FeatureMap) or not source.users:
                source.release()


def root(source: Source) -> Source:
    """What is followed: of a coarser map the finer one."""
    return source.map if isinstance(source, Coarser) else source
