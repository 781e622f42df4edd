"""Figure: every form of retention, how well they agree and what they cost, by length."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes

from retconv.checks import TOLERANCES
from retconv.figures.labels import name_ends
from retconv.figures.panels import headline, letters
from retconv.figures.registry import Drawn, register
from retconv.figures.style import BLUE, CYAN, GREEN, GREY, ORANGE, PINK, SINGLE, new_figure
from retconv.stored import TABLES

_KINDS = {
    "causal": "RetNet decay on a line",
    "manhattan": "Manhattan decay on a square",
    "gmm": "Gaussian mixture on a square",
}
#: Written by ``retconv bench retention --kind KIND --out retconv/stored/tables/retention_KIND.csv``.
STORED = tuple(TABLES / f"retention_{kind}.csv" for kind in _KINDS)

_LOOK = {
    "parallel": ("black", "o"),
    "tiled": (GREY, "s"),
    "recurrent": (ORANGE, "v"),
    "chunkwise": (BLUE, "D"),
    "scan": (GREEN, "^"),
    "fft": (PINK, "X"),
    "convolution": (CYAN, "P"),
}
#: Exponents are fitted from this length on, where a call's fixed cost no longer counts.
_FROM = 1024


def exponents(data: pd.DataFrame) -> pd.DataFrame:
    """Slope of log time against log length for each kind and form, from ``_FROM`` tokens on."""
    rows = []
    for (kind, form), part in data[data["tokens"] >= _FROM].groupby(["kind", "form"], sort=False):
        if len(part) > 1:
            slope = np.polyfit(np.log(part["tokens"]), np.log(part["ms"]), 1)[0]
            rows.append({"kind": kind, "form": form, "exponent": float(slope)})
    return pd.DataFrame(rows)


def _draw_times(ax: Axes, data: pd.DataFrame, lengths: list[int]) -> None:
    """Time by length, each form named at the height of its end, with its exponent of N."""
    ax.set(xscale="log", yscale="log", xlim=(lengths[0] / 1.3, lengths[-1] * 1.1), ylim=(0.3, 9e3))
    ends = []
    for form, rows in data.groupby("form", sort=False):
        colour, marker = _LOOK[str(form)]
        ax.plot(rows["tokens"], rows["ms"], color=colour, marker=marker)
        last = rows.iloc[-1]
        name = f"{form}, N$^{{{last['exponent']:.1f}}}$"
        if last["tokens"] == lengths[-1]:
            ends.append((last["tokens"], last["ms"], name, colour))
        else:
            ax.annotate(
                name, (last["tokens"], last["ms"]), (-3, 4), textcoords="offset points", ha="right", color=colour
            )
    name_ends(ax, ends, 0.125)
    ax.set_xticks(lengths, [f"{n:,}" for n in lengths])
    ax.set_yticks([1, 10, 100, 1000], ["1", "10", "100", "1,000"])
    ax.minorticks_off()
    ax.set_ylabel("time (ms)")


def _draw_errors(ax: Axes, data: pd.DataFrame) -> None:
    """The worst error of each form, beside the tolerances that the tests hold to."""
    worst = data.groupby("form")[["error64", "error32"]].max().reindex(_LOOK)
    for column, face in (("error64", "white"), ("error32", None)):
        for y, (form, (colour, _)) in enumerate(_LOOK.items()):
            if worst.loc[form, column] > 0:
                ax.plot(worst.loc[form, column], y, "o", color=colour, markerfacecolor=face or colour)
    for dtype, name in ((torch.float64, "float64"), (torch.float32, "float32")):
        ax.axvline(TOLERANCES[dtype], color="0.3", linewidth=0.8, linestyle=":")
        ax.text(TOLERANCES[dtype], -0.75, f"test limit, {name}", ha="center", color="0.3")
    ax.set_yticks(range(len(_LOOK)), _LOOK)
    ax.set(xscale="log", xlim=(1e-16, 1e-3), ylim=(len(_LOOK) - 0.5, -0.6), xlabel="worst relative error")
    ax.set_xticks([1e-15, 1e-12, 1e-9, 1e-6])
    ax.minorticks_off()
    ax.grid(axis="y", linewidth=0.3, color="0.85")


def finding(data: pd.DataFrame) -> str:
    """The speed-ups over parallel at 4,096 tokens, and the worst errors."""
    times = data[data["tokens"] == 4096].set_index(["kind", "form"])["ms"]
    ratio = {
        f"{kind} {form}": times[kind, "parallel"] / times[kind, form]
        for kind, form in (("causal", "chunkwise"), ("manhattan", "scan"), ("gmm", "convolution"))
    }
    speed = ", ".join(f"{name} {value:.0f}×" for name, value in ratio.items())
    return (
        f"faster than parallel at 4,096 tokens: {speed}; worst relative error {data['error64'].max():.0e} in float64, "
        f"{data['error32'].max():.0e} in float32"
    )


@register("retention_forms", 160, finding, data=STORED, group="speed")
def draw() -> Drawn:
    """Retention in every form.

    (S ⊙ M) V of 12 heads of 16 features. (a–c) Measured time of each form by number of tokens N, float32, two CPU
    threads; beside its name the power of N with which it grows, fitted from 1,024 tokens on. Parallel ends where its
    dense objects would take more than 4 GiB. (d) Worst relative error of each form over masks and lengths against tiled
    in float64: in float64 (open; not drawn where it is the reference or bit-equal) and in float32 (filled); dotted, the
    tolerances that the tests hold to.
    """
    stored = pd.concat([pd.read_csv(path) for path in STORED], ignore_index=True)
    data = stored[stored["contender"].isin(_LOOK)].rename(columns={"contender": "form"})
    slopes = exponents(data)
    data = data.merge(slopes, how="left", on=["kind", "form"])
    lengths = sorted(data["tokens"].unique())
    at = data[data["tokens"] == 4096].set_index(["kind", "form"])["ms"]
    fastest = [at[kind, "parallel"] / at[kind].min() for kind in _KINDS]
    figure = new_figure(SINGLE, 7.0)
    axes = figure.subplots(4, 1, height_ratios=[1, 1, 1, 0.95])
    headline(
        figure,
        f"The fastest form of retention is at 4,096 tokens {min(fastest):.0f} to {max(fastest):.0f} times faster than "
        "the parallel one, and equally exact",
        "12 heads of 16 features, float32, 2 CPU threads, medians; N with its power: growth from 1,024 tokens on.",
    )
    for ax, (kind, title) in zip(axes, _KINDS.items(), strict=False):
        _draw_times(ax, data[data["kind"] == kind], lengths)
        ax.set_title(title)
    axes[2].set_xlabel("tokens N")
    _draw_errors(axes[3], data)
    axes[3].set_xlabel("worst relative error (open: float64, filled: float32)")
    letters(axes)
    columns = ["kind", "form", "tokens", "ms", "ms_min", "ms_max", "n", "exponent", "mib", "error64", "error32"]
    return figure, data[[*columns, "commit", "processor", "threads"]]
