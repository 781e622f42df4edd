"""The documents in ``docs/`` are true: what they name exists, their code runs, and cited laws are there."""

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch

import retconv
from retconv.proofs import find

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
DOCS = ROOT / "docs"
LAWS, DECISIONS, NOTATION = (
    (DOCS / f"{name}.md").read_text(encoding="utf-8") for name in ("laws", "decisions", "notation")
)
#: Where laws are cited by number.
CITING = [
    *(path for folder in ("retconv", "tests", "docs") for path in (ROOT / folder).rglob("*.*")),
    *(ROOT / "notebooks").glob("*.py"),
    *ROOT.glob("*.md"),
]
ABSENT = "Not in the package yet"
PROOFS_OF = {proof.name: proof.law for proof in find()}


def cited(text: str) -> set[int]:
    """Numbers of the laws that a text names: ``law 3``, ``laws 6 to 12, 15 and 18``, ``test_law_3_…``, ``law=3``."""
    found: set[int] = set()
    for numbers in re.findall(r"(?<![a-z])laws?[\s_=]?(\d+(?:(?:,|\s|_|and|to)+\d+)*)", text, flags=re.IGNORECASE):
        for first, last in re.findall(r"(\d+)(?:\s+to\s+(\d+))?", numbers):
            found |= set(range(int(first), int(last or first) + 1))
    return found


def functions(path: Path) -> set[str]:
    """Names of the functions of a test file."""
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


TESTED = {path.relative_to(TESTS).as_posix(): functions(path) for path in TESTS.rglob("test_*.py")}


def sections(text: str) -> dict[int, str]:
    """The laws by number, each with the text below its anchor."""
    _, *parts = re.split(r'<a id="law-(\d+)"></a>\n', text)
    return {int(number): body for number, body in zip(parts[::2], parts[1::2], strict=True)}


def blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def faults_of_numbers(text: str) -> Iterator[str]:
    """Contents, anchors and headings are the numbers from 1 on, each once."""
    anchors = re.findall(r'<a id="law-(\d+)">', text)
    headings = re.findall(r"^## (\d+)\. ", text, flags=re.MULTILINE)
    contents = re.findall(r"^(\d+)\. \[[^]]+\]\(#law-(\d+)\)", text, flags=re.MULTILINE)
    expected = [str(number) for number in range(1, len(anchors) + 1)]
    if not anchors == headings == [shown for shown, _ in contents] == [to for _, to in contents] == expected:
        yield f"numbers: anchors {anchors}, headings {headings}, contents {contents}"


def faults_of_law(number: int, body: str) -> Iterator[str]:
    """What a law names exists, and belongs to it."""
    tests = re.findall(r"\[`([\w/]+\.py)::(\w+)`\]\(\.\./tests/([\w/]+\.py)\)", body)
    notebooks = re.findall(r"\[`(\w+)`\]\(\.\./notebooks/(\w+)\.ipynb\)", body)
    proofs = "".join(re.findall(r"^- Proofs?:(.*?)^- ", body, flags=re.MULTILINE | re.DOTALL))
    if ABSENT in body:
        named = [name for names in TESTED.values() for name in names if number in cited(name)]
        if blocks(body) or tests or notebooks or named:
            yield f"law {number} is said not to be in the package, and yet has code, tests or notebooks {named}"
        return
    if not (len(blocks(body)) == 1 and tests and notebooks and "- Proof" in body):
        yield f"law {number} must have one block of code, tests, notebooks, and a line on its proof"
    for file, name, linked in tests:
        places = [path for path, names in TESTED.items() if name in names]
        if file not in places or file != linked:
            yield f"law {number}: there is no tests/{file}::{name}, linked as {linked}; it is in {places}"
        if cited(name) and number not in cited(name):
            yield f"law {number}: {name} is of another law"
    for shown, file in notebooks:
        path = ROOT / "notebooks" / f"{file}.py"
        if shown != file or not path.exists() or number not in cited(path.read_text(encoding="utf-8")):
            yield f"law {number}: there is no notebook {shown}, or it does not name the law"
    if sorted(re.findall(r"`(\w+)`", proofs)) != sorted(name for name, law in PROOFS_OF.items() if law == number):
        yield f"law {number}: its proofs are {[name for name, law in PROOFS_OF.items() if law == number]}"


def faults_of_laws(text: str) -> list[str]:
    each = [fault for number, body in sections(text).items() for fault in faults_of_law(number, body)]
    return [*faults_of_numbers(text), *each]


def names(text: str) -> list[str]:
    """The code names of ``notation.md``: second column of each table of symbols."""
    tables = re.findall(r"^\| symbol \| code \|.*\n((?:\|.*\n)+)", text, flags=re.MULTILINE)
    return [
        name for table in tables for row in table.splitlines() for name in re.findall(r"`([^`]+)`", row.split("|")[2])
    ]


def holds(cls: type, name: str) -> bool:
    """Whether instances have an attribute that the class has not: a field, or one that its code sets."""
    own = [base for base in cls.__mro__ if base.__module__.startswith("retconv")]
    sets = any(re.search(rf"self\.{name}\b", inspect.getsource(base)) for base in own)
    return sets or any(name in inspect.get_annotations(base) for base in own)


def exists(name: str) -> bool:
    """Whether ``Grid.shape``, or ``kernels.gaussian(sigma)`` with that parameter, exists below ``retconv``."""
    path, parameter = re.fullmatch(r"([\w.]+)(?:\((\w+)\))?", name).groups()  # type: ignore[union-attr]
    found: object = retconv
    for part in path.split("."):
        if not hasattr(found, part) and isinstance(found, ModuleType):
            try:
                import_module(f"{found.__name__}.{part}")
            except ModuleNotFoundError:
                return False
        if not hasattr(found, part):
            return isinstance(found, type) and path.endswith(f".{part}") and holds(found, part)
        found = getattr(found, part)
    return parameter is None or parameter in inspect.signature(found).parameters  # type: ignore[arg-type]


# --- laws -----------------------------------------------------------------------------------------------------------


def test_what_the_laws_name_exists_and_belongs_to_them() -> None:
    assert faults_of_laws(LAWS) == []


@pytest.mark.parametrize(
    ("right", "wrong", "fault"),
    [
        ('<a id="law-7">', '<a id="law-6">', "numbers: anchors"),
        ("## 9. Gaussians", "## 8. Gaussians", "numbers: anchors"),
        ("3. [Characterisation](#law-3)\n", "", "numbers: anchors"),
        (
            "laws/test_convolution.py::test_law_2_windows",
            "laws/test_convolution.py::test_law_2_window",
            "law 2: there is no tests/laws/test_convolution.py::",
        ),
        (
            "laws/test_convolution.py::test_law_2_windows",
            "test_grid.py::test_law_2_windows",
            r"it is in \['laws/test_convolution.py'\]",
        ),
        (
            "laws/test_convolution.py::test_law_2_windows",
            "laws/test_convolution.py::test_law_3_residual",
            "test_law_3_residual is of another law",
        ),
        ("`causal_inverse`", "`causal_inverses`", "law 6: its proofs are"),
        ("- Proof: `log_form`\n", "- Proof: none.\n", r"law 18: its proofs are \['log_form'\]"),
        ("`, `group_norm`", "`", "law 15: its proofs are"),
        ("[`04_proofs`](../notebooks/04_proofs", "[`05_proofs`](../notebooks/05_proofs", "no notebook 05_proofs"),
        (
            "[`04_proofs`](../notebooks/04_proofs",
            "[`07_is_it_the_mask`](../notebooks/07_is_it_the_mask",
            "does not name",
        ),
        ("Any M is one kernel", f"{ABSENT}. Any M is one kernel", "law 4 is said not to be in the package"),
        ("Grid, GaussianMixtureMask, kernels, project\n", "```\n\n```python\n", "law 23 must have one block of code"),
    ],
)
def test_a_wrong_name_on_the_page_of_laws_is_noticed(right: str, wrong: str, fault: str) -> None:
    assert right in LAWS
    found = faults_of_laws(LAWS.replace(right, wrong))
    assert any(re.search(fault, one) for one in found), found


@pytest.mark.parametrize("number", [number for number, body in sections(LAWS).items() if ABSENT not in body])
def test_five_lines_show_the_law(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The block runs by itself, shows something, and prints what stands beside its calls of ``print``."""
    (block,) = blocks(sections(LAWS)[number])
    statements = [node for node in ast.parse(block).body if not isinstance(node, ast.Import | ast.ImportFrom)]
    assert len(statements) <= 5
    assert "assert" in block or "print(" in block
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        exec(compile(block, f"docs/laws.md, law {number}", "exec"), {})
    printed = re.findall(r"^print\(.*\)  # (.*)$", block, flags=re.MULTILINE)
    assert capsys.readouterr().out.splitlines() == printed


def test_every_law_that_is_cited_is_on_the_page() -> None:
    """Wherever its number stands: in code, tests, error texts, notebooks and documents."""
    texts = {path: path.read_text(encoding="utf-8") for path in CITING if path.suffix in (".py", ".md", ".yaml")}
    numbers = {path: cited(text) for path, text in texts.items()}
    assert sum(map(len, numbers.values())) > 100
    unknown = {path.relative_to(ROOT).as_posix(): found - set(sections(LAWS)) for path, found in numbers.items()}
    assert {path: sorted(found) for path, found in unknown.items() if found} == {}


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("no logarithm (law 10), use", {10}),
        ("Laws 8 and 9: which", {8, 9}),
        ("laws 6 to 12, 15 and 18 to 20 by computer algebra", {*range(6, 13), 15, 18, 19, 20}),
        ("laws 6 to 12, 15, 18 to 20", {*range(6, 13), 15, 18, 19, 20}),
        ("def test_laws_10_and_11_self_weight", {10, 11}),
        ("test_law_20_in_float32", {20}),
        ("Proof(law=6, title", {6}),
        ("as law14\nlaw 3's residual", {14, 3}),
        ("a law of\n2 tokens, flaw 3, lawn 4", set()),
        (f"law {25}", {25}),
    ],
)
def test_citations_are_read(text: str, numbers: set[int]) -> None:
    assert cited(text) == numbers


# --- notation, decisions, links -------------------------------------------------------------------------------------


def test_every_code_name_of_the_notation_exists() -> None:
    assert len(names(NOTATION)) > 60
    assert [name for name in names(NOTATION) if not exists(name)] == []


@pytest.mark.parametrize(
    "name",
    ["Grids", "Grid.shapes", "kernels.gaussian(sigmas)", "analysis.spectra.symbol", "GaussianMixtureMask.sigmas.shape"],
)
def test_a_wrong_code_name_is_noticed(name: str) -> None:
    assert not exists(name)


def test_every_decision_has_its_question_answer_reasons_and_alternatives() -> None:
    _, *parts = re.split(r'<a id="decision-(\d+)"></a>\n', DECISIONS)
    contents = re.findall(r"^(\d+)\. \[(.+)\]\(#decision-(\d+)\)", DECISIONS, flags=re.MULTILINE)
    headings = re.findall(r"^## (\d+)\. (.+)", DECISIONS, flags=re.MULTILINE)
    assert contents == [(number, title, number) for number, title in headings]
    assert [number for number, _ in headings] == parts[::2] == [str(n) for n in range(1, len(headings) + 1)]
    for body in parts[1::2]:
        assert re.findall(r"^\*\*(.+?)\.\*\*", body, flags=re.MULTILINE) == [
            "Question",
            "What we do",
            "Why",
            "Left",
            "Where",
        ], body


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_files_and_anchors_that_a_document_links_exist(path: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")) if "://" not in link]
    for link in links:
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.is_file(), f"{path.name} links {link}, which does not exist"
        assert not anchor or f'<a id="{anchor}"></a>' in target.read_text(encoding="utf-8"), link


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_document_is_linked(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert [path.name for path in DOCS.glob("*.md") if f"(docs/{path.name})" not in text] == []
