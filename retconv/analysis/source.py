"""What can be analysed: a mask module, a kernel, or the entries of a mask, all brought to one form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from retconv.convert import NotAConvolutionError, kernel_to_mask, mask_to_kernel
from retconv.convert.shapes import check_kernel, check_mask
from retconv.grid import Grid
from retconv.kernels import Separable
from retconv.kernels.parameters import check_real, compute_dtype
from retconv.masks import Mask
from retconv.operators import operator

#: A mask module, a sum of outer products, a kernel ``(heads, 2 n_1 − 1, …)``, or a mask ``(heads, length, length)``.
Source = Tensor | Mask | Separable

#: Largest difference of a weight and its mirror image, relative to the largest weight: a few roundings of a sum.
_SYMMETRIC = 1e-14


@dataclass(frozen=True)
class Subject:
    """A mask on the tokens of a grid, by its kernel where it has one, else by its entries.

    Attributes:
        grid: The grid, without prefix tokens: they take part in no convolution.
        kernel: ``(heads, 2 n_1 − 1, …, 2 n_D − 1)`` in float64, detached; None if the mask has none.
        entries: ``(heads, N, N)`` in float64, detached; None if the mask has a kernel.
    """

    grid: Grid
    kernel: Tensor | None
    entries: Tensor | None

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self._stored.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the numbers are."""
        return self._stored.device

    @property
    def symmetric(self) -> Tensor:
        """Bool ``(heads,)``: whether ``M = Mᵀ``, or ``K[−δ] = K[δ]``, up to the rounding of float64."""
        stored = self._stored
        transposed = stored.flip(tuple(range(1, stored.ndim))) if self.kernel is not None else stored.mT
        difference = (stored - transposed).abs().flatten(1).amax(dim=1)
        return difference <= _SYMMETRIC * stored.abs().flatten(1).amax(dim=1)

    def head(self, index: int) -> Subject:
        """One head alone."""
        kernel, entries = (None if t is None else t[index : index + 1] for t in (self.kernel, self.entries))
        return Subject(self.grid, kernel, entries)

    def mask(self) -> Tensor:
        """The mask ``(heads, N, N)``.

        Raises:
            DenseLimitError: If it would exceed the memory limit.
        """
        return self._stored if self.kernel is None else kernel_to_mask(self.kernel, self.grid)

    def product(self, x: Tensor) -> Tensor:
        """``M @ x`` for ``x`` ``(heads, N, d)``, by the fast operator where the mask has a kernel."""
        return self._stored @ x if self.kernel is None else operator(self.kernel, self.grid) @ x

    @property
    def _stored(self) -> Tensor:
        stored = self.entries if self.kernel is None else self.kernel
        assert stored is not None
        return stored


def resolve(source: Source, grid: Grid | int | tuple[int, ...]) -> Subject:
    """Read a mask module, kernel or mask on a grid, in float64 and without gradients.

    A mask whose entries are bit for bit those of a kernel is taken by its kernel.

    Args:
        source: A mask module, a ``Separable``, a kernel ``(heads, 2 n_1 − 1, …, 2 n_D − 1)`` or a mask
            ``(heads, length, length)``.
        grid: The grid. Rows and columns of its prefix tokens are left out.

    Returns:
        The subject.

    Raises:
        ValueError: If a tensor is neither a kernel nor a mask of the grid, or an entry is not finite.
    """
    grid = Grid.of(grid)
    plain = grid.without_prefix()
    with torch.no_grad():
        if isinstance(source, Mask):
            try:
                return _finite(Subject(plain, _wide(source.kernel(plain)), None))
            except NotAConvolutionError:
                return _finite(Subject(plain, None, _wide(source(plain))))
        if isinstance(source, Separable):
            source = source.kernel()
        if source.ndim == grid.ndim + 1 and tuple(source.shape[1:]) == grid.kernel_shape:
            check_kernel(source, plain)
            return _finite(Subject(plain, _wide(source), None))
        if source.ndim != 3 or tuple(source.shape[1:]) != (grid.length, grid.length):
            sides = ", ".join(map(str, grid.kernel_shape))
            raise ValueError(
                f"expected a kernel (heads, {sides}) or a mask (heads, {grid.length}, {grid.length}) on {grid}, got "
                f"shape {tuple(source.shape)}"
            )
        check_mask(source, grid)
        entries = source[:, grid.prefix :, grid.prefix :]
        try:
            return _finite(Subject(plain, _wide(mask_to_kernel(entries, plain)), None))
        except NotAConvolutionError:
            return _finite(Subject(plain, None, _wide(entries)))


def _wide(tensor: Tensor) -> Tensor:
    check_real(tensor, "mask")
    return tensor.detach().to(compute_dtype(tensor.device))


def _finite(subject: Subject) -> Subject:
    if not bool(torch.isfinite(subject._stored).all()):
        raise ValueError("a kernel or mask must be finite to be analysed: a bias with −inf is a mask only after exp")
    return subject
