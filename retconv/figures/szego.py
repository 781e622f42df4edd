"""Figure: eigenvalues of growing grids distribute like the symbol (law 13)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from torch import Tensor

from retconv.analysis.spectrum import causal_decay_symbol, gaussian_mixture_symbol, manhattan_decay_symbol, szego
from retconv.figures.labels import name_ends
from retconv.figures.panels import array, f64, headline, letters
from retconv.figures.registry import Drawn, register
from retconv.figures.style import BLUE, GREEN, ORANGE, PINK, SINGLE, new_figure
from retconv.masks import DecayMask, GaussianMixtureMask, Mask, RetNetMask

_GAMMA = 0.8
_SIGMA, _ALPHA = f64(2.0, 0.2)[None], f64(0.6, -0.8)[None]
_LINES, _PLANES = (8, 16, 32, 64, 128, 256, 512), (4, 6, 8, 12, 16, 24, 32)

#: Name, mask, symbol of the unbounded kernel, sides of its grids, whether these are planes, colour.
_MASKS: list[tuple[str, Mask, Callable[[Tensor], Tensor], tuple[int, ...], bool, str]] = [
    (
        "two-sided decay, line",
        DecayMask(1, "two_sided", gamma=_GAMMA).double(),
        lambda theta: manhattan_decay_symbol(theta, _GAMMA),
        _LINES,
        False,
        BLUE,
    ),
    (
        "causal decay, line",
        RetNetMask(1, gamma=_GAMMA).double(),
        lambda theta: causal_decay_symbol(theta, _GAMMA),
        _LINES,
        False,
        ORANGE,
    ),
    (
        "Manhattan decay, plane",
        DecayMask(1, gamma=_GAMMA).double(),
        lambda theta: manhattan_decay_symbol(theta, _GAMMA),
        _PLANES,
        True,
        GREEN,
    ),
    (
        "Gaussian mixture, plane",
        GaussianMixtureMask.from_parameters(_SIGMA, _ALPHA),
        lambda theta: gaussian_mixture_symbol(theta, _SIGMA, _ALPHA),
        _PLANES,
        True,
        PINK,
    ),
]
#: Which are drawn value by value, and at which sides.
_SHOWN = {"two-sided decay, line": (8, 32, 128), "Gaussian mixture, plane": (4, 8, 32)}
_COLOURS = sns.color_palette("flare", 3).as_hex()


def _table() -> pd.DataFrame:
    tables = []
    for name, mask, limit, sides, plane, _ in _MASKS:
        for side in sides:
            result = szego(mask, (side, side) if plane else side, limit)
            is_shown = side in _SHOWN.get(name, ())
            values, symbol = array(result.values[0]), array(result.symbol[0].mean(dim=1))
            rows = {
                "quantile": (np.arange(values.size) + 0.5) / values.size if is_shown else [np.nan],
                "value": values if is_shown else [np.nan],
                "symbol": symbol if is_shown else [np.nan],
            }
            tables.append(pd.DataFrame(rows).assign(mask=name, side=side, distance=float(result.distance)))
    columns = ["mask", "side", "distance", "quantile", "value", "symbol"]
    return pd.concat(tables, ignore_index=True)[columns]


def _draw_values(ax: Axes, data: pd.DataFrame, name: str, ends: tuple[float, float]) -> None:
    table = data[data["mask"] == name]
    finest = table[table["side"] == max(_SHOWN[name])]
    ax.plot(finest["quantile"], finest["symbol"], color="black", linewidth=0.9, label="symbol")
    for side, colour in zip(_SHOWN[name], _COLOURS, strict=True):
        rows = table[table["side"] == side]
        rows = rows.iloc[:: max(1, len(rows) // 64)]
        label = f"{side}×{side}" if "plane" in name else f"n = {side}"
        ax.plot(rows["quantile"], rows["value"], linestyle="", marker="o", markersize=2.2, color=colour, label=label)
    for end in ends:
        ax.axhline(end, color="0.6", linewidth=0.6, linestyle="--", zorder=0)
    ax.set(xlabel="quantile", ylabel="eigenvalue", xlim=(0, 1.02))
    ax.set_title(name)
    ax.legend(loc="upper left", bbox_to_anchor=(0.0, 0.95))


def finding(data: pd.DataFrame) -> str:
    """By which power of n the distance falls between the two largest grids."""
    slopes = []
    for name, rows in data.drop_duplicates(["mask", "side"]).groupby("mask", sort=False):
        (n, m), (d, e) = rows["side"].to_numpy()[-2:], rows["distance"].to_numpy()[-2:]
        slopes.append(f"{name} n^{np.log(e / d) / np.log(m / n):.2f}")
    return "distance falls like " + ", ".join(slopes)


@register("szego", 80, finding)
def draw() -> Drawn:
    """Eigenvalues follow the symbol.

    Szegő's law. (a) Sorted eigenvalues of the two-sided decay (γ = 0.8) on lines of 8, 32 and 128 tokens against the
    quantiles of its symbol (black); dashed, the symbol's range, which holds them at every size. (b) The same for a
    Gaussian mixture (α = 0.6 and −0.8, σ = 2 and 0.2 tokens) on planes: nearly all eigenvalues are near −0.8, the
    low-pass part is a few large ones, and on a grid as small as 4×4 tokens they are far from the symbol's maximum. (c)
    The Wasserstein-1 distance of the two distributions falls with the side of the grid like 1/n (dotted): the share of
    tokens that see a border. For the causal decay, singular values and modulus are compared.
    """
    data = _table()
    figure = new_figure(SINGLE, 5.9)
    line, plane, distance = figure.subplots(3, 1)
    headline(
        figure,
        "The symbol foretells the eigenvalues of a mask: on larger grids the two differ less, about as 1/n",
        "Distance of the causal decay: singular values against the modulus.",
    )
    _draw_values(line, data, "two-sided decay, line", ((1 - _GAMMA) / (1 + _GAMMA), (1 + _GAMMA) / (1 - _GAMMA)))
    line.set_yscale("log")
    line.set_yticks([0.1, 1, 10], ["0.1", "1", "10"])
    mixture = gaussian_mixture_symbol(torch.zeros(1, 2, dtype=torch.float64), _SIGMA, _ALPHA)
    _draw_values(plane, data, "Gaussian mixture, plane", (-0.8, float(mixture)))
    ends = []
    for name, *_, plane_, colour in _MASKS:
        rows = data[data["mask"] == name].drop_duplicates("side")
        style = "--" if plane_ else "-"
        distance.loglog(rows["side"], rows["distance"], marker="o", color=colour, linestyle=style, base=2)
        if not plane_:
            ends.append((rows["side"].iloc[-1], rows["distance"].iloc[-1], name.replace(", ", ",\n"), colour))
    distance.text(3.7, 0.065, "Gaussian mixture, plane", color=PINK)
    distance.text(36, 5e-4, "Manhattan\ndecay, plane", color=GREEN)
    guide = np.array([16.0, 256.0])
    distance.loglog(guide, 0.05 * guide[0] / guide, color="0.4", linewidth=0.7, linestyle=":", base=2)
    distance.text(70, 0.014, "1/n", color="0.3")
    distance.set(xlabel="tokens along an axis, n", ylabel="W₁ / max |symbol|")
    distance.set_xticks([4, 16, 64, 256], ["4", "16", "64", "256"])
    distance.set_yscale("log", base=10)
    distance.set_title("distance of the distributions")
    distance.set(xlim=(3.4, 600), ylim=(2e-4, 0.15))
    name_ends(distance, ends, 0.24)
    letters((line, plane, distance))
    return figure, data
