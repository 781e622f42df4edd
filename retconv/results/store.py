"""All runs below one folder as tidy frames, whoever wrote them and while others still write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from retconv.plain_yaml import YamlError, load_file
from retconv.train import Config, RecipeError, RunFolder, parse
from retconv.train.config import flatten


class Store:
    """The runs below a folder: one folder each, named by the hash of its configuration (see ``RunFolder``).

    Reading takes no lock: files are written whole or by whole lines. A folder that is not the run its name says is left
    out of the frames and named by ``damaged``.

    Args:
        root: The folder, which need not exist yet.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def runs(self) -> list[RunFolder]:
        """All runs, finished or not, by the name of their folder."""
        return [run for run in map(self._open, self._folders()) if run is not None]

    def damaged(self) -> list[Path]:
        """Folders whose configuration cannot be read, or is not the one that they are named by."""
        return [folder for folder in self._folders() if self._open(folder) is None]

    def missing(self, configs: Iterable[Config]) -> list[Config]:
        """Those of some configurations that are not finished, each once, in their order."""
        unique = {config.id: config for config in configs}
        return [config for config in unique.values() if not RunFolder(self.root, config).finished]

    def frame(self, configs: Iterable[Config] | None = None) -> pd.DataFrame:
        """One row for each finished run.

        Args:
            configs: Only these; all by default.

        Returns:
            ``run`` (the folder's name), a column for every option by its dotted key (``optim.lr``; missing where a run
            leaves an option of the model to its default), every number of the test result, and commit, version of
            torch, device, threads and number of replicas of the last session that trained it.
        """
        return self._table(configs, lambda run: [run.result() | run.origin()] if run.finished else [])

    def metrics(self, configs: Iterable[Config] | None = None) -> pd.DataFrame:
        """One row for each epoch of each run, finished or not: run, options, the epoch's numbers, and their origin."""
        return self._table(configs, lambda run: [row | run.origin() for row in run.metrics()])

    def kernels(self, configs: Iterable[Config] | None = None) -> pd.DataFrame:
        """One row for each entry of each kernel: run, options, ``epoch``, ``mask``, ``head``, offsets and ``value``.

        ``offset_1``, ``offset_2``, … are key − query along each axis of the mask's grid. Epoch 0 is the start.
        """
        return self._table(configs, lambda run: list(_entries(run)))

    def provenance(self, configs: Iterable[Config] | None = None) -> pd.DataFrame:
        """One row for each session of each run: run, options, and where and with what it was trained."""
        return self._table(configs, RunFolder.provenance)

    def _folders(self) -> list[Path]:
        return sorted(path.parent for path in self.root.glob("*/config.yaml"))

    def _open(self, folder: Path) -> RunFolder | None:
        try:
            config = parse(load_file(folder / "config.yaml"))
        except (RecipeError, YamlError, OSError):
            return None
        return RunFolder(self.root, config) if config.id == folder.name else None

    def _table(
        self, configs: Iterable[Config] | None, rows: Callable[[RunFolder], list[dict[str, Any]]]
    ) -> pd.DataFrame:
        runs = (
            self.runs() if configs is None else [RunFolder(self.root, c) for c in {c.id: c for c in configs}.values()]
        )
        return pd.DataFrame(
            [{"run": run.path.name} | flatten(run.config.as_dict()) | row for run in runs for row in rows(run)]
        )


def _entries(run: RunFolder) -> Iterator[dict[str, Any]]:
    for epoch, kernels in run.kernels().items():
        for name, kernel in kernels.items():
            yield from ({"epoch": epoch, "mask": name} | entry for entry in kernel_entries(kernel))


def kernel_entries(kernel: np.ndarray) -> Iterator[dict[str, Any]]:
    """A row for each entry of a kernel ``(heads, 2 n_1 − 1, …)``: ``head``, ``offset_1``, …, and ``value``."""
    center = [size // 2 for size in kernel.shape[1:]]
    for index, value in np.ndenumerate(kernel):
        offsets = {f"offset_{d + 1}": i - c for d, (i, c) in enumerate(zip(index[1:], center, strict=True))}
        yield {"head": index[0]} | offsets | {"value": float(value)}
