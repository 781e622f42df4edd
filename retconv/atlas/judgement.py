"""The verdict on a mask: what convolution it is, or how far from one, and what it costs to run it in other ways."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from retconv.analysis.spectrum import definiteness
from retconv.approximate import OrderError, exponentials, semiseparable_rank, separate
from retconv.atlas.entry import Entry
from retconv.atlas.published import ENTRIES
from retconv.convert import kernel_to_mask, project, unroll
from retconv.grid import Grid, GridLike
from retconv.masks import Forms, MaskLike
from retconv.stored import TABLES

if TYPE_CHECKING:
    import pandas as pd

#: What an approximation may cost, relative to the kernel's ℓ1 norm (poles) or the mask's operator norm (states).
TOLERANCE = 1e-3
#: A singular value below this part of the largest is rounding.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Verdict:
    """What is computed of a mask, of the head whose residual is largest, and of one sample where it reads data.

    Attributes:
        residual: ``‖M − PM‖_F / ‖M‖_F`` (law 3): 0 for a convolution, and only there.
        separable_rank: Outer products that the kernel is (laws 8 and 9), up to rounding; None where there is no
            kernel.
        poles: Complex exponentials of each axis that are the kernel to 1e-3 of its ℓ1 norm (law 16): retention heads;
            None where 32 do not suffice, or there is no kernel.
        states: Semiseparable rank of the mask to 1e-3 of its operator norm, its tokens in raster order, from the past
            and from the future: the state of a recurrence that computes M x.
        definite: Law 11.
        dc: ``Σ K``, the gain of a constant image.
        nyquist: ``Σ (−1)^Σδ K``, the gain of a checkerboard.
    """

    residual: float
    separable_rank: int | None
    poles: int | None
    states: tuple[int, int]
    definite: str
    dc: float
    nyquist: float

    @property
    def has_kernel(self) -> bool:
        """Whether the mask is a convolution."""
        return self.residual == 0


def verdict(mask: MaskLike, grid: GridLike) -> Verdict:
    """Judge any mask: compute everything that the atlas says of one.

    Args:
        mask: In any form, see ``retconv.masks.Forms``; of a bias on logits give ``Forms.of_log``. In float64 where
            ranks up to rounding are to be those of its formula.
        grid: The grid; prefix tokens are left out.

    Raises:
        ValueError: If it does not belong on the grid, or a weight is not finite.

    Example:
        >>> import retconv
        >>> verdict(retconv.RetNetMask(1), 64).states
        (1, 0)
    """
    kernel, entries, residual = sample(mask, grid)
    grid = Grid.of(grid).without_prefix()
    lower, upper = semiseparable_rank(entries, TOLERANCE)
    # A circulant mask is a Toeplitz one, which has a kernel on the open grid too (law 23).
    unrolled = unroll(kernel, grid)
    checkerboard = 1 - 2 * (grid.offsets().sum(dim=-1) % 2)
    return Verdict(
        residual=residual,
        separable_rank=_separable_rank(unrolled) if residual == 0 else None,
        poles=_poles(unrolled) if residual == 0 else None,
        states=(int(lower), int(upper)),
        definite=definiteness(unrolled if residual == 0 else entries, grid.opened())[0].verdict,
        dc=float(kernel.sum()),
        nyquist=float((kernel * checkerboard).sum()),
    )


def sample(mask: MaskLike, grid: GridLike) -> tuple[Tensor, Tensor, float]:
    """What a verdict is of: the head whose residual is largest, and the first sample where there are several.

    Returns:
        Its kernel, or that of the nearest convolution, ``(1, 2 n_1 − 1, …)``, the mask ``(1, N, N)``, both in float64
        without prefix tokens, and the residual.
    """
    plain = Grid.of(grid).without_prefix()
    with torch.no_grad():
        forms = Forms.of(mask, grid).without_prefix()
        if forms.kernel is not None:
            kernel = forms.kernel.double()[:1]
            return kernel, kernel_to_mask(kernel, plain), 0.0
        masks = forms.entries.double().reshape(-1, forms.heads, plain.size, plain.size)[0]
        nearest = project(masks, plain)
        head = int(nearest.residual.argmax())
        return nearest.kernel[head : head + 1], masks[head : head + 1], float(nearest.residual[head])


def table(entries: Iterable[Entry] = ENTRIES.values()) -> pd.DataFrame:
    """One row for each mask: what is known of it, then its verdict; numbers are not rounded."""
    # Whoever asks for one verdict need not wait for pandas.
    import pandas as pd

    return pd.DataFrame([row(entry, verdict(entry.build(entry.grid), entry.grid)) for entry in entries])


def stored() -> pd.DataFrame:
    """The table of all masks as ``python -m retconv.atlas --compute --out`` wrote it, which comes with the package."""
    # As above.
    import pandas as pd

    return pd.read_csv(TABLES / "atlas.csv", keep_default_na=False, na_values={"poles": [""], "separable_rank": [""]})


def row(entry: Entry, judged: Verdict) -> dict[str, Any]:
    """A row of the table."""
    told = {name: getattr(entry, name) for name in ("name", "title", "formula", "source", "placement", "reads")}
    grid = "×".join(map(str, entry.grid.shape)) + (", torus" if not entry.grid.is_open else "")
    numbers = {field.name: getattr(judged, field.name) for field in fields(judged)}
    past, future = numbers.pop("states")
    return {**told, "grid": grid, **numbers, "states_past": past, "states_future": future}


def _separable_rank(kernel: Tensor) -> int:
    """Outer products of the kernel of one head, up to rounding."""
    if kernel.ndim == 2 or not bool(kernel.any()):
        return int(bool(kernel.any()))
    if kernel.ndim == 3:
        values = torch.linalg.svdvals(kernel[0])
        return int((values > ROUNDING * values[0]).sum())
    return int(separate(kernel, tolerance=ROUNDING).rank)


def _poles(kernel: Tensor) -> int | None:
    try:
        factors = kernel if kernel.ndim == 2 else separate(kernel, tolerance=TOLERANCE / 2).factors
        return int(exponentials(factors, tolerance=TOLERANCE / (1 if kernel.ndim == 2 else 2)).order)
    except OrderError:
        return None
