"""Figure: a Gaussian and a Gaussian mixture as a few decays with complex poles (law 16)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from torch import Tensor

from retconv.approximate import ExponentialApproximation, exponentials
from retconv.approximate.hankel import hankel_values
from retconv.convert import kernel_to_mask
from retconv.figures.panels import headline, letters, mixture
from retconv.figures.registry import Drawn, register
from retconv.figures.style import BLUE, GREEN, ORANGE, PINK, SINGLE, new_figure
from retconv.grid import Grid

_N = 64
#: Components (α, σ) of each kernel.
_KERNELS = {
    "Gaussian, σ = 5": [(1.0, 5.0)],
    "mixture, α = 1, −0.8 and σ = 5, 1.5": [(1.0, 5.0), (-0.8, 1.5)],
}
_ORDERS = (1, 2, 3, 4, 5)
_DRAWN = dict(zip((1, 2, 3, 4), ((ORANGE, "s"), (BLUE, "o"), (GREEN, "^"), (PINK, "D")), strict=True))
_SHOWN = 20
_TARGET = 1e-3


def _errors(name: str, order: int, kernel: Tensor, fit: ExponentialApproximation) -> dict[str, object]:
    """Certificate, true error and the least error of any such recurrence, all relative to ‖K‖₁.

    Below the diagonal, a mask of ``order`` pairs has blocks of rank 2·order at most, and the largest such block of M is
    a Hankel matrix of the kernel's past: the singular values left out bound the error from below.
    """
    norm = float(kernel.abs().sum())
    error = kernel_to_mask(kernel - fit.kernel, _N)[0]
    past = kernel[0, : _N - 1].flip(0).numpy()
    return {
        "kernel": name,
        "quantity": "error",
        "order": order,
        "certificate": float(fit.relative),
        "operator_norm_error": float(torch.linalg.matrix_norm(error, ord=2)) / norm,
        "least_error": float(hankel_values(past, 2 * order + 1)[-1]) / norm,
    }


def _rows(name: str) -> Iterator[dict[str, object]]:
    kernel = mixture(Grid(_N), _KERNELS[name])
    offsets = range(1 - _N, _N)
    for offset, value in zip(offsets, kernel[0].tolist(), strict=True):
        if abs(offset) <= _SHOWN:
            yield {"kernel": name, "quantity": "weight", "order": 0, "offset": offset, "value": value}
    for order in _ORDERS:
        fit = exponentials(kernel, order=order)
        yield _errors(name, order, kernel, fit)
        if order not in _DRAWN:
            continue
        for offset, value in zip(offsets, fit.kernel[0].tolist(), strict=True):
            if abs(offset) <= _SHOWN:
                yield {"kernel": name, "quantity": "weight", "order": order, "offset": offset, "value": value}
        for pole in fit.exponentials.past_poles[0].tolist():
            yield {"kernel": name, "quantity": "pole", "order": order, "real": pole.real, "imaginary": pole.imag}


def _draw_weights(ax: Axes, data: pd.DataFrame) -> None:
    weights = data[data["quantity"] == "weight"]
    exact = weights[weights["order"] == 0]
    ax.plot(exact["offset"], exact["value"], color="0.75", linewidth=3.0)
    for order in (1, 2):
        rows = weights[weights["order"] == order]
        ax.plot(rows["offset"], rows["value"], color=_DRAWN[order][0], linestyle="--" if order == 1 else "-")
    ax.axhline(0, color="0.6", linewidth=0.5, zorder=0)
    ax.set(ylabel="weight", xticks=(-_SHOWN, -10, 0, 10, _SHOWN))


def _draw_poles(ax: Axes, data: pd.DataFrame) -> None:
    """The upper half of the unit disc; each pole stands for its conjugate too."""
    angle = np.linspace(0, np.pi, 181)
    ax.plot(np.cos(angle), np.sin(angle), color="black", linewidth=0.8)
    ax.axhline(0, color="0.6", linewidth=0.5, zorder=0)
    poles = data[data["quantity"] == "pole"]
    for order, (colour, marker) in _DRAWN.items():
        rows = poles[poles["order"] == order]
        ax.plot(rows["real"], rows["imaginary"], linestyle="", marker=marker, color=colour, clip_on=False)
    ax.set(aspect="equal", xlim=(-0.25, 1.1), ylim=(-0.04, 1.1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
    ax.set_ylabel("Im λ")


def _draw_errors(ax: Axes, data: pd.DataFrame) -> None:
    errors = data[data["quantity"] == "error"]
    ax.plot(errors["order"], errors["certificate"], color="black", marker="o", label="certificate")
    ax.plot(
        errors["order"], errors["operator_norm_error"], color="0.45", marker="s", linestyle="--", label="true error"
    )
    ax.plot(errors["order"], errors["least_error"], color="0.65", marker="v", linestyle=":", label="least possible")
    ax.axhline(_TARGET, color="0.6", linewidth=0.5, zorder=0)
    ax.text(_ORDERS[-1] + 0.15, _TARGET * 1.4, "10⁻³", ha="right", va="bottom", color="0.3")
    ax.set_yscale("log")
    ax.set(ylabel="error / ‖K‖₁", xticks=_ORDERS, ylim=(1e-12, 1), yticks=[1e-12, 1e-9, 1e-6, 1e-3, 1])
    ax.minorticks_off()


def finding(data: pd.DataFrame) -> str:
    """The order that reaches the target, and how far the certificate is from true and from best."""
    errors = data[data["quantity"] == "error"]
    parts = []
    for name, rows in errors.groupby("kernel", sort=False):
        first = rows[rows["certificate"] <= _TARGET].iloc[0]
        parts.append(f"{str(name).split(',')[0]} at order {first['order']}: certificate {first['certificate']:.1e}")
    ratio = (errors["certificate"] / errors["operator_norm_error"]).max()
    return "; ".join(parts) + f"; certificate at most {ratio:.1f} times the true error"


@register("gaussian_as_retention", 150, finding)
def draw() -> Drawn:
    """A Gaussian as retention.

    A Gaussian (left) and a Gaussian mixture with a negative part (right) on 64 tokens as Re Σ w λ^|δ|, a sum of one to
    five retention heads with complex poles. (a, d) The kernel and its approximations of order 1 and 2; (b, e) poles in
    the upper half of the unit disc, a complex one standing for its conjugate too. (c, f) Relative to ‖K‖₁: the
    certificate ‖K − K'‖₁, the true operator-norm error of the mask, which it bounds, and the Hankel singular value
    below which no recurrence of that order, a pair of poles counted as one, can come. Two pairs are
    within 10⁻³ of the Gaussian.
    """
    data = pd.DataFrame([row for name in _KERNELS for row in _rows(name)])
    errors = data[(data["quantity"] == "error") & (data["certificate"] <= _TARGET)]
    orders = errors.groupby("kernel", sort=False)["order"].min()
    figure = new_figure(SINGLE, 5.6)
    upper, lower = (figure.add_gridspec(2, 1, height_ratios=[10, 1])[row] for row in range(2))
    axes = upper.subgridspec(3, 2, height_ratios=[1, 1.1, 1]).subplots(sharey="row", squeeze=False)
    headline(
        figure,
        f"A Gaussian is {orders.iloc[0]} retention heads with complex poles, a Gaussian mixture {orders.iloc[1]}, to "
        "one part in a thousand",
        "Gaussian: σ = 5; mixture: α = 1 and −0.8, σ = 5 and 1.5; 64 tokens on a line. (a, d) show orders 1 and 2.",
    )
    for column, name in zip(axes.T, _KERNELS, strict=True):
        rows = data[data["kernel"] == name]
        for ax, panel in zip(column, (_draw_weights, _draw_poles, _draw_errors), strict=True):
            panel(ax, rows)
        column[0].set(title=name.split(",")[0], xlabel="offset (tokens)")
        column[1].set(title="poles", xlabel="Re λ")
        column[2].set(title="error by order", xlabel="order")
    for ax in axes[:, 1]:
        ax.set_ylabel("")
    letters(axes.T.flat)
    kernel = Line2D([], [], color="0.75", linewidth=3.0, label="kernel")
    styles: dict[int, Literal["--", "-", ""]] = {1: "--", 2: "-"}
    heads = [
        Line2D([], [], color=colour, marker=marker, linestyle=styles.get(order, ""), label=f"order {order}")
        for order, (colour, marker) in _DRAWN.items()
    ]
    below = figure.add_subplot(lower)
    below.axis("off")
    below.legend(handles=[kernel, *heads, *axes[2, 0].get_legend_handles_labels()[0]], loc="center", ncols=3)
    return figure, data.astype({"offset": "Int64"})
