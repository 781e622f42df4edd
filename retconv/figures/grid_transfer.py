"""Figure: models evaluated at image sizes that they were not trained at, from stored runs."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from retconv.figures import study
from retconv.figures.paired import band, by_arm, foot_of_arms, gains, over_seeds, pm, side

_KEPT = ["arm", "seed", "run", "size", "accuracy", "change", "data", "commit"]
#: What the study's rule compares with plain attention, and where.
_ARM, _FACTOR = "manhattan_bias", 1.5


def _tabulate(runs: pd.DataFrame) -> pd.DataFrame:
    runs = gains(runs[runs["factor"] > 1].dropna(subset="change"), "change", within=["size"])
    at_factor = runs[(runs["factor"] - _FACTOR).abs() < 1e-6]
    return study.tidy(
        run=runs[_KEPT],
        mean=over_seeds(runs, "change", ["arm", "size"]),
        told=over_seeds(at_factor, "change", ["arm", "size"]),
        gain=over_seeds(at_factor[at_factor["arm"] == _ARM], "gain", ["arm", "size"]),
    )


def _message(data: pd.DataFrame) -> str:
    """What the learnt decay loses less than plain attention; of that alone, what it loses."""
    changes = data[data["part"] == "gain"]
    if changes.empty:
        row = data[data["part"] == "told"].iloc[0]
        lost = pm(row, sign=False)
        return study.sentence(f"{study.LABELS[row['arm']]} loses {lost} points on {row['size']:.0f} pixels")
    (region,), row = side(changes, study.POINTS), changes.iloc[0]
    if region == "open" and row["high"] < study.POINTS:
        region = "not above"
    start, arm = f"On {row['size']:.0f} pixels {study.LABELS[_ARM]}", pm(row)
    return {
        "above": f"{start} loses less than plain attention, by {arm.lstrip('+')} points",
        "below": f"{start} loses more than plain attention: {arm} points",
        "within": f"{start} loses as much as plain attention ({arm} points)",
        "not above": f"{start} does not lose {study.POINTS:g} points less than plain attention ({arm})",
        "open": f"{start} against plain attention is undecided ({arm} points)",
    }[region]


@study.register(
    "grid_transfer", 310, "cifar_small", ["study_cifar_small_grid_transfer"], _tabulate, _message, foot=foot_of_arms
)
def plot(data: pd.DataFrame) -> Figure:
    """Masks on a larger grid.

    Held-out accuracy, within each run, on images enlarged from 32 pixels, without further training: dots are seeds,
    marks their mean with its 95 % t interval, dashed is the mean of plain attention, and the band holds changes below
    {points} points. Masks of the offset move exactly, a kernel table is 0 beyond its offsets, and an element-wise mask
    cannot move.
    """
    told = data[data["part"] == "told"].set_index("arm").to_dict("index")
    figure, panels = by_arm(
        data,
        "size",
        "change",
        "image side (pixels)",
        "change of accuracy from 32 pixels (points)",
        lambda arm: f"{pm(told[arm])} on {told[arm]['size']:.0f}" if arm in told else "",
    )
    for ax in panels.values():
        band(ax, study.POINTS)
        ax.set_xticks(sorted(data.loc[data["part"] == "mean", "size"].unique()))
    return figure
