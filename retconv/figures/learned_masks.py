"""Figure: the kernels that masks learn, and how near a decay or a Gaussian comes to them, from stored runs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from retconv.colours import DIVERGING
from retconv.figures import study
from retconv.figures.panels import colour_bar
from retconv.figures.style import SINGLE, new_figure

_TABLES = ("study_cifar_small_mask_kernels", "study_cifar_small_masks")
#: Arms whose kernels may take any shape, then those of a given form.
_FREE, _FORMED = ("table", "elm"), ("gmm", "manhattan_bias")
_WHERE = ["arm", "seed", "run", "layer", "head"]


def _tabulate(kernels: pd.DataFrame, fits: pd.DataFrame) -> pd.DataFrame:
    kernels = kernels[kernels["arm"].isin([*_FREE, *_FORMED])]
    if not kernels["arm"].isin(_FREE).any():
        return study.tidy(run=kernels[_WHERE])
    kernels["learnt"] = kernels["value"] - 1
    norms = kernels.groupby(_WHERE)[["value", "learnt"]].agg(np.linalg.norm).reset_index()
    fits = norms.merge(fits[[*_WHERE, "gamma_residual", "sigma_residual", "data", "commit"]], on=_WHERE)
    nearest = fits[["gamma_residual", "sigma_residual"]].min(axis=1)
    fits["left"] = 100 * nearest * fits["value"] / fits["learnt"]
    entries = kernels.loc[kernels["head"] == 0, [*_WHERE, "offset_1", "offset_2", "value"]]
    return study.tidy(run=fits.drop(columns=["value", "learnt"]), kernel=entries)


def _message(data: pd.DataFrame) -> str:
    """What is left of free kernels beside a decay or a Gaussian."""
    left = data.loc[(data["part"] == "run") & data["arm"].isin(_FREE), "left"].mean()
    if left < 20:
        return f"Free kernels become a decay or a Gaussian: {left:.0f} % is left beside it"
    if left > 50:
        return f"Free kernels are neither decay nor Gaussian: the nearest leaves {left:.0f} % of what they learnt"
    return f"A decay or a Gaussian leaves {left:.0f} % of what free kernels learn"


def _foot(_: pd.DataFrame) -> str:
    return "% left: of ‖K − 1‖; in the title over all heads of this seed"


@study.register("learned_masks", 300, "cifar_small", _TABLES, _tabulate, _message, foot=_foot)
def plot(data: pd.DataFrame) -> Figure:
    """The kernels that masks learn.

    Learnt kernels of the first seed and head, of the element-wise mask its projection, offset 0 in the middle: white is
    1, which changes nothing, red more and blue less, on the scale below each arm. Below each kernel stands what the
    nearest decay or Gaussian, whichever is nearer, leaves of what it learnt, its distance from 1; the message tells
    the mean over all heads and layers of that seed's free kernels.
    """
    runs, kernels = (data[data["part"] == part] for part in ("run", "kernel"))
    arms = [arm for arm in (*_FREE, *_FORMED) if arm in set(kernels["arm"])]
    layers = sorted(kernels["layer"].unique())
    figure = new_figure(SINGLE, 1.2 + len(layers) * min(0.9, 3.2 / len(arms)))
    axes = figure.subplots(len(layers), len(arms), squeeze=False)
    for arm, column in zip(arms, axes.T, strict=True):
        own = kernels[kernels["arm"] == arm]
        top = float((own["value"] - 1).abs().max())
        for layer, ax in zip(layers, column, strict=True):
            kernel = own[own["layer"] == layer].pivot(index="offset_1", columns="offset_2", values="value")
            image = ax.imshow(kernel.to_numpy(float), cmap=DIVERGING, norm=Normalize(1 - top, 1 + top))
            left = runs[(runs["arm"] == arm) & (runs["layer"] == layer) & (runs["head"] == 0)]["left"].iloc[0]
            ax.set(xticks=[], yticks=[])
            ax.set_xlabel(f"{left:.0f} % left", labelpad=1.5, fontsize=6.5)
        column[0].set_title(study.LABELS[arm].replace(" ", "\n", 1))
        ends = [1 - top, 1, 1 + top]
        bar = colour_bar(figure, image, column[-1], "value", below=0.4)
        bar.set_ticks(ends, labels=[f"{end + 0.0:.1f}".replace("-", "−") for end in ends])
    for layer, ax in zip(layers, axes[:, 0], strict=True):
        ax.set_ylabel(f"layer {layer + 1:.0f}")
    return figure
