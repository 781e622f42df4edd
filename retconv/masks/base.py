"""What every mask can do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from retconv import showing
from retconv.convert import kernel_to_mask
from retconv.grid import Grid, GridLike
from retconv.kernels import Decay, Separable
from retconv.masks.forms import Forms

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Where a notebook shows a mask that has no grid of its own: on the first of these where it has a meaning.
_SHOWN_ON: tuple[GridLike, ...] = ((14, 14), 64, (6, 6, 6))


class Mask(nn.Module):
    """A mask in front of attention scores: ``kernel(grid)`` is its convolution, ``forward(grid)`` the mask itself.

    A mask that depends on the offset alone has a kernel on every grid and moves between grids without change.
    Subclasses define ``kernel``, and those other forms of it that they have: ``separable``, ``decay``, ``log_kernel``;
    what works on masks then finds them (``forms``). Those without a kernel override ``forward``, and ``kernel`` raises
    ``NotAConvolutionError``.

    A mask's buffers are constants, such as a fixed γ: casting the module changes the dtype of what it makes, and never
    rounds them. ``.bfloat16()`` leaves γ as it is, and so does the way back.

    Attributes:
        heads: Number of heads, the first axis of kernel and mask.
        neutral: What a prefix token's rows and columns hold: 1, since these masks multiply.

    Example:
        >>> class Box(retconv.Mask):
        ...     def kernel(self, grid):
        ...         near = retconv.Grid.of(grid).offsets().abs().amax(-1) <= 1
        ...         return near.float().expand(self.heads, *near.shape)
        >>> Box(heads=1)(retconv.Grid(3)).tolist()
        [[[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]]]
    """

    neutral = 1.0

    if TYPE_CHECKING:
        # Of ``nn.Module`` a call may return anything.
        __call__: Callable[..., Tensor]

    def __init__(self, heads: int) -> None:
        super().__init__()
        if not isinstance(heads, int):
            raise TypeError(f"heads must be a number, got {heads!r}: see the arguments of {type(self).__name__}")
        if heads < 1:
            raise ValueError(f"heads must be at least 1, got {heads}")
        self.heads = heads
        #: Of what a mask makes that has no parameter to take it from.
        self._made = torch.get_default_dtype()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        constants = {n: b for n, b in self._buffers.items() if b is not None and b.is_floating_point()}
        super()._apply(fn, recurse)
        self._made = fn(torch.empty(0, dtype=self._made, device="cpu")).dtype
        for name, before in constants.items():
            after = self._buffers[name]
            assert after is not None
            wide = torch.promote_types(before.dtype, after.dtype)
            if after.dtype != wide:
                self._buffers[name] = before.to(after.device, wide)
        return self

    def kernel(self, grid: GridLike) -> Tensor:
        """The mask as a convolution kernel on a grid, differentiable with respect to its parameters.

        Returns:
            ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``: the entry for offset δ = key − query is at index ``δ + n − 1``.
        """
        raise NotImplementedError(f"{type(self).__name__} must define kernel(grid)")

    def separable(self, grid: GridLike) -> Separable | None:
        """The kernel as a sum of outer products where the mask has that form (laws 8 and 9), else None."""
        return None

    def decay(self, grid: GridLike) -> Decay | None:
        """The decay that the kernel is, where recursions can run it (laws 6 to 8), else None."""
        return None

    def log_kernel(self, grid: GridLike) -> Tensor | None:
        """The logarithm of the kernel by a closed form, −∞ where it is 0, NaN where it is negative; None without one.

        A kernel that underflows has no logarithm left to take: ``log γ^|δ|`` is ``|δ| log γ`` at any distance.
        """
        return None

    def forms(self, grid: GridLike) -> Forms:
        """The mask on a grid in every form that it has, each made when it is asked for."""
        grid = Grid.of(grid)
        forms: dict[str, Any] = {
            "kernel" if self._gathers else "exact": partial(self.kernel, grid),
            "factors": partial(self.separable, grid),
            "decay": partial(self.decay, grid),
            "log": partial(self.log_kernel, grid),
        }
        if not self._gathers:
            forms["entries"] = partial(self, grid)
        return Forms(grid, self.heads, forms)

    def plot(self, grid: GridLike) -> Figure:
        """The mask on a grid: kernel, modulus of the symbol, and the row of the query in the middle, by head.

        Args:
            grid: The grid; prefix tokens are left out.

        Returns:
            A matplotlib figure, one column wide, of up to six heads.

        Example:
            >>> import retconv
            >>> retconv.RetNetMask(heads=2).plot(64).savefig("mask.png")  # doctest: +SKIP
        """
        return showing.plot(self._picture(grid))

    def _picture(self, grid: GridLike) -> showing.Picture:
        with torch.no_grad():
            return self.forms(grid).picture(f"{self} on {Grid.of(grid)}")

    def _repr_html_(self) -> str | None:
        own = getattr(self, "grid", None)
        for grid in _SHOWN_ON if own is None else (own,):
            with suppress(ValueError):
                return showing.html(self._picture(grid))
        return None

    @property
    def _gathers(self) -> bool:
        """Whether ``forward`` is the gather of the kernel."""
        return type(self).forward is Mask.forward

    def forward(self, grid: GridLike) -> Tensor:
        """The mask ``(heads, length, length)``, rows are queries: ``M[q, k] = K[k − q]``."""
        return kernel_to_mask(self.kernel(grid), Grid.of(grid), neutral=self.neutral)


def extent(numbers: Tensor, written: Callable[[float], str] = "{:.3g}".format) -> str:
    """The least and the largest of a module's numbers in words, or that they have no values yet."""
    if numbers.is_meta:
        return "meta"
    low, high = (written(float(end)) for end in numbers.detach().aminmax())
    return f"{low}…{high}"
