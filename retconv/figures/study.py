"""Figures of the studies: stored tables of full-scale runs, one message each, and what it takes to tell them.

A figure draws the arms and seeds that are stored. It waits while its tables are not there, or hold no arm with enough
seeds for an interval. Small twins are never drawn: they test the machinery.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pandas as pd
from matplotlib.figure import Figure

from retconv.figures.panels import headline, open_frame
from retconv.figures.registry import Drawn, FigureSpec, enter, words
from retconv.figures.style import BLUE, BROWN, CYAN, GREEN, ORANGE, PINK, PURPLE
from retconv.model_names import VITS
from retconv.stored import TABLES, read_runs
from retconv.sweep import load_study

#: The smallest effects that matter: points of accuracy, and tokens of attention distance.
POINTS, TOKENS = 0.7, 0.6

#: Models in words.
MODELS = {"vit": "ViT", "swin": "Swin", "cait": "CaiT", "pit": "PiT", "t2t": "T2T", "vit_reference": "reference ViT"}
#: Arms in words.
LABELS = {
    "plain": "plain attention",
    "manhattan_bias": "learnt decay (bias)",
    "manhattan": "learnt decay (factor)",
    "manhattan_learnt": "learnt decay (factor)",
    "manhattan_fixed": "fixed decay (factor)",
    "gmm": "Gaussian mixture",
    "gmm_local": "mixture (local start)",
    "gmm_positive": "mixture (α ≥ 0)",
    "gmm_decayed": "mixture (weight decay)",
    **{f"gmm_{k}": f"mixture of {k}" for k in (1, 2, 3, 5, 8)},
    "gaussian_bias": "one Gaussian (bias)",
    "table": "kernel table",
    "elm": "element-wise mask",
    "lsa": "LSA",
    "token": "class token",
    "retnet": "RetNet's γ, two-sided",
    "two_sided": "decay on a line",
    "convolution": "convolution alone",
    "multiply_logits": "mask × logits",
    "bias_logits": "log mask + logits",
    "multiply_weights": "mask × weights",
    "retention": "mask, no softmax",
    "plain_no_cutmix": "plain (no CutMix)",
    "gmm_no_cutmix": "mixture (no CutMix)",
    "bias_no_cutmix": "decay (no CutMix)",
    **{f"{key}_gmm": f"mixture in {name}" for key, name in MODELS.items()},
    "vit_reference_token": "class token in reference ViT",
}
#: Colour and marker of the arms that share a panel.
LOOK = {
    "plain": ("0.35", "o"),
    "manhattan_bias": (PURPLE, "v"),
    "gmm": (BLUE, "D"),
    "table": (GREEN, "^"),
    "elm": (ORANGE, "s"),
    "gmm_local": (CYAN, "d"),
    "gmm_5": (BLUE, "D"),
    "manhattan_learnt": (PINK, "<"),
    "two_sided": (BROWN, "P"),
}
#: Names and training images of data sets.
_SETS = {"cifar10": ("CIFAR-10 (JPEG)", 50_000), "tiny-imagenet-32": ("Tiny-ImageNet at 32 pixels", 100_000)}


Plot = Callable[[pd.DataFrame], Figure]


def register(
    name: str,
    place: int,
    study: str,
    tables: Sequence[str],
    tabulate: Callable[..., pd.DataFrame],
    message: Callable[[pd.DataFrame], str],
    texts: tuple[str, str] | None = None,
    foot: Callable[[pd.DataFrame], str] = lambda data: "",
) -> Callable[[Plot], Plot]:
    """Enter the figure of a study that the decorated function plots, with its message above and its scale below.

    Args:
        name: The figure's.
        place: Where in the gallery.
        study: Whose runs they are.
        tables: The stored tables it is made of, by name.
        tabulate: Makes of them the table that is plotted: rows of the part ``run``, and others, without which it waits.
        message: Tells from it, in a line, what is seen.
        texts: Title, and what is drawn in at most two sentences, where the docstring does not say them. ``{points}``
            and ``{tokens}`` stand for the smallest effects that matter.
        foot: Tells from it what else has to be known to read the picture, below it.
    """

    def whole() -> pd.DataFrame:
        return tabulate(*map(read, tables))

    def registered(plot: Plot) -> Plot:
        title, what = texts or words(plot)
        what = what.format(points=f"{POINTS:g}", tokens=f"{TOKENS:g}")

        def draw() -> Drawn:
            data = whole()
            drawn = plot(data)
            for ax in drawn.axes:
                if not ax.images:
                    open_frame(ax)
            # No line ends within a number and its unit.
            line = message(data).replace(" ± ", "\xa0±\xa0").replace(" %", "\xa0%")
            headline(drawn, line, ". ".join(filter(None, (scale(study, data), foot(data)))))
            return drawn, data

        spec = FigureSpec(
            name=name,
            title=title,
            caption=lambda data: f"{what} {scale(study, data)}. {message(data).removesuffix('?')}.",
            draw=draw,
            finding=message,
            data=tuple(TABLES / f"{table}.csv" for table in tables),
            command=f"retconv sweep {study} && retconv studies {study}",
            suffices=lambda: bool((whole()["part"] != "run").any()),
            place=place,
            group="study",
        )
        enter(spec)
        return plot

    return registered


def read(table: str) -> pd.DataFrame:
    """The rows of a table that are of the full study; accuracies are in per cent."""
    data = read_runs(TABLES / f"{table}.csv")
    return data[data["scale"] == "full"].drop(columns="part", errors="ignore").reset_index(drop=True)


def tidy(**parts: pd.DataFrame) -> pd.DataFrame:
    """Tables one below the other, named in the column ``part``; columns without values go."""
    rows = [table.dropna(axis=1, how="all").assign(part=name) for name, table in parts.items() if len(table)]
    whole = pd.concat([pd.DataFrame(columns=["part"]), *rows], ignore_index=True)
    return whole[["part", *whole.columns.drop("part")]]


def scale(study: str, data: pd.DataFrame) -> str:
    """What was trained: data set, images, passes over them, model, seeds. No figure passes for a larger study."""
    runs, arms = data[data["part"] == "run"], data.loc[data["part"] != "run", "arm"].dropna()
    counts = runs[runs["arm"].isin(arms)].groupby("arm")["seed"].nunique()
    configs = load_study(study).configs
    first = configs[0]
    name, whole = _SETS.get(first.data.name, (first.data.name, 0))
    shares = sorted({c.data.fraction for c in configs})
    images = [round(whole * (1 - first.data.validation) * share) for share in shares]
    channels = {c.model.options.get("embed_dim", VITS.get(c.model.name, (None,))[0]) for c in configs}
    model = f"ViT of {channels.pop()} channels" if len(channels) == 1 else "five models"
    # Of fewer images an epoch keeps its number of steps.
    passes = f"{'steps of ' * (len(shares) > 1)}{first.schedule.epochs} passes"
    amount = "–".join(f"{count:,}" for count in dict.fromkeys((images[0], images[-1])))
    seeds, planned = (
        "–".join(str(n) for n in dict.fromkeys((counts.min(), counts.max()))),
        len({c.seed for c in configs}),
    )
    # No title passes for a verdict, which waits for all seeds.
    of = f" of {planned}" if 1 < counts.min() < planned else ""
    return f"{name}, {amount} images, {passes}, {model}, {'one seed' if seeds == '1' else f'{seeds}{of} seeds'}"


def signed(value: float, digits: int = 1) -> str:
    """``+0.8`` or ``−0.3``: a difference with its sign, as typesetters write it; ``0.0`` has none."""
    # Rounded first: the mean of eight accuracies is often a tie, which must not hang on a last bit.
    text = f"{round(value, 9):+.{digits}f}"
    return text.replace("-", "−") if float(text) else text[1:]


def listed(arms: Iterable[str], noun: str = "masks") -> str:
    """Arms in words: one, two, or how many."""
    names = [LABELS.get(arm, arm) for arm in arms]
    return " and ".join(names) if len(names) < 3 else f"{len(names)} {noun}"


def sentence(text: str) -> str:
    """The text with its first letter large."""
    return text[0].upper() + text[1:]
