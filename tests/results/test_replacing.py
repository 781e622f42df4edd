"""Archives that take the place of earlier ones: whatever is only there stays there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from retconv.results import Packed, merge, pack
from retconv.results.__main__ import main
from retconv.train import RunFolder, checkpoint
from tests.results.carried import MIB, RESULT, UNTRAINED, by_hand, run

ONE, OTHER = UNTRAINED


def weigh(root: Path, value: float = 1.0) -> None:
    """Give the first run weights."""
    torch.save({"w": torch.full((2,), value)}, RunFolder(root, ONE).path / "weights.pt")


def replacing(root: Path, out: Path, **options: int) -> tuple[list[Path], Packed]:
    """Earlier archives, and what a new set in their place gives once something has changed."""
    earlier = sorted(out.glob("*.zip"))
    packed = pack(root, out, MIB, replace=True, **options)
    assert sorted(out.glob("*.zip")) == sorted(packed.archives + packed.kept)
    return earlier, packed


def test_a_set_of_which_all_is_there_is_replaced(tmp_path: Path) -> None:
    root, out = by_hand(tmp_path / "runs"), tmp_path / "out"
    pack(root, out, MIB)
    weigh(root)
    earlier, packed = replacing(root, out, weights=True)
    assert packed.archives != earlier
    assert packed.kept == []


def test_a_run_that_is_not_below_the_folder_stays(tmp_path: Path) -> None:
    root, out = by_hand(tmp_path / "runs"), tmp_path / "out"
    pack(root, out, MIB)
    shutil.rmtree(RunFolder(root, ONE).path)
    earlier, packed = replacing(root, out)
    assert packed.kept == earlier
    shutil.rmtree(RunFolder(root, OTHER).path)
    _, packed = replacing(root, out)
    assert (packed.archives, len(packed.kept)) == ([], 2)
    assert len(merge(packed.kept, root).taken) == 2


def test_a_run_whose_checkpoints_are_damaged_stays_and_one_that_does_not_fit_goes(tmp_path: Path) -> None:
    root, out = by_hand(tmp_path / "runs", [ONE]), tmp_path / "out"
    half = run(root, 2, stop=5)
    earlier = pack(root, out, 2**16).archives
    assert len(earlier) > 1
    _, packed = replacing(root, out, most=1)
    assert list(packed.left_out) == ([] if packed.unfinished else [half.path.name])
    steps = checkpoint.saved_steps(half.path)
    for step in reversed(steps):  # once the newest is damaged, an earlier one is packed
        checkpoint.path_of(half.path, step).write_bytes(b"PK")
        _, packed = replacing(root, out)
        merge(packed.archives + packed.kept, tmp_path / f"after {step}")
        assert checkpoint.saved_steps(tmp_path / f"after {step}" / half.path.name)[-1] == steps[-1]
    assert "nothing of it can go on elsewhere" in packed.left_out[half.path.name]


def test_weights_that_the_folder_lacks_or_has_damaged_stay(tmp_path: Path) -> None:
    """Damaged ones are named and not packed: with them merging would refuse the whole set."""
    root, out = by_hand(tmp_path / "runs"), tmp_path / "out"
    weigh(root)
    pack(root, out, MIB, weights=True)
    file = RunFolder(root, ONE).path / "weights.pt"
    file.write_bytes(file.read_bytes()[:-40])
    earlier, packed = replacing(root, out, weights=True)
    assert packed.kept == earlier
    assert "it is damaged" in packed.left_out[f"{ONE.id}/weights.pt"]
    assert len(packed.finished) == 2
    assert len(merge(packed.archives, tmp_path / "other").taken) == 2
    file.unlink()
    said = CliRunner().invoke(main, ["pack", "--root", str(root), "--out", str(out), "--replace"])
    assert said.exit_code == 0
    assert f"not replaced: {earlier[0]}: it holds what is not below {root}" in said.stderr


def test_an_archive_that_cannot_be_read_stays(tmp_path: Path) -> None:
    root, out = by_hand(tmp_path / "runs"), tmp_path / "out"
    (earlier,) = pack(root, out, MIB).archives
    earlier.write_bytes(earlier.read_bytes()[:-9])
    weigh(root)
    _, packed = replacing(root, out, weights=True)
    assert packed.kept == [earlier]


def test_weights_are_added_to_what_was_packed_without(tmp_path: Path) -> None:
    root, out = by_hand(tmp_path / "runs"), tmp_path / "out"
    pack(root, out, MIB)
    assert pack(root, out, MIB, add=True, weights=True).finished == []
    weigh(root)
    assert pack(root, out, MIB, add=True).finished == []
    assert pack(root, out, MIB, add=True, weights=True).finished == [ONE.id]
    assert pack(root, out, MIB, add=True, weights=True).finished == []


@pytest.mark.parametrize("brings", [False, True])
def test_a_result_is_not_merged_beside_weights_of_another(tmp_path: Path, brings: bool) -> None:
    """A run that was killed between the two, and finished elsewhere."""
    there, here = by_hand(tmp_path / "there", [ONE]), by_hand(tmp_path / "here", [ONE])
    weigh(there, 2.0)
    weigh(here, 1.0)
    folder = RunFolder(here, ONE).path
    (folder / "result.json").unlink()
    merge(pack(there, tmp_path / "out", MIB, weights=brings).archives, here)
    assert RunFolder(here, ONE).result()["test_accuracy"] == RESULT["test_accuracy"]
    assert (folder / "weights.pt").exists() == brings
    if brings:
        assert torch.load(folder / "weights.pt")["w"].tolist() == [2.0, 2.0]
