"""The verdict on a mask: what convolution it is, or how far from one, and what it costs to run it in other ways."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from retconv import showing
from retconv.analysis.spectrum import definiteness
from retconv.approximate import OrderError, channels, exponentials, semiseparable_rank, separate
from retconv.atlas.entry import Entry
from retconv.atlas.published import ENTRIES
from retconv.attention import PLACEMENTS
from retconv.convert import project, unroll
from retconv.grid import Grid, GridLike
from retconv.masks import Forms, MaskLike
from retconv.names import unknown
from retconv.stored import TABLES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: What an approximation may cost, relative to the kernel's ℓ1 norm (poles) or the mask's operator norm (states).
TOLERANCE = 1e-3
#: What may be missing of a verdict.
_COUNTS = ("separable_rank", "poles", "channels", "channels_near")
#: A singular value below this part of the largest is rounding.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Verdict:
    """What is computed of a mask, of the head whose residual is largest, and of one sample where it reads data.

    Attributes:
        residual: ``‖M − PM‖_F / ‖M‖_F`` (law 3): 0 for a convolution, and only there.
        separable_rank: Outer products that the kernel is (laws 8 and 9), up to rounding; None where there is no kernel.
        poles: Complex exponentials of each axis that are the kernel to 1e-3 of its ℓ1 norm (law 16): retention heads;
            None where 32 do not suffice, or there is no kernel.
        states_past: Semiseparable rank of the mask to 1e-3 of its operator norm, its tokens in raster order: the state
            of a recurrence that computes M x.
        states_future: Likewise from the tokens behind.
        channels: Of a mask that is added as a logarithm, or multiplies weights: extra channels of query and key with
            which plain attention has it (law 21), up to rounding. Of others the rank of M, by which ``S ⊙ M`` makes
            features of queries and keys more; what causality hides is free. None where there is no logarithm, or hidden
            keys are no chain.
        channels_near: The same with an error of at most 1e-3 in every entry, in logits or of M.
        definite: Law 11.
        dc: ``Σ K``, the gain of a constant image, of the nearest kernel where there is none.
        nyquist: ``Σ (−1)^Σδ K``, the gain of a checkerboard, likewise.
        kernel: ``(1, *grid.kernel_shape)``, its kernel or the nearest one, which is drawn.
        rings: Which axes of the grid are periodic.

    Example:
        >>> retconv.atlas.verdict(retconv.DecayMask(heads=1), (8, 8)).separable_rank
        1
    """

    residual: float
    separable_rank: int | None
    poles: int | None
    states_past: int
    states_future: int
    channels: int | None
    channels_near: int | None
    definite: str
    dc: float
    nyquist: float
    kernel: Tensor = field(repr=False, compare=False)
    rings: tuple[bool, ...] = field(repr=False, compare=False)

    @property
    def has_kernel(self) -> bool:
        """Whether the mask is a convolution."""
        return self.residual == 0

    def to_dict(self) -> dict[str, Any]:
        """The numbers and words, without the kernel."""
        return {name: value for name, value in asdict(self).items() if name not in ("kernel", "rings")}

    def picture(self) -> showing.Picture:
        """What is drawn of it."""
        facts = {name.replace("_", " "): [value] for name, value in self.to_dict().items()}
        return showing.Picture("verdict", self.kernel, rings=self.rings, nearest=not self.has_kernel, facts=facts)

    def plot(self) -> Figure:
        """The kernel that was judged, and the modulus of its symbol."""
        return showing.plot(self.picture())

    def _repr_html_(self) -> str:
        return showing.html(self.picture())


def verdict(mask: MaskLike, grid: GridLike, placement: str = "bias_logits") -> Verdict:
    """Judge any mask: compute everything that the atlas says of one.

    Args:
        mask: In any form, see ``retconv.masks.Forms``; of a bias on logits give ``Forms.of_log``. A module is judged in
            float64; ranks of a table are those up to the rounding of its dtype.
        grid: The grid; prefix tokens are left out.
        placement: Where it acts, a name of ``retconv.attention.PLACEMENTS``: what its channels are depends on that.

    Raises:
        ValueError: If it does not belong on the grid, a weight is not finite, or the placement is unknown.

    Example:
        >>> import retconv
        >>> verdict(retconv.RetNetMask(1), 64).states_past
        1
    """
    if placement not in PLACEMENTS:
        raise ValueError(unknown("placement", placement, PLACEMENTS))
    plain = Grid.of(grid).without_prefix()
    forms, kernel, residual = sample(mask, grid)
    lower, upper = semiseparable_rank(forms.entries.double(), TOLERANCE)
    # A circulant mask is a Toeplitz one, which has a kernel on the open grid too (law 23).
    unrolled = unroll(kernel, plain)
    checkerboard = 1 - 2 * (plain.offsets().sum(dim=-1) % 2)
    judged = unrolled if residual == 0 else forms.entries.double()
    return Verdict(
        residual=residual,
        separable_rank=_separable_rank(unrolled, forms.values.dtype) if residual == 0 else None,
        poles=_poles(unrolled) if residual == 0 else None,
        states_past=int(lower),
        states_future=int(upper),
        channels=_channels(forms, placement, 0.0),
        channels_near=_channels(forms, placement, TOLERANCE),
        definite=definiteness(judged, plain.opened())[0].verdict,
        dc=float(kernel.sum()),
        nyquist=float((kernel * checkerboard).sum()),
        kernel=kernel,
        rings=plain.periodic,
    )


def sample(mask: MaskLike, grid: GridLike) -> tuple[Forms, Tensor, float]:
    """What a verdict is of: the head whose residual is largest, and the first sample where there are several.

    Returns:
        The mask of that head without prefix tokens, its kernel or that of the nearest convolution,
        ``(1, *grid.kernel_shape)`` in float64, and the residual.

    Example:
        >>> forms, residual, worst = sample(retconv.DecayMask(heads=2), 8)
        >>> forms.heads
        1
    """
    with torch.no_grad():
        if isinstance(mask, nn.Module):
            # Its formula, of which ranks are told, in place of what float32 makes of it.
            mask = copy.deepcopy(mask).double()
        forms = Forms.of(mask, grid).without_prefix()
        if forms.kernel is not None:
            return forms.part(slice(1)), forms.kernel.double()[:1], 0.0
        if forms.entries.ndim > 3:
            forms = forms.sample(0)
        nearest = project(forms.entries.double(), forms.grid)
        head = int(nearest.residual.argmax())
        one = slice(head, head + 1)
        return forms.part(one), nearest.kernel[one], float(nearest.residual[head])


def table(entries: Iterable[Entry] = ENTRIES.values()) -> pd.DataFrame:
    """One row for each mask: what is known of it, then its verdict; numbers are not rounded.

    Example:
        >>> table([retconv.atlas.ENTRIES["retnet"]])["residual"].item()
        0.0
    """
    # Whoever asks for one verdict need not wait for pandas.
    import pandas as pd

    return pd.DataFrame(
        [row(entry, verdict(entry.build(entry.grid), entry.grid, entry.placement)) for entry in entries]
    )


def stored() -> pd.DataFrame:
    """The table of all masks as ``retconv atlas --compute --out`` wrote it, which comes with the package.

    Example:
        >>> stored().shape[0] > 50
        True
    """
    # As above.
    import pandas as pd

    return pd.read_csv(TABLES / "atlas.csv", keep_default_na=False, na_values={name: [""] for name in _COUNTS})


def row(entry: Entry, judged: Verdict) -> dict[str, Any]:
    """A row of the table.

    Example:
        >>> judged = retconv.atlas.verdict(retconv.DecayMask(heads=1), (8, 8))
        >>> row(retconv.atlas.ENTRIES["retnet"], judged)["residual"]
        0.0
    """
    told = {name: getattr(entry, name) for name in ("name", "title", "formula", "source", "placement", "reads")}
    grid = "×".join(map(str, entry.grid.shape)) + (", torus" if not entry.grid.is_open else "")
    return {**told, "grid": grid, **judged.to_dict()}


def _separable_rank(kernel: Tensor, dtype: torch.dtype) -> int:
    """Outer products of the kernel of one head, up to the rounding of the dtype that it was made in."""
    rounding = max(ROUNDING, 16 * torch.finfo(dtype).eps)
    if kernel.ndim == 2 or not bool(kernel.any()):
        return int(bool(kernel.any()))
    if kernel.ndim == 3:
        values = torch.linalg.svdvals(kernel[0])
        return int((values > rounding * values[0]).sum())
    return int(separate(kernel, tolerance=rounding).rank)


def _poles(kernel: Tensor) -> int | None:
    try:
        factors = kernel if kernel.ndim == 2 else separate(kernel, tolerance=TOLERANCE / 2).factors
        return int(exponentials(factors, tolerance=TOLERANCE / (1 if kernel.ndim == 2 else 2)).order)
    except OrderError:
        return None


def _channels(forms: Forms, placement: str, tolerance: float) -> int | None:
    """Extra channels of one head, no more than exact ones."""
    adds = PLACEMENTS[placement].softmax and PLACEMENTS[placement].before != "multiply"
    if adds and bool((forms.values < 0).any()):
        return None
    values = (forms.log if adds else forms).entries
    # What is 0 for later keys alone, causality hides, and its logarithm does so by itself.
    causal = True if not adds and forms.grid.ndim == 1 and not bool(values.triu(1).any()) else None
    acts: Any = {"placement": "bias_logits" if adds else "retention", "causal": causal}
    try:
        counts = [channels(forms, forms.grid, t, **acts).rank for t in (0.0, tolerance)]
    except ValueError:
        return None
    return min(counts)
