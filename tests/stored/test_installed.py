"""Stored results come with the package: figures and tables are the same from any folder, and without the repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import retconv
from retconv.figures import FIGURES, find
from retconv.planted.__main__ import TASKS
from retconv.stored import ARCHIVES, TABLES
from retconv.studies import load_tables, readme_table

PACKAGE = Path(retconv.__file__).parent
ROOT = PACKAGE.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package alone in a folder, as a wheel leaves it."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE, site / "retconv", ignore=shutil.ignore_patterns("__pycache__"))
    return site


def elsewhere(installed: Path, folder: Path, *args: str) -> str:
    """What a command says in an empty folder, far from the repository."""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", *args]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_figures_of_stored_results_are_drawn_from_the_package_alone(installed: Path, tmp_path: Path) -> None:
    drawn = elsewhere(installed, tmp_path, "retconv.figures", "--list").partition("\nwait for data")[0]
    assert [line.split()[0] for line in drawn.splitlines()] == [spec.name for spec in find()]
    names = ["parameters_and_macs", "planted_pairs", "attention_is_more"]
    assert all(FIGURES[name].data for name in names)
    elsewhere(installed, tmp_path, "retconv.figures", "--only", *names, "--format", "svg")
    for name in names:
        made = tmp_path / "paper_figures" / f"{name}.csv"
        assert made.read_bytes() == (ROOT / "paper_figures" / made.name).read_bytes()


def test_tables_of_studies_are_read_in_any_folder(installed: Path, tmp_path: Path) -> None:
    said = elsewhere(installed, tmp_path, "retconv.studies", "--readme")
    assert said.strip() == readme_table()
    assert said.count("\n") > 2
    assert list(tmp_path.iterdir()) == []


def test_working_folder_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_tables()
    monkeypatch.chdir(tmp_path)
    assert set(load_tables()) == set(before) > set()
    tables = [path for spec in FIGURES.values() for path in spec.data if path.suffix == ".csv"]
    assert {path.parent for path in tables} == {TABLES}
    assert all((TABLES / f"planted_{name}.csv").is_file() for name in TASKS)
    assert list(ARCHIVES.glob("*.zip"))


#: What is said in one module, and in which.
HOMES = {
    "address of stored results": (r"parents\[|paper_figures/data|stored. / .tables", set()),
    "folder of drawn figures": (r"Path\(.paper_figures", {"figures/__main__.py"}),
    "temporary file": (r"\.tmp\b|mkstemp|NamedTemporaryFile|os\.replace", {"files.py"}),
    "nearest name": (r"difflib", {"names.py"}),
    "provenance": (r"cpuinfo|--always|gethostname", {"provenance.py"}),
}


@pytest.mark.parametrize("what", HOMES)
def test_what_is_of_the_ground_floor_is_said_there_alone(what: str) -> None:
    pattern, homes = HOMES[what]
    files = {path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")}
    assert {name for name, text in files.items() if re.search(pattern, text)} == homes
