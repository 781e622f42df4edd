"""Figure: every form of retention, how well they agree and what they cost, by length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from retconv.checks import TOLERANCES
from retconv.figures.panels import letters
from retconv.figures.registry import Drawn, register
from retconv.figures.style import BLUE, CYAN, DOUBLE, GREEN, GREY, ORANGE, PINK, new_figure
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


def _draw_times(ax: Axes, data: pd.DataFrame, slopes: dict[str, float]) -> None:
    ends = []
    for form, rows in data.groupby("form", sort=False):
        colour, marker = _LOOK[str(form)]
        ax.plot(rows["tokens"], rows["ms"], color=colour, marker=marker)
        ends.append((rows["tokens"].iloc[-1], rows["ms"].iloc[-1], colour, slopes.get(str(form))))
    _label(ax, ends)
    ax.set(xscale="log", yscale="log")


def _label(ax: Axes, ends: Sequence[tuple[float, float, str, float | None]]) -> None:
    """Each curve's exponent beside its end, moved apart where ends meet."""
    last = -np.inf
    for x, y, colour, slope in sorted(ends, key=lambda end: end[1]):
        if slope is not None:
            height = max(np.log10(y), last + 0.33)
            ax.annotate(f"{slope:.1f}", (x * 1.25, 10**height), color=colour, va="center", annotation_clip=False)
            last = height


def _draw_errors(ax: Axes, data: pd.DataFrame) -> None:
    for form, rows in data.groupby("form", sort=False):
        colour, marker = _LOOK[str(form)]
        for column, style in (("error32", "-"), ("error64", "--")):
            points = rows[rows[column] > 0]
            ax.plot(points["tokens"], points[column], color=colour, marker=marker, linestyle=style, linewidth=0.8)
    for tolerance in list(TOLERANCES.values())[:2]:
        ax.axhline(tolerance, color="0.3", linewidth=0.8, linestyle=":")
    ax.set(xscale="log", yscale="log", ylim=(1e-16, 1e-4))


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

    (S ⊙ M) V of 12 heads of 16 features. Above: measured time of each form by number of tokens, float32, two CPU
    threads, with the exponent of N fitted from 1,024 tokens on beside each curve; parallel ends where its dense objects
    would take more than 4 GiB. Below: relative error of each form in float32 (solid) and float64 (dashed) against tiled
    in float64; dotted, the tolerances that the tests hold to.
    """
    stored = pd.concat([pd.read_csv(path) for path in STORED], ignore_index=True)
    data = stored[stored["contender"].isin(_LOOK)].rename(columns={"contender": "form"})
    slopes = exponents(data)
    data = data.merge(slopes, how="left", on=["kind", "form"])
    lengths = sorted(data["tokens"].unique())
    figure = new_figure(DOUBLE, 3.6)
    axes = figure.subplots(2, 3, sharex=True, sharey="row")
    for i, (kind, title) in enumerate(_KINDS.items()):
        rows = data[data["kind"] == kind]
        _draw_times(axes[0, i], rows, rows.drop_duplicates("form").set_index("form")["exponent"].dropna().to_dict())
        _draw_errors(axes[1, i], rows)
        axes[0, i].set_title(title)
        axes[1, i].set_xlabel("tokens N")
    letters(axes.flat)
    for ax in axes.flat:
        ax.set_xticks(lengths, [f"{n:,}" for n in lengths])
        ax.minorticks_off()
        ax.set_xlim(lengths[0] / 1.4, lengths[-1] * 2.4)
    axes[0, 0].set_ylabel("time (ms)")
    axes[1, 0].set_ylabel("relative error")
    keys = [Line2D([], [], color=c, marker=m, label=form) for form, (c, m) in _LOOK.items()]
    keys.append(Line2D([], [], color="0.3", linestyle="-", label="float32"))
    keys.append(Line2D([], [], color="0.3", linestyle="--", label="float64"))
    figure.legend(handles=keys, loc="outside lower center", ncols=9, columnspacing=1.0, handletextpad=0.4)
    columns = ["kind", "form", "tokens", "ms", "ms_min", "ms_max", "n", "exponent", "mib", "error64", "error32"]
    return figure, data[[*columns, "commit", "processor", "threads"]]
