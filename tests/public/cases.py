"""Every public operation as a case."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from retconv import convert, kernels
from retconv.attention import PLACEMENTS, attend
from retconv.grid import Grid
from retconv.kernels import Decay, Exponentials, Separable
from retconv.masks import ElementwiseMask, Forms, Mask
from retconv.models.named import MASKS
from retconv.operators import operator
from retconv.retention import Decoder, MultiScaleRetention, chunkwise, recurrent, retention, rotate, rotation_angles
from retconv.retention.functional import methods
from tests.attention.portable import PORTABLE
from tests.public import channels, convolved, crossed, gates, online, relatives, rings, solving
from tests.public.case import HEADS, SHAPE, SIZE, Case, decay, gaussians, kernel, normal, of, positive, qkv, retnet
from tests.public.relatives import on_offsets


def _masks() -> Iterator[tuple[str, Case]]:
    grid = Grid(SHAPE, prefix=1)
    for name, build in MASKS.items():
        torch.manual_seed(0)
        mask = build(grid.without_prefix(), HEADS)
        yield f"mask {name}", Case(lambda m: m(grid), (mask,), roundings=8)
        by_value = isinstance(mask, ElementwiseMask)
        yield f"kernel of {name}", Case(lambda m: m.kernel(SHAPE), (mask,), roundings=8, by_value=by_value)
    yield "kernel of a line", Case(lambda m: m.kernel(SIZE), (retnet(),), roundings=8)


def _operators() -> Iterator[tuple[str, Case]]:
    x = normal(7, HEADS, SIZE, 3)
    sources: dict[str, tuple[Tensor | Mask, tuple[int, ...]]] = {
        "kernel": (kernel(), SHAPE),
        "box": (kernel((3, 5, 1)), (3, 5, 1)),
        "gmm": (gaussians(), SHAPE),
        "manhattan": (decay(), SHAPE),
        "retnet": (retnet(), (SIZE,)),
    }
    for name, (source, shape) in sources.items():
        for method in (*operator(source, shape).methods, "auto"):
            run = of(lambda s, t, shape, method: operator(s, shape, method)(t), shape, method)
            yield f"operator {method} of {name}", Case(run, (source, x), roundings=4)
    yield "adjoint", Case(lambda k, t: operator(k, SHAPE).T(t), (kernel(), x), roundings=2)


def _retention() -> Iterator[tuple[str, Case]]:
    sources: dict[str, tuple[Tensor | Mask, tuple[int, ...]]] = {
        "kernel": (kernel(), SHAPE),
        "gmm": (gaussians(), SHAPE),
        "manhattan": (decay(), SHAPE),
        "two_sided": (decay("two_sided"), (SIZE,)),
        "retnet": (retnet(), (SIZE,)),
    }
    for name, (mask, shape) in sources.items():
        for method in (*methods(Forms.of(mask, Grid(shape))), "auto"):
            run = of(lambda m, q, k, v, shape, method: retention(q, k, v, m, shape, method=method), shape, method)
            yield f"retention {method} of {name}", Case(run, (mask, *qkv()), roundings=2)
    for name, form in {"recurrent": recurrent, "chunkwise": chunkwise}.items():
        yield f"{name} from a state", Case(of(_continued, form), (retnet(), *qkv()), roundings=2)
    yield "decoder", Case(_decoded, (retnet(), *qkv()), roundings=2)
    layer = MultiScaleRetention(8, HEADS)
    for form in ("parallel", "chunkwise", "recurrent"):
        run = of(lambda m, x, form: m(x, form=form), form)
        yield f"layer {form}", Case(run, (layer.double(), normal(8, 2, 6, 8)), roundings=16)
    yield "rotation", Case(lambda q: rotate(q, rotation_angles(4)), (qkv()[0],), roundings=2)


def _continued(mask: Mask, q: Tensor, k: Tensor, v: Tensor, form: Callable[..., Any]) -> Tensor:
    first, state = form(q[:, :, :7], k[:, :, :7], v[:, :, :7], mask)
    return torch.cat([first, form(q[:, :, 7:], k[:, :, 7:], v[:, :, 7:], mask, state)[0]], dim=2)


def _decoded(mask: Mask, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    with torch.no_grad():
        decoder = Decoder(mask)
        return torch.cat([decoder.step(*(t[:, :, at] for t in (q, k, v))) for at in (slice(7), slice(7, None))], dim=2)


def _attention() -> Iterator[tuple[str, Case]]:
    grid = Grid(SHAPE, prefix=1)
    bias = normal(9, 1, HEADS, grid.length, grid.length)
    for placement, backends in PORTABLE.items():
        call = partial(attend, placement=placement)
        for backend in (*backends, "auto"):
            mask = gaussians(1 if backend in ("channels", "auto") else 2)
            run = of(lambda m, q, k, v, f, b: f(q, k, v, m, grid, backend=b), call, backend)
            yield f"{placement} by {backend}", Case(run, (mask, *qkv(grid.length)), roundings=16)
        if PLACEMENTS[placement].softmax:
            run = of(lambda m, q, k, v, b, f: f(q, k, v, m, grid, bias=b), call)
            yield f"{placement} with a bias", Case(run, (kernel(), *qkv(grid.length), bias), roundings=16)


def _kernels() -> Iterator[tuple[str, Case]]:
    scale, rate = positive(10, HEADS), positive(11, HEADS) / 3
    line = {"causal_decay": (rate,), "two_sided_decay": (rate,), "alibi": (scale,)}
    line |= {"kerple_log": (scale, rate), "kerple_power": (scale, rate)}
    plane = {"manhattan_decay": (rate,), "euclidean_decay": (rate,), "gaussian": (scale,), "gpsa": (scale,)}
    plane |= {"gaussian_mixture": (scale[:, None], rate[:, None]), "relative_table": (kernel(),)}
    for grid, table in ((Grid(SIZE), line), (Grid(SHAPE), plane)):
        for name, parameters in table.items():
            yield name, Case(of(on_offsets, f=getattr(kernels, name), grid=grid), parameters)
    yield "window", Case(lambda t: kernels.window(Grid(SHAPE).offsets(t.device), 1).to(t.dtype), (scale,))
    yield "swin_table", Case(lambda t: kernels.swin_table(t, SHAPE), (normal(12, 45, HEADS),))
    factors = normal(13, HEADS, 2, 5), normal(14, HEADS, 2, 9)
    yield "Separable", Case(lambda a, b: Separable((a, b)).kernel(), factors, roundings=3)
    yield "Decay", Case(lambda g: Decay(g).kernel(Grid(SHAPE)), (rate,))
    yield "Exponentials", Case(_exponentials, (scale[:, None], rate[:, None]), roundings=2)


def _exponentials(weights: Tensor, poles: Tensor) -> Tensor:
    wide = torch.promote_types(poles.dtype, torch.complex64)
    return Exponentials(weights.to(wide), poles.to(wide)).kernel(6)


def _convert() -> Iterator[tuple[str, Case]]:
    table = kernel()
    mask = convert.kernel_to_mask(table, SHAPE)
    free = normal(15, HEADS, SIZE, SIZE)
    yield "kernel_to_mask", Case(lambda k: convert.kernel_to_mask(k, SHAPE), (table,))
    yield "mask_to_kernel", Case(lambda m: convert.mask_to_kernel(m, SHAPE), (mask,), by_value=True)
    yield "project", Case(lambda m: convert.project(m, SHAPE).kernel, (free,))
    yield "windows", Case(lambda k: convert.windows(k, SHAPE), (table,))
    yield "mask_to_bank", Case(lambda m: convert.mask_to_bank(m, SHAPE), (free,))
    bank = convert.mask_to_bank(free, SHAPE)
    yield "bank_to_mask", Case(lambda b: convert.bank_to_mask(b, SHAPE), (bank,), by_value=True)
    yield "unfold", Case(lambda k: convert.unfold(k, SHAPE), (table,))
    yield "fold", Case(lambda m: convert.fold(m, SHAPE), (normal(16, HEADS, *SHAPE, *SHAPE),), roundings=2)
    yield "crop", Case(lambda k: convert.crop(k, (2, 3)), (table,))
    yield "extend", Case(lambda k: convert.extend(k, (4, 6)), (table,))
    yield "resize", Case(lambda k: convert.resize(k, (2, 6)), (table,))
    yield "kernel_to_conv", Case(lambda k: convert.conv_to_kernel(convert.kernel_to_conv(k, SHAPE), SHAPE), (table,))


TOPICS = (channels, convolved, crossed, gates, online, relatives, rings, solving)
PARTS = (_masks, _operators, _retention, _attention, _kernels, _convert, *(topic.cases for topic in TOPICS))
CASES = {name: case for part in PARTS for name, case in part()}
#: The cases that multiply matrices of tokens, and so follow autocast.
PRODUCTS = {
    name
    for name in CASES
    if name.split()[0]
    in {
        *("operator", "adjoint", "retention", "recurrent", "chunkwise", "decoder", "layer", "extended_attention"),
        *PLACEMENTS,
        "convolved",
    }
}
