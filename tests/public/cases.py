"""Every public operation as a case that runs on any device and in any precision, forward and backward."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from retconv import convert, kernels, masks
from retconv.attention import PLACEMENTS, attend
from retconv.checks import relative_error, tolerance
from retconv.grid import Grid
from retconv.kernels import Decay, Exponentials, Separable
from retconv.masks import DecayMask, ElementwiseMask, Forms, GaussianMixtureMask, Mask, RetNetMask
from retconv.models.named import MASKS
from retconv.operators import operator
from retconv.retention import Decoder, MultiScaleRetention, chunkwise, recurrent, retention, rotate, rotation_angles
from retconv.retention.functional import methods
from tests.attention.portable import PORTABLE

HEADS, SHAPE = 2, (3, 5)
SIZE = math.prod(SHAPE)


@dataclass(frozen=True)
class Case:
    """An operation and what it is given, in float64 on the CPU.

    Attributes:
        run: Of ``given``, moved; a tensor.
        given: Tensors and modules.
        roundings: Of intermediate results in a half type, whose sum the budget allows.
        by_value: Whether what it does depends on values, which fake tensors lack.
    """

    run: Callable[..., Tensor]
    given: tuple[Tensor | nn.Module, ...]
    roundings: int = 1
    by_value: bool = False

    def results(
        self,
        device: torch.device,
        dtype: torch.dtype,
        rounded: torch.dtype | None = None,
        autocast: torch.dtype | None = None,
    ) -> list[Tensor]:
        """Output, then the gradients in every tensor and parameter given; first rounded to another dtype if asked."""
        given: list[Any] = [copy.deepcopy(x).to(rounded or dtype).to(device, dtype) for x in self.given]
        leaves: list[Tensor] = []
        for x in given:
            leaves += list(x.parameters()) if isinstance(x, nn.Module) else [x.requires_grad_()]
        with torch.autocast(device.type, autocast, enabled=autocast is not None):
            out = self.run(*given)
        if not out.requires_grad:
            return [out]
        upstream = normal(99, *out.shape).to(rounded or dtype).to(device, out.dtype)
        gradients = torch.autograd.grad(out, leaves, upstream, allow_unused=True)
        return [out, *(g for g in gradients if g is not None)]

    def check(self, device: torch.device, dtype: torch.dtype) -> None:
        """On a device and in a precision it is what it is on the CPU in float64 from the same, rounded inputs."""
        self.compare(self.results(device, dtype), device, dtype)

    def compare(self, found: list[Tensor], device: torch.device, dtype: torch.dtype) -> None:
        """Results of inputs that were rounded to a dtype are exact within its budget."""
        exact = self.results(torch.device("cpu"), torch.float64, rounded=dtype)
        budget = tolerance(dtype) * (1 if dtype.itemsize > 2 else self.roundings)
        for i, (actual, expected) in enumerate(zip(found, exact, strict=True)):
            assert actual.device.type == device.type
            error = relative_error(actual.cpu(), expected)
            assert error <= budget, f"{f'gradient {i}' if i else 'output'}: error {error:.2e} above {budget:.2e}"


def normal(seed: int, *size: int) -> Tensor:
    """Standard normal numbers of a seed."""
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def positive(seed: int, *size: int) -> Tensor:
    """Numbers in [1, 2)."""
    return 1 + torch.rand(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def qkv(size: int = SIZE, heads: int = HEADS) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of two samples."""
    return normal(1, 2, heads, size, 4), normal(2, 2, heads, size, 4), normal(3, 2, heads, size, 4)


def kernel(shape: tuple[int, ...] = SHAPE) -> Tensor:
    """A positive kernel without any symmetry."""
    return positive(4, HEADS, *(2 * n - 1 for n in shape)) / math.prod(shape)


def gaussians(components: int = 2) -> Mask:
    """A mixture of narrow, positive Gaussians."""
    return GaussianMixtureMask.from_parameters(positive(5, HEADS, components), positive(6, HEADS, components))


def decay(kind: str = "manhattan") -> Mask:
    """A learnable decay."""
    return DecayMask(HEADS, kind, torch.tensor([0.6, 0.9], dtype=torch.float64), learnable=True)


def retnet() -> Mask:
    """A learnable causal decay."""
    return RetNetMask(HEADS, torch.tensor([0.6, 0.9], dtype=torch.float64), learnable=True)


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
            run = _of(lambda s, t, shape, method: operator(s, shape, method)(t), shape, method)
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
            run = _of(lambda m, q, k, v, shape, method: retention(q, k, v, m, shape, method=method), shape, method)
            yield f"retention {method} of {name}", Case(run, (mask, *qkv()), roundings=2)
    for name, form in {"recurrent": recurrent, "chunkwise": chunkwise}.items():
        yield f"{name} from a state", Case(_of(_continued, form), (retnet(), *qkv()), roundings=2)
    yield "decoder", Case(_decoded, (retnet(), *qkv()), roundings=2)
    layer = MultiScaleRetention(8, HEADS)
    for form in ("parallel", "chunkwise", "recurrent"):
        run = _of(lambda m, x, form: m(x, form=form), form)
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
            run = _of(lambda m, q, k, v, f, b: f(q, k, v, m, grid, backend=b), call, backend)
            yield f"{placement} by {backend}", Case(run, (mask, *qkv(grid.length)), roundings=16)
        if PLACEMENTS[placement].softmax:
            run = _of(lambda m, q, k, v, b, f: f(q, k, v, m, grid, bias=b), call)
            yield f"{placement} with a bias", Case(run, (kernel(), *qkv(grid.length), bias), roundings=16)


def _kernels() -> Iterator[tuple[str, Case]]:
    scale, rate = positive(10, HEADS), positive(11, HEADS) / 3
    line = {"causal_decay": (rate,), "two_sided_decay": (rate,), "alibi": (scale,)}
    line |= {"kerple_log": (scale, rate), "kerple_power": (scale, rate)}
    plane = {"manhattan_decay": (rate,), "euclidean_decay": (rate,), "gaussian": (scale,), "gpsa": (scale,)}
    plane |= {"gaussian_mixture": (scale[:, None], rate[:, None]), "relative_table": (kernel(),)}
    for grid, table in ((Grid(SIZE), line), (Grid(SHAPE), plane)):
        for name, parameters in table.items():
            yield name, Case(_of(_on_offsets, f=getattr(kernels, name), grid=grid), parameters)
    yield "window", Case(lambda t: kernels.window(Grid(SHAPE).offsets(t.device), 1).to(t.dtype), (scale,))
    yield "swin_table", Case(lambda t: kernels.swin_table(t, SHAPE), (normal(12, 45, HEADS),))
    factors = normal(13, HEADS, 2, 5), normal(14, HEADS, 2, 9)
    yield "Separable", Case(lambda a, b: Separable((a, b)).kernel(), factors, roundings=3)
    yield "Decay", Case(lambda g: Decay(g).kernel(Grid(SHAPE)), (rate,))
    yield "Exponentials", Case(_exponentials, (scale[:, None], rate[:, None]), roundings=2)


def _on_offsets(*parameters: Tensor, f: Callable[..., Tensor], grid: Grid) -> Tensor:
    return f(grid.offsets(parameters[0].device), *parameters)


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


def _gates() -> Iterator[tuple[str, Case]]:
    """Gates are given as positive numbers, minus their logarithms."""
    line, plane = positive(17, 2, HEADS, SIZE), (positive(18, HEADS, SIZE), positive(19, HEADS, SIZE))
    yield "Gates", Case(lambda x: kernels.Gates(-x).entries(Grid(SIZE)), (line,))
    yield "PolylineGates", Case(lambda a, b: kernels.PolylineGates((-a, -b), both=True).entries(Grid(SHAPE)), plane)
    for side in ("causal", "two-sided"):
        for method in methods(Forms.of(kernels.Gates(-line, side == "causal"), Grid(SIZE))):
            run = _of(_retained, side == "causal", method)
            yield f"retention {method} of {side} gates", Case(run, (line, *qkv()), roundings=2)
    for name, form in {"recurrent": recurrent, "chunkwise": chunkwise}.items():
        yield f"{name} of gates from a state", Case(_of(_gated, form), (line, *qkv()), roundings=2)
    for name in (
        *(f"{placement} of gates by reference" for placement in PLACEMENTS),
        "bias_logits of gates by recompute",
    ):
        run = _of(_attended, name.split()[0], name.split()[-1])
        yield name, Case(run, (line, *qkv()), roundings=16)


def _reading() -> Iterator[tuple[str, Case]]:
    """Modules that read tokens or queries."""
    torch.manual_seed(0)
    x, q, grid = normal(20, 2, SIZE, 4), qkv()[0], Grid(SHAPE)
    modules = {masks.ForgetGate(4, HEADS): Grid(SIZE), masks.SSDGate(4, HEADS): Grid(SIZE)}
    modules |= {masks.PolylineGate(4, HEADS): grid, masks.SpatialDecay(4, HEADS): grid, masks.LocAt(4, grid): grid}
    for module, of in modules.items():
        run = _of(lambda m, x, of: Forms.of(m(x, of), of).entries, of)
        tokens = q if isinstance(module, masks.LocAt) else x
        yield f"mask read by {type(module).__name__}", Case(run, (module.double(), tokens), roundings=16)
    line = qkv(SIZE, HEADS)
    run = _of(lambda m, x, q, k, v: attend(q, k, v, m(x, SIZE), SIZE, placement="bias_logits", backend="reference"))
    yield "bias_logits of a forget gate by reference", Case(run, (masks.ForgetGate(4, HEADS).double(), x, *line), 32)
    centre, width = normal(21, HEADS, SIZE, 2), positive(22, HEADS, SIZE, 2) / 4
    yield "QueryGaussian", Case(lambda m, p: kernels.QueryGaussian(m, p).entries(grid), (centre, width), roundings=4)


def _retained(x: Tensor, q: Tensor, k: Tensor, v: Tensor, causal: bool, method: str) -> Tensor:
    return retention(q, k, v, kernels.Gates(-x, causal), SIZE, method=method, chunk=4)


def _attended(x: Tensor, q: Tensor, k: Tensor, v: Tensor, placement: str, backend: str) -> Tensor:
    return attend(q, k, v, kernels.Gates(-x), SIZE, placement=placement, backend=backend)


def _gated(x: Tensor, q: Tensor, k: Tensor, v: Tensor, form: Callable[..., Any]) -> Tensor:
    parts = [[t[:, :, at] for t in (q, k, v)] for at in (slice(7), slice(7, None))]
    first, state = form(*parts[0], kernels.Gates(-x[..., :7]))
    return torch.cat([first, form(*parts[1], kernels.Gates(-x[..., 7:]), state)[0]], dim=2)


def _of(function: Callable[..., Tensor], *last: Any, **named: Any) -> Callable[..., Tensor]:
    """The function with its last arguments fixed."""
    return lambda *given: function(*given, *last, **named)


PARTS = (_masks, _operators, _retention, _attention, _kernels, _convert, _gates, _reading)
CASES = {name: case for part in PARTS for name, case in part()}
#: The cases that multiply matrices of tokens, and so follow autocast.
PRODUCTS = {
    name
    for name in CASES
    if name.split()[0]
    in {"operator", "adjoint", "retention", "recurrent", "chunkwise", "decoder", "layer", *PLACEMENTS}
}
