"""The project files agree with one another and with the package."""

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import retconv
from retconv.extras import EXTRAS
from tests.conftest import LONGEST

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "requirements" / "lock.txt").read_text(encoding="utf-8")
PROJECT = PYPROJECT["project"]
CONDA_NAMES = {"torch": "pytorch"}
#: They say that there is an object, not which one.
VAGUE = {"found", "made", "shown", "kept"}


def declared() -> Iterator[tuple[str, str]]:
    """Yields (table, requirement) for every dependency that pyproject.toml declares."""
    tables = {"core": PROJECT["dependencies"]} | PROJECT["optional-dependencies"] | PYPROJECT["dependency-groups"]
    for table, lines in tables.items():
        yield from ((table, line) for line in lines)


def pinned() -> dict[str, list[Requirement]]:
    """The pins of the lock by name; a name has several where the version depends on the platform."""
    pins: dict[str, list[Requirement]] = {}
    for requirement in map(Requirement, re.findall(r"^\w.*", LOCK, flags=re.MULTILINE)):
        pins.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return pins


@pytest.mark.parametrize(("table", "line"), list(declared()))
def test_lock_pins_every_declared_dependency(table: str, line: str) -> None:
    wanted = Requirement(line)
    pins = pinned().get(canonicalize_name(wanted.name), [])
    assert pins, f"requirements/lock.txt does not pin {line} of {table}; run `make lock`"
    for pin in pins:
        (spec,) = pin.specifier
        assert spec.operator == "==", f"{pin} is no pin"
        assert wanted.specifier.contains(spec.version), f"{pin} does not satisfy {line} of {table}; run `make lock`"


@pytest.mark.parametrize(("table", "line"), list(declared()))
def test_every_declared_dependency_has_a_lower_bound(table: str, line: str) -> None:
    """And nothing but one: ``make test-oldest`` installs these versions."""
    operators = [spec.operator for spec in Requirement(line).specifier]
    assert operators == [">="], f"{line} of {table}: say from which version on retconv works with it, as name>=version"


def test_lock_names_no_host_and_no_option() -> None:
    assert "://" not in LOCK
    assert not [line for line in LOCK.splitlines() if line.startswith("-")]


def test_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert PROJECT["version"] == retconv.__version__ == metadata.version("retconv") == citation["version"]


def test_citation_names_the_software_and_both_papers() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    cited = {entry["value"] for reference in citation["references"] for entry in reference["identifiers"]}
    assert cited == {"arXiv:2309.05375", "arXiv:2307.08621"}


@pytest.mark.parametrize("target", ["figures", "test"])
def test_readme_commands_are_make_targets(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"make {target}" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


def test_the_longest_files_are_there() -> None:
    assert [name for name in LONGEST if not (ROOT / "tests" / name).is_file()] == []


def test_without_make_the_same_extras_are_installed() -> None:
    """The site apart, whose tools no test needs."""
    (extras,) = re.findall(r"^EXTRAS +\?= (.*)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert f'".[{extras.removesuffix(",docs")}]" --group dev' in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_extra_that_is_named_brings_the_package() -> None:
    brought = {
        name: {Requirement(line).name for line in lines} for name, lines in PROJECT["optional-dependencies"].items()
    }
    brought["cluster"].add("distributed")  # by dask[distributed]
    assert [(name, of) for name, of in EXTRAS.items() if name not in brought[of]] == []


def test_conda_environment_is_core_and_notebooks_with_the_same_bounds() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    listed = {line for line in environment["dependencies"] if isinstance(line, str)}
    lines = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["notebooks"]
    lines += [f"python{PROJECT['requires-python']}", "pip"]
    wanted = {re.sub(r"^[\w-]+", lambda name: CONDA_NAMES.get(name[0], name[0]), line) for line in lines}
    assert wanted == listed, f"environment.yml and pyproject.toml differ in {sorted(wanted ^ listed)}"
    assert {"pip": ["-e ."]} in environment["dependencies"]


def vague(path: Path) -> list[tuple[str, int, str]]:
    """Variables and arguments of vague names, fields of classes apart, by file and line."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    bodies = [line for node in nodes if isinstance(node, ast.ClassDef) for line in node.body]
    fields = [line.target for line in bodies if isinstance(line, ast.AnnAssign)]
    stores = [(n.id, n.lineno) for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    public = [(field.id, field.lineno) for field in fields if isinstance(field, ast.Name)]
    names = {*stores, *((node.arg, node.lineno) for node in nodes if isinstance(node, ast.arg))} - {*public}
    return sorted((str(path.relative_to(ROOT)), line, name) for name, line in names if name in VAGUE)


def test_variables_say_what_they_hold() -> None:
    """An object is named by a noun, as kernel or rows."""
    paths = [path for folder in ("retconv", "scripts") for path in (ROOT / folder).rglob("*.py")]
    assert [variable for path in paths for variable in vague(path)] == []
