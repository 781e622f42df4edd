"""All runs below one folder as tidy frames, whoever wrote them and while others still write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from retconv.results.index import Entry, entries
from retconv.train import Config, RunFolder, parse
from retconv.train.config import flatten
from retconv.train.recorded import DamagedRunError, read_kernels, read_lines, read_metrics, read_origin


class Store:
    """The runs below a folder: one folder each, named by the hash of its configuration (see ``RunFolder``).

    Reading takes no lock: files are written whole or by whole lines. A folder that is not the run its name says, or has
    a damaged file, is left out of the frames and named by ``damaged``. What frames need of each run is kept in
    ``.index.json`` below the folder, if that can be written to; it may be removed at any time.

    Args:
        root: The folder, which need not exist yet.

    Example:
        >>> import tempfile
        >>> retconv.results.Store(tempfile.mkdtemp()).runs()
        []
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def runs(self) -> list[RunFolder]:
        """All runs, finished or not, by the name of their folder."""
        return [RunFolder(self.root, parse(entry.config)) for entry in self._sound().values()]

    def damaged(self, kernels: bool = True) -> dict[Path, str]:
        """Folders that tables leave out, and why: a file that says which, and what is wrong with it.

        Args:
            kernels: Read all kernels too, which only the table of kernels leaves a run out for.
        """
        faults = {self.root / name: entry.fault for name, entry in entries(self.root).items()}
        for folder in [folder for folder, fault in faults.items() if kernels and not fault]:
            try:
                read_kernels(folder)
            except DamagedRunError as error:
                faults[folder] = str(error)
        return {folder: fault for folder, fault in faults.items() if fault}

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
        return self._table(configs, lambda _, entry: [entry.row] if entry.row else [])

    def metrics(self, configs: Iterable[Config] | None = None) -> pd.DataFrame:
        """One row for each epoch of each run, finished or not: run, options, the epoch's numbers, and their origin."""
        return self._table(configs, lambda folder, _: _with_origin(folder))

    def kernels(self, configs: Iterable[Config] | None = None) -> pd.DataFrame:
        """One row for each entry of each kernel: run, options, ``epoch``, ``mask``, ``head``, offsets and ``value``.

        ``offset_1``, ``offset_2``, … are key − query along each axis of the mask's grid. Epoch 0 is the start.
        """
        return self._table(configs, lambda folder, _: _entries(folder))

    def provenance(self, configs: Iterable[Config] | None = None) -> pd.DataFrame:
        """One row for each session of each run: run, options, and where and with what it was trained."""
        return self._table(configs, lambda folder, _: read_lines(folder / "provenance.jsonl"))

    def _sound(self) -> dict[str, Entry]:
        return {name: entry for name, entry in entries(self.root).items() if not entry.fault}

    def _table(
        self, configs: Iterable[Config] | None, rows: Callable[[Path, Entry], Iterable[dict[str, Any]]]
    ) -> pd.DataFrame:
        """Rows of each run behind its name and options; a run of which they cannot be read is left out."""
        sound = self._sound()
        names = sound if configs is None else {config.id: None for config in configs}
        table: list[dict[str, Any]] = []
        for name in names:
            if name in sound:
                begin = {"run": name} | flatten(sound[name].config)
                with suppress(DamagedRunError):
                    table += [begin | row for row in list(rows(self.root / name, sound[name]))]
        return pd.DataFrame(table)


def _with_origin(folder: Path) -> list[dict[str, Any]]:
    metrics = read_metrics(folder)
    origin = read_origin(folder) if metrics else {}
    return [row | origin for row in metrics]


def _entries(folder: Path) -> Iterator[dict[str, Any]]:
    for epoch, kernels in read_kernels(folder).items():
        for name, kernel in kernels.items():
            yield from ({"epoch": epoch, "mask": name} | entry for entry in kernel_entries(kernel))


def kernel_entries(kernel: np.ndarray) -> Iterator[dict[str, Any]]:
    """A row for each entry of a kernel ``(heads, 2 n_1 − 1, …)``: ``head``, ``offset_1``, …, and ``value``."""
    center = [size // 2 for size in kernel.shape[1:]]
    for index, value in np.ndenumerate(kernel):
        offsets = {f"offset_{d + 1}": i - c for d, (i, c) in enumerate(zip(index[1:], center, strict=True))}
        yield {"head": index[0]} | offsets | {"value": float(value)}
