"""Arms compared seed by seed: every seed, the mean, and the interval of ``retconv.stats``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from retconv.figures.panels import in_pairs
from retconv.figures.study import LABELS, LOOK, POINTS, signed
from retconv.stats import MIN_SEEDS, half_width, summarise

SEED: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 2.4, "markeredgewidth": 0.0, "alpha": 0.45}
MEAN: dict[str, Any] = {"markersize": 4.2, "markeredgecolor": "white", "markeredgewidth": 0.5}


def gains(
    runs: pd.DataFrame, metric: str, against: Mapping[str, str] | None = None, within: Sequence[str] = ()
) -> pd.DataFrame:
    """Runs with ``gain``: their metric minus that of the run of the same seed of the arm that theirs is held against.

    Args:
        runs: One row for each arm, seed and value of ``within``.
        metric: Column of the numbers.
        against: That arm by arm; ``plain`` for arms that it does not name.
        within: Columns within whose values arms are compared.

    Returns:
        The runs. Where there is no run to hold them against, and for that arm itself, the gain is missing.
    """
    keys = ["arm", "seed", *within]
    reference = runs["arm"].map(lambda arm: (against or {}).get(arm, "plain"))
    base = runs[keys].assign(arm=reference).merge(runs[[*keys, metric]], how="left", on=keys)[metric].to_numpy()
    return runs.assign(gain=(runs[metric] - base).where(runs["arm"] != reference))


def over_seeds(rows: pd.DataFrame, value: str, by: Sequence[str]) -> pd.DataFrame:
    """Mean over seeds with its 95 % t interval, for each combination of ``by`` that has three seeds or more.

    Of a column that is itself a difference within each seed, this is the paired interval.
    """
    rows = rows.dropna(subset=value)
    enough = rows[rows.groupby(list(by))["seed"].transform("count") >= MIN_SEEDS]
    if enough.empty:
        return pd.DataFrame(columns=[*by, "n", "mean", "low", "high"])
    return summarise(enough, value, by).drop(columns="sd")


def spread(seeds: pd.Series, width: float) -> pd.Series:
    """Where each seed's mark stands beside its arm, the same in every panel."""
    return width * (seeds - seeds.mean()) / max(seeds.max() - seeds.min(), 1)


def pm(row: Any, digits: int = 1, sign: bool = True) -> str:
    """``+0.4 ± 0.3``, or without its sign ``0.4 ± 0.3``: the mean of a row and half the length of its interval."""
    mean = signed(row["mean"], digits)
    return f"{mean if sign else mean.lstrip('+−')} ± {(row['high'] - row['low']) / 2:.{digits}f}"


def together(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with intervals that hold all their means at once with 95 % (Bonferroni), as rules share their error."""
    confidence = 1 - 0.05 / max(len(rows), 1)
    wider = rows["n"].map(lambda n: half_width(1.0, n, confidence) / half_width(1.0, n))
    return rows.assign(**{end: rows["mean"] + wider * (rows[end] - rows["mean"]) for end in ("low", "high")})


def side(rows: pd.DataFrame, least: float) -> pd.Series:
    """Where the interval of each row lies: ``above`` least, ``below`` −least, ``within`` ±least, or ``open``."""
    regions = pd.Series("open", rows.index)
    regions[(rows["low"] > -least) & (rows["high"] < least)] = "within"
    regions[rows["low"] > least] = "above"
    regions[rows["high"] < -least] = "below"
    return regions


def band(ax: Axes, least: float, axis: Literal["x", "y"] = "y", middle: float = 0.0) -> None:
    """No difference, and the light band of differences too small to matter."""
    span, line = (ax.axhspan, ax.axhline) if axis == "y" else (ax.axvspan, ax.axvline)
    span(middle - least, middle + least, color="0.92", linewidth=0, zorder=-1)
    line(middle, color="0.35", linewidth=0.6, zorder=0)


def foot_of_arms(data: pd.DataFrame) -> str:
    """What band, bars and dashed lines of ``by_arm`` are, for the foot of a figure."""
    dashed = "; dashed: plain attention" if "plain" in set(data["arm"]) else ""
    return f"Grey: ±{POINTS:g} points; bars: 95 %{dashed}"


def by_arm(
    data: pd.DataFrame, x: str, y: str, xlabel: str, ylabel: str, told: Callable[[str], str] = lambda arm: ""
) -> tuple[Figure, dict[str, Axes]]:
    """A panel for each arm that has a mean: its seeds, their mean with its interval, and the mean of plain in grey.

    Args:
        data: The part ``run`` with the columns x and y, and ``mean`` of ``over_seeds`` with the column x.
        x: Column of the position.
        y: Column of the seeds' values.
        xlabel: Of each column of panels.
        ylabel: Of all panels.
        told: A line on an arm, below its name.
    """
    runs, means = (data[data["part"] == part] for part in ("run", "mean"))
    arms = [arm for arm in LABELS if arm in set(means["arm"])]
    figure, panels = in_pairs([f"{LABELS[arm]}\n{told(arm)}".strip() for arm in arms], xlabel, ylabel)
    for arm, ax in zip(arms, panels, strict=True):
        (colour, marker), own, mean = look(arm), *(table[table["arm"] == arm] for table in (runs, means))
        ax.title.set_color(colour)
        ax.plot(own[x].astype(float), own[y], color=colour, **SEED)
        ax.vlines(mean[x].astype(float), mean["low"], mean["high"], color=colour, linewidth=1.4)
        ax.plot(mean[x].astype(float), mean["mean"], color=colour, marker=marker, linewidth=0.9, **MEAN)
        plain = means[means["arm"] == "plain"]
        if arm != "plain" and len(plain):
            ax.plot(plain[x].astype(float), plain["mean"], color="0.35", linewidth=0.8, linestyle="--", zorder=1)
    return figure, dict(zip(arms, panels, strict=True))


def look(arm: str) -> tuple[str, str]:
    """Colour and marker of an arm."""
    return LOOK.get(arm, ("0.6", "X"))


def beside(ax: Axes, y: float, text: str, **options: Any) -> None:
    """Text at the right of a panel, at a height in its data."""
    where: dict[str, Any] = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points"}
    ax.annotate(text, (1, y), (3, 0), va="center", annotation_clip=False, **where, **options)
