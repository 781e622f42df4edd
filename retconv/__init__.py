"""RetNet viewed through convolution: masks, kernels and the operators between them.

Tokens lie on a grid; **offset = key − query**; a mask that depends on the offset alone is a convolution kernel,
``M[q, k] = K[k − q]``.
"""

from typing import TYPE_CHECKING

from retconv.lazy import lazily

if TYPE_CHECKING:
    from retconv import analysis as analysis
    from retconv import approximate as approximate
    from retconv import attention as attention
    from retconv import checks, convert, kernels, masks, operators
    from retconv import heads as heads
    from retconv import models as models
    from retconv import retention as retention
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
        project_rectangular,
        rectangular,
        resize,
        unroll,
        windows,
        wrap,
    )
    from retconv.cross import Cross
    from retconv.grid import Grid, GridLike
    from retconv.heads import attention_from as attention_from
    from retconv.heads import convolve as convolve
    from retconv.heads import look as look
    from retconv.heads import start_attention as start_attention
    from retconv.kernels import gammas
    from retconv.masks import DecayMask, ElementwiseMask, GaussianMixtureMask, KernelTableMask, Mask, RetNetMask
    from retconv.memory import DenseLimitError, dense_limit
    from retconv.operators import MaskOperator, operator

lazily(__name__)

__version__ = "0.2.0"

__all__ = [
    "Cross",
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
    "project_rectangular",
    "rectangular",
    "resize",
    "unroll",
    "windows",
    "wrap",
]
