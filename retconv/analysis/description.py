"""Everything at once: what a mask or kernel does, as one object that prints, exports and plots itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from retconv import showing
from retconv.analysis.locality import Locality, locality, mass_within
from retconv.analysis.reading import resolve
from retconv.analysis.spectrum import (
    Definiteness,
    NormBounds,
    Passband,
    definiteness,
    norm_bounds,
    operator_norm,
    passband,
)
from retconv.approximate import effective_size
from retconv.convert import project
from retconv.grid import Grid, GridLike
from retconv.masks import MaskLike

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

#: Heads beside each other in the printed table.
_COLUMNS = 6
#: Said below the table, which would seem to contradict itself: where a kernel is cut off its symbol may turn negative.
_WHOSE = """\
Filter, gains and half power are of the symbol of this kernel, which ends at its border; norm and "definite" are of
the mask on these tokens, which may be positive where that symbol is not."""


@dataclass(frozen=True)
class Description:
    """What a mask does, head by head; ``print`` it, or take ``to_frame()``, ``to_dict()`` or ``plot()``.

    Attributes:
        name: What it is called.
        grid: The grid, without prefix tokens.
        kernel: ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``: the mask's kernel, or where it has none that of the nearest
            convolution.
        residual: ``(heads,)``, ``‖M − PM‖_F / ‖M‖_F`` (law 3): 0 where the mask is its kernel.
        locality: Of the mask, with its border.
        mass_beside: ``(heads,)``, the share of mass within √2 tokens: the query and all that touch it.
        size_95: ``(heads,)``, side of the window that holds 95 % of the kernel's ℓ1 mass (law 12).
        size_99: ``(heads,)``, 99 % of it.
        norm: ``(heads,)``, the operator norm of the mask.
        bounds: The norm's bounds by symbol and ℓ1 mass; None for a mask without kernel, which has none.
        passband: The kernel's frequency response.
        definiteness: The mask's, with the reason.

    Example:
        >>> import retconv.analysis
        >>> description = retconv.analysis.describe(retconv.DecayMask(heads=2), (4, 4))
        >>> description.to_frame().shape[0]  # a row for each head
        2
    """

    name: str
    grid: Grid
    kernel: Tensor
    residual: Tensor
    locality: Locality
    mass_beside: Tensor
    size_95: Tensor
    size_99: Tensor
    norm: Tensor
    bounds: NormBounds | None
    passband: Passband
    definiteness: list[Definiteness]

    def rows(self) -> dict[str, list[Any]]:
        """Every quantity by its name, in the order of the printed table: one number or word for each head."""
        place, wave = self.locality, self.passband
        quantities: dict[str, Any] = {
            "residual": self.residual,
            "self-weight": place.self_weight,
            "neighbour weight": place.neighbour_weight,
            "extroversion": place.extroversion,
            "mean distance": place.mean_distance,
            "radius of 50 % mass": place.radius_half,
            "radius of 95 % mass": place.radius_95,
            "mass within √2": self.mass_beside,
            "kernel size, 95 %": self.size_95,
            "kernel size, 99 %": self.size_99,
            "entropy (nats)": place.entropy,
            "anisotropy": place.anisotropy,
            "filter": list(wave.kind),
            "DC gain": wave.dc,
            "Nyquist gain": wave.nyquist,
            "peak gain": wave.peak,
        }
        for axis in range(self.grid.ndim):
            suffix = f", axis {axis + 1}" if self.grid.ndim > 1 else ""
            quantities[f"half power (rad{suffix})"] = wave.half_power[:, axis]
        quantities["norm ‖M‖₂"] = self.norm
        if self.bounds is not None:
            quantities |= {"bound ‖symbol‖_∞": self.bounds.symbol, "bound ‖K‖₁": self.bounds.l1}
        quantities["definite"] = [d.verdict for d in self.definiteness]
        return {name: v.tolist() if isinstance(v, Tensor) else v for name, v in quantities.items()}

    def to_dict(self) -> dict[str, Any]:
        """The description as plain numbers and words, ready for JSON; what is not defined is None."""
        heads: list[dict[str, Any]] = [{"head": h} for h in range(len(self.residual))]
        for name, values in self.rows().items():
            for head, value in zip(heads, values, strict=True):
                head[name] = None if isinstance(value, float) and not math.isfinite(value) else value
        for head, verdict in zip(heads, self.definiteness, strict=True):
            head["reason"] = verdict.reason
        return {
            "name": self.name,
            "grid": list(self.grid.shape),
            "has_kernel": self.bounds is not None,
            "heads": heads,
        }

    def to_frame(self) -> pd.DataFrame:
        """One row for each head, one column for each quantity."""
        # Whoever only prints a description need not wait for pandas.
        import pandas as pd

        return pd.DataFrame(self.rows()).rename_axis("head")

    def picture(self) -> showing.Picture:
        """What is drawn of it."""
        radii = torch.arange(math.ceil(math.hypot(*(n - 1 for n in self.grid.shape))) + 1)
        mass = radii, mass_within(self.kernel.detach(), self.grid, radii, border=False)
        return showing.Picture(self.name, self.kernel, mass=mass, nearest=self.bounds is None, facts=self.rows())

    def plot(self) -> Figure:
        """Kernel, modulus of its symbol, and the share of its ℓ1 mass within each radius, of up to six heads."""
        return showing.plot(self.picture())

    def _repr_html_(self) -> str:
        return showing.html(self.picture())

    def __repr__(self) -> str:
        return f"Description({self.name!r} on {self.grid}, {len(self.residual)} heads): print it, or plot()"

    def __str__(self) -> str:
        shape = "×".join(map(str, self.grid.shape))
        sides = "×".join(map(str, self.grid.kernel_shape))
        heads = len(self.residual)
        kind = f"kernel {sides}, exact" if self.bounds is not None else f"no kernel; nearest one {sides}, see residual"
        lines = [f"{self.name} on {shape} tokens, {heads} head{'s' * (heads > 1)}: {kind}"]
        rows = {name: [_cell(value) for value in values] for name, values in self.rows().items()}
        label = max(map(len, rows)) + 2
        wide = max(len(cell) for cells in rows.values() for cell in cells) + 2
        for start in range(0, heads, _COLUMNS):
            block = range(start, min(start + _COLUMNS, heads))
            lines += ["", " " * label + "".join(f"{f'head {h}':>{wide}}" for h in block)]
            lines += [
                f"{name:<{label}}" + "".join(f"{cells[h]:>{wide}}" for h in block) for name, cells in rows.items()
            ]
        lines += ["", _WHOSE, ""]
        for h, verdict in enumerate(self.definiteness):
            lines.append(f"head {h} is {verdict.verdict}: {verdict.reason}")
        return "\n".join(lines)


def describe(mask: MaskLike, grid: GridLike, name: str | None = None) -> Description:
    """Describe a mask or kernel: where its mass lies, what it does to frequencies, and whether it is positive.

    Args:
        mask: A mask module, a kernel ``(heads, 2 n_1 − 1, …)``, or a mask or attention weights
            ``(heads, length, length)``.
        grid: The grid; prefix tokens are left out.
        name: What to call it; the module's own description, or "kernel" or "mask", if not given.

    Returns:
        The description: its numbers are those of ``locality``, ``mass_within``, ``effective_size``, ``norm_bounds``,
        ``passband`` and ``definiteness``.

    Raises:
        ValueError: If it is neither a kernel nor a mask of the grid, or not finite, or the grid is periodic.

    Example:
        >>> import retconv
        >>> print(describe(retconv.DecayMask(1, gamma=0.9), (14, 14)))  # doctest: +SKIP
    """
    Grid.of(grid).require_open("describe", "use eigenvalues, singular_values and definiteness")
    subject = resolve(mask, grid)
    plain = subject.grid
    if subject.kernel is not None:
        kernel, residual = subject.kernel, subject.kernel.new_zeros(subject.heads)
        bounds = norm_bounds(kernel, plain)
        norm = bounds.norm
    else:
        kernel, residual = project(subject.entries, plain)
        bounds, norm = None, operator_norm(mask, grid)
    if name is None:
        name = ("kernel" if subject.kernel is not None else "mask") if isinstance(mask, Tensor) else str(mask)
    return Description(
        name=name,
        grid=plain,
        kernel=kernel,
        residual=residual,
        locality=locality(mask, grid),
        mass_beside=mass_within(mask, grid, math.sqrt(2)),
        size_95=effective_size(kernel, 0.05),
        size_99=effective_size(kernel, 0.01),
        norm=norm,
        bounds=bounds,
        passband=passband(kernel),
        definiteness=definiteness(mask, grid),
    )


def _cell(value: object) -> str:
    if isinstance(value, float):
        # What is 0 but for rounding is printed as 0.
        value = f"{0.0 if abs(value) < 1e-12 else value:.4g}"
    return str(value).replace("semidefinite", "semi")
