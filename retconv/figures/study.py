"""The stored tables of the study: which rows are drawn, at what scale, and what its rules say of them.

A table may hold runs of both scales. Those of the full study are drawn where there are any, and every figure and
caption names the scale of what it shows.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from retconv.figures.style import BLUE, BROWN, CYAN, GREEN, ORANGE, PURPLE

#: Written by ``python -m retconv.studies`` after ``python -m retconv.sweep``.
FOLDER = Path(__file__).parents[2] / "paper_figures" / "data"

_MODELS = (("vit", "ViT"), ("swin", "Swin"), ("cait", "CaiT"), ("pit", "PiT"), ("t2t", "T2T"))
LABELS = {
    "plain": "plain",
    "elm": "element-wise (ELM)",
    "table": "kernel table",
    **{f"gmm_{k}": f"Gaussian mixture, K = {k}" for k in (1, 2, 3, 5, 8)},
    "manhattan_fixed": "Manhattan decay, fixed",
    "manhattan_learnt": "Manhattan decay, learnt",
    "manhattan_bias": "Manhattan decay, added",
    "two_sided": "two-sided decay on a line",
    "gmm": "Gaussian mixture, K = 5",
}
#: Names for rules, where a difference is written out: no name holds a comma or a sign.
SHORT = {
    "elm": "ELM",
    "table": "kernel table",
    **{f"gmm_{k}": f"mixture of {k}" for k in (1, 2, 3, 5, 8)},
    "manhattan_fixed": "fixed decay",
    "manhattan_learnt": "learnt decay",
    "manhattan_bias": "added decay",
    "two_sided": "decay on a line",
    "token": "class token",
    "lsa": "LSA",
    "gmm": "mixture",
    "gmm_positive": "positive mixture",
    "gmm_local": "local mixture",
    "gmm_decayed": "decayed mixture",
    "gaussian_bias": "Gaussian bias",
    "plain_no_cutmix": "plain without CutMix",
    "gmm_no_cutmix": "mixture without CutMix",
    "bias_no_cutmix": "added decay without CutMix",
    **{f"{key}_plain": f"plain {name}" for key, name in (*_MODELS, ("vit_reference", "reference ViT"))},
    **{f"{key}_gmm": f"masked {name}" for key, name in (*_MODELS, ("vit_reference", "reference ViT"))},
    "vit_reference_token": "with class token",
}
#: Colour, marker and line of the arms that share a panel of lines.
LOOK = {
    "plain": ("0.35", "o", "--"),
    "elm": (ORANGE, "s", "-"),
    "table": (GREEN, "^", "-"),
    "gmm_5": (BLUE, "D", "-"),
    "gmm": (BLUE, "D", "-"),
    "manhattan_learnt": (PURPLE, "v", "-"),
    "manhattan_fixed": (CYAN, "<", "-"),
    "two_sided": (BROWN, "P", "-"),
}
_SETS = {"digits": "digits", "cifar10": "CIFAR-10"}
_SIGNS = {"above": ">", "below": "<"}
_SCALES = {"small": "Small CPU study", "full": "Full study"}


def stored(*tables: str) -> tuple[Path, ...]:
    """The files of tables by name."""
    return tuple(FOLDER / f"study_{table}.csv" for table in tables)


def read(table: str) -> pd.DataFrame:
    """The rows of a table at the largest scale that it holds."""
    data = pd.read_csv(FOLDER / f"study_{table}.csv", dtype={"run": str})  # a hash may be made of digits alone
    scale = "full" if (data["scale"] == "full").any() else "small"
    return data[data["scale"] == scale].reset_index(drop=True)


def rules(runs: pd.DataFrame, *tables: str) -> pd.DataFrame:
    """The verdicts of the study's rules that read some tables, at the scale of ``runs`` or not run."""
    found = pd.read_csv(FOLDER / "study_verdicts.csv")
    same = found["scale"].isin([runs["scale"].iloc[0]]) | found["scale"].isna()
    return found[same & found["table"].isin([f"study_{table}" for table in tables])]


def tidy(**parts: pd.DataFrame) -> pd.DataFrame:
    """Tables one below the other, named in the column ``part``; each row says its scale, and empty columns go."""
    origin = next(iter(parts.values()))[["scale"]].iloc[0].to_dict()
    rows = [table.assign(part=name, **origin) for name, table in parts.items() if len(table)]
    whole = pd.concat([table.dropna(axis=1, how="all") for table in rows], ignore_index=True)
    return whole[["part", *whole.columns.drop("part")]]


def is_full(data: pd.DataFrame) -> bool:
    """Whether these are rows of the full study."""
    return bool(data["scale"].iloc[0] == "full")


def origin(data: pd.DataFrame) -> str:
    """What was measured, for the head of a figure: scale, data set, number of seeds."""
    seeds = data["seed"].dropna().nunique()
    text = _SCALES[data["scale"].iloc[0]]
    if "data" in data:
        text += f", {' and '.join(_SETS.get(name, name) for name in data['data'].dropna().unique())}"
    return f"{text}, {seeds} seeds" if seeds > 1 else f"{text}, seed {int(data['seed'].dropna().iloc[0])}"


def head(figure: Figure, data: pd.DataFrame) -> None:
    """Write the scale over a figure: a panel that is shown elsewhere must not pass for a larger study."""
    figure.suptitle(origin(data), x=0.005, ha="left", fontsize=7, color="0.35")


def some(layers: pd.Series) -> list[int]:
    """The first, the middle and the last layer, for figures that have no room for all."""
    known = sorted(layers.dropna().unique().astype(int).tolist())
    return sorted({known[0], known[len(known) // 2], known[-1]})


def signed(value: float, digits: int = 1) -> str:
    """``+0.8`` or ``−0.3``: a difference with its sign, as typesetters write it."""
    return f"{value:+.{digits}f}".replace("-", "−")


def condition(rule: Mapping[Hashable, Any]) -> str:
    """A rule in symbols: ``kernel table − plain > 0.3``."""
    value = SHORT.get(rule["arm"], rule["arm"])
    if isinstance(rule.get("against"), str):
        value += f" − {SHORT.get(rule['against'], rule['against'])}"
    if isinstance(rule.get("at"), str):
        value += f", {rule['at'].replace('=', ' ')}"
    if isinstance(rule.get("versus"), str):
        value += f" against {rule['versus'].split('=')[-1]}"
    threshold = f"{rule['threshold']:g}".replace("-", "−")
    return f"|{value}| < {threshold}" if rule["expect"] == "within" else f"{value} {_SIGNS[rule['expect']]} {threshold}"


def answers(data: pd.DataFrame) -> str:
    """What the rules say, one sentence each, from the rows of a figure's table that hold them."""
    found = data[data["part"] == "rule"]
    if found.empty:
        return ""
    return " Rules written before the runs: " + " ".join(_answer(rule) for rule in found.to_dict("records"))


def _answer(rule: Mapping[Hashable, Any]) -> str:
    claim = str(rule["claim"]).rstrip(".")
    if rule["verdict"] == "not run":
        return f"“{claim}”: not run."
    low, value, high = (f"{rule[key]:.3g}".replace("-", "−") for key in ("low", "difference", "high"))
    share = f"{100 * rule['confidence']:.4g} %"
    return f"“{claim}”: {rule['verdict']} ({value}, {share} interval {low} to {high}, n = {int(rule['n'])})."


def caption(what: str, data: pd.DataFrame, finding: str) -> str:
    """A caption of the study: its scale, what is drawn, what is seen, and what the rules say."""
    scale = origin(data) + ("." if is_full(data) else ": of the full study's shape, not of its size.")
    return f"{scale} {what} Seen: {finding}.{answers(data)}"
