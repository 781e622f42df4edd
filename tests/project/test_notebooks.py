"""Notebooks: their scripts, executed; a fresh run says what is stored; every figure is drawn in one of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from retconv.figures import FIGURES, find
from tests.project.notebooks import FOLDER, NAMES, alike, differences, execute, kernel, read, texts

LOCK = (FOLDER.parent / "requirements" / "lock.txt").read_text(encoding="utf-8")
#: Whether this machine has the versions that the stored outputs are of: others print the same things differently.
PINNED = all(f"{name}=={version(name).split('+')[0]}\n" in LOCK for name in ("numpy", "pandas", "timm", "torch"))
_FIGURE = re.compile(r'^FIGURES\["(\w+)"\]$', re.MULTILINE)


def stored(name: str) -> NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def test_there_are_notebooks() -> None:
    assert (
        NAMES
        == sorted(path.stem for path in FOLDER.glob("*.ipynb"))
        == [
            "00_explorer",
            "01_masks_are_kernels",
            "02_retention_is_convolution",
            "03_spectra_and_locality",
            "04_proofs",
            "05_masks_in_your_vit",
            "06_train_a_masked_vit",
            "07_is_it_the_mask",
            "08_planted_truths",
            "09_the_atlas",
        ]
    )


@pytest.mark.parametrize("name", NAMES)
def test_notebook_has_the_cells_of_its_script(name: str) -> None:
    cells = [[(c.cell_type, c.id, c.source, c.metadata) for c in n.cells] for n in (stored(name), read(name))]
    assert cells[0] == cells[1], f"run python -m tests.project.notebooks {name}"


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_stored_without_time_and_place(name: str) -> None:
    notebook, path = stored(name), FOLDER / f"{name}.ipynb"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    assert set(notebook.metadata) == {"jupytext", "kernelspec"}
    said = [item for cell in code for item in texts(cell)]
    assert said
    assert "stderr" not in dict(said)
    assert not [
        text for _, text in said if re.search(r"(?<![\w.:/])/(home|mnt|root|tmp|Users|work)/|0x[0-9a-f]{8}", text)
    ]
    assert path.stat().st_size < 1_000_000, "draw fewer or smaller pictures"


@pytest.mark.parametrize("name", NAMES)
def test_holds_no_logic_of_its_own(name: str) -> None:
    """What a notebook shows, it calls: it defines no function and no class."""
    tree = ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.Lambda)]


@pytest.mark.parametrize("name", NAMES)
def test_colours_are_those_of_the_figures(name: str) -> None:
    """Photographs and digits are grey; all else takes ``retconv.colours`` or the figures' style."""
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert not re.search(r'cmap="(?!gray)|"C\d"|colormaps', source)


def test_every_figure_is_drawn_in_one_notebook() -> None:
    """Also some that wait; once it can be drawn a figure must stand in one."""
    drawn = [figure for name in NAMES for cell in read(name).cells for figure in _FIGURE.findall(cell.source)]
    assert len(drawn) == len(set(drawn))
    assert {spec.name for spec in find()} <= set(drawn) <= set(FIGURES)


@pytest.mark.parametrize("name", NAMES)
def test_each_figure_has_two_sentences_before_it_and_after_it(name: str) -> None:
    """What to look for, and what was seen."""
    cells = read(name).cells
    for i, cell in enumerate(cells):
        if cell.cell_type == "code" and _FIGURE.search(cell.source):
            for words in (cells[i - 1], cells[i + 1]):
                assert words.cell_type == "markdown", cell.source
                paragraph = words.source.split("\n\n")[-1 if words is cells[i - 1] else 0]
                assert len(re.findall(r"[.?](?:\s|$)", paragraph)) >= 2, paragraph


@pytest.mark.parametrize("name", ["01_masks_are_kernels", "03_spectra_and_locality", "05_masks_in_your_vit"])
def test_opens_in_colab_where_its_first_cell_installs_the_package(name: str) -> None:
    first, second, *_ = read(name).cells
    assert f"https://colab.research.google.com/github/retconv/retconv/blob/main/notebooks/{name}.ipynb" in first.source
    assert "git+https://github.com/retconv/retconv" in second.source


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        ("error 1.2e-16 of 3.1416", "error 4e-15  of 3.1417", True),
        ("−1.5 points", "−1.6 points", False),
        ("[ 0., -0.8]", "[-0., -0.8]", True),
        ("3 steps", "3 states", False),
    ],
)
def test_texts_are_alike_up_to_rounding(ours: str, theirs: str, same: bool) -> None:
    assert alike(ours, theirs) is same


@pytest.fixture(scope="module")
def client() -> Iterator[NotebookClient]:
    with kernel() as shared:
        yield shared


@pytest.mark.parametrize("name", NAMES)
def test_a_run_from_any_folder_says_what_is_stored(client: NotebookClient, name: str, tmp_path: Path) -> None:
    """After others in one kernel: nothing rests on the random numbers of a new one."""
    ran = execute(client, name, tmp_path)
    if PINNED:
        assert not [*differences(ran, stored(name))], f"run python -m tests.project.notebooks {name}, then read it"
