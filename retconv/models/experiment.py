"""How a module that forms its own softmax makes its scores, found out by experiment.

Whatever such a module is called and however it is written, between the product of queries and keys and the softmax it
may only scale and add. So the product is replaced, by numbers S, by 0 and by a random multiple R ⊙ S, and what reaches
the softmax is compared: ``c R ⊙ S + B``, with the same B that 0 leaves, if and only if a mask that multiplies the
product is a mask that multiplies the scores.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from retconv.ambient import noise
from retconv.models.calls import PRODUCTS, SOFTMAX
from retconv.models.layout import Layout

UNCLEAR = (
    "it forms its own softmax, of what is not one matrix product, scaled, plus something that does not depend on it: a "
    "bias cannot be told from the scores"
)


_FLOAT32 = 4


@dataclass
class Softmax:
    """A softmax that a module was seen to call.

    Attributes:
        module: The module.
        args: What it was called with.
        kwargs: The same by name.
        index: Which of the module's softmaxes it is.
        shape: Of its input.
        products: The products before it that may be its scores.
        outputs: Shapes of all products before it.
    """

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    index: int
    shape: tuple[int, ...]
    products: list[int]
    outputs: list[tuple[int, ...]]


@dataclass
class Scores:
    """What the experiment found.

    Attributes:
        product: The product that makes the scores; None where heads are mixed behind it and nothing that tells pairs
            apart is added, as in talking heads: a mask acts on mixed scores, the softmax's input.
        biased: Whether something that tells pairs apart is added between the two.
    """

    product: int | None
    biased: bool


def find_scores(softmax: Softmax, layout: Layout) -> Scores | str:
    """Which product makes a softmax's scores, or why none does.

    Args:
        softmax: As it was seen.
        layout: Where its heads are.
    """
    wide = _widened(softmax)
    scores = [one for product in softmax.products if (one := _try(wide, product, layout)) is not None]
    return scores[0] if len(scores) == 1 else UNCLEAR


def _widened(softmax: Softmax) -> Softmax:
    """The same in float32 at least: in half precision every function is nearly linear."""

    def widen(x: Any) -> Any:
        narrow = isinstance(x, Tensor) and x.is_floating_point() and x.element_size() < _FLOAT32
        return x.float() if narrow else x

    if all(widen(x) is x for x in (*softmax.module.parameters(), *softmax.args, *softmax.kwargs.values())):
        return softmax
    kwargs = {name: widen(x) for name, x in softmax.kwargs.items()}
    return replace(
        softmax, module=copy.deepcopy(softmax.module).float(), args=tuple(map(widen, softmax.args)), kwargs=kwargs
    )


def _try(softmax: Softmax, product: int, layout: Layout) -> Scores | None:
    """What a product is to the softmax, None if it does not make its scores."""

    def times(*lead: int) -> Callable[[Tensor], Tensor]:
        # Any numbers serve as the product: a model's own may all be 0.
        return lambda own: _numbers(own) * _random(*(lead or own.shape[:-2]), *own.shape[-2:], like=own)

    whole, bias = _reach(softmax, product, _numbers), _reach(softmax, product, torch.zeros_like)
    if torch.equal(whole, bias):
        return None
    close, pairs = _Close(whole, bias), layout.fold(bias).flatten(2)
    biased = not close(pairs, pairs[..., :1].expand_as(pairs))
    one = (1,) * (whole.ndim - 2)
    for lead in ((), one):
        r = _random(*(lead or whole.shape[:-2]), *whole.shape[-2:], like=whole).expand_as(whole)
        expected = torch.where(bias.isinf(), bias, bias + r * (whole - bias))
        if close(_reach(softmax, product, times(*lead)), expected):
            # One factor for all heads where each has its own fails: heads are mixed.
            return Scores(None if lead and not biased else product, biased)
    return None


def confined_axis(softmax: Softmax, axes: list[int | None]) -> int | None:
    """Of axes of equal size the one of heads: the other is that of windows, of which one input reaches one alone."""
    x = softmax.args[0] if softmax.args else None
    if not isinstance(x, Tensor) or x.ndim < 4:
        return None
    moved = x.clone()
    moved[:, 0] += _random(*x.shape[2:], like=x)
    before, after = (_reach(replace(softmax, args=(y, *softmax.args[1:]))) for y in (x, moved))
    differs = (before != after) & ~(before.isnan() & after.isnan())
    heads = [axis for axis in axes if axis and bool(differs.movedim(axis, 0).flatten(1).any(dim=1).all())]
    return heads[0] if len(heads) == 1 else None


def images_first(softmax: Softmax, heads: int) -> bool:
    """Whether folded ``(images · heads)`` have images first: the first image then reaches the first entries alone."""
    x = softmax.args[0] if softmax.args else None
    if not isinstance(x, Tensor) or x.shape[0] * heads != softmax.shape[0] or x.shape[0] == 1:
        return True
    moved = x.clone()
    moved[0] += _random(*x.shape[1:], like=x)
    before, after = (_reach(replace(softmax, args=(y, *softmax.args[1:]))) for y in (x, moved))
    return bool(torch.equal(before[heads:], after[heads:]))


class _Close:
    """Equality of what reaches the softmax, to rounding of its size; where both are −∞ they are equal."""

    def __init__(self, whole: Tensor, bias: Tensor) -> None:
        epsilon = torch.finfo(whole.dtype).eps
        finite = bias.isfinite()
        sizes = [(whole - bias)[finite].abs(), bias[finite].abs()]
        scores, added = (float(size.max()) if size.numel() else 0.0 for size in sizes)
        self.tolerance = 256 * epsilon * scores + 8 * epsilon * added

    def __call__(self, x: Tensor, y: Tensor) -> bool:
        hidden = (x == y) & x.isinf()
        return bool((hidden | ((x - y).abs() <= self.tolerance)).all())


def _numbers(like: Tensor) -> Tensor:
    """As many numbers around 0."""
    return noise(1, *like.shape).to(like.device, like.dtype)


def _random(*shape: int, like: Tensor) -> Tensor:
    """The same numbers between 0.5 and 1.5 each time."""
    values = torch.rand(shape, generator=torch.Generator().manual_seed(0), device="cpu", dtype=torch.float32)
    return (0.5 + values).to(like.device, like.dtype)


def _reach(
    softmax: Softmax, product: int | None = None, change: Callable[[Tensor], Tensor] = torch.zeros_like
) -> Tensor:
    """What reaches a softmax, when a product is changed if one is named."""
    with _Changing(softmax.index, product, change) as mode:
        softmax.module.forward(*softmax.args, **softmax.kwargs)
    assert mode.seen is not None
    return mode.seen


class _Changing(TorchFunctionMode):
    def __init__(self, softmax: int, product: int | None, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.softmax, self.product, self.change = softmax, product, change
        self.softmaxes = self.products = 0
        self.seen: Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in SOFTMAX:
            if self.softmaxes == self.softmax:
                self.seen = (args[0] if args else kwargs["input"]).detach().clone()
            self.softmaxes += 1
        out = func(*args, **kwargs)
        if func in PRODUCTS:
            if self.products == self.product:
                out = self.change(out)
            self.products += 1
        return out
