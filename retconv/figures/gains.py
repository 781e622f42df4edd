"""Figures: what each arm of a study gains over plain attention, seed by seed, from stored runs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from retconv.figures import study
from retconv.figures.paired import MEAN, SEED, band, beside, gains, over_seeds, pm, side, spread, together
from retconv.figures.style import BLUE, SINGLE, new_figure

#: Where an arm loses more points than this, the axis is logarithmic beyond 2.
_FAR = 8
_KEPT = ["arm", "seed", "run", "test_accuracy", "gain", "data", "commit"]


def _tabulate(runs: pd.DataFrame, against: Mapping[str, str]) -> pd.DataFrame:
    runs = gains(runs, "test_accuracy", against)
    return study.tidy(run=runs[_KEPT], gain=over_seeds(runs, "gain", ["arm"]))


def _plot(data: pd.DataFrame) -> Figure:
    """A row for each arm."""
    runs, means = data[(data["part"] == "run") & data["gain"].notna()], data[data["part"] == "gain"]
    places = {arm: i for i, arm in enumerate(runs["arm"].unique())}
    figure = new_figure(SINGLE, 0.9 + 0.2 * len(places))
    ax = figure.subplots()
    band(ax, study.POINTS, "x")
    height = runs["arm"].map(places)
    ax.plot(runs["gain"], height + spread(runs["seed"], 0.5), color="0.35", **SEED)
    place = means["arm"].map(places)
    ax.hlines(place, means["low"], means["high"], color=BLUE, linewidth=1.6)
    ax.plot(means["mean"], place, color=BLUE, marker="D", linestyle="none", **MEAN)
    labels = {row["arm"]: pm(row) for row in means.to_dict("records")}
    few = runs["arm"].value_counts().to_dict()
    for arm, y in places.items():
        beside(ax, y, labels.get(arm, f"{few[arm]} seed" + "s" * (few[arm] > 1)))
    if _is_far(runs):
        ax.set_xscale("symlog", linthresh=2, linscale=1.5)
        ax.set(xticks=[-10, -2, -1, 0, 1, 2], xticklabels=["−10", "−2", "−1", "0", "1", "2"])
    ax.set(yticks=list(places.values()), yticklabels=[study.LABELS.get(arm, arm) for arm in places])
    ax.set(ylim=(len(places) - 0.5, -0.5), xlabel="points of test accuracy over plain, same seed")
    ax.tick_params(axis="y", length=0)
    return figure


def _is_far(runs: pd.DataFrame) -> bool:
    return bool(runs["gain"].min() < -_FAR)


def _foot(data: pd.DataFrame) -> str:
    far = "; axis logarithmic beyond ±2" if _is_far(data[data["part"] == "run"]) else ""
    return f"Bars: 95 % for each arm; the title judges all together; grey: ±{study.POINTS:g} points{far}"


def _message(data: pd.DataFrame, noun: str) -> str:
    """Which arms gain, or lose, an amount that matters; where none is seen to gain it, which still may.

    Arms are judged together. One some of whose seeds are missing is drawn, and not judged.
    """
    means, least = data[data["part"] == "gain"], f"{study.POINTS:g} points"
    means = together(means[means["n"] == means["n"].max()])
    regions = side(means, study.POINTS)
    by_verb = {"gain": regions == "above", "may gain": (regions == "open") & (means["high"] > study.POINTS)}
    by_verb |= {"may gain": by_verb["may gain"] & ~by_verb["gain"].any(), "lose": regions == "below"}
    counts = {verb: int(rows.sum()) for verb, rows in by_verb.items() if rows.any()}
    if not counts:
        return f"None of {len(means)} {noun}s gains {least}" if len(means) > 1 else f"The {noun} gains no {least}"
    if list(counts) == ["may gain"]:
        arms = study.listed(means.loc[by_verb["may gain"], "arm"], f"of {len(means)} {noun}s")
        return f"Undecided: {'does' if counts['may gain'] == 1 else 'do'} {arms} gain {least}?"
    start = "" if (few := sum(counts.values()) < 3) else f"of {len(means)} {noun}s "
    parts = [
        f"{study.listed(means.loc[by_verb[verb], 'arm']) if few else n} {verb}{'s' * (n == 1 and verb != 'may gain')}"
        for verb, n in counts.items()
    ]
    return study.sentence(f"{start}{', '.join(parts)} over {least}")


def _enter(
    name: str, title: str, of: str, noun: str = "mask", against: Mapping[str, str] | None = None, what: str = ""
) -> None:
    """Register the figure of a study.

    Args:
        name: The figure's.
        title: Of the gallery.
        of: The study.
        noun: What its arms are.
        against: Arms whose gain is not over plain, and the arm that it is over.
        what: A sentence on its arms, if they need one.
    """
    drawn = (
        "Test accuracy of each arm minus plain attention's of the same seed: dots are seeds, diamonds their mean with "
        "its 95 % t interval, each by itself; the band holds differences below {points} points."
    )
    tabulate, message = partial(_tabulate, against=against or {}), partial(_message, noun=noun)
    texts = title, f"{drawn} {what}".strip()
    study.register(name, 240, of, [f"study_{of}"], tabulate, message, texts, _foot)(_plot)


_PAIRS = {f"{model}_gmm": f"{model}_plain" for model in ("vit", "swin", "cait", "pit", "t2t", "vit_reference")}
_PAIRS["vit_reference_token"] = "vit_reference_plain"
_NO_CUTMIX = {"gmm_no_cutmix": "plain_no_cutmix", "bias_no_cutmix": "plain_no_cutmix"}
_POOLED = "Plain is the same model without a mask, pooled by the mean as well."

_enter("accuracy", "Is it the mask? Accuracy by mask", "cifar_small")
_enter("controls", "What of a mask is placement, shape or temperature?", "cifar_small_controls", "change")
_enter("accuracy_full", "Accuracy by mask, full scale", "main")
_enter("controls_full", "Controls, full scale", "controls", "change", _NO_CUTMIX)
_enter("placement", "One mask, five placements", "placement", "placement")
_enter("models", "Five models with and without a mask", "models", "model", _PAIRS, _POOLED)
_enter("tiny_imagenet", "Accuracy by mask on Tiny-ImageNet", "tiny_imagenet")
