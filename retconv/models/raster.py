"""A mask of a line laid over a grid in raster order, which is still a convolution of the grid."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from retconv.grid import Grid, GridLike
from retconv.kernels.tables import raster_index
from retconv.masks import Forms, Mask


class RasterMask(Mask):
    """A 1-D mask read along the tokens in row-major order, as RetNet's causal mask is put on an image.

    The raster index of a token is linear in its coordinates, ``i = Σ_d s_d p_d`` with the row-major strides s, so the
    raster offset of two tokens is ``s · δ``: it depends on their offset δ alone. A 1-D kernel K therefore becomes the
    kernel ``δ ↦ K[s · δ]`` of the grid, and no information is lost.

    Args:
        line: A mask that has a kernel on 1-D grids, such as ``RetNetMask(heads)``.

    Example:
        >>> RasterMask(retconv.RetNetMask(heads=1, gamma=0.5))((2, 2)).tolist()
        [[[1.0, 0.0, 0.0, 0.0], [0.5, 1.0, 0.0, 0.0], [0.25, 0.5, 1.0, 0.0], [0.125, 0.25, 0.5, 1.0]]]
    """

    def __init__(self, line: Mask) -> None:
        super().__init__(line.heads)
        self.line = line

    def kernel(self, grid: GridLike) -> Tensor:
        """``(heads, 2 n_1 − 1, …, 2 n_D − 1)``: the line's kernel at the raster offset; 0 for offsets no pair has.

        An offset such as (n_1 − 1, n_2 − 1) has the raster offset N − 1; every offset of a pair lies within ±(N − 1).
        """
        grid = Grid.of(grid).without_prefix()
        grid.require_open(
            "RasterMask.kernel", "on a torus the raster order of two tokens is no function of their offset"
        )
        values = self.line.kernel(Grid(grid.size))  # shape: (heads, 2N − 1)
        return values.index_select(1, raster_index(grid, values.device)).unflatten(1, grid.kernel_shape)

    def forms(self, grid: GridLike) -> Forms:
        """The line's entries and their logarithm, and the kernel that they have on the grid."""
        grid = Grid.of(grid)
        line = self.line.forms(Grid(grid.size, prefix=grid.prefix))
        forms = {"entries": lambda: line.entries, "log": lambda: line.log.entries, "exact": partial(self.kernel, grid)}
        return Forms(grid, self.heads, forms)

    def forward(self, grid: GridLike) -> Tensor:
        """The line's mask of all N tokens, prefix tokens neutral."""
        grid = Grid.of(grid)
        return self.line(Grid(grid.size, prefix=grid.prefix))
