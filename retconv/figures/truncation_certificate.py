"""Figure: the certificate of a truncated kernel against the operator norm that it bounds (law 12)."""

from __future__ import annotations

import pandas as pd
import torch
from matplotlib.axes import Axes
from torch import Tensor

from retconv.approximate import truncate
from retconv.convert import kernel_to_mask
from retconv.figures.panels import f64, headline, letters, mixture
from retconv.figures.registry import Drawn, register
from retconv.figures.style import BLUE, GREEN, ORANGE, PINK, SINGLE, new_figure
from retconv.grid import Grid
from retconv.kernels import euclidean_decay, gaussian_mixture, manhattan_decay

_GRIDS = (Grid(64), Grid((8, 8)), Grid((4, 4, 4)))
_DRAWS = 12
_FAMILIES = {
    "decay": (BLUE, "o"),
    "Gaussian": (ORANGE, "s"),
    "signed mixture": (GREEN, "^"),
    "random": (PINK, "D"),
}
#: What is drawn by window size: its name and, of mixtures, the components (α, σ).
_CURVES = {
    "decay": ("decay, γ = 0.8", []),
    "Gaussian": ("Gaussian, σ = 5", [(1.0, 5.0)]),
    "signed mixture": ("signed mixture", [(1.0, 5.0), (-0.8, 1.5)]),
}


def _uniform(low: float, high: float, generator: torch.Generator, *size: int) -> Tensor:
    return low + (high - low) * torch.rand(*size, generator=generator, dtype=torch.float64)


def _draw_kernels(family: str, grid: Grid, generator: torch.Generator) -> Tensor:
    """Kernels with parameters at random, ``(draws, …)``."""
    offsets = grid.offsets()
    if family == "decay":
        return manhattan_decay(offsets, _uniform(0.3, 0.9, generator, _DRAWS))
    if family == "Gaussian":
        return gaussian_mixture(offsets, _uniform(0.5, 6.0, generator, _DRAWS, 1), torch.ones(1, 1).double())
    if family == "signed mixture":
        wide, narrow = _uniform(2.0, 6.0, generator, _DRAWS, 1), _uniform(0.5, 2.0, generator, _DRAWS, 1)
        alpha = torch.cat([torch.ones(_DRAWS, 1).double(), _uniform(-1.5, -0.5, generator, _DRAWS, 1)], dim=1)
        return gaussian_mixture(offsets, torch.cat([wide, narrow], dim=1), alpha)
    noise = torch.randn(_DRAWS, *grid.kernel_shape, generator=generator, dtype=torch.float64)
    return noise * euclidean_decay(offsets, _uniform(0.5, 0.95, generator, _DRAWS))


def _measure(family: str, kernel: Tensor, grid: Grid, size: int, part: str) -> list[dict[str, object]]:
    cut = truncate(kernel, size=size)
    error = torch.linalg.matrix_norm(kernel_to_mask(kernel - cut.kernel, grid), ord=2)
    norm = kernel.abs().flatten(1).sum(dim=1)
    return [
        {
            "part": part,
            "family": family,
            "grid": "×".join(map(str, grid.shape)),
            "size": size,
            "certificate": bound,
            "operator_norm_error": true,
        }
        for bound, true in zip(cut.relative.tolist(), (error / norm).tolist(), strict=True)
    ]


def _draw_scatter(ax: Axes, data: pd.DataFrame) -> None:
    ax.plot([1e-3, 1], [1e-3, 1], color="black", linewidth=0.8)
    ax.text(1.4e-3, 1.7e-3, "error = bound", rotation=45, rotation_mode="anchor", va="bottom", color="0.3")
    for family, (colour, marker) in _FAMILIES.items():
        rows = data[data["family"] == family]
        look: dict[str, object] = {"color": colour, "marker": marker, "linestyle": "", "markersize": 2.8, "alpha": 0.7}
        ax.plot(rows["certificate"], rows["operator_norm_error"], label=family, markeredgewidth=0, **look)  # type: ignore[arg-type]
    ax.set(xscale="log", yscale="log", xlim=(1e-3, 1.2), ylim=(1e-3, 1.2), aspect="equal")
    ax.set(xlabel="certificate / ‖K‖₁", ylabel="operator-norm error / ‖K‖₁")
    ax.minorticks_off()


def _draw_curves(ax: Axes, data: pd.DataFrame) -> None:
    for family, (label, _) in _CURVES.items():
        rows = data[data["family"] == family]
        colour, marker = _FAMILIES[family]
        ax.plot(rows["size"], rows["certificate"], color=colour, label=label)
        ax.plot(rows["size"], rows["operator_norm_error"], color=colour, marker=marker, linestyle="", markersize=2.6)
    ax.set(yscale="log", xlabel="window size (tokens)", ylabel="error / ‖K‖₁", ylim=(1e-6, 1.5), xlim=(0, 62))
    ax.minorticks_off()
    ax.text(2, 2e-6, "curves: certificate\nmarks: error")
    names = zip(_CURVES, ((38, 2e-2), (8, 1e-4), (43, 5e-5)), strict=True)
    for family, place in names:
        ax.text(*place, _CURVES[family][0], color=_FAMILIES[family][0])


def finding(data: pd.DataFrame) -> str:
    """How many truncations, whether any certificate is below the truth, and how tight they are by family."""
    random = data[data["part"] == "random parameters"]
    ratio = (random["operator_norm_error"] / random["certificate"]).groupby(random["family"], sort=False).median()
    below = int((data["certificate"] < data["operator_norm_error"]).sum())
    tight = ", ".join(f"{family} {value:.2f}" for family, value in ratio.items())
    return f"{below} of {len(data)} certificates below the true error; median error / certificate: {tight}"


@register("truncation_certificate", 140, finding)
def draw() -> Drawn:
    """What truncation costs.

    Kernels cut to a window: the certificate ‖K − K'‖₁ against the true operator-norm error ‖M − M'‖₂ of the mask
    (largest singular value), both relative to ‖K‖₁. (a) Kernels with random parameters on 64, 8×8 and 4×4×4 tokens, cut
    to several sizes: no error is above its certificate. (b) On 64 tokens by window size, certificate (curves) and error
    (marks): the bound is nearly attained where what is cut away has one sign and the window is small beside the grid.
    """
    generator = torch.Generator().manual_seed(0)
    rows: list[dict[str, object]] = []
    for grid in _GRIDS:
        for family in _FAMILIES:
            kernel = _draw_kernels(family, grid, generator)
            for size in {1: (3, 7, 13, 25), 2: (3, 5, 9), 3: (3, 5)}[grid.ndim]:
                rows += _measure(family, kernel, grid, size, "random parameters")
    line = _GRIDS[0]
    for family, (_, components) in _CURVES.items():
        decay = manhattan_decay(line.offsets(), f64(0.8))
        kernel = mixture(line, components) if components else decay
        for size in range(1, 62, 2):
            rows += _measure(family, kernel, line, size, "by size")
    data = pd.DataFrame(rows)
    figure = new_figure(SINGLE, 5.3)
    scatter, curves = figure.subplots(2, 1, height_ratios=[1.25, 1])
    below = int((data["certificate"] < data["operator_norm_error"]).sum())
    headline(
        figure,
        f"The certificate of a cut kernel never lies: {below} of {len(data)} masks err more than it says",
        "Certificate ‖K − K′‖₁, error ‖M − M′‖₂, both over ‖K‖₁; kernels drawn with seed 0.",
    )
    _draw_scatter(scatter, data[data["part"] == "random parameters"])
    _draw_curves(curves, data[data["part"] == "by size"])
    letters((scatter, curves))
    scatter.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=1.5, handletextpad=0.1)
    return figure, data
