"""Figure: the reference code's Gaussian underflows in float32, ours does not."""

from __future__ import annotations

import pandas as pd
import torch
from matplotlib.axes import Axes
from torch import Tensor

from retconv.figures.labels import name_ends
from retconv.figures.panels import headline, letters
from retconv.figures.registry import Drawn, register
from retconv.figures.style import BLUE, GREEN, GREY, ORANGE, PINK, SINGLE, new_figure
from retconv.grid import Grid
from retconv.kernels import GAUSSIAN_EPSILON, gaussian

_SIDES = (4, 6, 8, 11, 14, 16, 24, 32, 48, 64)
_SIGMAS = (0.5, 1.0, 3.0, 10.0, 30.0)
_COLOURS = dict(zip(_SIGMAS, (GREY, GREEN, PINK, ORANGE, BLUE), strict=True))
_PROFILE_SIDE, _PROFILE_SIGMA = 32, 10.0


def reference(offset: Tensor, sigma: float) -> Tensor:
    """The authors' formula in float32, ``(exp(−d²)^(1/2))^(1 / (σ² + ε))``, step by step as they compute it."""
    squared = offset.to(torch.float32).square().sum(dim=-1)
    return torch.exp(-squared).pow(0.5).pow(1 / (sigma**2 + GAUSSIAN_EPSILON))


def _exact(offset: Tensor, sigma: float) -> Tensor:
    squared = offset.to(torch.float64).square().sum(dim=-1)
    return torch.exp(-squared / (2 * (sigma**2 + GAUSSIAN_EPSILON)))


def _measure(side: int, sigma: float) -> list[dict[str, object]]:
    """Errors over all pairs of a ``side × side`` grid: a sum over offsets, each counted as often as it occurs."""
    grid = Grid((side, side))
    offset, count = grid.offsets(), grid.pair_count().to(torch.float64)
    exact = _exact(offset, sigma)
    # A zero is wrong where the true value is a float32 number, subnormal ones included.
    representable = exact.to(torch.float32) > 0
    rows: list[dict[str, object]] = []
    for formula, kernel in (("reference", reference(offset, sigma)), ("ours", gaussian(offset, sigma)[0])):
        error = ((count * (kernel.double() - exact).square()).sum() / (count * exact.square()).sum()).sqrt()
        wrong = (count * ((kernel == 0) & representable)).sum() / count.sum()
        measured = {"relative_error": float(error), "wrong_zeros": float(wrong)}
        rows.append({"side": side, "sigma": sigma, "formula": formula, **measured})
    return rows


def _draw_profile(ax: Axes) -> None:
    offset = torch.arange(_PROFILE_SIDE)[:, None] * torch.tensor([1, 0])
    ax.plot(gaussian(offset, _PROFILE_SIGMA)[0].numpy(), color="black", linestyle="--")
    ax.plot(reference(offset, _PROFILE_SIGMA).numpy(), color=ORANGE)
    ax.text(15, 0.37, "combined exponents (ours)")
    ax.text(0.5, 0.08, "reference\ncode: 0 from\nd² = 104 on", color=ORANGE)
    ax.set(xlabel="distance (tokens)", ylabel="weight", ylim=(0, 1.04), xlim=(0, _PROFILE_SIDE - 1))
    ax.set_title(f"a Gaussian of σ = {_PROFILE_SIGMA:g} in float32")


def _draw_by_side(ax: Axes, data: pd.DataFrame, quantity: str, names: dict[float, str]) -> None:
    """The reference by σ; curves that coincide have one name, at the end of one of them."""
    rows = data[data["formula"] == "reference"].pivot(index="side", columns="sigma", values=quantity)
    for sigma, colour in _COLOURS.items():
        # σ = 30 lies on σ = 10 in one panel: the lower curve is wider, so that both are seen.
        width = 2.0 if sigma == 10 else 1.1
        ax.plot(rows[sigma], color=colour, linewidth=width, marker="o", markersize=2 + width)
    ax.set_xscale("log", base=2)
    ax.set_xticks([4, 8, 16, 32, 64], ["4²", "8²", "16²", "32²", "64²"])
    ax.minorticks_off()
    name_ends(ax, [(rows.index[-1], rows[s].iloc[-1], name, _COLOURS[s]) for s, name in names.items()], 0.12)


def finding(data: pd.DataFrame) -> str:
    """Wrong zeros at σ = 10 on two grids, and our largest error."""
    table = data.set_index(["formula", "sigma", "side"]).sort_index()
    small, large = (table.loc[("reference", 10.0, side), "wrong_zeros"] for side in (16, 32))
    ours = table.loc["ours"]
    return (
        f"wrong zeros of the reference at σ = 10: {small:.1%} on 16×16, {large:.1%} on 32×32; ours: "
        f"{ours['wrong_zeros'].max():.1%}, relative error at most {ours['relative_error'].max():.1e}"
    )


@register("underflow", 120, finding)
def draw() -> Drawn:
    """The reference formula underflows.

    The reference code forms exp(−d²) in float32 before it applies σ, so every pair with d² ≥ 104 becomes 0 whatever σ
    is, as (a) shows for σ = 10 tokens; here exponents are combined first. (b) Pairs that are 0 although the true value
    is a float32 number: at σ = 10 a third on 16×16 tokens, three quarters on 32×32; the fraction falls again where the
    true value underflows too. (c) Relative error (Frobenius norm over all pairs) of the reference (coloured) and ours
    (dashed, the largest over σ) against float64.
    """
    data = pd.DataFrame([row for side in _SIDES for sigma in _SIGMAS for row in _measure(side, sigma)])
    ours = data[data["formula"] == "ours"].groupby("side")["relative_error"].max()
    wrong = data[(data["formula"] == "reference") & (data["sigma"] == _PROFILE_SIGMA)].set_index("side")["wrong_zeros"]
    figure = new_figure(SINGLE, 5.2)
    profile, zeros, error = figure.subplots(3, 1)
    headline(
        figure,
        f"The reference code makes {wrong[16]:.0%} of the weights of a wide Gaussian 0 on 16×16 tokens, "
        f"{wrong[32]:.0%} on 32×32; ours none",
        "Computed in float32 and held against float64; every pair of tokens counts.",
    )
    _draw_profile(profile)
    _draw_by_side(zeros, data, "wrong_zeros", {0.5: "σ = 0.5", 1.0: "σ = 1", 3.0: "σ = 3", 30.0: "σ = 10, 30"})
    zeros.set(ylabel="fraction of pairs", ylim=(-0.03, 1.0))
    zeros.set_title("true weights that the reference makes 0")
    error.set(yscale="log", ylim=(2e-9, 5), yticks=[1e-8, 1e-6, 1e-4, 1e-2, 1], ylabel="‖M̃ − M‖ / ‖M‖")
    error.plot(ours, color="black", linestyle="--", zorder=3)
    names = {0.5: "σ ≤ 1", 3.0: "σ = 3", 10.0: "σ = 10", 30.0: "σ = 30"}
    _draw_by_side(error, data, "relative_error", names)
    error.annotate("ours, every σ", (24, ours[24]), (0, 4), textcoords="offset points", ha="center")
    error.set(xlabel="grid (tokens)")
    error.set_title("relative error of the mask")
    letters((profile, zeros, error))
    return figure, data
