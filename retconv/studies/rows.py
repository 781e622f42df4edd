"""What stands at the beginning and at the end of every row: which run it is of, and where that comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from retconv.data import Dataset
from retconv.studies.model import Trained
from retconv.sweep import Study
from retconv.train import RunFolder

Row = dict[str, Any]


@dataclass(frozen=True)
class StudyRun:
    """A finished run as part of a study.

    Attributes:
        study: The study.
        arm: What of it the run is.
        folder: The run.
        data: Its data set, on the device that measures.
    """

    study: Study
    arm: str
    folder: RunFolder
    data: Dataset

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.folder.config.seed

    @property
    def is_shown(self) -> bool:
        """Whether it is the run of its arm whose kernels are stored whole, to be drawn: that of the first seed."""
        seeds = [c.seed for c in self.study.configs if self.study.arm_of[c.id] == self.arm]
        return self.seed == min(seeds)

    def load(self) -> Trained:
        """The trained model, a new one each time: for measurements that change it."""
        return Trained.load(self.folder, self.data)

    @cached_property
    def trained(self) -> Trained:
        """The trained model, always the same one: for measurements that only look at it."""
        return self.load()

    def row(self, values: Row) -> Row:
        """Values between the run's name and its full origin."""
        end = {"scale": self.study.scale, "data": self.data.name} | self.folder.origin()
        return self._begin() | values | end

    def short_rows(self, rows: Iterator[Row]) -> list[Row]:
        """Rows of long tables, which name the run, its scale and its commit; the rest stands in the table of runs."""
        end = {"scale": self.study.scale, "commit": self.folder.origin()["commit"]}
        return [self._begin() | row | end for row in rows]

    def _begin(self) -> Row:
        return {"study": self.study.name, "arm": self.arm, "seed": self.seed, "run": self.folder.path.name}
