"""Attention with a kernel table as fused kernels of a GPU, by Triton: what they serve, launches, and gradients.

No mask is formed, nor its gradient: both are read and written by offset in tables of ``(2 n_1 − 1) … (2 n_D − 1)``
entries a head. Beside results, memory is two numbers a row, and one more in backward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from retconv.attention.inputs import Call
from retconv.attention.placements import PLACEMENTS

#: Most channels of a head of which tiles fit into a multiprocessor's memory.
CHANNELS = 128
#: Programs for each multiprocessor that share out the sums of a mask's gradient.
PROGRAMS = 4
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def refusal(call: Call) -> str | None:
    """Why the kernels do not serve a call, or None if they do."""
    channels = max(call.q.shape[-1], call.v.shape[-1])
    if call.bias is not None:
        return "it reads masks by offset, and a bias has none"
    if channels > CHANNELS:
        return f"a head may have {CHANNELS} channels, and has {channels}"
    if call.q.dtype not in DTYPES:
        return f"it computes in float32, and q, k and v are {call.q.dtype}"
    if torch.are_deterministic_algorithms_enabled() and call.acting.values.requires_grad:
        return "it sums the gradient of a mask in no fixed order, and deterministic algorithms are asked for"
    return _lacking(call.q.device, call.q.dtype)


def _lacking(device: torch.device, dtype: torch.dtype) -> str | None:
    """What Triton lacks to run on a device, or None."""
    if find_spec("triton") is None:
        return "Triton is not installed: pip install 'retconv[triton]'"
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        return None if major >= 8 else f"it needs a GPU of compute capability 8.0, and this one has {major}.{minor}"
    if device.type != "cpu" or not _is_interpreted():
        return f"it runs on a GPU, and q, k and v are on {device.type}"
    return "Triton's interpreter rounds bfloat16 wrongly" if dtype == torch.bfloat16 else None


# A tracer asks when it traces, as torch.compiler.assume_constant_result has it, which would import torch's tracer here.
_lacking._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _is_interpreted() -> bool:
    """Whether ``TRITON_INTERPRET=1`` was set before the kernels were made: they then run on a CPU, slowly."""
    from triton import JITFunction

    from retconv.attention import triton_forward

    return not isinstance(triton_forward.forward, JITFunction)


def attend(call: Call) -> Tensor:
    """Output ``(batch, heads, length, d_v)`` of a placement; gradients flow to q, k, v and the kernel, once."""
    mask = call.acting
    grid, kernel = mask.grid, mask.kernel
    return _attend(call.q, call.k, call.v, kernel, call.placement.name, call.scale, list(grid.shape), grid.prefix, 1)[0]


def sizes(length: int, channels: int, dtype: torch.dtype) -> dict[str, dict[str, int]]:
    """Rows and keys of a tile, and the warps and stages of a program, for each kernel.

    As large as registers hold them: chosen by what a compiler for compute capability 8.0 and 9.0 spills.
    """
    side, half, wide = _power(length), dtype.itemsize == 2, channels > 64
    rows, keys, tile = (128, 64, 64) if half else (32, 16, 16) if wide else (64, 32, 32)
    rows, keys, tile = min(side, rows), min(side, keys), min(side, tile)
    backward = {"ROWS": tile, "KEYS": tile, "num_warps": 4, "num_stages": 2}
    return {
        "forward": {"ROWS": rows, "KEYS": keys, "num_warps": 8 if rows > 64 else 4, "num_stages": 2},
        "backward": backward,
        # Its sums are as large as a tile.
        "mask": backward | {"num_warps": 8 if tile > 32 else 4, "num_stages": 1},
    }


def _power(n: int) -> int:
    """The power of two that holds so many; a product of matrices wants 16 at least."""
    return max(16, 1 << (n - 1).bit_length())


def _constants(
    q: Tensor, v: Tensor, kernel: Tensor, placement: str, shape: Sequence[int], prefix: int, groups: int
) -> dict[str, Any]:
    """What is known when a kernel is compiled."""
    rules = PLACEMENTS[placement]
    n1, n2, n3 = (1,) * (3 - len(shape)) + tuple(shape)
    d, d_v = q.shape[-1], v.shape[-1]
    return {
        "LENGTH": q.shape[2],
        "PREFIX": prefix,
        "N2": n2,
        "N3": n3,
        "CENTRE": ((n1 - 1) * (2 * n2 - 1) + n2 - 1) * (2 * n3 - 1) + n3 - 1,
        "ENTRIES": math.prod(2 * n - 1 for n in shape),
        "HEADS": kernel.shape[0] // groups,
        "BEFORE": rules.before or "",
        "SOFTMAX": rules.softmax,
        "AFTER": rules.after,
        "D": d,
        "DV": d_v,
        "BLOCK_D": _power(d),
        "BLOCK_DV": _power(d_v),
        # Its default is about to change, and a warning says so.
        "enable_fp_fusion": True,
    }


def _readable(x: Tensor) -> Tensor:
    """Channels without gaps."""
    return x if x.stride(-1) == 1 else x.contiguous()


def _strides(*tensors: Tensor) -> list[int]:
    return [stride for x in tensors for stride in x.stride()[:3]]


def _packed(like: Tensor, channels: int) -> Tensor:
    """A result ``(batch, heads, length, channels)``, of which heads can be joined without a copy."""
    batch, heads, length, _ = like.shape
    return like.new_empty(batch, length, heads, channels).transpose(1, 2)


@torch.library.custom_op("retconv::triton_attend", mutates_args=())
def _attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    kernel: Tensor,
    placement: str,
    scale: float,
    shape: list[int],
    prefix: int,
    groups: int,
) -> tuple[Tensor, Tensor]:
    """The output, and for a softmax the largest logit of each row and the sum that it was divided by.

    Each of ``groups`` equal parts of the batch has masks of its own, ``(groups · heads or groups, …)``.
    """
    from retconv.attention.triton_forward import forward

    out, peaks = _results(q, v, placement)
    if out.numel():
        q, k, v = (_readable(x) for x in (q, k, v))
        batch, heads, length, d = q.shape
        options = sizes(length, max(d, v.shape[-1]), q.dtype)["forward"]
        constants = _constants(q, v, kernel, placement, shape, prefix, groups) | options
        table = kernel.float().contiguous()
        programs = batch * heads * math.ceil(length / options["ROWS"])
        with torch.cuda.device_of(q):
            forward[(programs,)](
                q, k, v, table, out, peaks, *_strides(q, k, v), heads, batch // groups, scale, **constants
            )
    return out, peaks


def _results(q: Tensor, v: Tensor, placement: str) -> tuple[Tensor, Tensor]:
    numbers = 2 if PLACEMENTS[placement].softmax else 0
    return _packed(v, v.shape[-1]), q.new_empty(*q.shape[:2], numbers, q.shape[2], dtype=torch.float32)


@_attend.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, kernel: Tensor, placement: str, *rest: Any) -> tuple[Tensor, Tensor]:
    return _results(q, v, placement)


@_attend.register_vmap
def _(
    info: Any, in_dims: tuple[int | None, ...], q: Tensor, k: Tensor, v: Tensor, kernel: Tensor, *rest: Any
) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
    """Several models at once are further groups of the batch."""
    *options, groups = rest
    stacked = [
        (x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)).flatten(0, 1)
        for x, dim in zip((q, k, v, kernel), in_dims, strict=False)
    ]
    results = _attend(*stacked, *options, info.batch_size * groups)
    return tuple(x.unflatten(0, (info.batch_size, len(x) // info.batch_size)) for x in results), (0, 0)


@torch.library.custom_op("retconv::triton_attend_backward", mutates_args=())
def _attend_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    kernel: Tensor,
    out: Tensor,
    peaks: Tensor,
    placement: str,
    scale: float,
    shape: list[int],
    prefix: int,
    groups: int,
    learnt: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v, and of the kernel if it is learnt."""
    from retconv.attention import triton_backward as kernels

    dq, dk, dv = (_packed(x, x.shape[-1]) for x in (q, k, v))
    dtable = torch.zeros_like(kernel, dtype=torch.float32, memory_format=torch.contiguous_format)
    if dv.numel():
        q, k, v, out, grad = (_readable(x) for x in (q, k, v, out, grad))
        batch, heads, length, d = q.shape
        options = sizes(length, max(d, v.shape[-1]), q.dtype)
        constants = _constants(q, v, kernel, placement, shape, prefix, groups)
        table, together = kernel.float().contiguous(), batch // groups
        tiles = math.ceil(length / options["backward"]["ROWS"])
        whole = tiles == 1
        means = peaks.new_empty(batch, heads, 0 if whole else length)
        inputs, strides, counts = (q, k, v, table), _strides(q, k, v), (heads, together, scale)
        with torch.cuda.device_of(q):
            if not whole:
                programs = (batch * heads * tiles,)
                kernels.backward_queries[programs](
                    *inputs,
                    out,
                    grad,
                    peaks,
                    means,
                    dq,
                    *strides,
                    *_strides(out, grad),
                    *counts,
                    **constants,
                    **options["backward"],
                )
                kernels.backward_keys[programs](
                    *inputs,
                    grad,
                    peaks,
                    means,
                    dk,
                    dv,
                    *strides,
                    *_strides(grad),
                    *counts,
                    **constants,
                    **options["backward"],
                )
            if whole or learnt:
                masks = kernel.shape[0] * tiles**2
                elements = batch * heads // kernel.shape[0]
                shares = min(elements, math.ceil(_programs(q.device) / masks)) if learnt else elements
                constants |= options["mask"] | {"WHOLE": whole, "LEARNT": learnt}
                kernels.backward_mask[(masks * shares,)](
                    *inputs, out, grad, peaks, means, dq, dk, dv, dtable,
                    *strides, *_strides(out, grad), *counts, shares, **constants,
                )  # fmt: skip
    return dq, dk, dv, dtable.to(kernel.dtype) if learnt else kernel.new_empty(0)


def _programs(device: torch.device) -> int:
    """How many programs share out a sum; few in the interpreter, where one runs after another."""
    if device.type == "cpu":
        return PROGRAMS
    return PROGRAMS * torch.cuda.get_device_properties(device).multi_processor_count


@_attend_backward.register_fake
def _(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, kernel: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dq, dk, dv = (_packed(x, x.shape[-1]) for x in (q, k, v))
    return dq, dk, dv, kernel.new_empty(kernel.shape if rest[-1] else 0)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, kernel, *ctx.rest = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(q, k, v, kernel, *output)


def _gradients(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    learnt = ctx.needs_input_grad[3]
    *gradients, dkernel = _attend_backward(grad, *ctx.saved_tensors, *ctx.rest, learnt)
    return (*gradients, dkernel if learnt else None, None, None, None, None, None)


_attend.register_autograd(_gradients, setup_context=_keep)


def _refuse(ctx: Any, *_: Tensor) -> None:
    raise NotImplementedError("backend 'triton' has no second derivative: use backend='reference'")


_attend_backward.register_autograd(_refuse)
