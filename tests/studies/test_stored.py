"""The stored tables of studies are those of the stored runs: what is drawn and told can be made again from archives."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from retconv.data import Dataset
from retconv.results import merge
from retconv.stored import ARCHIVES, TABLES
from retconv.studies import build_tables, load_tables, markdown, results_table, tables, verdicts, write_tables
from retconv.sweep import load_study
from retconv.train import RunFolder

STUDIES = ("cifar_small", "cifar_small_controls", "cifar_small_data", "cifar_small_cutmix")
DOCUMENT = TABLES.parents[2] / "docs" / "study.md"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored")
    assert not merge(sorted(ARCHIVES.glob("*.zip")), folder).faults
    return folder


def no_images(name: str) -> Dataset:
    raise AssertionError(f"{name}: where all was measured, tables need no images")


@pytest.mark.parametrize("name", STUDIES)
def test_tables_are_made_again_from_stored_runs(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    study, stored = load_study(name), load_tables()
    monkeypatch.setattr(tables, "load", no_images)
    write_tables(build_tables(study, runs), tmp_path)
    for table, rows in load_tables(tmp_path).items():
        pd.testing.assert_frame_equal(rows, stored[table])


def test_verdicts_are_those_of_the_stored_tables() -> None:
    made, stored = verdicts(), load_tables()["study_verdicts"]
    same = [column for column in made if column not in ("at", "versus", "against", "scale")]
    pd.testing.assert_frame_equal(made[same], stored[same], check_dtype=False, rtol=1e-5)


#: What the document says in words of a rule, by how its claim begins: the factor that the value is told with, and how.
SAID = (
    ("A Gaussian mixture mask,", -1, "costs {:.1f} ({:.1f} to {:.1f})"),
    ("The logarithm of a", 1, "The learnt decay gains {:.1f} points ({:.1f} to {:.1f})"),
    ("A free kernel that", 1, "the kernel table {:.1f} ({:.1f} to {:.1f})"),
    ("A learnt decay, added as a logarithm, gains", 1, "by {:.2f} more ({:.2f} to {:.2f}) on the test images"),
    ("A Gaussian mixture mask with a local start gains", 1, "by {:.2f} more than on all ({:.2f} to {:.2f})"),
    ("Mean pooling instead of", 1, "it is {:.1f} points better than a class token ({:.1f} to {:.1f};"),
    ("A learnable temperature and a masked", 1, "it is not worth 0.7 points: {:.2f} ({:.2f} to {:.2f})"),
    ("A learnable temperature, by itself", 1, "changes accuracy by less than 0.7 points: {:.2f} ({:.2f} to {:.2f})"),
    ("RetNet's own decay", 1, "on both sides of the query, gains {:.1f} ({:.1f} to {:.1f})"),
    ("Attention is needed.", -1, "to mix its tokens, is {:.1f} points worse than plain attention ({:.1f} to {:.1f})"),
    ("Attention is more than", -1, "plain attention loses {:.1f} points ({:.1f} to {:.1f})"),
    ("A free mask learns", 100, "{:.0f} % of the energy of what it learnt is one ({:.0f} to {:.0f})"),
    ("With CutMix, a learnt decay", 1, "With every batch mixed it gains {:.1f} points ({:.1f} to {:.1f})"),
    ("CutMix takes at least", 1, "It is {:.2f} more than without CutMix ({:.2f} to {:.2f})"),
    ("With CutMix, a Gaussian", -1, "costs there too: {:.1f} ({:.1f} to {:.1f})"),
    ("CutMix alone makes a head", 1, "with none: {:.2f} tokens ({:.2f} to {:.2f})"),
    ("A convolution is enough", 1, "the kernel table is {:.1f} points better than it ({:.1f} to {:.1f})"),
    ("The learnt kernels are", -1, "the kernel tables lose {:.1f} points ({:.1f} to {:.1f})"),
    ("The learnt decays are", -1, "the learnt decays {:.1f} ({:.1f} to {:.1f})"),
    ("On images half as large", -1, "On 48 pixels it loses {:.1f} more than plain attention ({:.1f} to {:.1f})"),
)


def test_the_document_says_what_is_stored(runs: Path) -> None:
    """Runs, their time, and each rule that it tells in words."""
    text = " ".join(DOCUMENT.read_text(encoding="utf-8").split())
    tables = load_tables()
    planned = {config.id for name in STUDIES for config in load_study(name).configs}
    assert len(list(runs.glob("*/result.json"))) == len(planned)
    assert f"All of its {len(planned)} runs are stored" in text
    minutes = pd.concat([tables[f"study_{name}"] for name in STUDIES]).drop_duplicates("run")["seconds"] / 60
    assert f"each took a core {minutes.min():.1f} minutes at least, {minutes.median():.0f} in the median" in text
    rules = tables["study_verdicts"].query("study in @STUDIES").set_index("claim")
    for beginning, factor, words in SAID:
        (row,) = rules[rules.index.str.startswith(beginning)].to_dict("records")
        numbers = factor * row["difference"], *sorted((factor * row["low"], factor * row["high"]))
        assert words.format(*numbers).replace("-", "−") in text


def test_the_document_has_the_tables_of_what_is_stored() -> None:
    """As ``retconv studies --readme`` and ``--rules`` print them."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert results_table() in text
    assert markdown(verdicts(studies=[load_study(name) for name in STUDIES])) in text


def test_the_document_says_what_masks_lose_on_the_largest_grid() -> None:
    """By arm against plain attention, seed by seed, of all images; those without a mask of offsets apart."""
    names = [f"study_{name}_grid_transfer" for name in ("cifar_small", "cifar_small_controls")]
    rows = pd.concat([load_tables()[name] for name in names]).drop_duplicates(["run", "size"]).query("size == 64")
    accuracy = rows.pivot(index="seed", columns="arm", values="accuracy")
    lost = accuracy.rsub(accuracy["plain"], axis=0).mean().drop(["plain", "lsa", "temperature", "token"])
    alone = lost.pop("convolution")
    text = " ".join(DOCUMENT.read_text(encoding="utf-8").split())
    words = (
        "On 64 pixels every decay, Gaussian and kernel table ends below plain attention, by {:.1f} to {:.1f} points on "
        "average, and the convolution by {:.1f}."
    )
    assert words.format(lost.min(), lost.max(), alone) in text


def test_every_stored_run_was_measured_and_is_in_float32(runs: Path) -> None:
    found = [RunFolder(runs, config) for name in STUDIES for config in load_study(name).configs]
    finished = {run.path.name: run for run in found if run.finished}
    assert finished
    assert len(finished) == len(list(runs.glob("*/config.yaml")))
    for run in finished.values():
        assert run.measured
        assert run.origin()["precision"] == "float32"
        assert run.measures()["images"] == 5000
