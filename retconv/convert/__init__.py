"""Conversions between masks, kernels, banks of kernels and ``torch.nn`` convolutions."""

from retconv.convert.conv import conv_to_kernel, kernel_to_conv
from retconv.convert.mask import (
    NotAConvolutionError,
    Projection,
    bank_to_mask,
    kernel_to_mask,
    mask_to_bank,
    mask_to_kernel,
    project,
    windows,
)
from retconv.convert.resize import crop, extend, fit
from retconv.convert.unfold import fold, unfold

__all__ = [
    "NotAConvolutionError",
    "Projection",
    "bank_to_mask",
    "conv_to_kernel",
    "crop",
    "extend",
    "fit",
    "fold",
    "kernel_to_conv",
    "kernel_to_mask",
    "mask_to_bank",
    "mask_to_kernel",
    "project",
    "unfold",
    "windows",
]
