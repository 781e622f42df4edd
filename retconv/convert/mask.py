"""Kernel → mask and back: exactly, as a projection with its residual, or as one kernel per query."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from retconv import showing
from retconv.convert.boundary import gathered, summed
from retconv.convert.residual import differing, norm_of_rest, wide
from retconv.convert.shapes import check_finite, check_kernel, check_mask
from retconv.grid import Grid, GridLike, kept
from retconv.kernels.parameters import require_tensor
from retconv.watching import is_mapped, is_traced

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NOT_FINITE = "an additive mask with −inf has a mean only after exp; NaN comes from 0/0 or inf − inf before"


class NotAConvolutionError(ValueError):
    """A mask has no kernel; ``residual`` says how far it is from having one.

    Attributes:
        residual: ``(heads,)``, ``‖M − PM‖_F / ‖M‖_F`` per head (law 3), or None where it is not defined.

    Example:
        >>> mask = torch.arange(9.0).reshape(1, 3, 3)
        >>> try:
        ...     retconv.mask_to_kernel(mask, 3)
        ... except NotAConvolutionError as error:
        ...     print(f"{error.residual.item():.2f} of its norm is no convolution")
        0.49 of its norm is no convolution
    """

    def __init__(self, message: str, residual: Tensor | None = None) -> None:
        super().__init__(message)
        self.residual = residual


class Projection(NamedTuple):
    """The convolution nearest to a mask.

    Attributes:
        kernel: ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``, the mean of the mask over pairs of equal offset.
        residual: ``(heads,)`` in float64, ``‖M − PM‖_F / ‖M‖_F``, at most 1; 0 iff the mask is bit for bit a
            convolution, whatever the scale of its entries.

    Example:
        >>> nearest, residual = retconv.project(torch.eye(3)[None], 3)
        >>> nearest.tolist(), residual.item()
        ([[0.0, 0.0, 1.0, 0.0, 0.0]], 0.0)
    """

    kernel: Tensor
    residual: Tensor

    def __repr__(self) -> str:
        residual = ", ".join(f"{r:.3g}" for r in self.residual.tolist())
        return f"Projection(residual=[{residual}], kernel: {tuple(self.kernel.shape)} in {self.kernel.dtype})"

    def picture(self) -> showing.Picture:
        """What is drawn of it."""
        facts = {"residual": showing.told(self.residual)}
        return showing.Picture("nearest convolution", self.kernel, nearest=bool(self.residual.any()), facts=facts)

    def plot(self) -> Figure:
        """The nearest kernel and the modulus of its symbol, of up to six heads.

        The symbol is the table's, at frequencies between those of a ring too: a projection does not know its grid.
        """
        return showing.plot(self.picture())

    def _repr_html_(self) -> str:
        return showing.html(self.picture())


def windows(kernel: Tensor, grid: GridLike) -> Tensor:
    """Law 2: the windows of the kernel that are the rows of its mask, folded to the grid.

    Query q reads the n-sized window of K that starts at ``n − 1 − q``; this is the paper's "element-wise convolution".
    Along a periodic axis it is all n entries, turned by q.

    Args:
        kernel: ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``.
        grid: The grid; prefix tokens have no window.

    Returns:
        ``(heads, N, n_1, …, n_D)``: entry ``[h, q, k_1, …, k_D]`` is the kernel at offset k − q.

    Raises:
        ValueError: If the kernel's shape is not the grid's, or it is not real.
        DenseLimitError: If the result would exceed the memory limit.

    Example:
        >>> windows(torch.tensor([[1.0, 2.0, 3.0]]), 2).tolist()
        [[[2.0, 3.0], [1.0, 2.0]]]
    """
    grid = Grid.of(grid)
    return _unfolded(kernel, grid).reshape(kernel.shape[0], grid.size, *grid.shape)


def kernel_to_mask(kernel: Tensor, grid: GridLike, neutral: float = 1.0) -> Tensor:
    """The mask of a kernel, ``M[q, k] = K[k − q]``: a gather, so every entry is a bit-exact copy.

    Along periodic axes offsets count modulo n: the mask is block-circulant there (law 23).

    Args:
        kernel: ``(heads, *grid.kernel_shape)``, ``2n − 1`` entries along an open axis and n along a periodic one, any
            real floating dtype.
        grid: The grid. Rows and columns of its prefix tokens are ``neutral``.
        neutral: 1 for masks that multiply, 0 for masks that add.

    Returns:
        ``(heads, length, length)``, rows are queries, in the kernel's dtype.

    Raises:
        ValueError: If the kernel's shape is not the grid's, or it is not real.
        DenseLimitError: If the mask would exceed the memory limit.

    Example:
        >>> kernel_to_mask(torch.tensor([[1.0, 2.0, 3.0]]), 2).tolist()  # offsets −1, 0, 1
        [[[2.0, 3.0], [1.0, 2.0]]]
        >>> kernel_to_mask(torch.ones(3, 27, 27), retconv.Grid((14, 14), prefix=1)).shape  # with a class token
        torch.Size([3, 197, 197])
    """
    grid = Grid.of(grid)
    mask = _unfolded(kernel, grid).reshape(kernel.shape[0], grid.size, grid.size)
    return F.pad(mask, (grid.prefix, 0, grid.prefix, 0), value=neutral) if grid.prefix else mask


def mask_to_kernel(mask: Tensor, grid: GridLike, tolerance: float = 0.0, neutral: float = 1.0) -> Tensor:
    """The kernel of a mask, or an error that states the residual (laws 3 and 4): never silently an approximation.

    Args:
        mask: ``(heads, length, length)``.
        grid: The grid.
        tolerance: Largest relative residual ``‖M − PM‖_F / ‖M‖_F`` to accept. At 0, the default, every entry must be
            bit-equal to the kernel's and the kernel is read off bit-exactly; above 0 the kernel is the projection.
        neutral: What the rows and columns of prefix tokens hold.

    Returns:
        ``(heads, 2 n_1 − 1, …, 2 n_D − 1)`` in the mask's dtype.

    Raises:
        NotAConvolutionError: If the mask has no kernel within the tolerance, or its prefix entries are not neutral.
        ValueError: If the mask's shape is not the grid's, it is not real, a mask without kernel is not finite,
            ``torch.vmap`` or a tracer hides it, or the tolerance is negative.

    Example:
        >>> mask_to_kernel(torch.tensor([[[2.0, 3.0], [1.0, 2.0]]]), 2).tolist()
        [[1.0, 2.0, 3.0]]
    """
    grid = Grid.of(grid)
    require_values(mask, "mask_to_kernel")
    # Written so that NaN is refused.
    if not tolerance >= 0:
        raise ValueError(f"mask_to_kernel: tolerance is a relative residual and at least 0, got {tolerance}")
    body = body_of(mask, grid)
    if grid.prefix:
        edge = torch.cat([mask[:, : grid.prefix].flatten(1), mask[:, grid.prefix :, : grid.prefix].flatten(1)], dim=1)
        if bool((edge != neutral).any()):
            raise NotAConvolutionError(
                f"mask has no kernel: entries of its {grid.prefix} prefix token(s) differ from the neutral value "
                f"{neutral:g}: drop them, or pass the neutral value they hold"
            )
    kernel = _read(body, grid)
    if torch.equal(gathered(kernel, grid), body):
        return kernel
    projection = _project(body, grid)
    residual = projection.residual.detach()
    worst = float(residual.max())
    if tolerance > 0 and worst <= tolerance:
        return projection.kernel
    raise NotAConvolutionError(
        f"mask has no kernel on {grid}: relative residual ‖M − PM‖/‖M‖ is {worst:.3e} (head "
        f"{int(residual.argmax())}), tolerance {tolerance:g}: use retconv.project for the nearest "
        "convolution, or retconv.mask_to_bank for one kernel per query",
        residual,
    )


def project(mask: Tensor, grid: GridLike) -> Projection:
    """Law 3: the orthogonal projection P onto masks that have a kernel, with its residual.

    ``K[δ]`` is the mean of the mask over the ``∏ (n_d − |δ_d|)`` pairs with offset δ; along a periodic axis ``n_d``
    pairs share one. On a periodic grid the residual is never less than on the open one (law 23).

    Args:
        mask: ``(heads, length, length)``; rows and columns of prefix tokens are left out.
        grid: The grid.

    Returns:
        The kernel and its relative residual per head, both differentiable; a zero mask has residual 0.

    Raises:
        ValueError: If the mask's shape is not the grid's, it is not real, an entry is not finite, or ``torch.vmap`` or
            a tracer hides it.

    Example:
        >>> kernel, residual = project(torch.tensor([[[1.0, 0.0], [0.0, 3.0]]]), 2)
        >>> kernel.tolist(), round(residual.item(), 12)
        ([[0.0, 2.0, 0.0]], 0.4472135955)
    """
    grid = Grid.of(grid)
    require_values(mask, "project")
    return _project(body_of(mask, grid), grid)


def _unfolded(kernel: Tensor, grid: Grid) -> Tensor:
    check_kernel(kernel, grid)
    grid.require_dense(kernel.shape[0], kernel.dtype)
    return gathered(kernel, grid)


def require_values(mask: Tensor, name: str) -> None:
    """Raise a ``ValueError`` if values of a mask are not to be looked at, which an operation of this name does."""
    require_tensor(mask, "mask")
    if is_traced() or is_mapped(mask):
        raise ValueError(
            f"{name} decides by the entries of a mask, which torch.vmap, torch.compile and torch.export hide: call it "
            "outside of them, for one mask at a time"
        )


def body_of(mask: Tensor, grid: Grid) -> Tensor:
    """The entries between tokens of the grid, ``(heads, *shape, *shape)``."""
    check_mask(mask, grid)
    return mask[:, grid.prefix :, grid.prefix :].reshape(mask.shape[0], *grid.shape, *grid.shape)


def _read(body: Tensor, grid: Grid) -> Tensor:
    """Read each kernel entry off the first pair that has its offset: query 0 for δ ≥ 0, key 0 for δ < 0."""
    return body.flatten(1)[:, _first_pairs(grid.without_prefix(), body.device)]


@kept
def _first_pairs(grid: Grid, device: torch.device) -> Tensor:
    """The first pair of tokens of each offset, as an index of a flat mask, of the kernel's shape."""
    offsets = grid.offsets(device)
    steps = torch.tensor([math.prod(grid.shape[axis + 1 :]) for axis in range(grid.ndim)], device=device)
    queries, keys = (((sign * offsets).clamp(min=0) * steps).sum(dim=-1) for sign in (-1, 1))
    return queries * grid.size + keys


@kept
def _pairs(grid: Grid, device: torch.device, dtype: torch.dtype) -> Tensor:
    """How many pairs of tokens have each offset."""
    return grid.pair_count(device).to(dtype)


def _project(body: Tensor, grid: Grid) -> Projection:
    entries = wide(body)
    size = torch.linalg.vector_norm(entries.detach().flatten(1), dim=1)
    if not bool(size.isfinite().all()):
        check_finite(
            body.flatten(1 + grid.ndim).flatten(1, grid.ndim), "mask must be finite to be projected", _NOT_FINITE
        )
    first = _read(entries, grid)
    # Averaging deviations from the first pair, not values, keeps the kernel of a true convolution bit for bit.
    deviation = entries - gathered(first, grid)
    differs = differing(deviation)
    # Lowered so far that differences, and sums over the pairs of an offset, stay below the largest number.
    extreme = size > torch.finfo(entries.dtype).max ** 0.9
    unit = torch.where(extreme, 2.0**-64, 1.0).to(entries.dtype).reshape(-1, *(1,) * grid.ndim)
    if bool(extreme.any()):
        entries = entries * unit.reshape(*unit.shape, *(1,) * grid.ndim)
        deviation = entries - gathered(first * unit, grid)
    pairs = _pairs(grid.without_prefix(), body.device, entries.dtype)
    correction = summed(deviation, grid) / pairs
    # In two halves: a mean is never beyond its numbers, a difference may be.
    half = correction / (2 * unit)
    kernel = (first + half + half).to(body.dtype)
    return Projection(kernel, norm_of_rest(deviation, correction * pairs.sqrt(), entries, differs))
