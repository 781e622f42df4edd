"""How local a mask is: where the mass of its rows lies, counted from the query."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TypeGuard

import torch
from torch import Tensor

from retconv.analysis.locality.rows import Rows
from retconv.analysis.reading import resolve
from retconv.convert import project
from retconv.grid import Grid, GridLike
from retconv.masks import Forms, MaskLike

#: Shares are compared with a radius's mass up to this: sums of float64 weights reach 1 only up to rounding.
_ROUNDING = 1e-12
_DISTANCES = "its distances are no torus distances, measure the mask on grid.opened()"


@dataclass(frozen=True)
class Locality:
    """Locality of each head; mass is ``|weight|``, distances are Euclidean, in tokens.

    With the border every query is a row of the keys that it has. The share of mass of an offset is taken in each row,
    divided by the row's own mass, and averaged over the rows; rows of no mass are left out. Without the border, the
    kernel is the one row. Mean distance, radii, size and center are of this **mean share**: the radii and the size are
    the smallest at which it reaches its part, not means of each query's own, which can be larger or smaller.

    Attributes:
        self_weight: ``(heads,)``, the weight of a query for itself, signed, mean over all queries.
        neighbour_weight: ``(heads,)``, the signed weight of a nearest neighbour, mean over those that a query has (0 if
            none) and then over all queries.
        extroversion: ``(heads,)`` in [−1, 1], (neighbour − self) / (|neighbour| + |self|) of these two means: −1 for
            the identity, 0 where both weigh the same, 1 where only neighbours count, or the self-weight is negative
            beside a positive neighbour's (law 10).
        mean_distance: ``(heads,)``, the mean attended distance.
        radius_half: ``(heads,)``, the smallest radius within which the mean share is half.
        radius_95: ``(heads,)``, the smallest radius within which it is 95 %.
        size_95: ``(heads,)``, the effective kernel size: the odd side of the smallest window around the query in which
            it is 95 %. Without the border that is law 12's, ``retconv.approximate.effective_size(kernel, 0.05)``, which
            rounds the other way where a window holds exactly 95 %.
        entropy: ``(heads,)`` in nats, mean over rows of the entropy of a row's shares; its exponential is a number of
            tokens.
        center: ``(heads, D)``, the mean offset: where, relative to the query, the mass lies.
        anisotropy: ``(heads,)`` in [0, 1], ``1 − λ_min / λ_max`` of the covariance of the offset; 0 is round, 1 is a
            line; 0 on grids of one axis. Of the kernel, or of the mean mass over the pairs of each offset, within the
            largest cube of offsets.

    Example:
        >>> retconv.analysis.locality.locality(torch.eye(9)[None], (3, 3)).self_weight.tolist()
        [1.0]
    """

    self_weight: Tensor
    neighbour_weight: Tensor
    extroversion: Tensor
    mean_distance: Tensor
    radius_half: Tensor
    radius_95: Tensor
    size_95: Tensor
    entropy: Tensor
    center: Tensor
    anisotropy: Tensor


def locality(mask: MaskLike, grid: GridLike, border: bool = True) -> Locality:
    """All measures of locality, for a kernel, a mask or attention weights.

    Args:
        mask: A mask module, a kernel ``(heads, 2 n_1 − 1, …)``, a mask or attention weights
            ``(heads, length, length)``, or a batch of these, ``(batch, heads, length, length)``, over which the
            measures are averaged.
        grid: The grid; prefix tokens are left out.
        border: Whether rows end at the border of the grid, as those of the mask do; if not, the measures are those of
            the kernel as a whole. Weights without a kernel always have their border.

    Returns:
        The measures, float64.

    Raises:
        ValueError: If it is no kernel or mask of the grid, border is False for one that has no kernel, or the grid is
            periodic.

    Example:
        >>> near = locality(retconv.DecayMask(heads=1, gamma=0.5), (14, 14))
        >>> round(near.mean_distance.item(), 2)
        1.94
    """
    grid = Grid.of(grid)
    grid.require_open("locality", _DISTANCES)
    if _is_batch(mask, grid):
        if not len(mask):
            raise ValueError(f"locality: the batch of masks {tuple(mask.shape)} is empty: it has no mean")
        batch = [locality(weights, grid, border) for weights in mask]
        means = {f.name: torch.stack([getattr(b, f.name) for b in batch]).mean(dim=0) for f in fields(Locality)}
        return Locality(**means)
    subject = resolve(mask, grid)
    rows = _rows(subject, border)
    offset = subject.grid.offsets(subject.values.device).to(torch.float64)
    distance = offset.norm(dim=-1)[None]
    steps = offset.abs().sum(dim=-1)[None]
    mass = rows.sums(torch.ones_like(distance))
    own = rows.sums((steps == 0).double(), magnitude=False)
    beside = (steps == 1).double()
    count = rows.counts(beside)
    # A grid of one token has no neighbours, hence nothing to be extrovert about.
    near = rows.sums(beside, magnitude=False) / count.clamp(min=1)
    self_weight, neighbour_weight = own.mean(dim=1), near.mean(dim=1)
    scale = self_weight.abs() + neighbour_weight.abs()
    center = [_mean_share(rows.sums(offset[None, ..., d]), mass) for d in range(subject.grid.ndim)]
    entropy = mass.log() - rows.information() / mass
    return Locality(
        self_weight=self_weight,
        neighbour_weight=neighbour_weight,
        extroversion=(neighbour_weight - self_weight) / torch.where(scale == 0, 1.0, scale),
        mean_distance=_mean_share(rows.sums(distance), mass),
        radius_half=_mass_radius(rows, distance, mass, 0.5),
        radius_95=_mass_radius(rows, distance, mass, 0.95),
        size_95=2 * _mass_radius(rows, offset.abs().amax(dim=-1)[None], mass, 0.95) + 1,
        entropy=torch.where(mass > 0, entropy, torch.nan).nanmean(dim=1),
        center=torch.stack(center, dim=1),
        anisotropy=_anisotropy(subject),
    )


def mass_within(mask: MaskLike, grid: GridLike, radius: Tensor | float, border: bool = True) -> Tensor:
    """The share of a row's mass within a Euclidean radius of the query, mean over queries.

    Args:
        mask: As for ``locality``, without a batch.
        grid: The grid; prefix tokens are left out.
        radius: Number or ``(R,)``, in tokens; a key at exactly that distance counts.
        border: As for ``locality``.

    Returns:
        ``(heads,)`` or ``(heads, R)``, in [0, 1], float64.

    Raises:
        ValueError: If it is no kernel or mask of the grid, border is False for one that has no kernel, or the grid is
            periodic.

    Example:
        >>> mass_within(torch.eye(9)[None], (3, 3), radius=0.0).tolist()
        [1.0]
    """
    Grid.of(grid).require_open("mass_within", _DISTANCES)
    subject = resolve(mask, grid)
    rows = _rows(subject, border)
    distance = subject.grid.offsets(subject.values.device).to(torch.float64).norm(dim=-1)[None]
    mass = rows.sums(torch.ones_like(distance))
    # A tensor's √2 was rounded in its dtype, and may lie below that of float64.
    rounding = 4 * torch.finfo(radius.dtype).eps if isinstance(radius, Tensor) and radius.is_floating_point() else 0.0
    radii = torch.as_tensor(radius, dtype=torch.float64, device="cpu") * (1 + rounding)
    shares = [_mean_share(rows.sums((distance <= float(r)).double()), mass) for r in radii.reshape(-1)]
    return torch.stack(shares, dim=1).reshape(subject.heads, *radii.shape)


def _is_batch(mask: MaskLike, grid: Grid) -> TypeGuard[Tensor]:
    """Whether these are masks ``(batch, heads, length, length)``, and no kernel of a grid of three axes."""
    if not isinstance(mask, Tensor) or mask.ndim != 4 or tuple(mask.shape[1:]) == grid.kernel_shape:
        return False
    return tuple(mask.shape[2:]) == (grid.length, grid.length)


def _rows(subject: Forms, border: bool) -> Rows:
    if subject.kernel is None and not border:
        raise ValueError("weights without a kernel have rows only with their border: use border=True, or project them")
    return Rows(subject, border)


def _mean_share(part: Tensor, mass: Tensor) -> Tensor:
    """Mean over the rows that have mass of ``part / mass``: ``(heads, rows) → (heads,)``, NaN if none has."""
    return torch.where(mass > 0, part / mass, torch.nan).nanmean(dim=1)


def _mass_radius(rows: Rows, distance: Tensor, mass: Tensor, share: float) -> Tensor:
    """The smallest distance within which the mean share reaches ``share``, by bisection over all distances."""
    distances = distance.unique()
    heads = mass.shape[0]
    low = torch.zeros(heads, dtype=torch.int64, device=mass.device)
    high = torch.full_like(low, len(distances) - 1)
    for _ in range(len(distances).bit_length()):
        middle = (low + high) // 2
        inside = distance <= distances[middle].reshape(heads, *(1,) * (distance.ndim - 1))
        enough = _mean_share(rows.sums(inside.double()), mass) >= share - _ROUNDING
        low, high = (
            torch.where(enough, low, (middle + 1).clamp(max=len(distances) - 1)),
            torch.where(enough, middle, high),
        )
    return torch.where((mass > 0).any(dim=1), distances[high], torch.nan)


def _anisotropy(subject: Forms) -> Tensor:
    """Within the largest cube of offsets, so that an oblong grid does not count as anisotropy of its mask.

    Weights without a kernel are averaged over the pairs of each offset first, which undoes the border: far offsets have
    fewer pairs.
    """
    grid = subject.grid
    mass = subject.kernel.abs() if subject.kernel is not None else project(subject.entries.abs(), grid).kernel
    reach = min(grid.shape) - 1
    for axis, n in enumerate(grid.shape, start=1):
        mass = mass.narrow(axis, n - 1 - reach, 2 * reach + 1)
    offset = Grid((reach + 1,) * grid.ndim).offsets(mass.device).to(mass.dtype).reshape(-1, grid.ndim)
    weight = mass.flatten(1) / mass.flatten(1).sum(dim=1, keepdim=True)
    centred = offset - (weight @ offset)[:, None]  # shape: (heads, offsets, D)
    covariance = torch.einsum("ho,hoa,hob->hab", weight, centred, centred)
    good = torch.isfinite(covariance).all(dim=(1, 2))
    values = torch.linalg.eigvalsh(torch.where(good[:, None, None], covariance, 0.0))
    spread = values[:, -1]
    anisotropy = 1 - values[:, 0] / torch.where(spread == 0, 1.0, spread)
    return torch.where(good, torch.where((spread == 0) | (grid.ndim == 1), 0.0, anisotropy), torch.nan)
