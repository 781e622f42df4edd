"""Whether tokens lie where their grid says: patches of an image are changed, and the tokens that move are looked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from retconv.models.calls import ATTENTION, MULTIHEAD, SOFTMAX
from retconv.models.inputs import Example, call
from retconv.models.places import Place

#: Where patches are changed, as fractions of frames, height and width: no symmetry of a grid maps one onto another, and
#: an order other than by rows puts at most one of them right.
_PATCHES = ((0.7, 0.2, 0.7), (0.2, 0.75, 0.45), (0.45, 0.4, 0.1))
#: Half the side of a changed patch, as a fraction of the image.
_HALF = 1 / 16


def moves_rightly(model: nn.Module, example: Example, places: Sequence[Place]) -> dict[str, bool | None]:
    """By place, whether the token that moves most when a patch changes is the one there, in most of three trials.

    Earlier attention mixes tokens a little, so that others move too, but less.

    Args:
        model: In evaluation mode.
        example: Its input.
        places: Attention on whole maps.

    Returns:
        None where nothing moves, or the input is no image.
    """
    if not isinstance(example, Tensor) or example.ndim not in (4, 5) or not example.is_floating_point():
        return dict.fromkeys(place.name for place in places)
    rows = _Rows(model, places)
    with torch.no_grad(), rows.hooks(), rows:
        call(model, _changed(example))
    return {place.name: _agrees(place, rows.seen.get(place.name)) for place in places}


def _changed(example: Tensor) -> Tensor:
    """A picture of noise, and the same with one patch changed, for each patch."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, *example.shape[1:], generator=generator).to(example.device, example.dtype)
    axes = [3, 4] if example.ndim == 5 else [2, 3]
    if example.ndim == 5:
        # Videos come as (frames, channels) or the other way round.
        axes = [1 if example.shape[2] <= 4 else 2, *axes]
    images = [noise[:1]]
    for patch in _PATCHES:
        image = noise[:1].clone()
        inside: list[Any] = [slice(None)] * example.ndim
        for axis, centre in zip(axes, patch[-len(axes) :], strict=True):
            side = example.shape[axis]
            start = int((centre - _HALF) * side)
            inside[axis] = slice(start, max(start + 1, int((centre + _HALF) * side)))
        image[tuple(inside)] += 3 * noise[1:][tuple(inside)]
        images.append(image)
    return torch.cat(images)


def _agrees(place: Place, seen: Tensor | None) -> bool | None:
    """Of what each token is in each picture, ``(pictures, times, heads, tokens, numbers)``."""
    if seen is None:
        return None
    grid = place.grid()
    moved = (seen[1:] - seen[:1]).abs()[..., grid.prefix :, :].double()
    # Of scores, that of the changed key moves in every row: the middle one of a row does not.
    size = moved.median(dim=-1).values if place.call == "softmax" else moved.square().sum(dim=-1)
    size = size.sum(dim=2).amax(dim=1)  # shape: (patches, tokens)
    if not bool(torch.isfinite(size).all()) or not bool(size.any(dim=1).all()):
        return None
    right = 0
    for patch, token in zip(_PATCHES, size.argmax(dim=1).tolist(), strict=True):
        at = np.unravel_index(token, grid.shape)
        sides = zip(at, grid.shape, patch[-grid.ndim :], strict=True)
        right += all(abs((i + 0.5) / n - centre) <= max(0.75 / n, 0.15) for i, n, centre in sides)
    return right >= 2


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
        if place.name not in self.seen and x.shape[0] % (1 + len(_PATCHES)) == 0:
            self.seen[place.name] = x.unflatten(0, (1 + len(_PATCHES), -1)).clone()
