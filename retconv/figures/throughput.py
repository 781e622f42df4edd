"""Figure: images per second of training by model, mask and number of stacked replicas, from a stored benchmark."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from retconv.figures.panels import headline, letters
from retconv.figures.registry import Drawn, register
from retconv.figures.study import MODELS
from retconv.figures.style import BLUE, ORANGE, SINGLE, new_figure
from retconv.stored import TABLES

#: Written by ``retconv bench train --out``.
_DATA = TABLES / "throughput.csv"
_LOOK = {"none": (BLUE, "o", "plain attention", -0.15), "gmm": (ORANGE, "s", "Gaussian mixture mask", 0.15)}
_MEASURED = ("images_per_second", "data_share", "utilisation")
_COLUMNS = ("model", "kind", "contender", "replicas", "batch", "ms", "ms_min", "ms_max", "speedup", "speedup_q1")
_ORIGIN = ("processor", "device", "threads", "torch", "commit")


def _stored() -> pd.DataFrame:
    """The stored rows, shares in percent, with the range of images per second over the rounds."""
    data = pd.read_csv(_DATA)
    data[["data_share", "utilisation"]] *= 100
    for name, time in (("images_per_second_min", "ms_max"), ("images_per_second_max", "ms_min")):
        data[name] = 1e3 * data["batch"] * data["replicas"] / data[time]
    spread = ["images_per_second_min", "images_per_second_max"]
    return data[[*_COLUMNS, "speedup_q3", "n", *_MEASURED, *spread, *_ORIGIN]]


def _draw(ax: Axes, rows: pd.DataFrame, x: pd.Series, filled: bool = True) -> None:
    """A dot for each model and kind of attention."""
    places = rows["model"].map({model: i for i, model in enumerate(rows["model"].unique())})
    for kind, (colour, marker, name, shift) in _LOOK.items():
        one = rows["kind"] == kind
        face = colour if filled else "white"
        ax.plot(x[one], places[one] + shift, marker, color=colour, markerfacecolor=face, label=name if filled else None)
    ax.set_yticks(range(places.nunique()), [MODELS[model.split("_")[1]] for model in rows["model"].unique()])
    ax.set_ylim(places.max() + 0.5, -0.5)
    ax.tick_params(axis="y", length=0)


def _stacked(data: pd.DataFrame) -> pd.DataFrame:
    """The stacks, with images per second over those of one model: medians and quartiles of ratios within rounds."""
    stacked = data[data["replicas"] == data["replicas"].max()]
    return stacked.assign(
        **{name: stacked[name] * stacked["replicas"] for name in ("speedup", "speedup_q1", "speedup_q3")}
    )


def finding(data: pd.DataFrame) -> str:
    """What a stack gains in images per second, and the most that data cost."""
    stacked = _stacked(data)
    gain = stacked["speedup"]
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
    stored results of `retconv bench train`. (a) Images per second of the stack over those of one model,
    median with quartiles of the ratios within rounds; (b) the share of a step spent on making its batch. On a CPU this
    small the model takes nearly all the time, and a stack trains about as fast as its models one after the other. The
    table has images per second, and operations per second against those of a large matrix product.
    """
    data = _stored()
    stacked, loader = _stacked(data), data["contender"].str.startswith("DataLoader")
    single, replicas = data[~loader & (data["replicas"] == 1)], stacked["replicas"].iloc[0]
    gain, share, use = stacked["speedup"], data.loc[~loader, "data_share"].max(), data["utilisation"]
    figure = new_figure(SINGLE, 4.1)
    above, below = figure.subplots(2, 1)
    headline(
        figure,
        f"On two cores a stack of {replicas} models gains little: {gain.min():.2f} to {gain.max():.2f} times the "
        f"images per second of one; making batches takes {share:.1f} % of a step or less",
        f"Training steps, float32, batch 8 a model, medians of {data['n'].min()} rounds, {data['threads'].iloc[0]} CPU "
        f"threads; {use.min():.0f} to {use.max():.0f} % of the speed of a large matrix product.",
    )
    _draw(above, stacked, gain)
    for kind, (colour, _, _, shift) in _LOOK.items():
        rows = stacked[stacked["kind"] == kind]
        above.hlines([i + shift for i in range(len(rows))], rows["speedup_q1"], rows["speedup_q3"], color=colour)
    above.axvline(1, color="0.3", linewidth=0.8)
    above.text(0.995, -0.95, "one by one is faster", ha="right", va="top", color="0.3")
    above.text(1.005, -0.95, "the stack is faster", ha="left", va="top", color="0.3")
    above.set(xlabel=f"images per second, {replicas} models in a stack / one model", ylim=(4.5, -1.1))
    _draw(below, single, single["data_share"])
    _draw(below, data[loader], data.loc[loader, "data_share"], filled=False)
    below.set(xlabel="time spent on making the batch (% of a step)", xlim=(0, 3))
    below.set_title("filled: whole batches; open: a DataLoader, sample by sample")
    for ax in (above, below):
        ax.grid(axis="y", linewidth=0.3, color="0.85")
    letters((above, below))
    below.legend(loc="upper center", bbox_to_anchor=(0.45, -0.22), ncols=len(_LOOK), handletextpad=0.1)
    return figure, data
