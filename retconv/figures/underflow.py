"""Figure: the reference code's Gaussian underflows in float32, ours does not."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from torch import Tensor

from retconv.figures.panels import letters
from retconv.figures.registry import Drawn, register
from retconv.figures.style import BLUE, DOUBLE, GREEN, GREY, ORANGE, PINK, new_figure
from retconv.grid import Grid
from retconv.kernels import GAUSSIAN_EPSILON, gaussian

_SIDES = (4, 6, 8, 11, 14, 16, 24, 32, 48, 64)
_SIGMAS = (0.5, 1.0, 3.0, 10.0, 30.0)
_COLOURS = dict(zip(_SIGMAS, (GREY, GREEN, PINK, ORANGE, BLUE), strict=True))
_STYLES: dict[str, Literal["-", "--"]] = {"reference": "-", "ours": "--"}
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
    curves = {"reference": reference(offset, _PROFILE_SIGMA), "ours": gaussian(offset, _PROFILE_SIGMA)[0]}
    for formula, values in curves.items():
        colour = ORANGE if formula == "reference" else "black"
        ax.plot(range(_PROFILE_SIDE), values.numpy(), label=formula, color=colour, linestyle=_STYLES[formula])
    ax.axvline(np.sqrt(104), color="0.6", linewidth=0.5, zorder=0)
    ax.text(np.sqrt(104) + 0.7, 0.97, "d² = 104", va="top", color="0.3")
    ax.set(xlabel="distance (tokens)", ylabel="weight", ylim=(0, 1.04), xlim=(0, _PROFILE_SIDE - 1))
    ax.set_title("σ = 10, float32")


def _draw_by_side(ax: Axes, data: pd.DataFrame, quantity: str, formulas: tuple[str, ...]) -> None:
    for formula in formulas:
        for sigma, colour in _COLOURS.items():
            rows = data[(data["formula"] == formula) & (data["sigma"] == sigma)]
            # σ = 30 lies on σ = 10 in one panel: the lower curve is wider, so that both are seen.
            width = 0.8 if formula == "ours" else 2.0 if sigma == 10 else 1.1
            look: dict[str, Any] = {"color": colour, "linestyle": _STYLES[formula], "linewidth": width}
            if formula == "reference":
                look |= {"marker": "o", "markersize": 2 + width}
            ax.plot(rows["side"], rows[quantity], label=f"σ = {sigma:g}", **look)
    ax.set_xscale("log", base=2)
    ax.set_xticks([4, 8, 16, 32, 64], ["4²", "8²", "16²", "32²", "64²"])
    ax.minorticks_off()
    ax.set_xlabel("grid (tokens)")


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
    true value underflows too. (c) Relative error (Frobenius norm over all pairs) of the reference (solid) and ours
    (dashed) against float64.
    """
    data = pd.DataFrame([row for side in _SIDES for sigma in _SIGMAS for row in _measure(side, sigma)])
    figure = new_figure(DOUBLE, 2.35)
    profile, zeros, error = figure.subplots(1, 3)
    _draw_profile(profile)
    profile.legend(loc="upper right", bbox_to_anchor=(1.02, 0.9))
    _draw_by_side(zeros, data, "wrong_zeros", ("reference",))
    zeros.set(ylabel="fraction of pairs", ylim=(-0.02, 1.0))
    zeros.set_title("wrong zeros of the reference")
    _draw_by_side(error, data, "relative_error", ("reference", "ours"))
    error.set_yscale("log")
    keys = [Line2D([], [], color="0.3", linestyle=style, label=formula) for formula, style in _STYLES.items()]
    error.legend(handles=keys, loc="center right", bbox_to_anchor=(1, 0.4))
    error.set(ylabel="‖M̃ − M‖ / ‖M‖", ylim=(3e-9, 3))
    error.set_title("relative error in float32")
    letters((profile, zeros, error))
    figure.legend(*zeros.get_legend_handles_labels(), loc="outside lower center", ncols=len(_SIGMAS))
    return figure, data
