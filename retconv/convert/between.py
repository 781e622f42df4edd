"""Kernel → rectangular mask and back: queries on one grid, keys on another."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from retconv.convert.mask import Projection, require_values
from retconv.convert.residual import differing, norm_of_rest, wide
from retconv.cross import Cross, pair_index
from retconv.kernels.parameters import check_real


def rectangular(
    kernel: Tensor | Callable[[Tensor], Tensor],
    cross: Cross,
    neutral: float = 1.0,
    device: torch.device | str | None = None,
) -> Tensor:
    """The mask of a kernel between two grids, ``M[q, k] = K[p_k − p_q]``, positions in common coordinates.

    On one grid for both, of stride 1 and origin 0, it is ``kernel_to_mask``.

    Args:
        kernel: A closed form of offsets ``(*S, D)``, which returns ``(heads, *S)``, such as
            ``lambda offset: kernels.gaussian(offset, sigma)``, or ``at`` of a ``DecayMask`` or ``GaussianMixtureMask``;
            or a table ``(heads, *cross.table_shape)``. Offsets are in steps of the finer grid along each axis, and so
            are the widths of a closed form.
        cross: Queries and keys. Rows and columns of their prefix tokens are ``neutral``.
        neutral: 1 for masks that multiply, 0 for masks that add.
        device: Where a closed form is given its offsets.

    Returns:
        ``(heads, *cross.shape)``, rows are queries, in the kernel's dtype: bit-exact copies of the table's entries.

    Raises:
        ValueError: If the table is not real or not of the shape.
        DenseLimitError: If the mask would exceed the memory limit.

    Source:
        Pooled keys: Wang et al. 2021, PVT (arXiv 2102.12122), spatial-reduction attention; its keys carry
        no positions, which ours do, at the centres of their cells.

    Example:
        >>> from retconv.kernels import two_sided_decay
        >>> rectangular(lambda offset: two_sided_decay(offset, 0.25), Cross(4, 2))  # 0.25^0.5, 0.25^2.5, …
        tensor([[[0.5000, 0.0312],
                 [0.5000, 0.1250],
                 [0.1250, 0.5000],
                 [0.0312, 0.5000]]])
    """
    table = kernel if isinstance(kernel, Tensor) else kernel(cross.offset_table(device))
    if tuple(table.shape[1:]) != cross.table_shape:
        raise ValueError(
            f"rectangular: a kernel must be (heads, {', '.join(map(str, cross.table_shape))}), an entry for each of "
            f"the offsets of cross.distinct(), got shape {tuple(table.shape)}"
        )
    check_real(table, "kernel")
    cross.require_dense(table.shape[0], table.dtype)
    cross.require_dense(1, torch.int64)
    index = pair_index(cross, table.device)
    mask = table.flatten(1).index_select(1, index.flatten()).unflatten(1, index.shape)
    prefix = cross.keys.prefix, cross.queries.prefix
    return F.pad(mask, (prefix[0], 0, prefix[1], 0), value=neutral) if any(prefix) else mask


def project_rectangular(mask: Tensor, cross: Cross) -> Projection:
    """The orthogonal projection of a rectangular mask onto those that have a kernel, with its residual (law 3).

    ``K[δ]`` is the mean of the mask over the pairs with offset δ. Where few pairs share one, as between grids whose
    steps are incommensurate, little is asked of a mask, and a small residual says little.

    Args:
        mask: ``(heads, *cross.shape)``; rows and columns of prefix tokens are left out.
        cross: Queries and keys.

    Returns:
        The table ``(heads, *cross.table_shape)``, in the mask's dtype, and the residual ``‖M − PM‖_F / ‖M‖_F`` of each
        head in float64, 0 iff the mask is bit for bit one of a kernel; both differentiable.

    Raises:
        ValueError: If the mask's shape is not that, it is not real or floating, an entry is not finite, or
            ``torch.vmap`` or a tracer hides it.

    Example:
        >>> cross = retconv.Cross((4,), (2,))  # four queries, two keys
        >>> kernel, residual = project_rectangular(torch.ones(1, 4, 2), cross)
        >>> residual.item()
        0.0
    """
    require_values(mask, "project_rectangular")
    check_real(mask, "mask")
    if mask.ndim != 3 or tuple(mask.shape[1:]) != cross.shape or not mask.is_floating_point():
        raise ValueError(
            f"project_rectangular: a mask must be a floating (heads, {cross.shape[0]}, {cross.shape[1]}) of {cross}, "
            f"got {mask.dtype} of shape {tuple(mask.shape)}"
        )
    entries = wide(mask[:, cross.queries.prefix :, cross.keys.prefix :]).flatten(1)
    # So far below the largest number that sums over the pairs of an offset stay finite. NaN is refused too.
    if not bool((torch.linalg.vector_norm(entries, dim=1) < torch.finfo(entries.dtype).max ** 0.9).all()):
        raise ValueError(
            "project_rectangular: a mask must be finite, its norm far from overflow: one with −inf has a mean only "
            "after exp"
        )
    index = cross.index(mask.device).flatten()
    size = math.prod(cross.table_shape)
    count = torch.bincount(index, minlength=size).to(entries.dtype)
    place = torch.arange(len(index), device=index.device)
    # Averaging deviations from the first pair, not values, keeps the kernel of a true convolution bit for bit.
    pair = index.new_full((size,), len(index)).scatter_reduce(0, index, place, "amin")
    first = entries.index_select(1, pair)
    deviation = entries - first.index_select(1, index)
    correction = torch.zeros_like(first).index_add(1, index, deviation) / count
    residual = norm_of_rest(deviation, correction * count.sqrt(), entries, differing(deviation))
    return Projection((first + correction).to(mask.dtype).unflatten(1, cross.table_shape), residual)
