"""Runs notebooks and stores them with their outputs: ``python -m tests.project.notebooks [NAME ...]``.

A notebook is its script, executed: cells come from ``notebooks/NAME.py``, and nothing is stored that tells when or
where they ran. What depends on the machine, such as accuracies of training, stands in cells tagged ``machine``.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))
_WIDGET = "application/vnd.jupyter.widget-view+json"
_NUMBER = re.compile(r"[-+−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def read(name: str) -> NotebookNode:
    """The script of a notebook, its cells numbered."""
    notebook = jupytext.read(FOLDER / f"{name}.py")
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i}"
    return notebook


@contextmanager
def kernel() -> Iterator[NotebookClient]:
    """A kernel that runs notebooks, one after another, on one thread as the tests do: what they import, it keeps."""
    path = os.pathsep.join(filter(None, (str(FOLDER.parent), os.environ.get("PYTHONPATH"))))
    client = NotebookClient(nbformat.v4.new_notebook(), timeout=600, record_timing=False, store_widget_state=False)
    with client.setup_kernel(env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}):
        yield client


def execute(client: NotebookClient, name: str, folder: str | Path) -> NotebookNode:
    """Run a notebook in a folder, with none of the names of the one before, and give it as it is stored."""
    notebook = read(name)
    anew = f"import torch\ntorch.set_default_dtype(torch.float32)\n%reset -f\n%cd -q {folder}"
    client.nb = NotebookNode(notebook, cells=[nbformat.v4.new_code_cell(anew), *notebook.cells])
    client.execute(cleanup_kc=False)
    notebook.metadata.pop("language_info", None)
    for count, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), 1):
        cell.execution_count, cell.outputs = count, [*_stored(cell.outputs)]
    return notebook


def _stored(outputs: list[NotebookNode]) -> Iterator[NotebookNode]:
    """Each stream once, however many pieces it came in; of other outputs the richest kinds."""
    for stream in dict.fromkeys(o.name for o in outputs if o.output_type == "stream"):
        yield nbformat.v4.new_output(
            "stream", name=stream, text="".join(o.text for o in outputs if o.get("name") == stream)
        )
    for output in outputs:
        if output.output_type != "stream":
            output.data.pop(_WIDGET, None)  # not to be seen without its kernel
            if len(output.data) > 1:
                output.data.pop("text/plain", None)
            yield output


def texts(cell: NotebookNode) -> list[tuple[str, str]]:
    """The outputs of a cell by kind; of a picture there is only that it is one."""
    streams = [(output.name, output.text) for output in cell.outputs if output.output_type == "stream"]
    data = [item for output in cell.outputs if output.output_type != "stream" for item in output.data.items()]
    return streams + [(kind, "" if kind.startswith("image/") else text) for kind, text in data]


def alike(ours: str, theirs: str) -> bool:
    """Whether texts have the same words, and the same numbers up to what rounding in float32 does."""
    if len({re.sub(r"\s", "", _NUMBER.sub("#", text)) for text in (ours, theirs)}) > 1:
        return False
    pairs = zip(*([float(n.replace("−", "-")) for n in _NUMBER.findall(text)] for text in (ours, theirs)), strict=True)
    return all(a == pytest.approx(b, rel=2e-3, abs=1e-5) for a, b in pairs)


def differences(ours: NotebookNode, theirs: NotebookNode) -> Iterator[str]:
    """Where the outputs of one notebook are not those of another."""
    for a, b in zip(ours.cells, theirs.cells, strict=True):
        if a.cell_type != "code":
            continue
        ran, stored = texts(a), texts(b)
        if [kind for kind, _ in ran] != [kind for kind, _ in stored]:
            yield f"{a.id}: {[kind for kind, _ in ran]}, stored {[kind for kind, _ in stored]}"
        elif "machine" not in a.metadata.get("tags", ()):
            pairs = zip(ran, stored, strict=True)
            yield from (f"{a.id}: {new}\nstored: {old}" for (_, new), (_, old) in pairs if not alike(new, old))


if __name__ == "__main__":
    for asked in sys.argv[1:] or NAMES:
        target = FOLDER / f"{asked}.ipynb"
        with TemporaryDirectory() as folder, kernel() as own:
            nbformat.write(execute(own, asked, folder), target)
        print(f"{target.name}, {target.stat().st_size / 1e3:.0f} kB", flush=True)
