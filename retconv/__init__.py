"""RetNet viewed through convolution: masks, kernels and the operators between them.

Tokens lie on a grid; **offset = key − query**; a mask that depends on the offset alone is a convolution kernel,
``M[q, k] = K[k − q]``.
"""

import importlib
from types import ModuleType

from retconv import checks, convert, kernels, masks, operators
from retconv.convert import (
    NotAConvolutionError,
    Projection,
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
from retconv.grid import DenseLimitError, Grid, GridLike, dense_limit
from retconv.kernels import gammas
from retconv.masks import DecayMask, ElementwiseMask, GaussianMixtureMask, KernelTableMask, Mask, RetNetMask
from retconv.operators import MaskOperator, operator

__version__ = "0.1.0"

#: Parts that are imported when they are first asked for: ``import retconv`` stays light.
_LATER = ("analysis", "approximate", "attention", "models", "retention")

__all__ = [
    "DecayMask",
    "DenseLimitError",
    "ElementwiseMask",
    "GaussianMixtureMask",
    "Grid",
    "GridLike",
    "KernelTableMask",
    "Mask",
    "MaskOperator",
    "NotAConvolutionError",
    "Projection",
    "RetNetMask",
    "bank_to_mask",
    "checks",
    "conv_to_kernel",
    "convert",
    "crop",
    "dense_limit",
    "extend",
    "gammas",
    "kernel_to_conv",
    "kernel_to_mask",
    "kernels",
    "mask_to_bank",
    "mask_to_kernel",
    "masks",
    "operator",
    "operators",
    "project",
    "resize",
    "windows",
]


def __getattr__(name: str) -> ModuleType:
    if name in _LATER:
        return importlib.import_module(f"retconv.{name}")
    raise AttributeError(f"module 'retconv' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
