"""Stored results come with the package: figures and tables are the same from any folder, and without the repository."""

from __future__ import annotations

import json
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
from retconv.studies import load_tables, readme_table, results_table

PACKAGE = Path(retconv.__file__).parent
ROOT = PACKAGE.parent


#: Figures of stored results: a table, a fit and a study.
NAMES = ["parameters_and_macs", "planted_pairs", "attention_is_more"]
COMMANDS = {
    "list": ["figures", "--list"],
    "draw": ["figures", "--only", *NAMES, "--format", "svg"],
    "table": ["studies", "--readme"],
}
#: Run in a new interpreter: commands one after the other, and what each said.
ONE_BY_ONE = """
import contextlib, io, json, sys
from retconv.__main__ import main
said = {}
for name, arguments in json.loads(sys.argv[1]).items():
    with contextlib.redirect_stdout(io.StringIO()) as written:
        main(arguments, standalone_mode=False)
    said[name] = written.getvalue()
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """An empty folder, and what commands said there of the package alone, as a wheel leaves it."""
    site, folder = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(PACKAGE, site / "retconv", ignore=shutil.ignore_patterns("__pycache__"))
    environment = os.environ | {"PYTHONPATH": str(site)}
    command = [sys.executable, "-c", ONE_BY_ONE, json.dumps(COMMANDS)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def test_figures_of_stored_results_are_drawn_from_the_package_alone(elsewhere: tuple[Path, dict[str, str]]) -> None:
    folder, said = elsewhere
    drawn = said["list"].partition("\nwait for data")[0]
    assert [line.split()[0] for line in drawn.splitlines()] == [spec.name for spec in find()]
    assert all(FIGURES[name].data for name in NAMES)
    for name in NAMES:
        made = folder / "paper_figures" / f"{name}.csv"
        assert made.read_bytes() == (ROOT / "paper_figures" / made.name).read_bytes()


def test_tables_of_studies_are_read_in_any_folder(elsewhere: tuple[Path, dict[str, str]]) -> None:
    folder, said = elsewhere
    assert said["table"] == f"{readme_table()}\n\n{results_table()}\n"
    assert said["table"].count("\n") > 2
    assert [path.name for path in folder.iterdir()] == ["paper_figures"]


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
