"""What stands at the beginning and at the end of every row: which run it is of, and where that comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from retconv.data import Dataset
from retconv.measure import measured
from retconv.measure.rows import Row
from retconv.results.store import kernel_entries
from retconv.sweep import Study
from retconv.sweep.rule import column_of
from retconv.train import RunFolder
from retconv.train.config import flatten


@dataclass(frozen=True)
class StudyRun:
    """A finished run as part of a study.

    Attributes:
        study: The study.
        arm: What of it the run is.
        folder: The run.
        load: Gives a data set by its name, on the device that measures; not asked where all was measured.
    """

    study: Study
    arm: str
    folder: RunFolder
    load: Callable[[str], Dataset]

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.folder.config.seed

    @property
    def is_shown(self) -> bool:
        """Whether it is the run of its arm whose kernels are stored whole, to be drawn: that of the first seed."""
        seeds = [c.seed for c in self.study.configs if self.study.arm_of[c.id] == self.arm]
        return self.seed == min(seeds)

    def row(self, values: Row) -> Row:
        """Values between the run's name and its full origin."""
        end = {"scale": self.study.scale, "data": self.folder.config.data.name} | self.folder.origin()
        # What the study varies is said as it varies it, also where the outcome has a column of that name.
        return self._begin | values | end | self._begin

    def measured_rows(self) -> dict[str, list[Row]]:
        """Rows of what was measured on the run, by table; entries of kernels and masks only where they are shown.

        Beside each value stand the number of ``images`` that it was measured on, whether these are ``part``
        ``validation`` or ``test``, and the commit that measured, ``measured``.
        """
        measures = measured(self.folder, self.load)
        on = {"images": measures["images"], "part": measures["part"], "measured": measures["commit"]}
        rows: dict[str, list[Row]] = {}
        for name, table in measures["tables"].items():
            if name in _ENTRIES:
                rows[name] = [row for one in table if self.is_shown for row in self._short_rows(_ENTRIES[name](one))]
            else:
                rows[name] = [self.row(one | on) for one in table]
        return rows

    def _short_rows(self, rows: Iterator[Row]) -> list[Row]:
        """Rows of long tables, which name the run, its scale and its commit; the rest stands in the table of runs."""
        end = {"scale": self.study.scale, "commit": self.folder.origin()["commit"]}
        return [self._begin | row | end for row in rows]

    @cached_property
    def _begin(self) -> Row:
        """Study, arm, seed, what else the study varies, and the run's name."""
        options = flatten(self.folder.config.as_dict())
        varied = {column_of(key): options[key] for key in self.study.grid if key != "seed"}
        return {"study": self.study.name, "arm": self.arm, "seed": self.seed} | varied | {"run": self.folder.path.name}


def _kernel_entries(row: Row) -> Iterator[Row]:
    """A row for each entry of a layer's kernel ``(heads, 2 n_1 − 1, …)``: layer, head, offsets and value."""
    yield from ({"layer": row["layer"]} | entry for entry in kernel_entries(np.array(row["kernel"])))


def _mask_entries(row: Row) -> Iterator[Row]:
    for (query, key), value in np.ndenumerate(np.array(row["mask"])):
        yield {"layer": row["layer"], "query": query, "key": key, "value": float(value)}


#: Tables of which a measured row holds a whole kernel or mask, and how to take it apart.
_ENTRIES = {"effective_kernels": _kernel_entries, "mask_kernels": _kernel_entries, "elm_masks": _mask_entries}
