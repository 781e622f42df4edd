"""Conversions between masks, kernels, banks of kernels and ``torch.nn`` convolutions."""

from retconv.convert.bank import bank_to_mask, mask_to_bank
from retconv.convert.between import project_rectangular, rectangular
from retconv.convert.boundary import unroll, wrap
from retconv.convert.conv import conv_to_kernel, kernel_to_conv
from retconv.convert.folding import fold, unfold
from retconv.convert.mask import (
    NotAConvolutionError,
    Projection,
    kernel_to_mask,
    mask_to_kernel,
    project,
    windows,
)
from retconv.convert.sizes import crop, extend, resize

__all__ = [
    "NotAConvolutionError",
    "Projection",
    "bank_to_mask",
    "conv_to_kernel",
    "crop",
    "extend",
    "fold",
    "kernel_to_conv",
    "kernel_to_mask",
    "mask_to_bank",
    "mask_to_kernel",
    "project",
    "project_rectangular",
    "rectangular",
    "resize",
    "unfold",
    "unroll",
    "windows",
    "wrap",
]
