"""Figure: the same mask in every placement, from stored runs."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from retconv.figures import study
from retconv.figures.paired import INTERVAL, RULES, draw_arms, extremes, pair
from retconv.figures.spec import FigureSpec

_LABELS = {
    "plain": "plain: softmax(S) V",
    "multiply_logits": "multiply_logits: softmax(M ⊙ S) V",
    "bias_logits": "bias_logits: softmax(S + log M) V",
    "multiply_weights": "multiply_weights: (softmax(S) ⊙ M) V",
    "retention": "retention: (S ⊙ M) V",
    "convolution": "convolution: M V",
}
_SHORT = {arm: label.split(":")[0] for arm, label in _LABELS.items()}
_KEPT = ["arm", "seed", "run", "test_accuracy", "difference", "scale", "data", "commit"]


def draw() -> tuple[Figure, pd.DataFrame]:
    """One row for each placement."""
    runs, differences = pair(study.read("placement"), "plain")
    data = study.tidy(run=runs[_KEPT], difference=differences, rule=study.rules(runs, "placement"))
    return draw_arms(data, [_LABELS], "plain"), data


def finding(data: pd.DataFrame) -> str:
    """Which placements differ from plain attention."""
    return extremes(data, _SHORT)


def caption(data: pd.DataFrame) -> str:
    """What is drawn and seen."""
    what = (
        "The same Gaussian mixture (5 Gaussians, α ≥ 0, so that it has a logarithm, local start) in each placement: "
        "(a) test accuracy, every seed (dots) and the mean, (b) the difference to plain attention of the same seed, "
        f"with {INTERVAL}. S = QKᵀ/√d; the last two have no softmax, the last no queries and keys either. {RULES}"
    )
    return study.caption(what, data, finding(data))


FIGURE = FigureSpec(
    name="placement",
    title="One mask, five placements",
    caption=caption,
    draw=draw,
    finding=finding,
    data=study.stored("placement", "verdicts"),
)
