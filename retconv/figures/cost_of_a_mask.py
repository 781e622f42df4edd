"""Figure: what a mask in attention costs, from stored times."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from retconv.figures.panels import headline, letters
from retconv.figures.registry import Drawn, register
from retconv.figures.style import SINGLE, new_figure
from retconv.stored import TABLES

_DATA = TABLES / "bench_attention.csv"
_PASS, _DTYPE, _MODE = "forward + backward", "float32", "eager"
#: The ways to mask in the order of the lines, by their names in the papers.
_WAYS = {
    ("retention", "gmm", "auto"): "retention, no softmax",
    ("bias_logits", "log-gaussian", "auto"): "log M added to logits,\none Gaussian",
    ("bias_logits", "gmm", "auto"): "log M added to logits",
    ("multiply_weights", "gmm", "auto"): "M times weights",
    ("multiply_logits", "table", "auto"): "M times logits",
    ("multiply_logits", "table", "reference"): "M times logits,\nby plain autograd",
}
_COLOURS = sns.color_palette("flare", 4).as_hex()
_DEVICES = {"cpu": "CPU", "cuda": "GPU"}


def _stored() -> pd.DataFrame:
    """The rows that are shown: one pass, dtype and mode."""
    data = pd.read_csv(_DATA)
    rows = data[(data["pass"] == _PASS) & (data["dtype"] == _DTYPE) & (data["mode"] == _MODE)]
    columns = ["device", "dim", "tokens", "batch", "placement", "mask", "backend", "ratio", "ratio_q1", "ratio_q3", "n"]
    keys = pd.MultiIndex.from_frame(rows[["placement", "mask", "backend"]])
    table = rows.loc[keys.isin(list(_WAYS)), [*columns, "commit", "torch", "processor", "threads", "allocator"]]
    return table.sort_values(["device", "dim", "tokens"], kind="stable").reset_index(drop=True)


def _draw(ax: Axes, data: pd.DataFrame, colours: dict[int, str]) -> None:
    """One line for each way, on it one dot for each number of tokens, with quartiles."""
    for i, way in enumerate(_WAYS):
        rows = data[(data[["placement", "mask", "backend"]] == list(way)).all(axis=1)].sort_values("tokens")
        for j, row in enumerate(rows.itertuples()):
            y, colour = i + 0.17 * (j - (len(rows) - 1) / 2), colours[row.tokens]
            ax.hlines(y, row.ratio_q1, row.ratio_q3, color=colour)
            ax.plot(row.ratio, y, "o", color=colour, label=f"{row.tokens:,} tokens" if not i else None)
    ax.axvline(1, color="black", linewidth=0.6, zorder=0)
    ax.set_yticks(range(len(_WAYS)), _WAYS.values(), linespacing=0.95)
    ax.set(ylim=(len(_WAYS) - 0.5, -0.5), xscale="log", xlim=(0.6, 2.1))
    ax.set_xticks([0.7, 1, 1.4, 2], ["0.7", "1", "1.4", "2"])
    ax.minorticks_off()
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", linewidth=0.3, color="0.85")


def finding(data: pd.DataFrame) -> str:
    """The cost of a learnt mask on logits by number of tokens, heads of 64 on CPU."""
    rows = data[(data["device"] == "cpu") & (data["dim"] == 64) & (data["placement"] == "multiply_logits")]
    auto, plain = (
        ", ".join(f"{ratio:.2f}" for ratio in rows.loc[rows["backend"] == backend, "ratio"])
        for backend in ("auto", "reference")
    )
    tokens = ", ".join(f"{t:,}" for t in sorted(rows["tokens"].unique()))
    return f"learnt mask on logits, heads of 64, {tokens} tokens: {auto} times plain attention (by autograd {plain})"


@register("cost_of_a_mask", 210, finding, data=(_DATA,), group="speed")
def draw() -> Drawn:
    """The cost of a mask.

    Time of forward and backward of attention with a learnt mask, divided by that of PyTorch's fused attention (SDPA)
    without one, by number of tokens: float32, about 12 million scores in all (34 million at 4,096 tokens), medians of
    ratios within rounds with quartiles, stored results of `retconv bench attention`. The last line is the
    same mask by plain autograd. The mask on logits is a kernel table, others are mixtures of 5 Gaussians; one Gaussian
    as a bias is, from 1,024 tokens on, extra channels of query and key.
    """
    data = _stored()
    panels = list(data.groupby(["device", "dim"], sort=False))
    tokens = sorted(data["tokens"].unique())
    ours = data[(data["backend"] == "auto") & (data["placement"] != "retention")]  # which has no softmax to pay for
    short, long = (ours.loc[ours["tokens"].isin(some), "ratio"] for some in (tokens[:2], tokens[2:]))
    figure = new_figure(SINGLE, 0.9 + 2.1 * len(panels))
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    headline(
        figure,
        f"A learnt mask in softmax attention costs little on small images, {short.min():.2f} to {short.max():.2f} "
        f"times plain attention, and {long.min():.2f} to {long.max():.2f} times from {tokens[2]:,} tokens on",
        f"Forward and backward, float32, {data['threads'].iloc[0]} CPU threads; dots: medians, bars: quartiles of "
        f"{data['n'].min()} to {data['n'].max()} rounds; left of 1 is faster than PyTorch's fused attention.",
    )
    for ax, ((device, dim), rows) in zip(axes, panels, strict=True):
        _draw(ax, rows, dict(zip(tokens, _COLOURS, strict=True)))
        ax.set_title(f"{_DEVICES[device]}, heads of {dim} features")
    letters(axes)
    axes[-1].set_xlabel("time / plain fused attention")
    axes[-1].legend(loc="upper center", bbox_to_anchor=(0.25, -0.13), ncols=4, handletextpad=0.1, columnspacing=0.7)
    return figure, data
