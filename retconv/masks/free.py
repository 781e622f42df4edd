"""Free masks: the element-wise learnable mask, tied to its grid, its convolutional twin, and Swin's table of biases."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retconv.convert import mask_to_kernel, resize
from retconv.grid import Grid, GridLike
from retconv.kernels import swin_table
from retconv.kernels.parameters import check_real, compute_dtype
from retconv.masks.base import Mask, extent
from retconv.masks.forms import Forms
from retconv.names import unknown

Start = Literal["zeros", "ones"]


def _start_value(start: Start) -> float:
    if start not in get_args(Start):
        raise ValueError(unknown("start", start, get_args(Start)))
    return 0.0 if start == "zeros" else 1.0


class ElementwiseMask(Mask):
    """ELM: a free N×N matrix, learnt entry by entry. It belongs to one grid and cannot move to another.

    Args:
        grid: The grid it is for.
        heads: Number of heads.
        per_head: One matrix for each head; by default, as in the reference, all heads share one.
        start: ``"zeros"``, the reference's (in front of the softmax it starts as uniform attention), or ``"ones"``
            (neutral: it starts as plain attention). The placement ``bias_logits`` needs ones: the logarithm of 0 hides
            every key and has no gradient.

    Raises:
        ValueError: If the start is unknown.
        DenseLimitError: If the matrix would exceed the memory limit.

    Source:
        Li and Zhang 2023 (arXiv 2309.05375), section 3.2 and ``Simple_Mask`` in ``models/gmm.py``.

    Example:
        >>> mask = ElementwiseMask((14, 14), heads=3, start="ones")
        >>> mask((14, 14)).shape
        torch.Size([3, 196, 196])
    """

    def __init__(
        self,
        grid: GridLike,
        heads: int,
        per_head: bool = False,
        start: Start = "zeros",
    ) -> None:
        super().__init__(heads)
        self.grid = Grid.of(grid)
        self.per_head = per_head
        self.start: Start = start
        matrices = heads if per_head else 1
        self.grid.require_dense(matrices, torch.get_default_dtype())
        self.weight = nn.Parameter(torch.full((matrices, self.grid.size, self.grid.size), _start_value(start)))

    def kernel(self, grid: GridLike) -> Tensor:
        """The kernel, if the learnt matrix happens to have one bit-exactly.

        Raises:
            NotAConvolutionError: With the residual, if it has none; ``retconv.project(mask(grid), grid)`` gives the
                nearest convolution.
            ValueError: If the grid is not the mask's own.
        """
        return mask_to_kernel(self._own(grid), Grid.of(grid).without_prefix())

    def forms(self, grid: GridLike) -> Forms:
        """Its entries, off which a kernel is read where they have one and are not learnt."""
        forms = super().forms(grid)
        return replace(forms, given={name: form for name, form in forms.given.items() if name != "exact"})

    def forward(self, grid: GridLike) -> Tensor:
        """The mask ``(heads, length, length)``.

        Raises:
            ValueError: If the grid is not the mask's own.
        """
        prefix = Grid.of(grid).prefix
        return F.pad(self._own(grid), (prefix, 0, prefix, 0), value=self.neutral)

    def extra_repr(self) -> str:
        """Grid, heads, sharing and start."""
        return f"{self.grid}, heads={self.heads}, per_head={self.per_head}, start={self.start!r}"

    def _own(self, grid: GridLike) -> Tensor:
        grid = Grid.of(grid)
        if grid.shape != self.grid.shape:
            raise ValueError(
                f"ElementwiseMask was learnt on {self.grid} and cannot move to {grid}: its entries belong to pairs of "
                "tokens, not to offsets. Use KernelTableMask for a free mask that moves"
            )
        return self.weight.expand(self.heads, -1, -1)


class KernelTableMask(Mask):
    """A free kernel: one learnable number for each offset and head, the convolutional twin of ELM.

    Args:
        grid: The grid whose offsets the table covers.
        heads: Number of heads.
        start: ``"ones"`` (neutral) or ``"zeros"``.

    On a smaller grid the table is cropped; on a larger one, offsets that it never saw are 0, as for a convolution.

    Raises:
        ValueError: If the start is unknown.

    Source:
        The relative position table of Shaw et al. 2018 (arXiv 1803.02155) and Swin (arXiv 2103.14030, eq. 4), here as a
        multiplicative mask indexed by key − query.

    Example:
        >>> mask = KernelTableMask((14, 14), heads=3)
        >>> mask.kernel(retconv.Grid((14, 14))).shape
        torch.Size([3, 27, 27])
    """

    def __init__(self, grid: GridLike, heads: int, start: Start = "ones") -> None:
        super().__init__(heads)
        self.grid = Grid.of(grid).without_prefix()
        self.start: Start = start
        self.weight = nn.Parameter(torch.full((heads, *self.grid.kernel_shape), _start_value(start)))

    @classmethod
    def from_kernel(cls, kernel: Tensor) -> KernelTableMask:
        """A mask whose table is a copy of a kernel ``(heads, odd, …)``.

        Raises:
            ValueError: If the kernel is not real, has an even side, or not one to three axes beside heads.
        """
        if any(side % 2 == 0 for side in kernel.shape[1:]):
            raise ValueError(f"kernel must be (heads, odd, …), got shape {tuple(kernel.shape)}")
        check_real(kernel, "kernel")
        mask = cls(Grid([(side + 1) // 2 for side in kernel.shape[1:]]), kernel.shape[0])
        mask.weight = nn.Parameter(kernel.detach().clone())
        return mask

    def kernel(self, grid: GridLike) -> Tensor:
        """``(heads, 2 n_1 − 1, …, 2 n_D − 1)``, cropped or zero-extended from the table.

        Raises:
            ValueError: If the grid or that of the table is periodic, and they differ: a ring has no beyond.
        """
        grid = Grid.of(grid).without_prefix()
        if grid == self.grid and not grid.is_open:
            return self.weight.clone()
        self.grid.require_open(f"moving a KernelTableMask to {grid}", "make a table for that grid")
        return resize(self.weight, grid)

    def extra_repr(self) -> str:
        """Grid, heads and start."""
        return f"{self.grid}, heads={self.heads}, start={self.start!r}"


class BiasTableMask(Mask):
    """Swin's position bias as a mask: ``M[q, k] = exp(table[k − q])``, one learnable number for each offset and head.

    With the placement ``bias_logits`` the table itself is added. On a smaller grid it is cropped; to a larger one it
    does not move: of offsets that it never saw it says nothing, where a ``KernelTableMask`` says 0.

    Args:
        grid: The grid, or window, whose offsets the table covers.
        heads: Number of heads.
        std: Of the start, a normal distribution cut off at ±2 (in logits); 0 is the neutral start.
        generator: Source of the random numbers of the start.

    Raises:
        ValueError: If std is negative, or the grid periodic.

    Source:
        Liu et al. 2021, Swin (arXiv 2103.14030), eq. (4), and its code's ``relative_position_bias_table``, which is
        indexed by query − key and starts with a standard deviation of 0.02. The code interpolates it to larger windows.

    Example:
        >>> mask = BiasTableMask((7, 7), heads=3)  # a window of Swin
        >>> mask(retconv.Grid((7, 7))).shape, sum(p.numel() for p in mask.parameters())
        (torch.Size([3, 49, 49]), 507)
    """

    def __init__(self, grid: GridLike, heads: int, std: float = 0.02, generator: torch.Generator | None = None) -> None:
        super().__init__(heads)
        self.grid = Grid.of(grid).without_prefix()
        self.grid.require_open("BiasTableMask", "a window has a border, use KernelTableMask")
        if std < 0:
            raise ValueError(f"std must be at least 0, got {std}")
        self.weight = nn.Parameter(torch.zeros(heads, *self.grid.kernel_shape))
        if std:
            nn.init.trunc_normal_(self.weight, std=std, generator=generator)

    @classmethod
    def from_table(cls, table: Tensor, window: GridLike) -> BiasTableMask:
        """A mask with the table of a Swin checkpoint, ``((2 w_1 − 1)(2 w_2 − 1), heads)``.

        Raises:
            ValueError: If the table is not real, or its length does not belong to the window.
        """
        kernel = swin_table(table.detach(), window)
        mask = cls(window, kernel.shape[0], std=0.0)
        mask.weight = nn.Parameter(kernel.clone())
        return mask

    def kernel(self, grid: GridLike) -> Tensor:
        """``(heads, 2 n_1 − 1, …, 2 n_D − 1)``, the exponential of the table, cropped to the grid.

        Raises:
            ValueError: If the grid has other axes, a longer side, or rings.
        """
        return self.log_kernel(grid).to(compute_dtype(self.weight.device)).exp().to(self.weight.dtype)

    def log_kernel(self, grid: GridLike) -> Tensor:
        """The table, cropped to the grid.

        Raises:
            ValueError: If the grid has other axes, a longer side, or rings.
        """
        grid = Grid.of(grid).without_prefix()
        if grid.ndim != self.grid.ndim or any(n > m for n, m in zip(grid.shape, self.grid.shape, strict=True)):
            raise ValueError(
                f"BiasTableMask holds the offsets of {self.grid} and cannot move to {grid}: make one for that grid, or "
                "use KernelTableMask, which is 0 where it has no number"
            )
        return resize(self.weight, grid)

    def extra_repr(self) -> str:
        """Grid, heads, and the range of the table."""
        return f"{self.grid}, heads={self.heads}, bias={extent(self.weight)}"
