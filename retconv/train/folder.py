"""The folder of one run: what it is, where its numbers come from, and the numbers, only ever added to.

::

    <root>/<hash of the configuration>/
        config.yaml         the resolved configuration, which is a recipe again
        provenance.jsonl    a line for each session that trained it
        metrics.jsonl       a line for each epoch; residual.<mask>: what of a free mask is no convolution
        kernels/            the kernels of its masks at the start, at some twenty epochs and at the end, as .npz
        checkpoint-*.pt     the last two, while it is unfinished
        weights.pt          the weights that were tested; not in a run merged from an archive that left them out
        result.json         the test result, written last in training: a run that has it is finished
        measures.json       what was measured on the weights afterwards (see retconv.measure)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch
import yaml
from torch import Tensor

from retconv.plain_yaml import YamlError, load_file
from retconv.train import checkpoint
from retconv.train.config import Config, as_now, differences
from retconv.train.files import TrainError, append_line, in_memory, make_folder, sync, write_whole
from retconv.train.recorded import (
    damaged,
    read_kernels,
    read_lines,
    read_metrics,
    read_object,
    read_origin,
)


class RunFolder:
    """A run on disk. What reads it raises ``DamagedRunError`` where a file is not what training wrote.

    Args:
        root: Folder of all runs.
        config: The run's configuration, whose hash names its folder.

    Example:
        >>> import tempfile
        >>> run = retconv.train.RunFolder(tempfile.mkdtemp(), retconv.train.load("smoke"))
        >>> run.finished
        False
    """

    def __init__(self, root: str | Path, config: Config) -> None:
        self.config = config
        self.path = Path(root) / config.id

    @property
    def finished(self) -> bool:
        """Whether the test result is there: it is written last."""
        return (self.path / "result.json").is_file()

    @property
    def measured(self) -> bool:
        """Whether what needs the weights was measured."""
        return (self.path / "measures.json").is_file()

    @property
    def measurable(self) -> bool:
        """Whether it is finished, has its weights, and was not measured yet."""
        return self.finished and not self.measured and (self.path / "weights.pt").is_file()

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Inside, no other process trains this run; the claim of a process that dies is void.

        Raises:
            TrainError: If another process trains it, the folder cannot be made, or it holds another configuration.
        """
        make_folder(self.path)
        try:
            with filelock.FileLock(self.path / "lock", timeout=0):
                self._describe()
                yield
        except filelock.Timeout as error:
            raise TrainError(
                f"another process is training run {self.path}: wait for it, or start other runs"
            ) from error

    def _describe(self) -> None:
        file = self.path / "config.yaml"
        config = self.config.as_dict()
        if not file.is_file():
            text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
            write_whole(file, text.encode())
        try:
            stored = load_file(file)
            changed = differences(as_now(stored), config) if isinstance(stored, dict) else [f"it holds {stored!r}"]
        except YamlError as error:
            changed = [str(error)]
        if changed:
            raise TrainError(
                f"{file} was changed since the run began (file against recipe):\n"
                + "\n".join(f"  {line}" for line in changed)
                + "\nA run's folder is named by its configuration: put the file back, or remove the folder"
            )

    def add_provenance(self, provenance: Mapping[str, Any]) -> None:
        """Add a session's origin."""
        append_line(self.path / "provenance.jsonl", json.dumps(dict(provenance)))

    def add_metrics(self, row: Mapping[str, Any]) -> None:
        """Add an epoch's numbers. An epoch that a resumed run repeats stands twice; ``metrics`` reads the last.

        A power failure may take what was added since the last ``save``, of which the epochs are then repeated.
        """
        append_line(self.path / "metrics.jsonl", json.dumps(dict(row)), sync=False)

    def save(self, state: Mapping[str, Any]) -> None:
        """Write a checkpoint, after the numbers of the epochs that it will not repeat.

        Raises:
            TrainError: If the disk is full; earlier checkpoints are untouched.
        """
        sync(self.path / "metrics.jsonl")
        checkpoint.save(self.path, state["step"], state)

    def add_kernels(self, epoch: int, kernels: Mapping[str, Tensor]) -> None:
        """Keep an epoch's kernels ``(heads, 2 n_1 − 1, …)`` by the name of their mask; without masks, nothing."""
        if kernels:
            folder = self.path / "kernels"
            make_folder(folder)
            arrays = {name: kernel.detach().float().cpu().numpy() for name, kernel in kernels.items()}
            # numpy takes names as keyword arguments, whatever they hold.
            content = in_memory(lambda out: np.savez(out, **arrays))  # type: ignore[arg-type]
            write_whole(folder / f"epoch-{epoch:05d}.npz", content)

    def finish(self, result: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
        """Write the tested weights, then the test result; the checkpoints are no longer needed."""
        sync(self.path / "metrics.jsonl")
        write_whole(self.path / "weights.pt", in_memory(lambda out: torch.save(dict(weights), out)))
        text = json.dumps(dict(result), indent=2) + "\n"
        write_whole(self.path / "result.json", text.encode())
        checkpoint.prune(self.path, keep=0)

    def add_measures(self, measures: Mapping[str, Any]) -> None:
        """Keep what was measured on the weights, numbers all finite or missing."""
        text = json.dumps(dict(measures), separators=(",", ":"), allow_nan=False) + "\n"
        write_whole(self.path / "measures.json", text.encode())

    def measures(self) -> dict[str, Any]:
        """What was measured on the weights."""
        return read_object(self.path / "measures.json")

    def provenance(self) -> list[dict[str, Any]]:
        """The sessions that trained the run."""
        return read_lines(self.path / "provenance.jsonl")

    def origin(self) -> dict[str, Any]:
        """What stands beside every number of the run: ``ORIGIN`` of the last session that trained it."""
        return read_origin(self.path)

    def metrics(self) -> list[dict[str, Any]]:
        """Each epoch's numbers, in order; of an epoch that stands there twice, the last."""
        return read_metrics(self.path)

    def kernels(self) -> dict[int, dict[str, np.ndarray]]:
        """The kernels of every mask by epoch, for the epochs that they were kept for."""
        return read_kernels(self.path)

    def result(self) -> dict[str, Any]:
        """The test result.

        Raises:
            TrainError: If the run is not finished.
        """
        if not self.finished:
            raise TrainError(f"run {self.path} is not finished: train it first")
        return read_object(self.path / "result.json")

    def weights(self) -> dict[str, Tensor]:
        """The weights that were tested, on the CPU.

        Raises:
            TrainError: If the run is not finished, or was merged from an archive without its weights.
        """
        self.result()
        path = self.path / "weights.pt"
        if not path.is_file():
            raise TrainError(
                f"run {self.path} was merged without its weights: merge an archive packed with --weights, or remove "
                "the folder and train it again"
            )
        try:
            return dict(torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:  # of zipfile, pickle and torch
            raise damaged(path, error) from error
