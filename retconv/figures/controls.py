"""Figure: what of a mask's gain its parts have alone, from stored runs."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from retconv.figures import study
from retconv.figures.paired import INTERVAL, RULES, draw_arms, extremes, pair
from retconv.figures.spec import FigureSpec

_GROUPS = [
    {"plain": "plain, mean pooling", "token": "plain, class token"},
    {"temperature": "temperature", "lsa": "temperature, no self (LSA)"},
    {
        "gmm": "Gaussian mixture, K = 5",
        "gmm_positive": "… without negative α",
        "gmm_local": "… with a local start",
        "gmm_decayed": "… with weight decay on it",
    },
    {"gaussian_bias": "log-Gaussian bias"},
    {
        "plain_no_cutmix": "plain, no CutMix",
        "gmm_no_cutmix": "mixture, no CutMix",
        "bias_no_cutmix": "added decay, no CutMix",
    },
]
_LABELS = {arm: label.replace("…", "mixture") for group in _GROUPS for arm, label in group.items()}
_KEPT = ["arm", "seed", "run", "test_accuracy", "difference", "scale", "data", "commit"]


def draw() -> tuple[Figure, pd.DataFrame]:
    """One row for each arm."""
    runs, differences = pair(study.read("controls"), "plain")
    data = study.tidy(run=runs[_KEPT], difference=differences, rule=study.rules(runs, "controls"))
    return draw_arms(data, _GROUPS, "plain"), data


def finding(data: pd.DataFrame) -> str:
    """Which controls differ from plain attention."""
    return extremes(data, _LABELS)


def caption(data: pd.DataFrame) -> str:
    """What is drawn and seen."""
    what = (
        "What of a mask's gain is pooling, temperature, the masked diagonal or locality? (a) Test accuracy, every "
        "seed (dots) and the mean, (b) the difference to plain attention with mean pooling and the same seed, with "
        f"{INTERVAL}. A mask that multiplies logits is also a temperature, which one number for each head has alone; "
        "LSA adds that no token sees itself, as a negative diagonal would; without negative α a mixture has locality "
        f"only. {RULES}"
    )
    return study.caption(what, data, finding(data))


FIGURE = FigureSpec(
    name="controls",
    title="Controls: pooling, temperature, diagonal, locality",
    caption=caption,
    draw=draw,
    finding=finding,
    data=study.stored("controls", "verdicts"),
)
