"""What can be analysed: a mask in any form, brought to float64."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor

from retconv.convert import NotAConvolutionError
from retconv.convert.shapes import check_finite
from retconv.grid import GridLike
from retconv.kernels.parameters import compute_dtype
from retconv.masks import Forms, MaskLike
from retconv.operators import operator

#: Largest difference of a weight and its mirror image, relative to the largest weight: a few roundings of a sum.
_SYMMETRIC = 1e-14


def resolve(mask: MaskLike, grid: GridLike) -> Forms:
    """Read a mask on a grid, in float64 and without gradients: its kernel where it has one, else its entries.

    A mask whose entries are bit for bit those of a kernel is taken by its kernel. One on a periodic grid is read on the
    open grid, where it is the same matrix (law 23): what measures distances refuses such a grid before.

    Args:
        mask: In any form, see ``retconv.masks.Forms``.
        grid: The grid. Rows and columns of its prefix tokens are left out.

    Raises:
        ValueError: If it does not belong on the grid, or a weight is not finite.
    """
    with torch.no_grad():
        forms = Forms.of(mask, grid).without_prefix().opened()
        with suppress(NotAConvolutionError):
            forms = forms.convolution()
        values = forms.values.detach().to(compute_dtype(forms.values.device))
    check_finite(values, "a kernel or mask must be finite to be analysed", "a bias with −inf is a mask only after exp")
    return Forms(forms.grid, forms.heads, {"entries" if forms.kernel is None else "kernel": values})


def is_symmetric(forms: Forms) -> Tensor:
    """Bool ``(heads,)``: whether ``M = Mᵀ``, or ``K[−δ] = K[δ]``, up to the rounding of float64."""
    difference = (forms.values - forms.transposed().values).abs().flatten(1).amax(dim=1)
    return difference <= _SYMMETRIC * forms.values.abs().flatten(1).amax(dim=1)


def product(forms: Forms, x: Tensor) -> Tensor:
    """``M @ x`` for ``x`` ``(heads, N, d)``, by the fast operator where the mask has a kernel."""
    return forms.entries @ x if forms.kernel is None else operator(forms, forms.grid) @ x
