"""Kernels as depthwise ``torch.nn.Conv{1,2,3}d`` modules, and back."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from retconv.convert.boundary import wrap
from retconv.convert.shapes import check_kernel
from retconv.convert.sizes import resize
from retconv.grid import Grid, GridLike
from retconv.watching import has_tangent, is_transformed

_CONVS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def kernel_to_conv(kernel: Tensor, grid: GridLike, channels_per_head: int = 1) -> nn.Conv1d | nn.Conv2d | nn.Conv3d:
    """A depthwise convolution that does what the mask does: ``conv(x)`` equals ``M @ x`` (law 1), with no flip.

    On a periodic grid it is one with ``padding="same", padding_mode="circular"``, whose taps run over the offsets of
    the kernel, ``−⌊(n − 1)/2⌋ … ⌊n/2⌋``. Torch pads all axes alike: with periodic and open axes there is none.

    Args:
        kernel: ``(heads, *grid.kernel_shape)``.
        grid: The grid; a convolution knows no prefix tokens.
        channels_per_head: How many consecutive channels share each head's kernel.

    Returns:
        A module on ``(batch, heads · channels_per_head, n_1, …, n_D)`` with padding n − 1, or circular, and no bias,
        whose weight is a trainable copy of the kernel in its dtype and on its device.

    Raises:
        ValueError: If the kernel's shape is not the grid's, some axes of the grid are periodic and others open,
            channels_per_head is not positive, or ``torch.func`` or forward mode derives the kernel.

    Example:
        >>> kernel = torch.rand(3, 27, 27)
        >>> conv = kernel_to_conv(kernel, (14, 14))
        >>> x = torch.rand(1, 3, 14, 14)
        >>> y = retconv.kernel_to_mask(kernel, (14, 14)) @ x.reshape(1, 3, 196, 1)
        >>> torch.allclose(conv(x).reshape(y.shape), y, rtol=1e-4)
        True
    """
    grid = Grid.of(grid)
    check_kernel(kernel, grid)
    if channels_per_head < 1:
        raise ValueError(f"channels_per_head must be at least 1, got {channels_per_head}")
    if is_transformed(kernel) or has_tangent(kernel):
        raise ValueError(
            "kernel_to_conv makes a module with a weight of its own, through which torch.func and forward mode do not "
            "reach: use retconv.operator(kernel, grid)"
        )
    mode = _padding_mode(grid, "kernel_to_conv")
    channels = kernel.shape[0] * channels_per_head
    conv: nn.Conv1d | nn.Conv2d | nn.Conv3d = _CONVS[grid.ndim](
        channels, channels, grid.kernel_shape, padding=grid.center if grid.is_open else "same", padding_mode=mode,
        groups=channels, bias=False, device=kernel.device, dtype=kernel.dtype,
    )  # fmt: skip
    with torch.no_grad():
        conv.weight.copy_(kernel.repeat_interleave(channels_per_head, dim=0)[:, None])
    return conv


def conv_to_kernel(conv: nn.Module, grid: GridLike) -> Tensor:
    """The kernel of a depthwise convolution on a grid: one head per channel.

    Args:
        conv: ``nn.Conv1d``, ``2d`` or ``3d`` with one group per channel, stride 1, odd sides, zero padding of half its
            (dilated) side, and no bias: a map that keeps the grid. On a periodic grid the padding is circular, and with
            ``padding="same"`` a side may be even.
        grid: The grid; offsets that the convolution does not reach are 0, taps beyond the grid are dropped, or wrap
            around a periodic one.

    Returns:
        ``(channels, *grid.kernel_shape)``, differentiable with respect to the weight.

    Raises:
        ValueError: If the module is not such a convolution, naming what is wrong.

    Example:
        >>> conv = torch.nn.Conv1d(2, 2, 3, padding=1, groups=2, bias=False)
        >>> conv_to_kernel(conv, 5).shape  # offsets −4 to 4, two heads
        torch.Size([2, 9])
    """
    grid = Grid.of(grid)
    if not isinstance(conv, _CONVS[grid.ndim]):
        raise ValueError(f"conv_to_kernel: {grid} needs {_CONVS[grid.ndim].__name__}, got {type(conv).__name__}")
    mode = _padding_mode(grid, "conv_to_kernel")
    spans = tuple(d * (side - 1) for d, side in zip(conv.dilation, conv.kernel_size, strict=True))
    reach = tuple(span // 2 for span in spans)
    same, other = conv.padding == "same", f", padding_mode={conv.padding_mode!r}" * (conv.padding_mode != mode)
    faults = {
        f"groups={conv.groups} of {conv.in_channels} → {conv.out_channels} channels (depthwise needed)": not (
            conv.groups == conv.in_channels == conv.out_channels
        ),
        f"stride={conv.stride} (1 needed)": any(s != 1 for s in conv.stride),
        f"even kernel_size={conv.kernel_size} (odd needed)": any(side % 2 == 0 for side in conv.kernel_size)
        and not (same and mode == "circular"),
        f"padding={conv.padding!r}{other} ({mode.removesuffix('s')} padding of {reach} needed)": (
            not same and tuple(conv.padding) != reach
        )
        or conv.padding_mode != mode,
        "a bias (none has a mask)": conv.bias is not None,
    }
    reasons = [fault for fault, present in faults.items() if present]
    if reasons:
        raise ValueError(f"conv_to_kernel: the convolution has {'; '.join(reasons)}")
    # Of an odd span torch pads the greater part behind.
    firsts = [span % 2 for span in spans]
    kernel = conv.weight.new_zeros(conv.out_channels, *(span + span % 2 + 1 for span in spans))
    taps = (slice(first, None, d) for first, d in zip(firsts, conv.dilation, strict=True))
    kernel[(slice(None), *taps)] = conv.weight[:, 0]
    return resize(kernel, grid) if grid.is_open else wrap(kernel, grid)


def _padding_mode(grid: Grid, name: str) -> Literal["zeros", "circular"]:
    if not grid.is_open and not all(grid.periodic):
        raise ValueError(
            f"{name}: a torch convolution pads all axes alike, and {grid} has periodic and open ones: use "
            "retconv.operator(kernel, grid)"
        )
    return "zeros" if grid.is_open else "circular"
