"""Eight processes write the same runs into one folder: nothing is lost, nothing is half-written."""

from __future__ import annotations

import json
import multiprocessing
from contextlib import suppress
from pathlib import Path

from retconv.results import Store, merge, pack
from retconv.train import RunFolder, TrainError
from tests.results.carried import MIB, ORIGIN, RESULT, UNTRAINED, by_hand
from tests.train.small import tiny

WRITERS, EPOCHS = 8, 10


def write(root: Path, archives: list[Path], number: int) -> None:
    """Merge the same archives, append to one run that all share, finish an own one, and read meanwhile."""
    shared, own = RunFolder(root, tiny(seed=98)), RunFolder(root, tiny(seed=100 + number))
    shared.add_provenance(ORIGIN)
    for epoch in range(EPOCHS):
        shared.add_metrics({"epoch": number * EPOCHS + epoch, "text": "x" * 5000})
        if epoch == EPOCHS // 2:
            merge(archives, root)
            assert not Store(root).damaged()
    with own.claimed():
        own.add_provenance(ORIGIN)
        own.finish(RESULT | {"test_images": number}, {})
    with suppress(TrainError), shared.claimed():  # or another one finishes it
        shared.finish(RESULT, {})


def test_eight_writers_lose_nothing(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    archives = pack(by_hand(tmp_path / "source"), tmp_path / "out", MIB).archives
    with RunFolder(root, tiny(seed=98)).claimed():
        pass  # its folder is there from now on, with nothing recorded
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write, args=(root, archives, number)) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * WRITERS
    store = Store(root)
    assert not store.damaged()
    assert set(store.frame()["run"]) == {
        c.id for c in (*UNTRAINED, *(tiny(seed=100 + n) for n in range(8)), tiny(seed=98))
    }
    shared = RunFolder(root, tiny(seed=98))
    assert [row["epoch"] for row in shared.metrics()] == list(range(WRITERS * EPOCHS))
    assert len(shared.provenance()) == WRITERS
    # A writer that looks in the middle of another's line may begin a new one: it is empty.
    assert all(json.loads(line) for line in (shared.path / "metrics.jsonl").read_text().splitlines() if line)
    source = Store(tmp_path / "source")
    assert store.kernels(UNTRAINED).equals(source.kernels(UNTRAINED))
    assert not [path for path in root.rglob("*") if path.name.endswith(".tmp")]
