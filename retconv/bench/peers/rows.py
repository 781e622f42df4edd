"""One row of the race against the best of what a user would write: ours, the others, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from retconv.bench.timing import race
from retconv.checks import relative_error

OURS = "retconv"
#: Largest relative difference of two contenders that are said to do the same, by the size of the dtype's entries.
SAME = {8: 1e-6, 4: 2e-3, 2: 6e-2}

Run = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """What is raced.

    Attributes:
        name: Of the work, with its sizes.
        ours: Does it by this package.
        others: Do the same, by name: the best that a user would write or install.
        floors: Do less, by name, and bound what anything can reach, such as a copy of the result.
        gradients: Whether autograd is on.
    """

    name: str
    ours: Run
    others: Mapping[str, Run]
    floors: Mapping[str, Run] = field(default_factory=dict)
    gradients: bool = False


class DisagreementError(AssertionError):
    """Contenders of one row do different things."""


def raced(row: Row, rounds: int) -> dict[str, object]:
    """Race a row, and say what its ratios are.

    Returns:
        ``row``; ``ms``; ``best``, the fastest of the others, with ``ratio``, our time over its (median of the ratios
        within rounds) and quartiles; ``verdict``: ``ahead`` or ``behind`` where both quartiles are on one side of 1,
        else ``equal``; and for each floor ``over …``, our time over its.

    Raises:
        DisagreementError: If another's result is not ours.
    """
    with torch.set_grad_enabled(row.gradients):
        check(row)
        table = race({OURS: row.ours, **row.others, **row.floors}, rounds, OURS, row.floors).set_index("contender")
    best = str(table.loc[list(row.others), "ms"].idxmin())
    low, middle, high = (float(table.loc[best, column]) for column in ("speedup_q1", "speedup", "speedup_q3"))
    verdict = "ahead" if high < 1 else "behind" if low > 1 else "equal"
    facts = {"row": row.name, "ms": table.loc[OURS, "ms"], "best": best, "ratio": middle, "q1": low, "q3": high}
    floors = {f"over {name}": float(table.loc[name, "speedup"]) for name in row.floors}
    return facts | {"verdict": verdict, "n": int(table.loc[OURS, "n"])} | floors


def check(row: Row) -> None:
    """Raise a ``DisagreementError`` unless all contenders of a row have one result."""
    expected = _tensors(row.ours())
    for name, run in row.others.items():
        actual = _tensors(run())
        errors = [relative_error(a.double(), e.double()) for a, e in zip(actual, expected, strict=True)]
        limit = max((SAME[e.element_size()] for e in expected), default=0.0)
        if not all(np.asarray(errors) <= limit):
            raise DisagreementError(f"{row.name}: {name} differs from {OURS} by {max(errors):.1e}")


def _tensors(result: object) -> list[Tensor]:
    return [x.detach() for x in tree_leaves(result) if isinstance(x, Tensor)]


def table_of(part: str, rows: Iterable[Row], rounds: int) -> pd.DataFrame:
    """All rows of a part; each is made when its turn comes, and forgotten after it."""
    torch.manual_seed(0)
    facts = [raced(row, rounds) for row in rows]
    table = pd.DataFrame(facts)
    table.insert(0, "part", part)
    return table
