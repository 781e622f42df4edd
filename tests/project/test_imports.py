"""The shape of the package: imports point strictly down, files stay short, and ``import retconv`` is light."""

import ast
import graphlib
import importlib
import json
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import retconv
from tests.project.modules import MODULES, PACKAGE, ROOT

TESTS = Path(__file__).parents[1]
#: A part imports only from parts of lower rank, and from itself.
PARTS = (
    ("ambient", "colours", "extras", "lazy", "memory", "watching"),
    (
        "precision",
        "grid",
        "files",
        "model_names",
        "names",
        "plain_yaml",
        "provenance",
        "stored",
        "templates",
    ),
    ("kernels", "cross", "showing", "terminal"),
    ("convert",),
    ("masks",),
    ("operators",),
    ("checks",),
    ("retention", "attention"),
    ("approximate",),
    ("analysis", "models", "proofs"),
    ("describe", "atlas"),
    ("heads",),
    ("data",),
    ("train",),
    ("measure", "results", "stats"),
    ("sweep",),
    ("studies",),
    ("bench", "planted"),
    ("figures",),
    ("explorer",),
    ("__main__",),
)
RANK = {name: rank for rank, names in enumerate(PARTS) for name in names}
#: What may be imported inside a function, as (module, imported package): optional extras, and slow libraries that only
#: one call of a module needs.
OPTIONAL: set[tuple[str, str]] = {
    ("retconv.atlas.judgement", "pandas"),
    ("retconv.figures.registry", "IPython"),
    ("retconv.analysis.description", "pandas"),
    ("retconv.analysis.spectrum.lanczos", "scipy"),
    ("retconv.attention.flex_backend", "torch"),
    ("retconv.attention.triton_backend", "retconv"),
    ("retconv.attention.triton_backend", "triton"),
    ("retconv.approximate.variable_projection", "scipy"),
    ("retconv.models.pretrained", "transformers"),
    ("retconv.heads.result", "pandas"),
    ("retconv.heads.result", "retconv"),
    ("retconv.heads.sources", "transformers"),
    ("retconv.operators.direct", "scipy"),
    ("retconv.stored", "pandas"),
    ("retconv.bench.peers.convolutions", "linear_operator"),
    ("retconv.bench.peers.convolutions", "nvsubquadratic"),
    ("retconv.bench.peers.convolutions", "pylops"),
    ("retconv.bench.peers.public", "fla"),
    ("retconv.bench.peers.public", "flash_pop"),
    ("retconv.bench.peers.public", "torchscale"),
    ("retconv.bench.peers.public", "yet_another_retnet"),
}
#: What a notebook or plot needs is not what a mask needs.
HEAVY = {
    "numba",
    "matplotlib",
    "seaborn",
    "pandas",
    "timm",
    "jupyter",
    "jupyterlab",
    "IPython",
    "ipykernel",
    "notebook",
}
#: Folders of tests that are of no one part: laws by number, what holds for every public operation, and the project.
ACROSS = {"laws", "public", "project"}
SECONDS = 0.3
MAX_LINES = 300


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def imports(root: ast.AST) -> Iterator[str]:
    """Full dotted names of everything imported anywhere below a node."""
    for node in ast.walk(root):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def own(name: str) -> set[str]:
    """Modules of the package that a module imports."""
    found = set()
    for target in imports(tree(name)):
        if target.split(".")[0] == "retconv":
            found.add(target if target in MODULES else target.rpartition(".")[0])
    return found


def part(name: str) -> str:
    """``retconv.convert.mask`` belongs to ``convert``."""
    return name.split(".")[1]


def test_every_part_has_a_rank() -> None:
    assert {part(name) for name in MODULES if name != "retconv"} <= set(RANK)


def test_imports_point_strictly_down() -> None:
    """In the order of ``PARTS``; nobody imports the top level: a name comes from the part that defines it."""
    pairs = [(name, target) for name in MODULES if name != "retconv" for target in own(name)]
    assert [pair for pair in pairs if "retconv" in pair] == []
    assert [(a, b) for a, b in pairs if part(a) != part(b) and RANK[part(a)] <= RANK[part(b)]] == []


def test_the_map_is_in_the_order_of_imports() -> None:
    rows = re.findall(r"^\| `retconv\.(\w+)", (ROOT / "docs" / "map.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) > 20
    assert rows == sorted(rows, key=RANK.__getitem__)


def test_there_are_no_cycles() -> None:
    """Not within a part either."""
    graphlib.TopologicalSorter({name: own(name) for name in MODULES}).prepare()


def test_no_import_inside_a_function() -> None:
    """Except those named in OPTIONAL, all of which there are."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    functions = [(name, node) for name in MODULES for node in ast.walk(tree(name)) if isinstance(node, kinds)]
    assert {(name, target.split(".")[0]) for name, node in functions for target in imports(node)} == OPTIONAL


def test_no_file_is_too_long() -> None:
    """A longer one is split by concept; the house rule holds for tests too."""
    lengths = {path: path.read_bytes().count(b"\n") for top in (PACKAGE, TESTS) for path in top.rglob("*.py")}
    assert [(str(path.relative_to(ROOT)), lines) for path, lines in lengths.items() if lines > MAX_LINES] == []


def test_tests_mirror_the_package() -> None:
    """Each folder of tests is of a part, and no module of tests is imported: what they share has one of its own."""
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("*.py")}
    assert {f.as_posix() for f in folders if not (PACKAGE / f).is_dir() and f.parts[0] not in ACROSS} == set()
    imported = {
        (path.relative_to(TESTS).as_posix(), target)
        for path in TESTS.rglob("*.py")
        for target in imports(ast.parse(path.read_text(encoding="utf-8")))
        if target.startswith("tests.") and ".test_" in target
    }
    assert imported == set()


#: Parts that are there without an import of their own.
ASKED = ("analysis", "approximate", "attention", "models", "retention")
#: Run in a new interpreter, thrice in a fork of it: what ``import retconv`` and all its public names cost after torch,
#: and what they load; then in itself the parts that are asked for.
PROBE = """
import json, os, sys, time, torch
for _ in range(3):
    if os.fork() == 0:
        start = time.process_time()
        import retconv
        [getattr(retconv, name) for name in retconv.__all__]
        seconds = time.process_time() - start
        loaded = sorted({name.split(".")[0] for name in sys.modules})
        print(json.dumps({"seconds": seconds, "loaded": loaded}), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
import retconv
assert all(getattr(retconv, part).__doc__ for part in sys.argv[1:]) and dir(retconv)
"""


@pytest.fixture(scope="module")
def probed() -> list[dict]:
    """What the three forks said, if the parts are there."""
    run = subprocess.run([sys.executable, "-c", PROBE, *ASKED], cwd=ROOT, capture_output=True, text=True)
    assert not run.returncode, run.stderr
    return [*map(json.loads, run.stdout.splitlines())]


def test_no_module_is_shadowed_by_what_it_defines() -> None:
    """``retconv.operators.linear`` is a module wherever it is asked for, whatever its package exports."""
    modules = {name: importlib.import_module(name) for name in MODULES if "." in name and ".__" not in name}
    reached = {
        name: getattr(modules.get(at, retconv), leaf) for name in modules for at, _, leaf in [name.rpartition(".")]
    }
    assert [name for name, module in modules.items() if reached[name] is not module] == []


@pytest.mark.usefixtures("probed")
def test_parts_are_there_when_asked_for() -> None:
    """In a new interpreter, without an import of their own."""
    assert {*ASKED} <= {*dir(retconv)}


def test_import_is_light(probed: list[dict]) -> None:
    """At most 0.3 s of a core over ``import torch``, median of three; no plotting, timm or notebook package."""
    loaded = set(probed[0]["loaded"])
    assert "retconv" in loaded
    assert HEAVY.isdisjoint(loaded), f"import retconv loads {sorted(HEAVY & loaded)}"
    seconds = [run["seconds"] for run in probed]
    assert statistics.median(seconds) <= SECONDS, f"import retconv takes {seconds} s"
