"""Figure: how large a decay and a Gaussian are as convolution kernels (law 12)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from torch import Tensor

from retconv.approximate import decay_effective_size, effective_size, gaussian_effective_size
from retconv.figures.panels import headline, letters
from retconv.figures.registry import Drawn, register
from retconv.figures.style import BLUE, GREEN, ORANGE, SINGLE, new_figure
from retconv.grid import Grid
from retconv.kernels import gaussian, manhattan_decay

_COLOURS = {1e-2: ORANGE, 1e-3: BLUE}
_LOOKS: dict[int, tuple[Literal["-", "--"], str]] = {1: ("-", "o"), 2: ("--", "s")}
#: Tokens a side of the tables that are measured: enough that their edge is below rounding beside the tolerance.
_TOKENS = {1: 32768, 2: 384}
_VIT = 14
#: Parameters of the curves; every eighth is measured.
_GAMMAS = 1 - np.geomspace(0.5, 1e-3, 145)
_SIGMAS = np.geomspace(0.5, 32, 145)
_EVERY = 8
#: The widest kernels that fit the table on a plane.
_WIDEST = {"decay": 0.94, "gaussian": 32.0}

_Closed = Callable[..., Tensor]
_FAMILIES: dict[str, tuple[np.ndarray, Callable[[Tensor, Tensor], Tensor], _Closed]] = {
    "decay": (_GAMMAS, manhattan_decay, decay_effective_size),
    "gaussian": (_SIGMAS, gaussian, gaussian_effective_size),
}


def _sizes(family: str, axes: int) -> Iterator[tuple[object, ...]]:
    parameters, kernel, closed = _FAMILIES[family]
    offsets = Grid((_TOKENS[axes],) * axes).offsets()
    for tolerance in _COLOURS:
        sizes = closed(torch.tensor(parameters), tolerance, axes=axes).tolist()
        yield from ((family, axes, tolerance, "closed form", *row) for row in zip(parameters, sizes, strict=True))
    for value in parameters[::_EVERY]:
        if axes == 2 and value > _WIDEST[family]:
            continue
        table = kernel(offsets, torch.tensor([value]))
        for tolerance in _COLOURS:
            yield family, axes, tolerance, "measured", value, int(effective_size(table, tolerance))


def _on_a_vit(family: str) -> Iterator[tuple[object, ...]]:
    """What is measured on a grid of 14×14, where the kernel ends at offset 13."""
    parameters, kernel, _ = _FAMILIES[family]
    sizes = effective_size(kernel(Grid((_VIT, _VIT)).offsets(), torch.tensor(parameters)), 1e-2).tolist()
    yield from ((family, 2, 1e-2, "on 14×14", *row) for row in zip(parameters, sizes, strict=True))


def _draw(ax: Axes, data: pd.DataFrame, abscissa: Callable[[pd.Series], pd.Series]) -> None:
    for (axes, tolerance, source), rows in data.groupby(["axes", "tolerance", "source"]):
        style, marker = _LOOKS[axes]
        x = abscissa(rows["parameter"])
        if source == "closed form":
            ax.plot(x, rows["size"], color=_COLOURS[tolerance], linestyle=style, linewidth=0.9)
        elif source == "measured":
            face = _COLOURS[tolerance] if axes == 1 else "white"
            ax.plot(x, rows["size"], color=_COLOURS[tolerance], marker=marker, linestyle="", markerfacecolor=face)
        else:
            ax.plot(x, rows["size"], color=GREEN, linestyle=":", linewidth=1.6)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.minorticks_off()


def _message(data: pd.DataFrame) -> str:
    """From which parameters on a kernel fills the grid of a ViT."""
    full = data[(data["source"] == "on 14×14") & (data["size"] == 2 * _VIT - 1)].groupby("family")["parameter"].min()
    return (
        f"Decays from γ = {full['decay']:.2f} and Gaussians from σ = {full['gaussian']:.1f} on fill the "
        f"{_VIT}×{_VIT} tokens of a ViT"
    )


def finding(data: pd.DataFrame) -> str:
    """How often closed form and measurement agree, and the size at γ of RetNet's first head."""
    keys = ["family", "axes", "tolerance", "parameter"]
    measured = data[data["source"] == "measured"]
    same, larger = {}, 0
    for family, (_, _, closed) in _FAMILIES.items():
        rows = measured[measured["family"] == family][[*keys, "size"]]
        sizes = [int(closed(r.parameter, r.tolerance, axes=r.axes)) for r in rows.itertuples()]
        gap = np.array(sizes) - rows["size"].to_numpy()
        same[family], larger = int((gap == 0).sum()), max(larger, int(gap.max()))
    counts = measured.groupby("family")["size"].count()
    parts = ", ".join(f"{count} of {counts[family]} for {family}" for family, count in same.items())
    return f"closed form equals measurement in {parts}, else {larger} larger"


@register("effective_size", 130, finding)
def draw() -> Drawn:
    """Effective kernel size.

    Side of the smallest centred window that holds all but a part ε of a kernel's ℓ1 mass, by law 12 the operator norm
    that cutting it costs: (a) Manhattan decay by γ, (b) Gaussians by σ. Curves are the closed forms on an unbounded
    grid, on a line and on a plane; marks are measured on 32,768 and 384×384 tokens. The closed form of a Gaussian is
    never too small. Dotted: measured on 14×14 tokens, where no kernel is larger than 27: slow decays and wide Gaussians
    fill the grid of a ViT.
    """
    rows = [row for family in _FAMILIES for axes in _LOOKS for row in _sizes(family, axes)]
    rows += [row for family in _FAMILIES for row in _on_a_vit(family)]
    data = pd.DataFrame(rows, columns=["family", "axes", "tolerance", "source", "parameter", "size"])
    figure = new_figure(SINGLE, 4.9)
    decay, wide = figure.subplots(2, 1)
    _draw(decay, data[data["family"] == "decay"], lambda gamma: 1 - gamma)
    decay.invert_xaxis()
    decay.set_xticks([0.5, 0.1, 0.01, 0.001], ["0.5", "0.9", "0.99", "0.999"])
    decay.set(xlabel="γ (decay per token)", ylabel="effective size (tokens)", ylim=(0.8, 2e4))
    decay.set_title(r"decay $\gamma^{\|\delta\|_1}$")
    for h in range(4):
        decay.axvline(2.0 ** (-5 - h), ymax=0.03, color="0.3", linewidth=0.8)
    decay.text(2.0**-6.5, 1.4, "RetNet, heads 0–3", ha="center", va="bottom", color="0.3")
    _draw(wide, data[data["family"] == "gaussian"], lambda sigma: sigma)
    wide.set_xticks([0.5, 1, 2, 4, 8, 16, 32], ["0.5", "1", "2", "4", "8", "16", "32"])
    wide.set(xlabel="σ (tokens)", ylabel="effective size (tokens)", ylim=(2, 400))
    wide.set_title("Gaussian")
    letters((decay, wide))
    keys = [Line2D([], [], color=c, label=f"ε = {t:g}") for t, c in _COLOURS.items()]
    keys += [
        Line2D([], [], color="0.3", linestyle=style, marker=marker, markerfacecolor=face, label=label)
        for (style, marker), face, label in zip(
            _LOOKS.values(), ("0.3", "white"), ("on a line", "on a plane"), strict=True
        )
    ]
    keys.append(Line2D([], [], color=GREEN, linestyle=":", linewidth=1.6, label="on 14×14 tokens, ε = 0.01"))
    decay.legend(handles=keys, loc="lower center", bbox_to_anchor=(0.45, 1.12), ncols=2, handlelength=2.6)
    headline(figure, _message(data), "Size: side of the window that holds all but a part ε of the kernel's mass")
    return figure, data
