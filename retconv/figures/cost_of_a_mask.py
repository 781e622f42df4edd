"""Figure: what a mask in attention costs, from stored times."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullFormatter

from retconv.figures.panels import letters
from retconv.figures.registry import Drawn, register
from retconv.figures.style import BLUE, DOUBLE, GREEN, GREY, ORANGE, PINK, RED, new_figure
from retconv.stored import TABLES

_DATA = TABLES / "bench_attention.csv"
_PASS, _DTYPE, _MODE = "forward + backward", "float32", "eager"
#: Contenders in the order of the legend, with colour, marker and name.
_LOOK = {
    ("multiply_logits", "table", "reference"): (GREY, "x", "multiply_logits, plain autograd"),
    ("multiply_logits", "table", "auto"): (BLUE, "o", "multiply_logits"),
    ("multiply_weights", "gmm", "auto"): (ORANGE, "s", "multiply_weights"),
    ("bias_logits", "gmm", "auto"): (GREEN, "D", "bias_logits"),
    ("bias_logits", "log-gaussian", "auto"): (PINK, "^", "bias_logits, one Gaussian"),
    ("retention", "gmm", "auto"): (RED, "v", "retention"),
}
_DEVICES = {"cpu": "CPU", "cuda": "GPU"}


def _stored() -> pd.DataFrame:
    """The rows that are shown: one pass, dtype and mode."""
    data = pd.read_csv(_DATA)
    rows = data[(data["pass"] == _PASS) & (data["dtype"] == _DTYPE) & (data["mode"] == _MODE)]
    columns = ["device", "dim", "tokens", "batch", "placement", "mask", "backend", "ratio", "ratio_q1", "ratio_q3", "n"]
    keys = pd.MultiIndex.from_frame(rows[["placement", "mask", "backend"]])
    table = rows.loc[keys.isin(list(_LOOK)), [*columns, "commit", "torch", "processor", "threads", "allocator"]]
    return table.sort_values(["device", "dim", "tokens"], kind="stable").reset_index(drop=True)


def _draw(ax: Axes, data: pd.DataFrame) -> None:
    tokens = sorted(data["tokens"].unique())
    for (placement, mask, backend), (colour, marker, label) in _LOOK.items():
        rows = data[(data["placement"] == placement) & (data["mask"] == mask) & (data["backend"] == backend)]
        spread = [rows["ratio"] - rows["ratio_q1"], rows["ratio_q3"] - rows["ratio"]]
        style = "--" if backend == "reference" else "-"
        look = {"color": colour, "marker": marker, "linestyle": style, "label": label, "elinewidth": 0.7}
        ax.errorbar(rows["tokens"], rows["ratio"], yerr=spread, **look)
    ax.axhline(1, color="black", linewidth=0.6, zorder=0)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.xaxis.set_major_locator(FixedLocator(tokens))
    ax.set_xticks(tokens, [f"{t:,}" for t in tokens])
    ax.set_yticks([0.5, 0.7, 1, 1.4, 2], ["0.5", "0.7", "1", "1.4", "2"])
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_formatter(NullFormatter())
    ax.minorticks_off()
    ax.set_xlabel("tokens")


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
    ratios within rounds with quartiles, stored results of `retconv bench attention`. Grey: the same mask by
    plain autograd. The mask on logits is a kernel table, others are mixtures of 5 Gaussians; one Gaussian as a bias is,
    from 1,024 tokens on, extra channels of query and key.
    """
    data = _stored()
    panels = list(data.groupby(["device", "dim"], sort=False))
    figure = new_figure(DOUBLE, 2.6)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for ax, ((device, dim), rows) in zip(axes, panels, strict=True):
        _draw(ax, rows)
        ax.set_title(f"{_DEVICES[device]}, heads of {dim}")
    letters(axes)
    axes[0].set_ylabel("time / plain fused attention")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    return figure, data
