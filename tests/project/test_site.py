"""The site: every public package, document and notebook is on it, and continuous integration builds it.

``make docs`` itself refuses what is in no table of contents, broken links and malformed docstrings, since a warning is
an error; here is what it cannot know.
"""

import ast
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from tests.project.modules import MODULES

ROOT = Path(__file__).parents[2]
SITE = ROOT / "docs" / "site"
CONTENTS = (SITE / "contents.md").read_text(encoding="utf-8")
LISTED = [line for block in re.findall(r"```{toctree}\n(.*?)```", CONTENTS, re.DOTALL) for line in block.split()]
SETTINGS = {
    node.targets[0].id: node.value
    for node in ast.parse((SITE / "conf.py").read_text(encoding="utf-8")).body
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
}


def names(path: str) -> set[str]:
    """What the package's ``__init__`` lists as public, without importing it."""
    body = ast.parse(MODULES[path].read_text(encoding="utf-8")).body
    lists = [node.value for node in body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"]
    return set(ast.literal_eval(lists[0])) if lists else set()


def test_every_public_package_is_in_the_reference() -> None:
    reference = set(re.findall(r"^   (retconv\S*)$", (SITE / "api.rst").read_text(encoding="utf-8"), re.MULTILINE))
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py" and names(name)}
    assert {name for name in packages if name.count(".") <= 1} <= reference
    assert reference <= set(MODULES)


def test_every_document_and_notebook_is_in_the_contents() -> None:
    pages = [*ROOT.glob("docs/*.md"), *ROOT.glob("docs/site/*.md"), *ROOT.glob("notebooks/*.ipynb")]
    pages = [path for path in pages if path.name != "contents.md"]
    places = [path.relative_to(ROOT).with_suffix("").as_posix() for path in pages]
    assert len(places) > 20
    assert [place for place in places if not any(fnmatch(place, entry) for entry in LISTED)] == []


@pytest.mark.parametrize("entry", [entry for entry in LISTED if "/" in entry and "*" not in entry])
def test_what_the_contents_list_exists(entry: str) -> None:
    assert [path for path in (ROOT / entry).parent.glob(f"{Path(entry).name}.*") if path.suffix in (".md", ".rst")]


def test_notebooks_are_shown_as_stored() -> None:
    assert ast.literal_eval(SETTINGS["nb_execution_mode"]) == "off"


def test_the_site_is_built_with_every_change() -> None:
    """And a warning is an error."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^docs: .*\n\t.*sphinx-build .*-W ", makefile, re.MULTILINE)
    ci = ROOT / ".ci" / "run"
    assert not ci.exists() or re.search(r"^ *(?:nice )?make .*\bdocs\b", ci.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("name", ["tests", "docs"])
def test_workflows_run_targets_that_there_are(name: str) -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8"))
    runs = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [word for run in runs if run for word in run.split()[1:] if "=" not in word]
    assert targets
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []
