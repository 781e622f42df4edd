"""Whether tokens lie where their grid says: a patch of an image is changed, and the token that moves looked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from retconv.ambient import noise
from retconv.models.calls import ATTENTION, MULTIHEAD, SOFTMAX
from retconv.models.inputs import Example, call
from retconv.models.places import Coarser, Place

#: Where patches are changed, as fractions of frames, height and width: no symmetry of a grid maps one onto another, and
#: an order other than by rows puts few of them right.
_PATCHES = ((0.7, 0.2, 0.7), (0.2, 0.75, 0.45), (0.45, 0.4, 0.1), (0.8, 0.55, 0.85), (0.3, 0.9, 0.25))
#: Half the side of a changed patch, as a fraction of the image.
_HALF = 1 / 16
#: The first corner, as a fraction of each side: within the first cell of a grid of up to 32 cells a side.
_CORNER = 1 / 32
#: Images that are compared: one picture twice, one for each patch, and one for the corner.
_IMAGES = 3 + len(_PATCHES)
#: How many times as much as the middle one the token that moves most must move.
_STANDS_OUT = 2
#: And how many times, for its place to be certain.
_SHARP = 30


def moves_rightly(model: nn.Module, example: Example, places: Sequence[Place]) -> dict[str, bool | None]:
    """By place, whether the tokens that move when a patch of the image changes are those there.

    Earlier attention mixes tokens a little, so that others move too, but less. A picture that is given twice must move
    none: else tokens are shuffled or left out at random.

    Args:
        model: In evaluation mode.
        example: Its input.
        places: Attention on whole maps.

    Returns:
        None where no token stands out, or the input is no image.
    """
    if not isinstance(example, Tensor) or example.ndim not in (4, 5) or not example.is_floating_point():
        return dict.fromkeys(place.name for place in places)
    rows = _Rows(model, places)
    with torch.no_grad(), rows.hooks(), rows:
        call(model, _changed(example))
    agree = {place.name: _agrees(place, rows.seen.get(place.name)) for place in places}
    # Deeper prefix tokens have read the image.
    behind = next((_behind(place, rows.seen.get(place.name)) for place in places if place.prefix), False)
    return agree | {place.name: False for place in places if place.prefix and behind}


def picture(example: Example) -> Example:
    """Noise in place of an image: on an image of zeros there may be no scores to experiment with."""
    return _noise(example, 1) if isinstance(example, Tensor) and example.is_floating_point() else example


def _noise(example: Tensor, count: int) -> Tensor:
    return noise(0, count, *example.shape[1:]).to(example.device, example.dtype)


def _changed(example: Tensor) -> Tensor:
    """A picture of noise twice, and the same with one patch changed, for each patch and then the corner."""
    drawn = _noise(example, 2)
    axes = [3, 4] if example.ndim == 5 else [2, 3]
    if example.ndim == 5:
        # Videos come as (frames, channels) or the other way round.
        axes = [1 if example.shape[2] <= 4 else 2, *axes]
    images = [drawn[:1], drawn[:1]]
    for patch in _PATCHES:
        image = drawn[:1].clone()
        inside: list[Any] = [slice(None)] * example.ndim
        for axis, centre in zip(axes, patch[-len(axes) :], strict=True):
            side = example.shape[axis]
            start = int((centre - _HALF) * side)
            inside[axis] = slice(start, max(start + 1, int((centre + _HALF) * side)))
        image[tuple(inside)] += 3 * drawn[1:][tuple(inside)]
        images.append(image)
    image = drawn[:1].clone()
    corner = [slice(None)] * example.ndim
    for axis in axes:
        corner[axis] = slice(max(1, int(_CORNER * example.shape[axis])))
    image[tuple(corner)] += 3 * drawn[1:][tuple(corner)]
    return torch.cat([*images, image])


def _agrees(place: Place, seen: Tensor | None) -> bool | None:
    """Of what each token is in each picture, ``(pictures, times, heads, tokens, numbers)``."""
    if seen is None:
        return None
    grid = place.grid()
    size = _sizes(place, seen[:-1])[:, grid.prefix :]
    if not bool(torch.isfinite(size).all()):
        return None
    again, size = size[0], size[1:]
    if float(again.max()) > 0.1 * float(size.max()) > 0:
        return False
    # A guess must be right to the cell.
    guessed = isinstance(place.source, Coarser)
    cells, right, wrong, sharp = 0.75 if guessed else 1.25, 0, 0, 0
    for patch, row in zip(_PATCHES, size, strict=True):
        if float(row.max()) <= _STANDS_OUT * float(row.median()):
            continue
        # Convolutions before the attention move neighbours too, and attention others: either where the movement is
        # largest or where it is on average is steady.
        moves = (row - row.median()).clamp(min=0).square().reshape(grid.shape)
        peak = (row == row.max()).to(row.dtype).reshape(grid.shape)
        near = any(_at(share, patch[-grid.ndim :], cells) for share in (peak, moves))
        right, wrong = right + near, wrong + (not near)
        sharp += bool(row.max() > _SHARP * row.median())
    few = len(_PATCHES) - 1
    if wrong >= (1 if guessed else 2 if sharp >= few else few):
        return False
    return True if right + wrong >= few and right > wrong else None


def _sizes(place: Place, seen: Tensor) -> Tensor:
    """By how much each token moves in each picture but the first, ``(pictures, tokens)``."""
    moved = (seen[1:] - seen[:1]).abs().double()
    # Of scores, that of the changed key moves in every row: the middle one of a row does not.
    size = moved.median(dim=-1).values if place.call == "softmax" else moved.square().mean(dim=-1).sqrt()
    return size.sum(dim=2).amax(dim=1)


def _behind(place: Place, seen: Tensor | None) -> bool:
    """Whether the token of the first corner stands where a prefix token would: those are behind or among the others."""
    if seen is None:
        return False
    row = _sizes(place, seen)[-1]
    return int(row.argmax()) < place.prefix and bool(row.max() > _SHARP * row.median())


def _at(share: Tensor, patch: Sequence[float], cells: float) -> bool:
    """Whether what moves lies, on average, where a patch does, within so many cells or a part of the image."""
    for axis, (side, centre) in enumerate(zip(share.shape, patch, strict=True)):
        centres = (torch.arange(side, dtype=share.dtype, device=share.device) + 0.5) / side
        along = share.movedim(axis, -1).reshape(-1, side).sum(dim=0)
        if abs(float(along @ centres / along.sum()) - centre) > max(cells / side, 0.12):
            return False
    return True


class _Rows(TorchFunctionMode):
    """Keeps what the first attention call of each place is given."""

    def __init__(self, model: nn.Module, places: Sequence[Place]) -> None:
        super().__init__()
        self.places = {place.name: place for place in places}
        self.modules = {name: model.get_submodule(name) for name in self.places}
        self.running: list[str] = []
        self.softmaxes: dict[str, int] = {}
        self.seen: dict[str, Tensor] = {}

    @contextmanager
    def hooks(self) -> Iterator[None]:
        with ExitStack() as stack:
            for name, module in self.modules.items():
                stack.callback(module.register_forward_pre_hook(self._enter(name)).remove)
                stack.callback(module.register_forward_hook(self._leave, always_call=True).remove)
            yield

    def _enter(self, name: str) -> Callable[..., None]:
        return lambda module, args: self.running.append(name)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self.running.pop()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for name in self.running[-1:]:
            place = self.places[name]
            x = args[0] if args else kwargs.get("query", kwargs.get("input"))
            if func is MULTIHEAD:
                x = x.movedim(0, -2)[:, None] if x.ndim == 3 else x[None, None]
                self._keep(place, x)
            elif func is ATTENTION:
                self._keep(place, place.layout.fold(x))
            elif func in SOFTMAX:
                index = self.softmaxes.get(name, 0)
                self.softmaxes[name] = index + 1
                if index in place.softmaxes:
                    self._keep(place, place.layout.fold(x))
        return func(*args, **kwargs)

    def _keep(self, place: Place, x: Tensor) -> None:
        if place.name not in self.seen and x.shape[0] % _IMAGES == 0:
            self.seen[place.name] = x.unflatten(0, (_IMAGES, -1)).clone()
