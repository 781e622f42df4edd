"""The two plain products: with the dense mask, and by ``torch.nn.functional.convNd``."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from retconv.convert import kernel_to_mask
from retconv.grid import Grid

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


class DenseProduct:
    """``M @ x`` with the dense mask: the reference, and the fastest on small grids.

    Args:
        kernel: ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``.
        grid: The grid.
        dtype: Of the product, to which the mask is cast: the kernel's gradient is summed in the kernel's own.
    """

    def __init__(self, kernel: Tensor, grid: Grid, dtype: torch.dtype) -> None:
        self.mask = kernel_to_mask(kernel, grid).to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """Apply to ``x`` ``(heads, N, columns)``, or with one head to any batch of such."""
        return torch.bmm(self.mask.expand(len(x), -1, -1), x)


class DirectProduct:
    """``F.convNd(x, K, padding=n − 1)``, one group per head: law 1 as written, with no flip."""

    def __init__(self, kernel: Tensor, grid: Grid) -> None:
        self.kernel = kernel[:, None]
        self.grid = grid

    def __call__(self, x: Tensor) -> Tensor:
        """Apply to ``x`` ``(heads, N, columns)``."""
        heads, _, columns = x.shape
        images = x.permute(2, 0, 1).reshape(columns, heads, *self.grid.shape)
        y = _CONV[self.grid.ndim](images, self.kernel, padding=self.grid.center, groups=heads)
        return y.reshape(columns, heads, -1).permute(1, 2, 0)
