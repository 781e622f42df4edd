"""Figure: images per second of training by model, mask and number of stacked replicas, from a stored benchmark."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from retconv.figures.panels import letters
from retconv.figures.registry import Drawn, register
from retconv.figures.study import MODELS
from retconv.figures.style import BLUE, DOUBLE, ORANGE, new_figure
from retconv.stored import TABLES

#: Written by ``retconv bench train --out``.
_DATA = TABLES / "throughput.csv"
_LOOK = {"none": (BLUE, "o", "plain", -0.14), "gmm": (ORANGE, "s", "Gaussian mixture mask", 0.14)}
_PANELS = {
    "images_per_second": "images per second, all replicas",
    "data_share": "time spent on data (% of a step)",
    "utilisation": "utilisation (% of a matrix product)",
}
_COLUMNS = ("model", "kind", "contender", "replicas", "batch", "ms", "ms_min", "ms_max", "speedup", "speedup_q1")
_ORIGIN = ("processor", "device", "threads", "torch", "commit")
#: Empty lines between two models.
_GAP = 0.7


def _stored() -> pd.DataFrame:
    """The stored rows, shares in percent, with the range of images per second over the rounds."""
    data = pd.read_csv(_DATA)
    data[["data_share", "utilisation"]] *= 100
    for name, time in (("images_per_second_min", "ms_max"), ("images_per_second_max", "ms_min")):
        data[name] = 1e3 * data["batch"] * data["replicas"] / data[time]
    spread = ["images_per_second_min", "images_per_second_max"]
    return data[[*_COLUMNS, "speedup_q3", "n", *_PANELS, *spread, *_ORIGIN]]


def _dots(ax: Axes, data: pd.DataFrame, column: str, places: pd.Series) -> None:
    for kind, (colour, marker, name, shift) in _LOOK.items():
        rows = data[data["kind"] == kind]
        y = places.loc[list(zip(rows["model"], rows["contender"], strict=True))].to_numpy() + shift
        if f"{column}_min" in rows:
            ax.hlines(y, rows[f"{column}_min"], rows[f"{column}_max"], color=colour, linewidth=0.9)
        ax.plot(rows[column], y, marker, color=colour, markersize=3, label=name)


def finding(data: pd.DataFrame) -> str:
    """What a stack gains in images per second, and the most that data cost."""
    stacked = data[data["replicas"] == data["replicas"].max()]
    gain = stacked["speedup"] * stacked["replicas"]
    loader = data["contender"].str.startswith("DataLoader")
    return (
        f"{stacked['replicas'].iloc[0]} replicas train at {gain.min():.2f} to {gain.max():.2f} times the images per "
        f"second of one; data take at most {data.loc[~loader, 'data_share'].max():.1f} % of a step, by a DataLoader "
        f"{data.loc[loader, 'data_share'].max():.1f} %"
    )


@register("throughput", 230, finding, data=(_DATA,), group="speed")
def draw() -> Drawn:
    """Training throughput.

    Training steps of the paper's five small models in float32 on two cores, batch 8 for each replica: one model, three
    stacked ones (replicas), and the same model fed by a DataLoader with torchvision's transforms sample by sample,
    stored results of `retconv bench train`. (a) Images per second over all replicas, median with the range
    over rounds; (b) the share of a step spent on making its batch; (c) floating-point operations of forward and
    backward per second against those of a large matrix product. On a CPU this small the model takes nearly all the
    time, and a stack trains as fast as its models one after the other.
    """
    data = _stored()
    lines = data[["model", "contender"]].drop_duplicates().reset_index(drop=True)
    first = lines["model"].drop_duplicates().tolist()
    gaps = lines["model"].map(first.index)
    places = pd.Series((lines.index + _GAP * gaps).to_numpy(), index=pd.MultiIndex.from_frame(lines))
    figure = new_figure(DOUBLE, 3.3)
    axes = figure.subplots(1, 3, sharey=True)
    letters(axes)
    for ax, (column, label) in zip(axes, _PANELS.items(), strict=True):
        _dots(ax, data, column, places)
        ax.set(xlabel=label)
        ax.set_xlim(left=0)
        ax.grid(axis="y", linewidth=0.3, color="0.85")
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    axes[0].set_yticks(places, lines["contender"])
    axes[0].set_ylim(places.max() + 0.6, -0.6)
    for model in first:
        middle = float(np.mean(places[model]))
        at = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "center", "rotation": 90}
        axes[0].annotate(MODELS[model.split("_")[1]], (-0.95, middle), fontweight="bold", annotation_clip=False, **at)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(_LOOK))
    return figure, data
