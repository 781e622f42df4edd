"""Errors of conversions."""

import torch
from torch import nn

from retconv.convert import (
    NotAConvolutionError,
    bank_to_mask,
    conv_to_kernel,
    crop,
    extend,
    kernel_to_conv,
    kernel_to_mask,
    mask_to_bank,
    mask_to_kernel,
    project,
    resize,
    windows,
)
from retconv.grid import Grid
from tests.error_table import Error

nan, inf = float("nan"), float("inf")


def ones(*shape: int) -> torch.Tensor:
    return torch.ones(*shape)


CONVERT: dict[str, Error] = {
    "kernel of another grid": (
        lambda: kernel_to_mask(ones(2, 5, 5), (3, 4)),
        ValueError,
        r"\(heads, 5, 7\) on Grid\(\(3, 4\)\), got shape \(2, 5, 5\): use retconv\.crop or retconv\.extend",
    ),
    "kernel of a plane on a line": (
        lambda: kernel_to_mask(ones(2, 5, 7), 12),
        ValueError,
        r"got shape \(2, 5, 7\): a grid of 1 axes has kernels of 2, heads first",
    ),
    "a mask for a kernel": (
        lambda: kernel_to_mask(ones(2, 12, 12), (3, 4)),
        ValueError,
        r"got shape \(2, 12, 12\): this is a mask, use retconv\.mask_to_kernel",
    ),
    "a kernel for a mask": (
        lambda: mask_to_kernel(ones(2, 5, 7), (3, 4)),
        ValueError,
        r"got shape \(2, 5, 7\): this is a kernel, use retconv\.kernel_to_mask",
    ),
    "a batch of one mask": (lambda: project(ones(1, 2, 3, 3), 3), ValueError, r"no batch axis, use mask\[0\]"),
    "masks with heads last": (lambda: project(ones(3, 3, 2), 3), ValueError, r"heads come first, use mask\.permute"),
    "integer kernel": (lambda: windows(ones(1, 5).long(), 3), ValueError, r"got torch\.int64: call kernel\.float\(\)"),
    "mask without heads": (lambda: project(ones(3, 3), 3), ValueError, r"got shape \(3, 3\): add .* mask\[None\]"),
    "mask of another grid": (
        lambda: mask_to_bank(ones(2, 4, 4), 3),
        ValueError,
        r"\(heads, 3, 3\) on .*, got shape \(2, 4, 4\)",
    ),
    "boolean mask": (lambda: project(ones(1, 3, 3).bool(), 3), ValueError, r"got torch\.bool: call mask\.float\(\)"),
    "tolerance of a residual": (
        lambda: mask_to_kernel(torch.eye(3)[None], 3, tolerance=float("nan")),
        ValueError,
        "mask_to_kernel: tolerance is a relative residual and at least 0, got nan",
    ),
    "no convolution": (
        lambda: mask_to_kernel(torch.eye(3)[None].cumsum(1).cumsum(2), 3),
        NotAConvolutionError,
        r"Grid\(\(3,\)\): relative residual .* is [\d.e-]+ .*retconv\.project.*retconv\.mask_to_bank",
    ),
    "prefix not neutral": (
        lambda: mask_to_kernel(torch.zeros(1, 4, 4), Grid(3, prefix=1)),
        NotAConvolutionError,
        "1 prefix token.* differ from the neutral value 1: drop them, or pass",
    ),
    "infinite mask": (lambda: project(ones(1, 3, 3).log() - inf, 3), ValueError, "finite to be projected.*after exp"),
    "bank of another grid": (
        lambda: bank_to_mask(ones(1, 3, 7), 3),
        ValueError,
        r"\(heads, 3, 5\) on a grid without prefix tokens, got shape \(1, 3, 7\)",
    ),
    "bank with prefix": (
        lambda: bank_to_mask(ones(1, 3, 5), Grid(3, prefix=1)),
        ValueError,
        "without prefix.*prefix=1",
    ),
    "no channels": (
        lambda: kernel_to_conv(ones(1, 5), 3, 0),
        ValueError,
        "channels_per_head must be at least 1, got 0",
    ),
    "Conv1d on a plane": (
        lambda: conv_to_kernel(nn.Conv1d(1, 1, 3), (3, 3)),
        ValueError,
        r"Grid\(\(3, 3\)\) needs Conv2d, got Conv1d",
    ),
    "strided convolution": (
        lambda: conv_to_kernel(nn.Conv1d(1, 1, 3, padding=1, stride=2, bias=False), 5),
        ValueError,
        r"stride=\(2,\) \(1 needed\)",
    ),
    "crop to a larger grid": (
        lambda: crop(ones(1, 5), 4),
        ValueError,
        r"\(5,\) are smaller than \(7,\).*retconv\.extend",
    ),
    "extend to a smaller": (lambda: extend(ones(1, 5), 2), ValueError, r"\(5,\) are larger than \(3,\).*retconv\.crop"),
    "kernel of other axes": (lambda: resize(ones(1, 5), (3, 3)), ValueError, r"2 odd sides, got shape \(1, 5\)"),
}

TABLES = {"convert": CONVERT}
