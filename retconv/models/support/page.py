"""The page of the table of support, ``docs/models.md``: what its rows say, in words."""

from __future__ import annotations

from typing import Any

import pandas as pd

from retconv.models.checking.report import QUESTIONS
from retconv.models.support.reasons import KINDS, OTHER, OTHERS
from retconv.models.support.timm_models import MODULES

_INTRODUCTION = """# Models

Which models take masks, tried one by one and asked by experiment whether the masks are right:

```sh
retconv models --support                       # all of them, about eight minutes on one core
retconv models --support --library timm --only 'swin*'
```

```python
import timm

from retconv.models import check_masks

print(check_masks(timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2)))  # the same for a model of yours
```

Models are built small, with random weights, from the table's own list. Of timm it is one for each family: every
architecture module whose code attends, with every leading word of its models' names, and of these the model of fewest
parameters. **attention** counts the modules that attend in a run, **masked** those that `add_masks` gives a mask, and
**pooled** those that it masks as well with `pooled=True`; **grids** are those of the masks, `4×4+1` with one prefix
token. The experiments are those of `check_masks`: ✓ passed, ? inconclusive (it cannot be told, as in 2×2 grids behind
overlapping convolutions), ✗ failed.
"""
_MARKS = {"passed": "✓", "failed": "✗", "inconclusive": "?"}
_TITLES = {
    "timm": "timm, a model of each family",
    "transformers": "transformers, by configuration",
    "torchvision": "torchvision",
}


def page(table: pd.DataFrame) -> str:
    """The page of a table of support, Markdown."""
    table = table.fillna("")
    parts = [_INTRODUCTION, _numbers(table), _experiments()]
    for library, title in _TITLES.items():
        rows = table[table["library"] == library]
        if len(rows):
            parts.append(_section(title, rows))
    parts.append(_reasons(table))
    return "\n".join(parts)


def _numbers(table: pd.DataFrame) -> str:
    lines = []
    for library in _TITLES:
        rows = table[table["library"] == library]
        if not len(rows):
            continue
        attending = rows[rows["attention"] > 0]
        masked = rows[rows["masked"] > 0]
        failed = int((masked[list(QUESTIONS)] == "failed").any(axis=1).sum())
        version = rows["version"].iloc[0]
        lines.append(
            f"- {library} {version}: {len(rows)} models, of which {len(attending)} attend; {len(masked)} take masks, "
            f"{len(masked[masked['masked'] == masked['attention']])} of them in all their attention. "
            f"{'No experiment fails' if not failed else f'An experiment fails in {failed}'}."
        )
    return "\n".join(lines) + "\n"


def _experiments() -> str:
    return "\n".join(f"- **{name}**: {question}." for name, question in QUESTIONS.items()) + "\n"


def _section(title: str, rows: pd.DataFrame) -> str:
    head = ["model", "attention", "masked", "pooled", "grids", *QUESTIONS, "why not the rest", "s"]
    align = ["---", "--:", "--:", "--:", "---", *([":-:"] * len(QUESTIONS)), "---", "--:"]
    lines = [f"## {title}\n", _line(head), _line(align), *(_line(_cells(row)) for row in rows.to_dict("records"))]
    return "\n".join(lines) + "\n"


def _cells(row: dict[str, Any]) -> list[str]:
    name = f"`{row['model']}`"
    if row["library"] == "timm":
        name += f" ({MODULES.get(row['model'], '')})"
    marks = [_MARKS.get(row[check], "") for check in QUESTIONS]
    reason = str(row["reason"]).replace("|", "/")
    counts = [str(int(row[column])) if row[column] else "" for column in ("attention", "masked", "pooled")]
    return [name, *counts, str(row["grids"]), *marks, reason, f"{float(row['seconds']):.1f}"]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _reasons(table: pd.DataFrame) -> str:
    """A sentence for each kind of reason that the table has."""
    text = ", ".join(map(str, table["reason"]))
    lines = [f"- **{name}**: {sentence}" for name, (_, sentence) in KINDS.items() if name in text]
    if OTHERS in text:
        lines.append(f"- **{OTHERS}**: Of a model that takes no mask, three reasons are given and the rest counted.")
    if OTHER in text.replace(OTHERS, ""):
        lines.append(f"- **{OTHER}**: The model, or its masks, raised what the table says.")
    return "\n".join(["## Why attention stays plain\n", *lines]) + "\n"
