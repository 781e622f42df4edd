"""One table of the study's main results in Markdown, ours beside the published ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from retconv.stats import compare
from retconv.studies.published import PUBLISHED_TOP1
from retconv.studies.tables import DATA, load_tables
from retconv.studies.verdicts import largest_scale

#: Study, arm, what it is compared with, what is said of it, and its published counterpart on CIFAR-10.
_ROWS = (
    (
        "models",
        "vit_reference_gmm",
        "vit_reference_token",
        "ViT, as published: class token → mask, mean pooling",
        "vit",
    ),
    ("models", "vit_reference_gmm", "vit_reference_plain", "ViT, the same, mean pooling in both", ""),
    ("models", "vit_gmm", "vit_plain", "ViT", ""),
    ("models", "swin_gmm", "swin_plain", "Swin", "swin"),
    ("models", "cait_gmm", "cait_plain", "CaiT", "cait"),
    ("models", "pit_gmm", "pit_plain", "PiT", "pit"),
    ("models", "t2t_gmm", "t2t_plain", "T2T", "t2t"),
    ("controls", "plain", "token", "ViT, no mask: class token → mean pooling", ""),
    ("controls", "temperature", "plain", "ViT, no mask: a learnable temperature", ""),
    ("controls", "lsa", "plain", "ViT, no mask: temperature and masked diagonal", ""),
    ("main", "elm", "plain", "ViT, element-wise mask", ""),
    ("main", "table", "plain", "ViT, kernel table", ""),
    ("main", "manhattan_learnt", "plain", "ViT, learnable Manhattan decay", ""),
    ("tiny_imagenet", "gmm_5", "plain", "ViT, Tiny-ImageNet at 32 pixels", ""),
)
_HEAD = (
    "model",
    "published, CIFAR-10",
    "data",
    "without → with (%)",
    "difference, 95 % interval (points)",
    "seeds",
    "command",
)


def readme_table(folder: str | Path = DATA) -> str:
    """Means over seeds, without and with, and their paired difference with its t interval, from stored tables.

    Intervals are of 95 % each, not adjusted for their number as those of the verdicts are. Rows whose runs are not
    stored are left out. Small twins are labelled by their data, and stand for nothing else.
    """
    tables = load_tables(folder)
    lines = [_line(_HEAD), _line(["---"] * len(_HEAD))]
    for study, arm, against, name, model in _ROWS:
        table = tables.get(f"study_{study}", pd.DataFrame({"arm": []}))
        chosen = largest_scale(table[table["arm"].isin([arm, against])])
        if chosen["arm"].nunique() < 2:
            continue
        row = compare(chosen, "test_accuracy", against).iloc[0]
        scale, data = chosen["scale"].iloc[0], chosen["data"].iloc[0]
        published = "{:.2f} → {:.2f}".format(*PUBLISHED_TOP1[model, "cifar10"]) if model else "–"
        flag = " --small" if scale == "small" else ""
        lines.append(
            _line(
                [
                    name,
                    published,
                    data + (" (small)" if flag else ""),
                    f"{row['mean_reference']:.2f} → {row['mean']:.2f}",
                    f"{row['difference']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]",
                    str(row["n"]),
                    f"`python -m retconv.sweep {study}{flag} && python -m retconv.studies {study}{flag}`",
                ]
            )
        )
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
