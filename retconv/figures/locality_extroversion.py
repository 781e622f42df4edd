"""Figure: a wide positive and a narrow negative Gaussian make low-pass minus identity (law 10)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from retconv.analysis.spectrum import szego
from retconv.colours import scale
from retconv.figures.panels import array, colour_bar, draw_kernel, headline, letters, mixture, pairs
from retconv.figures.registry import Drawn, register
from retconv.figures.style import BLUE, ORANGE, SINGLE, new_figure
from retconv.grid import Grid
from retconv.kernels import GAUSSIAN_EPSILON

_PARTS = {"locality": [(0.6, 2.0)], "extroversion": [(-0.8, 0.2)], "sum": [(0.6, 2.0), (-0.8, 0.2)]}
_LOOK: dict[str, dict[str, Any]] = {
    "locality": {"color": BLUE},
    "extroversion": {"color": ORANGE},
    "sum": {"color": "black", "linestyle": "--"},
}
_REACH = 16  # at this offset the wider Gaussian is 1e-14: the kernel is whole
_SHOWN = 6
_SPECTRUM = 14  # side of the plane whose eigenvalues are shown
_LEADER = {"arrowstyle": "-", "linewidth": 0.6, "color": "black", "shrinkB": 3.0}


def _kernel(part: str, ndim: int) -> np.ndarray:
    return array(mixture(Grid((_REACH + 1,) * ndim), _PARTS[part])[0])


def _closed_symbol(part: str, theta: np.ndarray) -> np.ndarray:
    """Poisson summation: ``α √(2π) s Σ_m exp(−s² (θ + 2πm)² / 2)`` with s² = σ² + ε, for each Gaussian."""
    total = np.zeros_like(theta)
    for alpha, sigma in _PARTS[part]:
        variance = sigma**2 + GAUSSIAN_EPSILON
        images = 2 * np.pi * np.arange(-30, 31)  # at σ = 0.2 the 30th image is below 1e-300
        bumps = np.exp(-variance * (theta[:, None] + images) ** 2 / 2).sum(axis=1)
        total += alpha * np.sqrt(2 * np.pi * variance) * bumps
    return total


def _sampled_symbol(kernel: np.ndarray) -> np.ndarray:
    """The kernel's discrete Fourier transform, real since the kernel is even; zero frequency in the middle."""
    return np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(kernel))).real


def _draw_profile(ax: Axes, table: pd.DataFrame) -> None:
    for part, look in _LOOK.items():
        rows = table[(table["part"] == part) & (table["offset_1"].abs() <= _SHOWN)]
        ax.plot(rows["offset_1"], rows["value"], marker="o", **look)
    ax.axhline(0, color="0.6", linewidth=0.5, zorder=0)
    ax.annotate("self-weight −0.2", (0, -0.2), (1.6, -0.45), arrowprops=_LEADER, va="center")
    ax.set(xlabel="offset (tokens)", ylabel="weight", xticks=range(-_SHOWN, _SHOWN + 1, 2))
    for text, x, y, colour in (
        ("locality", 2.2, 0.45, BLUE),
        ("extroversion", -5, -0.5, ORANGE),
        ("sum", -2, 0.15, "black"),
    ):
        ax.text(x, y, text, color=colour)
    ax.set_title("kernels on a line")


def _draw_symbol(ax: Axes, table: pd.DataFrame) -> None:
    theta = np.linspace(-np.pi, np.pi, 401)
    for part, look in _LOOK.items():
        ax.plot(theta, _closed_symbol(part, theta), **look)
        samples = table[table["part"] == part]
        ax.plot(samples["theta_1"], samples["value"], **look | {"linestyle": "", "marker": "o", "markersize": 2})
    ax.axhline(0, color="0.6", linewidth=0.5, zorder=0)
    ax.set_xticks([-np.pi, -np.pi / 2, 0, np.pi / 2, np.pi], ["−π", "−π/2", "0", "π/2", "π"])
    ax.set(xlabel="frequency θ (rad/token)", ylabel="symbol")
    ax.set_yticks([-0.8, 0, 1, 2, 3], ["−0.8", "0", "1", "2", "3"])
    ax.set_title("symbols on a line")


def _draw_plane(figure: Figure, kernels: Axes, symbols: Axes, table: pd.DataFrame) -> None:
    """The sum's kernel and symbol on a plane, read off the table."""
    values = table[table["quantity"] == "kernel"].pivot(index="offset_1", columns="offset_2", values="value")
    image = draw_kernel(kernels, values.to_numpy(float), Grid((_SHOWN + 1, _SHOWN + 1)), signed=True)
    kernels.annotate("self-weight −0.2", (0, 0), (0, -5.3), ha="center", arrowprops=_LEADER)
    kernels.set(xlabel="offset right (tokens)", ylabel="offset down (tokens)")
    kernels.set_title("sum: kernel on a plane")
    colour_bar(figure, image, kernels, "weight", below=0.42)
    values = table[table["quantity"] == "symbol"].pivot(index="theta_1", columns="theta_2", values="value")
    theta, symbol = values.index.to_numpy(float), values.to_numpy(float)
    edge = np.pi
    image = symbols.imshow(symbol, extent=(-edge, edge, edge, -edge), **scale(symbol, True))
    symbols.contour(theta, theta, symbol, levels=[0], colors="black", linewidths=0.7)
    symbols.text(0, 1.35, "0", ha="center", va="top")
    for set_ticks in (symbols.set_xticks, symbols.set_yticks):
        set_ticks([-np.pi, 0, np.pi], ["−π", "0", "π"])
    symbols.set(xlabel="θ₂ (rad/token)", ylabel="θ₁ (rad/token)")
    symbols.set_title("sum: symbol on a plane")
    colour_bar(figure, image, symbols, "symbol", below=0.42)


def _line_table(part: str) -> pd.DataFrame:
    """A kernel on a line by offset, and its transform by frequency."""
    offset = np.arange(-_REACH, _REACH + 1)
    theta = 2 * np.pi * offset / offset.size
    kernel = _kernel(part, 1)
    weights = pd.DataFrame({"quantity": "kernel", "offset_1": offset, "value": kernel})
    values = {"value": _sampled_symbol(kernel), "closed_form": _closed_symbol(part, theta)}
    symbol = pd.DataFrame({"quantity": "symbol", "theta_1": theta, **values})
    return pd.concat([weights, symbol]).assign(part=part, grid="line")


def _plane_table() -> pd.DataFrame:
    """The sum's kernel on a plane near offset 0, and its transform."""
    kernel = _kernel("sum", 2)
    weights = pairs(kernel, "offset_1", "offset_2", "value").assign(quantity="kernel")
    weights[["offset_1", "offset_2"]] -= _REACH
    weights = weights[weights[["offset_1", "offset_2"]].abs().max(axis=1) <= _SHOWN]
    # Zero offsets around the kernel sample the same symbol more finely.
    fine = np.pad(kernel, _REACH)
    symbol = pairs(_sampled_symbol(fine), "theta_1", "theta_2", "value").assign(quantity="symbol")
    middle, step = fine.shape[0] // 2, 2 * np.pi / fine.shape[0]
    symbol[["theta_1", "theta_2"]] = (symbol[["theta_1", "theta_2"]] - middle) * step
    return pd.concat([weights, symbol]).assign(part="sum", grid="plane")


def _spectrum_table(part: str) -> pd.DataFrame:
    """Eigenvalues of the mask on a plane, in ascending order, and the symbol at the same quantiles."""
    grid = Grid((_SPECTRUM, _SPECTRUM))
    comparison = szego(mixture(grid, _PARTS[part]), grid)
    values, symbol = array(comparison.values[0]), array(comparison.symbol[0].mean(dim=1))
    rank = np.arange(1, values.size + 1)
    spectrum = pd.DataFrame({"rank": rank, "value": values}).assign(quantity="eigenvalue")
    ideal = pd.DataFrame({"rank": rank, "value": symbol}).assign(quantity="symbol by rank")
    return pd.concat([spectrum, ideal]).assign(part=part, grid=f"{_SPECTRUM}×{_SPECTRUM}")


def _draw_spectrum(ax: Axes, table: pd.DataFrame) -> None:
    for part, look in _LOOK.items():
        rows = table[table["part"] == part].set_index("quantity")[["rank", "value"]]
        ax.plot(*rows.loc["symbol by rank"].to_numpy().T, **look | {"linewidth": 0.8, "linestyle": ":"})
        ax.plot(*rows.loc["eigenvalue"].to_numpy().T, **look, linewidth=1.3)
    ax.axhline(0, color="0.6", linewidth=0.5, zorder=0)
    ax.set(xlabel="rank", ylabel="eigenvalue", xlim=(0, _SPECTRUM**2 + 1))
    # Nearly all eigenvalues are within 1 of 0, and a few of the low-pass part are above 10.
    ax.set_yscale("symlog", linthresh=1.0)
    ax.set_yticks([-0.8, 0, 1, 10], ["−0.8", "0", "1", "10"])
    ax.minorticks_off()
    ax.set_title(f"spectrum of the masks on {_SPECTRUM}×{_SPECTRUM} tokens")


def finding(data: pd.DataFrame) -> str:
    """The self-weight, the ends of the symbol's range, and how well transform and closed form agree."""
    total = data[(data["part"] == "sum") & (data["grid"] == "line")].set_index("quantity")
    self_weight = float(total.loc["kernel"].set_index("offset_1").loc[0, "value"])
    symbol = total.loc["symbol", "value"]
    error = (data["value"] - data["closed_form"]).abs().max()
    spectrum = data[(data["part"] == "sum") & (data["quantity"] == "eigenvalue")]["value"]
    negative = int((spectrum < 0).sum())
    return (
        f"self-weight {self_weight:.4g}; symbol {symbol.min():.3g} … {symbol.max():.3g}; {negative} of "
        f"{len(spectrum)} eigenvalues negative; "
        f"transform against closed form {error:.1e}"
    )


@register("locality_extroversion", 60, finding)
def draw() -> Drawn:
    """Locality and extroversion.

    A wide positive Gaussian (locality: α = 0.6, σ = 2 tokens) plus a narrow negative one (extroversion: α = −0.8, σ =
    0.2 tokens, in effect −0.8 times the identity) is a mask whose self-weight is −0.2: (a) kernels on a line. (b) Their
    symbols by Poisson summation (curves) and by discrete Fourier transform of the kernels (dots), and the sum's (c)
    kernel and (d) symbol on a plane show low-pass minus identity: far from zero frequency the sum is −0.8 everywhere.
    (e) Eigenvalues of the masks on 14×14 tokens, in ascending order: locality is positive definite, extroversion is
    −0.8 times the identity, and their sum shifts locality's spectrum down by 0.8, so that most of it is negative (law
    11); dotted, the symbols at the same quantiles (law 13).
    """
    figure = new_figure(SINGLE, 7.6)
    outer = figure.add_gridspec(4, 2, height_ratios=[1, 1, 1.15, 0.9])
    profile, transform, last = (figure.add_subplot(outer[i, :]) for i in (0, 1, 3))
    kernels, symbols = (figure.add_subplot(outer[2, j]) for j in range(2))
    spectrum = pd.concat([_spectrum_table(part) for part in _PARTS])
    _draw_spectrum(last, spectrum)
    line, plane = pd.concat([_line_table(part) for part in _PARTS]), _plane_table()
    _draw_profile(profile, line[line["quantity"] == "kernel"])
    _draw_symbol(transform, line[line["quantity"] == "symbol"])
    _draw_plane(figure, kernels, symbols, plane)
    letters((profile, transform, kernels, symbols, last))
    values = spectrum.loc[(spectrum["part"] == "sum") & (spectrum["quantity"] == "eigenvalue"), "value"]
    headline(
        figure,
        f"Locality minus a share of the token itself: a low-pass filter less a constant, so that {(values < 0).sum()} "
        f"of {len(values)} eigenvalues are negative",
        "Blue, locality: α = 0.6, σ = 2; orange, extroversion: α = −0.8, σ = 0.2; black: their sum. (e) dotted: the "
        "symbol at the same quantiles; logarithmic beyond ±1.",
    )
    whole = pd.concat([line, plane, spectrum], ignore_index=True)
    data = whole.astype({"offset_1": "Int64", "offset_2": "Int64", "rank": "Int64"})
    columns = ["part", "grid", "quantity", "offset_1", "offset_2", "theta_1", "theta_2", "rank", "value", "closed_form"]
    return figure, data[columns]
