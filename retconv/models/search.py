"""Finding the attention of a model that a mask can go into: what was watched, and the grid that its tokens lie on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from retconv.convert.shapes import REGISTERS
from retconv.models.experiment import confined_axis, find_scores, images_first
from retconv.models.inputs import Example, call, evaluating, running
from retconv.models.layout import Layout, axes_of_heads, declared_heads
from retconv.models.places import Coarser, FeatureMap, Fixed, OwnInput, Place, Source, Window, root
from retconv.models.probe import moves_rightly, picture
from retconv.models.watch import Seen, Watch

_HEADS_FIRST = "its heads stand in front of images or windows, where a mask takes them to be behind"
#: There is no mask of a grid, and none is missed.
CLASS_TOKENS = "only its class tokens ask"
OTHER_KEYS = "its {queries} queries and {keys} keys are not the same tokens (pooled or strided ones, or with a halo)"
POOLED = (
    "its {queries} queries lie on {grid}, its {keys} keys on the coarser {coarse}: with pooled=True it gets a mask "
    "between the two, of decays and Gaussian mixtures"
)
ORDER = (
    "its tokens do not lie on their grid by rows: when a patch of the image changes, the token that moves is another "
    "one (tokens may be shuffled, in another order, before their class token, or no tokens but channels)"
)
NESTED = (
    "a module inside it attends too, on which its mask would act as well: put its own attention into a module beside "
    "that one"
)
UNSEEN = (
    "its grid would be a feature map's made coarser, and no token stands out when a patch of the image changes: if it "
    "is, give it as grid="
)
LOOKED_FOR = (
    "retconv looks for modules that call torch's scaled_dot_product_attention or multi_head_attention_forward, or "
    "scale a product of queries and keys for a softmax, on as many queries as keys, whose tokens are those of a window "
    "or of a feature map"
)
_FACTORS = (2, 4, 8)


class UnsupportedModelError(ValueError):
    """A model has no attention that a mask of a token grid can be put into.

    Example:
        >>> try:
        ...     retconv.models.add_masks(torch.nn.Linear(3, 3), "gmm", example=torch.rand(1, 3))
        ... except UnsupportedModelError as error:
        ...     print("no attention")
        no attention
    """


def find_places(
    model: nn.Module,
    example: Example,
    prefix: int | None = None,
    grid: tuple[int, ...] | None = None,
    pooled: bool = False,
) -> tuple[list[Place], dict[str, str]]:
    """Run a model, and say where attention between the tokens of a grid happens in it.

    Args:
        model: A vision transformer.
        example: An input of batch size 1.
        prefix: Number of tokens before those of the grid, where the model does not say it.
        grid: Its shape, where the model does not say it.
        pooled: Whether attention to keys of a coarser grid is a place too.

    Returns:
        The places in the order of computation, which follow the model's feature maps until they are released; and the
        attention that a mask does not fit, with the reason, but for that of class tokens alone.

    Raises:
        UnsupportedModelError: If there is none, with the reason for each attention that was seen.
        ValueError: If the model does not run on the input.
    """
    watch = Watch(model)
    if prefix is not None:
        watch.prefixes = [prefix]
    places: dict[str, Place] = {}
    refused: dict[str, str] = {}
    try:
        with torch.no_grad(), evaluating(model), _fused(model) as fused, running(model, example):
            with watch.hooks(), watch:
                call(model, picture(example))
            for name, calls in watch.seen.items():
                place = _place(watch, calls, grid) if not _holds(name, watch.seen) else NESTED
                if isinstance(place, Place) and place.keys is not None and not pooled:
                    one, shapes = calls[0], (place.source.shape, place.keys.shape)
                    place = POOLED.format(queries=one.shape[-2], keys=one.keys, grid=shapes[0], coarse=shapes[1])
                if isinstance(place, Place):
                    places[name] = replace(place, fused=fused.get(watch.modules[name]))
                else:
                    refused[name] = place
            whole = [place for place in places.values() if _is_whole(watch, place, watch.seen[place.name][0])]
            for name, right in moves_rightly(model, example, whole).items():
                # A coarser map is a guess, which only the experiment makes certain.
                guessed = isinstance(places[name].source, Coarser)
                if right is False or (right is None and guessed):
                    refused[name] = UNSEEN if right is None else ORDER
                    del places[name]
    finally:
        needed = {id(root(source)) for place in places.values() for source in place.sources}
        followed: list[Source] = [*watch.sources.values(), *watch.inputs]
        for source in followed:
            if id(source) not in needed:
                source.release()
    refused = {name: reason for name, reason in refused.items() if reason != CLASS_TOKENS}
    if not places:
        reasons = "".join(f"; '{name}': {reason}" for name, reason in list(refused.items())[:3])
        raise UnsupportedModelError(
            f"no place for a mask in {type(model).__name__}{reasons or ': no attention was computed'}. {LOOKED_FOR}"
        )
    return list(places.values()), refused


def _holds(name: str, others: Iterable[str]) -> bool:
    """Whether one of the others is inside the module of this name; the model itself has none."""
    return any(other != name and other.startswith(f"{name}." if name else "") for other in others)


@contextmanager
def _fused(model: nn.Module) -> Iterator[dict[Any, bool]]:
    """Torch's attention function wherever a module offers it; afterwards as before. Yields what was before."""
    fused: dict[Any, bool] = {
        module: bool(module.fused_attn) for module in model.modules() if hasattr(module, "fused_attn")
    }
    try:
        for module in fused:
            module.fused_attn = True
        yield fused
    finally:
        for module, value in fused.items():
            module.fused_attn = value


def _place(watch: Watch, calls: list[Seen], grid: tuple[int, ...] | None) -> Place | str:
    """The place of a module's calls, or why it has none; of several calls all must be alike."""
    one = calls[0]
    module = watch.modules[one.name]
    if len({(each.call, each.shape, each.keys) for each in calls}) > 1:
        return "it attends several times, not on the same tokens"
    square = one.shape[-2] == one.keys
    if not square and one.shape[-2] <= max(1, *watch.prefixes):
        return CLASS_TOKENS
    layout = _layout(module, one, len(calls))
    if isinstance(layout, str):
        return layout
    if _between_channels(module, one, layout):
        return "it attends between channels, not between tokens (cross-covariance), so there is no grid of pairs"
    match = _source(watch, one, layout, grid)
    if isinstance(match, str):
        return match if square else OTHER_KEYS.format(queries=one.shape[-2], keys=one.keys)
    source, prefix = match
    keys = None if square else _coarse(watch, one, source, prefix)
    if not square and keys is None:
        return OTHER_KEYS.format(queries=one.shape[-2], keys=one.keys)
    products, softmaxes, biased = [], [], False
    for softmax in (each.softmax for each in calls):
        if softmax is None:
            continue
        scores = find_scores(softmax, layout)
        if isinstance(scores, str):
            return scores
        softmaxes.append(softmax.index)
        if scores.product is not None:
            # Those of adapters and other layers do not count: they come and go.
            products.append(sum(map(layout.has_heads, softmax.outputs[: scores.product])))
        biased |= scores.biased
    acting = (tuple(products), tuple(softmaxes), biased)
    return Place(one.name, prefix, source, one.call, layout, *acting, keys=keys)


def _layout(module: nn.Module, seen: Seen, calls: int) -> Layout | str:
    heads = declared_heads(module)
    if len(seen.shape) == 3 and calls == heads:
        # One call for each head, without an axis of them: they share one mask.
        heads = 1
    if len(seen.shape) == 4 and seen.shape[-2] == seen.keys and heads == seen.shape[0] != seen.shape[1]:
        return _HEADS_FIRST
    axes = axes_of_heads(seen.shape, heads)
    if len(axes) > 1 and seen.softmax is not None:
        certain = confined_axis(seen.softmax, axes)
        axes = axes if certain is None else [certain]
    if axes == [None] and (heads or 1) > 1 and seen.softmax is not None and not images_first(seen.softmax, heads or 1):
        return _HEADS_FIRST
    if len(axes) != 1:
        return (
            f"its queries or scores have axes {seen.shape}, of which "
            f"{'several' if axes else 'none'} may be that of its {heads or 'unknown number of'} heads"
        )
    axis = axes[0]
    return Layout(heads or 1 if axis is None else seen.shape[axis], axis)


def _between_channels(module: nn.Module, seen: Seen, layout: Layout) -> bool:
    length, channels = seen.shape[-2:]
    out = getattr(getattr(module, "qkv", None), "out_features", 0)
    return seen.call == "attention" and out == 3 * layout.heads * length != 3 * layout.heads * channels


def _times(seen: Seen, layout: Layout) -> int:
    """How often one image is attended to at once."""
    return math.prod(seen.shape[:-2]) // layout.heads


def _is_whole(watch: Watch, place: Place, seen: Seen) -> bool:
    """Whether the grid is that of all tokens of a map, so that a token's place in the image is known.

    What an attention is given may be a window that holds a whole map, padded beyond it.
    """
    if isinstance(place.source, FeatureMap | Coarser):
        return True
    shape, padded = place.source.shape, False
    if isinstance(place.source, OwnInput):
        padded = shape in [window.shape for window in watch.windows(place.name)]
    elif isinstance(place.source, Window):
        maps = {source.shape for source in seen.maps}
        maps |= {tuple(-(-n // factor) for n in finer) for finer in maps for factor in _FACTORS}
        padded = shape not in maps and any(all(m <= n for m, n in zip(one, shape, strict=False)) for one in maps)
    return _times(seen, place.layout) == 1 and not padded


def _source(watch: Watch, seen: Seen, layout: Layout, grid: tuple[int, ...] | None) -> tuple[Source, int] | str:
    """Whose shape these tokens have, and the prefix tokens before them: the first that has as many.

    The grid that was given; what the attention itself is given, if that is a map; its window; the latest feature map;
    or one that is coarser by a factor.
    """
    length, times = seen.shape[-2], _times(seen, layout)
    windows = (*watch.prefixes, 0)
    # Attention on a whole map sees each map once; on windows, as often as there are windows.
    maps = [source for source in seen.maps if source.count == times]
    coarser = [
        Coarser(source, factor)
        for source in seen.maps
        for factor in _FACTORS
        if times in (source.count, source.count * factor ** len(source.shape))
    ]
    given = [Fixed(grid)] if grid else []
    candidates: list[Source] = [*given, *_own_inputs(watch, seen), *watch.windows(seen.name), *maps, *coarser]
    for source in candidates:
        prefix = length - math.prod(source.shape)
        prefixes = windows if isinstance(source, Fixed | OwnInput | Window) else watch.prefixes
        if prefix in prefixes and math.prod(source.shape) > 1:
            return source, prefix
    if times > 1:
        return f"it attends {times} times to {length} tokens of an image, of which no window's size is known"
    shapes = {source.shape for source in seen.maps}
    return (
        f"no window and no feature map has its {length} tokens, with {watch.prefixes} prefix tokens; the maps seen are "
        f"{sorted(shapes)}. If it has other prefix tokens, give their number as prefix="
        f"{_fitting(length, shapes)}, and a grid that no feature map has as grid="
    )


def _fitting(length: int, shapes: Iterable[tuple[int, ...]]) -> str:
    """The number of prefix tokens with which the largest map would fit, if they are few."""
    size = max(map(math.prod, shapes), default=0)
    return f" ({length - size} would fit)" if 0 < length - size <= REGISTERS else ""


def _coarse(watch: Watch, seen: Seen, queries: Source, prefix: int) -> FeatureMap | None:
    """The feature map that keys are pooled to: the latest that the attention itself makes, of their number, coarser."""
    for name, source in reversed(watch.sources.items()):
        if name.startswith(f"{seen.name}.") and len(source.shape) == len(queries.shape):
            coarser = all(n >= m for n, m in zip(queries.shape, source.shape, strict=True))
            if coarser and prefix + math.prod(source.shape) == seen.keys:
                return source
    return None


def _own_inputs(watch: Watch, seen: Seen) -> list[OwnInput]:
    """What an attention is given, read as a map with channels last or second, if that has as many tokens.

    Not if that is the window of a module which cuts its map itself: other maps it would pad to windows.
    """
    shapes = {True: seen.given[1:-1], False: seen.given[2:]}
    fits = [last for last, shape in shapes.items() if 1 not in shape and math.prod(shape) == seen.shape[-2]]
    if len(seen.given) < 4 or len({shapes[last] for last in fits}) != 1:
        return []
    module = watch.modules[seen.name]
    shapes_cut = [window.shape for window in watch.windows(seen.name) if window.owner is module]
    if shapes[fits[0]] in shapes_cut and any(other.cuts for other in watch.calls_of(type(module))):
        return []
    own = OwnInput(watch.modules[seen.name], fits[0])
    own.shape = shapes[fits[0]]
    watch.inputs.append(own)
    return [own]
