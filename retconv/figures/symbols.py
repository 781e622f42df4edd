"""Figure: transfer functions of the masks, closed forms over samples (laws 6 to 9)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from retconv.analysis.spectrum import (
    causal_decay_symbol,
    frequencies,
    gaussian_mixture_symbol,
    gaussian_symbol,
    gpsa_symbol,
    manhattan_decay_symbol,
    sampled_symbol,
)
from retconv.colours import scale
from retconv.figures.panels import array, colour_bar, f64, headline, letters, pairs
from retconv.figures.registry import Drawn, register
from retconv.figures.style import BLUE, GREEN, ORANGE, SINGLE, new_figure
from retconv.grid import Grid
from retconv.kernels import causal_decay, euclidean_decay, gaussian, gaussian_mixture, gpsa, manhattan_decay

_COLOURS = (BLUE, GREEN, ORANGE)
_LINE, _PLANE = Grid(160), Grid((48, 48))
_SAMPLES, _IMAGE = 32, 64
_TICKS = ([-math.pi, 0, math.pi], ["−π", "0", "π"])


#: On a line: title, name of the parameter, its values, the kernel, and the closed form, both by head.
_LINES: list[tuple[str, str, Tensor, Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = [
    ("causal decay", "γ", f64(0.5, 0.7, 0.85), lambda p: causal_decay(_LINE.offsets(), p), causal_decay_symbol),
    (
        "two-sided decay",
        "γ",
        f64(0.3, 0.5, 0.7),
        lambda p: manhattan_decay(_LINE.offsets(), p),
        manhattan_decay_symbol,
    ),
    ("Gaussian", "σ", f64(0.3, 0.6, 1.5), lambda p: gaussian(_LINE.offsets(), p), gaussian_symbol),
]
_GPSA = (0.25, 2.0)
_SIGMA, _ALPHA = f64(2.0, 0.2)[None], f64(0.6, -0.8)[None]
#: On a plane: title, kernel, and the closed form, or None where there is none.
_PLANES: list[tuple[str, Tensor, Callable[[Tensor], Tensor] | None]] = [
    (
        "Manhattan, γ = 0.6",
        manhattan_decay(_PLANE.offsets(), f64(0.6)),
        lambda theta: manhattan_decay_symbol(theta, 0.6),
    ),
    ("Euclidean, γ = 0.6", euclidean_decay(_PLANE.offsets(), f64(0.6)), None),
    ("Gaussian, σ = 1.2", gaussian(_PLANE.offsets(), f64(1.2)), lambda theta: gaussian_symbol(theta, f64(1.2))),
    (
        "GMM, α = 0.6, −0.8",
        gaussian_mixture(_PLANE.offsets(), _SIGMA, _ALPHA),
        lambda theta: gaussian_mixture_symbol(theta, _SIGMA, _ALPHA),
    ),
]


def _line_table(title: str, part: str, value: str, samples: np.ndarray, closed: np.ndarray) -> pd.DataFrame:
    theta = frequencies(_SAMPLES)[:, 0].numpy()
    rows = {"theta_1": theta, "sample": samples, "closed_form": closed}
    return pd.DataFrame(rows).assign(mask=title, grid="line", parameter=value, part=part)


def _draw_line(ax: Axes, title: str, curves: list[tuple[str, str, np.ndarray, np.ndarray]]) -> None:
    """Curves of the closed form on a fine grid over dots of the samples: (label, colour, fine, samples)."""
    fine = frequencies(400)[:, 0].numpy()
    for label, colour, closed, samples in curves:
        ax.plot(fine, closed, color=colour, label=label)
        ax.plot(frequencies(_SAMPLES)[:, 0].numpy(), samples, linestyle="", marker="o", markersize=2, color=colour)
    ax.axhline(0, color="0.7", linewidth=0.5, zorder=0)
    ax.set_xticks(*_TICKS)
    ax.set(xlabel="θ (rad/token)", xlim=(-math.pi, math.pi))
    ax.set_title(title)
    ax.legend(
        loc="upper right",
        handlelength=0.5,
        handletextpad=0.3,
        borderpad=0.1,
        labelspacing=0.2,
        bbox_to_anchor=(1.08, 1.02),
    )


def _lines(axes: list[Axes]) -> list[pd.DataFrame]:
    theta, fine, tables = frequencies(_SAMPLES), frequencies(400), []
    for ax, (title, name, values, kernel, closed) in zip(axes, _LINES, strict=False):
        samples, exact = array(sampled_symbol(kernel(values), _SAMPLES).abs()), array(closed(theta, values).abs())
        curve = array(closed(fine, values).abs())
        labels = [f"{name} = {v:g}" for v in values.tolist()]
        _draw_line(ax, title, list(zip(labels, _COLOURS, curve, samples, strict=True)))
        tables += [_line_table(title, "modulus", *rest) for rest in zip(labels, samples, exact, strict=True)]
    alpha, shift = f64(_GPSA[0]), f64(_GPSA[1])[None]
    weights = gpsa(_LINE.offsets(), alpha, shift).softmax(dim=1)
    sample, closed_form, curve_ = (
        array(a[0])
        for a in (sampled_symbol(weights, _SAMPLES), gpsa_symbol(theta, alpha, shift), gpsa_symbol(fine, alpha, shift))
    )
    parts = [("Re", BLUE, curve_.real, sample.real), ("Im", ORANGE, curve_.imag, sample.imag)]
    _draw_line(axes[-1], "GPSA, Δ = 2, α = 1/4", parts)
    axes[-1].legend(loc="upper left", handlelength=1.0, labelspacing=0.2, bbox_to_anchor=(-0.04, 1.04))
    for part, values_, exact_ in (
        ("real", sample.real, closed_form.real),
        ("imaginary", sample.imag, closed_form.imag),
    ):
        tables.append(_line_table("GPSA", part, "Δ = 2", values_, exact_))
    return tables


def _planes(figure: Figure, axes: list[Axes]) -> list[pd.DataFrame]:
    tables = []
    theta = frequencies((_IMAGE, _IMAGE))
    grid_line = theta[:, 0, 0].numpy()
    for ax, (title, kernel, closed) in zip(axes, _PLANES, strict=True):
        sample = array(sampled_symbol(kernel, (_IMAGE, _IMAGE))[0].real)
        image = ax.imshow(
            sample, extent=(-math.pi, math.pi, math.pi, -math.pi), **scale(sample, bool(sample.min() < -0.05))
        )
        levels = [0.0] if sample.min() < -0.05 else [f * float(sample.max()) for f in (0.05, 0.25, 0.5)]
        if closed is not None:
            ax.contour(grid_line, grid_line, array(closed(theta)[0]), levels=levels, colors="black", linewidths=0.6)
        ax.contour(grid_line, grid_line, sample, levels=levels, colors="0.6", linewidths=0.9, linestyles=":")
        ax.set_xticks(*_TICKS)
        ax.set_yticks(*_TICKS)
        ax.set_xlabel("θ₂ (rad/token)")
        ax.set_title(title)
        colour_bar(figure, image, ax, "").ax.locator_params(nbins=4)
        ax.set_ylabel("θ₁ (rad/token)", labelpad=-4)
        rows = pairs(sample[::4, ::4], "i", "j", "sample")
        rows["theta_1"], rows["theta_2"] = (grid_line[4 * rows[c]] for c in ("i", "j"))
        rows["closed_form"] = np.nan if closed is None else array(closed(theta)[0])[::4, ::4].ravel()
        tables.append(rows.drop(columns=["i", "j"]).assign(mask=title, grid="plane", part="real", parameter=""))
    return tables


def finding(data: pd.DataFrame) -> str:
    """The largest difference of samples and closed forms."""
    error = (data["sample"] - data["closed_form"]).abs().max() / data["sample"].abs().max()
    return f"closed forms equal the samples to {error:.1e} of the largest gain"


@register("symbols", 70, finding)
def draw() -> Drawn:
    """Transfer functions of the masks.

    The symbol of a kernel, Σ_δ K[δ] exp(iδθ), is what its mask does to a plane wave. On a line: closed forms (curves)
    over samples by fast Fourier transform of the kernels (dots) for (a) RetNet's causal decay, a one-pole filter, (b)
    the two-sided decay, (c) Gaussians, by Poisson summation, and (d) ConViT's positional attention centred two tokens
    ahead, whose symbol is complex. On a plane: (e) Manhattan decay with its cross, (f) Euclidean decay, round and
    without a closed form here, (g) a Gaussian and (h) a Gaussian mixture, low-pass minus identity (σ = 2, 0.2).
    Contours at 5, 25 and 50 % of the peak, or 0 in (h): closed form (black) and samples (grey dots).
    """
    figure = new_figure(SINGLE, 7.3)
    axes = figure.subplots(4, 2, width_ratios=[1.1, 1])
    headline(
        figure,
        "Masks are filters, most of them low-pass; where the symbol has a closed form (curves, black), it meets the "
        "samples (dots)",
        "Colours: the symbol on a plane from 0 (white); red above, blue below. Contours: black closed forms, grey "
        "samples.",
    )
    tables = _lines(list(axes[:, 0])) + _planes(figure, list(axes[:, 1]))
    for ax in axes[:3, 0]:
        ax.set_ylabel("|symbol|")
    axes[3, 0].set_ylabel("symbol", labelpad=-1)
    letters(axes.T.flat)
    columns = ["mask", "grid", "parameter", "part", "theta_1", "theta_2", "sample", "closed_form"]
    return figure, pd.concat(tables, ignore_index=True)[columns]
