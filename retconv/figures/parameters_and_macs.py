"""Figure: sizes and costs of the five small models, counted, beside the published ones, and what a mask adds."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from retconv.figures.panels import headline, letters
from retconv.figures.registry import Drawn, register
from retconv.figures.study import MODELS
from retconv.figures.style import BLUE, CYAN, GREEN, GREY, ORANGE, SINGLE, new_figure
from retconv.stored import TABLES

_STORED = TABLES / "models.csv"
_MASKS = {
    "gmm_parameters": ("Gaussian mixture, K = 5", BLUE, "o"),
    "table_parameters": ("kernel table", GREEN, "s"),
    "elm_parameters": ("element-wise, shared by heads", ORANGE, "D"),
}
_PUBLISHED: dict[str, Any] = {"color": "black", "marker": "|", "markersize": 9.0, "linestyle": "none"}
_PUBLISHED["markeredgewidth"] = 1.2


def _bars(ax: Axes, values: pd.Series, left: pd.Series | float, colour: str) -> None:
    ax.barh(range(len(values)), values, height=0.55, left=left, color=colour)


def _describe(ax: Axes, ends: pd.Series, texts: list[str]) -> None:
    for row, (end, text) in enumerate(zip(ends, texts, strict=True)):
        ax.annotate(text, (end, row), (4, 0), textcoords="offset points", va="center")


def finding(data: pd.DataFrame) -> str:
    """Whether counted and published figures agree, and what masks add."""
    share = 100 * data["gmm_parameters"] / data["parameters"]
    return (
        f"{int(data['agrees'].sum())} of {len(data)} models have the published parameters and multiply-accumulates at "
        f"their printed precision; a Gaussian mixture mask adds {share.min():.3f} % to {share.max():.3f} % parameters"
    )


@register("parameters_and_macs", 220, finding, data=(_STORED,), group="speed")
def draw() -> Drawn:
    """Sizes and costs of the small models.

    The five small vision transformers at 32×32 pixels and 100 classes. (a) What a mask in every layer adds, as a share
    of the model's parameters: two numbers for each Gaussian, one for each offset and head, or one for each pair of
    tokens. (b) Parameters without masks and (c) multiply-accumulates of one image, counted as the models run; black
    ticks are the published figures, which count
    linear and convolution layers alone, without the products of attention (light blue).
    """
    data = pd.read_csv(_STORED).drop(columns="note")
    names = [MODELS[model.split("_")[1]] for model in data["model"]]
    figure = new_figure(SINGLE, 5.6)
    mask, size, cost = figure.subplots(3, 1, sharey=True)

    parameters = data["parameters"] / 1e6
    _bars(size, parameters, 0.0, GREY)
    size.plot(data["published_parameters"], range(len(data)), **_PUBLISHED)
    _describe(size, parameters, [f"{value:.2f}" for value in parameters])
    size.set(xlabel="parameters (millions)", xlim=(0, 9.4), yticks=range(len(names)), yticklabels=names)
    size.invert_yaxis()

    layers, attention = data["layer_macs"] / 1e6, data["attention_macs"] / 1e6
    _bars(cost, layers, 0.0, GREY)
    _bars(cost, attention, layers, CYAN)
    cost.plot(data["published_macs"], range(len(data)), **_PUBLISHED)
    _describe(cost, layers + attention, [f"{a:.1f} + {b:.1f}" for a, b in zip(layers, attention, strict=True)])
    cost.set(xlabel="multiply-accumulates (millions)", xlim=(0, 690))

    for column, (label, colour, marker) in _MASKS.items():
        share = 100 * data[column] / data["parameters"]
        mask.plot(share, range(len(data)), marker, color=colour, label=label)
    mask.set(xscale="log", xlabel="mask parameters (% of the model's)", xlim=(0.004, 4))
    mask.set_xticks([0.01, 0.1, 1], ["0.01", "0.1", "1"])
    mask.grid(axis="x", color="0.9", linewidth=0.5)

    letters((mask, size, cost))
    for ax in (size, cost, mask):
        ax.tick_params(axis="y", length=0)
    keys = [
        Patch(color=GREY, label="linear and convolution layers"),
        Patch(color=CYAN, label="QKᵀ, weights times V"),
        Line2D([], [], label="published", **_PUBLISHED),
    ]
    cost.legend(handles=keys, loc="upper center", bbox_to_anchor=(0.4, -0.32), ncols=2)
    mask.legend(loc="lower center", bbox_to_anchor=(0.4, 1.08), ncols=2)
    most = (100 * data["gmm_parameters"] / data["parameters"]).max()
    message = f"A Gaussian mixture in every layer adds at most {most:.2f} % to a model's parameters"
    headline(figure, message, "32×32 pixels, 100 classes, one image; K = 5 Gaussians a head")
    return figure, data
