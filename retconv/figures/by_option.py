"""Figures: what an option of training, such as CutMix, does to a mask's gain or to attention, from stored runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from retconv.figures import study
from retconv.figures.paired import MEAN, SEED, band, gains, look, over_seeds, pm, side, together
from retconv.figures.style import SINGLE, new_figure


@dataclass(frozen=True)
class _ByOption:
    """A panel for each arm: a value of each seed at the first setting of an option, and at the others.

    Attributes:
        of: The study whose runs they are.
        option: Column of the option.
        settings: Its settings in words, in the order drawn; what is told is the last one's value minus the first one's.
        words: What these words are of.
        told: The message if the change of some arms is ``above`` or ``below`` what matters, or else ``within``, with
            ``{arms}`` and the ``{s}`` of one, and if that of all is ``open``.
        metric: The value; empty: the gain in accuracy over plain, of the same seed and setting.
        least: The smallest change that matters.
        unit: Of the value.
        label: Of the value's axis.
        kind: Which of the study's tables holds the value; empty: that of the runs.
    """

    of: str
    option: str
    settings: Mapping[float, str]
    words: str
    told: Mapping[str, str]
    metric: str = ""
    least: float = study.POINTS
    unit: str = "points"
    label: str = "gain over plain, same seed (points)"
    kind: str = ""

    def tabulate(self, runs: pd.DataFrame) -> pd.DataFrame:
        """Runs, means by setting, and the mean change; while no arm has the change, runs alone."""
        runs = runs[runs[self.option].isin(list(self.settings))]
        if "layer" in runs:
            runs = runs[runs["layer"] == "all"]
        if self.metric:
            runs = runs.assign(value=runs[self.metric])
        else:
            runs = gains(runs, "test_accuracy", within=[self.option]).rename(columns={"gain": "value"})
            runs = runs.dropna(subset="value")
        first, *_, last = self.settings
        ends = runs.pivot(index=["arm", "seed"], columns=self.option, values="value").reindex(columns=[first, last])
        change = (ends[last] - ends[first]).rename("change").reset_index()
        rows = runs[["arm", "seed", "run", self.option, "value", "data", "commit"]]
        changes = over_seeds(change, "change", ["arm"])
        if changes.empty:
            return study.tidy(run=rows)
        return study.tidy(run=rows, mean=over_seeds(runs, "value", ["arm", self.option]), change=changes)

    def plot(self, data: pd.DataFrame) -> Figure:
        """Thin lines are seeds."""
        changes = data[data["part"] == "change"].set_index("arm", drop=False).to_dict("index")
        places = {setting: i for i, setting in enumerate(self.settings)}
        figure = new_figure(SINGLE, 2.3)
        axes = figure.subplots(1, len(changes), sharey=True, squeeze=False)[0]
        for ax, change in zip(axes, [changes[arm] for arm in study.LABELS if arm in changes], strict=True):
            rows, (colour, marker) = data[data["arm"] == change["arm"]], look(change["arm"])
            runs, means = (rows[rows["part"] == part].sort_values(self.option) for part in ("run", "mean"))
            table = runs.pivot(index=self.option, columns="seed", values="value").reindex(list(places))
            ax.plot(list(places.values()), table, color=colour, **SEED | {"linestyle": "-", "linewidth": 0.5})
            place = means[self.option].map(places)
            ax.vlines(place, means["low"], means["high"], color=colour, linewidth=1.8, zorder=3)
            ax.plot(place, means["mean"], color=colour, marker=marker, linestyle="none", zorder=4, **MEAN)
            band(ax, self.least, middle=0.0 if not self.metric else means["mean"].iloc[place.argmin()])
            ax.set_title(f"{study.LABELS[change['arm']]}\n{pm(change)} {self.unit}", color=colour)
            ax.set(xlabel=self.words, xlim=(-0.4, len(places) - 0.6))
            ax.set_xticks(list(places.values()), self.settings.values())
        axes[0].set_ylabel(self.label)
        return figure

    def message(self, data: pd.DataFrame) -> str:
        """Whether the option changes the value by what matters."""
        changes = data[data["part"] == "change"]
        regions = side(together(changes), self.least)
        parts = {}
        for key in ("above", "below", "within"):
            its = set(changes.loc[regions == key, "arm"])
            arms = [arm for arm in study.LABELS if arm in its]
            if arms:
                parts[key] = self.told[key].format(arms=study.listed(arms), s="s" * (len(arms) == 1))
        if len(parts) > 1:
            parts.pop("within", None)
        return study.sentence("; ".join(parts.values()) or self.told["open"])

    def enter(self, name: str, title: str, what: str) -> None:
        """Register the figure; ``what`` says in a sentence what the runs and the value are."""
        drawn = (
            f"{what} Thin lines join the runs of a seed; larger marks are means with 95 % t intervals, over each panel "
            f"stands the change, paired by seed, and the band holds differences below {self.least:g} {self.unit}."
        )
        tables = [f"study_{self.of}{self.kind}"]
        foot = f"Bars and ±: 95 % for each; the title judges all together; grey: ±{self.least:g} {self.unit}"
        texts = title, drawn
        study.register(name, 250, self.of, tables, self.tabulate, self.message, texts, lambda _: foot)(self.plot)


_FEW = {
    "above": "{arms} gain{s} at least 0.7 points more where images are few",
    "below": "{arms} gain{s} at least 0.7 points less where images are few",
    "within": "Few images change what {arms} gain{s} by less than 0.7 points",
    "open": "Undecided: do masks gain more where images are few?",
}
_MIXED = {
    "above": "With CutMix {arms} gain{s} at least 0.7 points more",
    "below": "With CutMix {arms} gain{s} at least 0.7 points less",
    "within": "CutMix changes what {arms} gain{s} by less than 0.7 points",
    "open": "Undecided: does CutMix change what a mask gains?",
}
_REACH = {
    "above": "With CutMix {arms} look{s} farther",
    "below": "CutMix makes a head of {arms} local",
    "within": "CutMix moves the most local head of {arms} by less than 0.6 tokens",
    "open": "Undecided: does CutMix make a head local?",
}
_CUTMIX = ("cutmix", {0.0: "without", 1.0: "with"}, "CutMix")
_SHARES = {share: f"{100 * share:g} %" for share in (1.0, 0.3, 0.1, 0.03, 0.01)}

_ByOption("cifar_small_data", "fraction", {1.0: "all", 0.1: "a tenth"}, "of the images", _FEW).enter(
    "data_size",
    "Masks and the number of images",
    "What masks gain in test accuracy when trained on all images or on a tenth of them, in as many steps.",
)
_ByOption("cifar_small_cutmix", *_CUTMIX, _MIXED).enter(
    "cutmix",
    "Masks and CutMix",
    "What masks gain in test accuracy when every batch is mixed by CutMix, or none.",
)
_NEAREST = "least distance of a head (tokens)"
_ByOption(
    "cifar_small_cutmix", *_CUTMIX, _REACH, "least_distance", study.TOKENS, "tokens", _NEAREST, "_distance"
).enter(
    "cutmix_distance",
    "CutMix and the most local head",
    "The least mean attention distance of a model's heads, where every batch is mixed by CutMix, or none.",
)
_ByOption("short", *_CUTMIX, _MIXED).enter(
    "cutmix_short",
    "Masks and CutMix, 30 passes at full size",
    "What masks gain in test accuracy with CutMix among the recipe's mixing, or with Mixup alone.",
)
_ByOption("data_size", "fraction", _SHARES, "of the images", _FEW).enter(
    "data_size_full",
    "Masks and the number of images, full scale",
    "What masks gain in test accuracy when trained on a share of the images, in as many steps at each.",
)
