"""Figure: test accuracy of every mask against plain attention, seed by seed, from stored runs."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from retconv.figures import study
from retconv.figures.paired import INTERVAL, RULES, draw_arms, extremes, pair
from retconv.figures.spec import FigureSpec

_GROUPS = [
    ("plain",),
    ("elm", "table"),
    ("gmm_1", "gmm_2", "gmm_3", "gmm_5", "gmm_8"),
    ("manhattan_fixed", "manhattan_learnt", "manhattan_bias", "two_sided"),
]
_KEPT = ["arm", "seed", "run", "test_accuracy", "difference", "scale", "data", "commit"]


def draw() -> tuple[Figure, pd.DataFrame]:
    """One row for each arm."""
    runs, differences = pair(study.read("main"), "plain")
    data = study.tidy(run=runs[_KEPT], difference=differences, rule=study.rules(runs, "main"))
    return draw_arms(data, [{arm: study.LABELS[arm] for arm in group} for group in _GROUPS], "plain"), data


def finding(data: pd.DataFrame) -> str:
    """Which masks differ from plain attention."""
    return extremes(data, study.LABELS)


def caption(data: pd.DataFrame) -> str:
    """What is drawn and seen."""
    what = (
        "Test accuracy of a small ViT with each mask in front of the softmax, everything else equal, mean pooling "
        "included: (a) every seed (dots) and the mean, (b) the difference to the plain run of the same seed, with "
        f"{INTERVAL}. Dashed: plain. {RULES}"
    )
    return study.caption(what, data, finding(data))


FIGURE = FigureSpec(
    name="accuracy",
    title="Is it the mask? Accuracy by mask",
    caption=caption,
    draw=draw,
    finding=finding,
    data=study.stored("main", "verdicts"),
)
