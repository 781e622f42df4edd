"""Figure: what the Gaussian mixture mask does for five models, from stored runs, beside the published numbers."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from retconv.figures import study
from retconv.figures.paired import (
    INTERVAL,
    MEAN,
    RULES,
    SEED,
    draw_differences,
    ends,
    in_rows,
    pair,
    spread,
    with_rules,
)
from retconv.figures.panels import letter
from retconv.figures.spec import FigureSpec
from retconv.figures.style import BLUE
from retconv.studies.published import PUBLISHED_TOP1

#: What is compared: model, plain arm, masked arm, and whether the published numbers belong beside it.
_ROWS = {
    "ViT": ("vit", "vit_plain", "vit_gmm", False),
    "Swin": ("swin", "swin_plain", "swin_gmm", True),
    "CaiT": ("cait", "cait_plain", "cait_gmm", True),
    "PiT": ("pit", "pit_plain", "pit_gmm", True),
    "T2T": ("t2t", "t2t_plain", "t2t_gmm", True),
    "ViT, reference recipe": ("vit", "vit_reference_plain", "vit_reference_gmm", False),
    "… against a class token": ("vit", "vit_reference_token", "vit_reference_gmm", True),
}
_KEPT = ["row", "arm", "seed", "run", "recipe", "test_accuracy", "scale", "data", "commit"]
_PUBLISHED: dict[str, Any] = {"color": "black", "linestyle": "none"}
_PUBLISHED |= {"marker": "|", "markersize": 9.0, "markeredgewidth": 1.2}


def _read() -> pd.DataFrame:
    stored = study.read("models")
    runs, compared, published = [], [], []
    for name, (model, plain, masked, beside) in _ROWS.items():
        own = stored[stored["arm"].isin([plain, masked])].assign(row=name)
        if own["arm"].nunique() == 2:
            compared.append(pair(own, plain)[1].assign(row=name))
            runs.append(own[_KEPT])
            # Other data, or less of it, have no published counterpart.
            numbers = PUBLISHED_TOP1.get((model, own["data"].iloc[0])) if beside and study.is_full(own) else None
            if numbers:
                published += [
                    {"row": name, "arm": arm, "mean": v} for arm, v in zip((plain, masked), numbers, strict=True)
                ]
    rules = study.rules(stored, "models")
    parts = {"run": pd.concat(runs), "difference": pd.concat(compared), "rule": rules}
    return study.tidy(**parts, published=pd.DataFrame(published))


def _draw_accuracy(ax: Axes, data: pd.DataFrame, places: dict[str, int]) -> None:
    for i, colour in ((1, "0.35"), (2, BLUE)):
        for name, place in places.items():
            rows = data[(data["row"] == name) & (data["arm"] == _ROWS[name][i])]
            runs, y = rows[rows["part"] == "run"], place - 0.15 + 0.3 * (i == 2)
            ax.plot(runs["test_accuracy"], y + spread(runs["seed"], 0.2), color=colour, **SEED)
            ax.plot(runs["test_accuracy"].mean(), y, color=colour, **MEAN)
            told = rows.loc[rows["part"] == "published", "mean"]
            ax.plot(told, [y] * len(told), **_PUBLISHED)


def draw() -> tuple[Figure, pd.DataFrame]:
    """One row for each model and recipe."""
    data = _read()
    compared = data[data["part"] == "difference"]
    places = {name: i for i, name in enumerate(compared["row"])}
    figure, above = with_rules(data, 1.0 + 0.26 * len(places))
    left, right = above.subplots(1, 2, sharey=True, width_ratios=[1, 1.1])
    _draw_accuracy(left, data, places)
    runs = data[data["part"] == "run"]
    plain, masked = (runs[runs["arm"] == runs["row"].map({k: v[i] for k, v in _ROWS.items()})] for i in (1, 2))
    seeds = masked.merge(plain, on=["row", "seed"])
    gains = seeds["test_accuracy_x"] - seeds["test_accuracy_y"]
    right.plot(gains, seeds["row"].map(places) + spread(seeds["seed"], 0.45), color="0.35", **SEED)
    draw_differences(right, compared.assign(arm=compared["row"]), places)
    for name, told in data[data["part"] == "published"].groupby("row")["mean"]:
        right.plot(told.iloc[1] - told.iloc[0], places[name], **_PUBLISHED)
    left.set_xlabel("test accuracy (%)")
    right.set_xlabel("mask − plain, same seed (points)")
    for ax, text in ((left, "a"), (right, "b")):
        in_rows(ax, places)
        letter(ax, text)
    keys = [Line2D([], [], color=c, label=t, linestyle="none", **MEAN) for c, t in (("0.35", "plain"), (BLUE, "mask"))]
    keys += [Line2D([], [], label="published", **_PUBLISHED)] if (data["part"] == "published").any() else []
    above.legend(handles=keys, loc="outside lower left", ncols=3)
    return figure, data


def finding(data: pd.DataFrame) -> str:
    """The gain of the mask, model by model."""
    return "mask − plain in points: " + ", ".join(
        f"{row['row'].replace('…', 'the same')} {study.signed(row['difference'], 2)} ({ends(row)})"
        for row in data[data["part"] == "difference"].to_dict("records")
    )


def caption(data: pd.DataFrame) -> str:
    """What is drawn and seen."""
    what = (
        "Five models, plain and with a Gaussian mixture mask: (a) test accuracy, (b) what the mask adds to the plain "
        f"run of the same seed, with {INTERVAL}. Dots: seeds; diamonds: their mean. Both arms pool by the mean, but "
        f"for the last row, whose plain arm ends in a class token, as the published one does. {RULES} "
    )
    told = (
        "Ticks: the published numbers, by the reference recipe, of one seed and the best epoch on the test set."
        if (data["part"] == "published").any()
        else "Published numbers are of another size and data, hence not beside these."
    )
    return study.caption(what + told, data, finding(data))


FIGURE = FigureSpec(
    name="models",
    title="Five models with and without a mask",
    caption=caption,
    draw=draw,
    finding=finding,
    data=study.stored("models", "verdicts"),
)
