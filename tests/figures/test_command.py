"""The command ``retconv figures``: what it writes and what it refuses."""

import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result
from matplotlib.figure import Figure
from PIL import Image

import retconv.figures
from retconv.figures import FIGURES, FiguresError, FigureSpec, find, render
from retconv.figures.__main__ import main
from retconv.figures.gallery import gallery
from retconv.figures.registry import GROUPS, Drawn, register
from retconv.figures.style import house_style


def run(*args: object) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def refusal(result: Result) -> str:
    """The line that says why a run was refused."""
    assert result.exit_code == 2, result.output
    *_, line = result.output.splitlines()
    assert line.startswith("Error: ")
    return line


def plain(name: str = "plain", data: tuple[Path, ...] = ()) -> FigureSpec:
    """A figure that costs nothing."""

    def draw() -> tuple[Figure, pd.DataFrame]:
        figure = Figure(figsize=(1, 1))
        figure.subplots().plot([0, 1], [0, 1])
        return figure, pd.DataFrame({"x": [0, 1], "y": [0.1, 1 / 3]})

    return FigureSpec(name, "Plain <one>", "A line & nothing else.", draw, lambda table: f"{len(table)} points", data)


@pytest.fixture
def only_plain() -> Iterator[None]:
    """Two figures that cost nothing stand in for the gallery."""
    figures = dict(FIGURES)
    FIGURES.clear()
    FIGURES.update({name: plain(name) for name in ("plain", "other")})
    yield
    FIGURES.clear()
    FIGURES.update(figures)


def test_every_module_of_the_package_is_loaded() -> None:
    """So that its decorated functions stand in the gallery."""
    names = {module.name for module in pkgutil.iter_modules(retconv.figures.__path__)} - {"__main__"}
    assert {f"retconv.figures.{name}" for name in names} <= set(sys.modules)
    assert len(FIGURES) >= 42


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_says_what_it_is(name: str) -> None:
    """Captions that are told from a table are tested where there is one."""
    spec = FIGURES[name]
    assert spec.name == name
    assert re.fullmatch(r"\S.{8,58}[^\s.]", spec.title)
    if isinstance(spec.caption, str):
        assert re.fullmatch(r"[^\s{}][^{}]{100,}\.", spec.caption)


def test_index_lists_every_figure_by_group_and_place(tmp_path: Path) -> None:
    for name in FIGURES:
        (tmp_path / f"{name}.png").touch()
    page = gallery(tmp_path, FIGURES.values())
    assert re.findall(r'<figure id="(\w+)">', page) == re.findall(r'<a href="#(\w+)">', page) == list(FIGURES)
    assert re.findall(r"<h2>(\w+)", page) == ["Theory", "Speed", "Study"]
    places = [([*GROUPS].index(spec.group), spec.place) for spec in FIGURES.values()]
    assert places == sorted(places)
    assert places[0][1] > 0


@pytest.mark.usefixtures("only_plain")
def test_decorated_function_is_a_figure_at_its_place_under_the_words_of_its_docstring() -> None:
    def draw() -> Drawn:
        """Is it a title?

        A caption, which
        goes on.
        """
        return plain().draw()

    for name, place in (("last", 2), ("first", -1), ("last", 2)):
        assert register(name, place, lambda table: f"{len(table)} rows")(draw) is draw
    assert list(FIGURES) == ["first", "plain", "other", "last"]
    spec = FIGURES["first"]
    assert (spec.title, spec.caption, spec.finding(spec.draw()[1])) == (
        "Is it a title?",
        "A caption, which goes on.",
        "2 rows",
    )


def test_list_names_every_figure_and_draws_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("--list")
    assert result.exit_code == 0
    drawn, _, waiting = result.output.partition("\nwait for data, which this makes:\n")
    ready = [spec.name for spec in find()]
    assert [line.split()[0] for line in drawn.splitlines()] == ready
    assert [line.split()[0] for line in waiting.splitlines()] == [name for name in FIGURES if name not in ready]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("only_plain")
def test_figure_that_waits_is_listed_with_its_command_and_not_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until its file is there and holds enough; asked for by name, it is refused with the command."""
    outputs: list[Any] = []
    monkeypatch.setattr("IPython.display.display", outputs.append)
    data, enough = tmp_path / "results.csv", []
    FIGURES["waits"] = replace(plain("waits", (data,)), command="python -m make", suffices=lambda: bool(enough))
    out = tmp_path / "out"
    for said in (f"the data file {data}, which does not exist", f"more runs than {data} holds"):
        assert run("--list").output.splitlines()[-1] == "waits  python -m make"
        assert refusal(run("--only", "waits", "--out", out)) == (
            f"Error: figure 'waits' needs {said}: make it with python -m make"
        )
        FIGURES["waits"]._ipython_display_()
        assert outputs.pop().data == "*Not drawn yet:* figure `waits` waits for `python -m make`."
        assert run("--format", "png", "--out", out).exit_code == 0
        assert not (out / "waits.png").exists()
        data.touch()
    enough.append(True)
    assert "wait for data" not in run("--list").output
    assert run("--format", "png", "--out", out).exit_code == 0
    assert 'id="waits"' in (out / "index.html").read_text(encoding="utf-8")
    data.unlink()
    assert run("--only", "plain", "--format", "png", "--out", out).exit_code == 0
    assert 'id="waits"' not in (out / "index.html").read_text(encoding="utf-8")


def test_help_teaches_by_example() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert "\n    retconv figures --only windows underflow --format pdf svg\n" in result.output
    assert "Exit codes" in result.output


@pytest.mark.usefixtures("only_plain")
@pytest.mark.parametrize(
    "args",
    [
        ["--only", "plain", "other", "--format", "pdf", "svg"],
        ["--only", "plain", "--only", "other", "--format", "pdf", "--format", "svg"],
        ["--format=pdf", "svg", "--only=other", "plain", "plain"],
        ["--format", "pdf", "svg"],
    ],
)
def test_options_take_several_values_at_once_or_one_by_one(tmp_path: Path, args: list[str]) -> None:
    result = run(*args, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    names = {f"{name}.{kind}" for name in ("plain", "other") for kind in ("pdf", "svg", "csv")}
    assert {path.name for path in tmp_path.iterdir()} == names | {"index.html"}


@pytest.mark.usefixtures("only_plain")
def test_default_is_every_figure_as_png_and_pdf_in_paper_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run()
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[0].startswith("plain: 2 points [png pdf csv, 2 rows, ")
    names = {f"{name}.{kind}" for name in ("plain", "other") for kind in ("png", "pdf", "csv")}
    assert {path.name for path in Path("paper_figures").iterdir()} == names | {"index.html"}
    assert Path("paper_figures/plain.csv").read_bytes() == b"x,y\n0,0.1\n1,0.333333\n"


def test_unknown_figure_names_the_nearest_one(tmp_path: Path) -> None:
    out = tmp_path / "none"
    assert refusal(run("--only", "windows", "windw", "--out", out)) == (
        "Error: unknown figure 'windw': did you mean 'windows'?"
    )
    assert "choose from masks_and_kernels, windows" in refusal(run("--only", "zzz", "--out", out))
    assert not out.exists()


def test_find_refuses_unknown_names() -> None:
    with pytest.raises(FiguresError, match="unknown figure 'underflo': did you mean 'underflow'"):
        find(["underflo"])
    assert [spec.name for spec in find(["underflow", "windows"])] == ["windows", "underflow"]


def test_unknown_format_names_the_nearest_one(tmp_path: Path) -> None:
    assert "unknown format 'pgn': did you mean 'png'?" in refusal(run("--format", "pgn", "--out", tmp_path))


@pytest.mark.usefixtures("only_plain")
def test_unwritable_folder_is_refused_before_anything_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retconv.figures.runner._render", lambda *_: pytest.fail("drew a figure"))
    file = tmp_path / "file"
    file.write_text("text")
    assert f"'{file}' is a file" in refusal(run("--out", file))
    assert f"cannot write {file / 'below'}: Not a directory" in refusal(run("--out", file / "below"))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    assert "Permission denied" in refusal(run("--out", tmp_path))


def test_missing_data_file_is_refused_before_anything_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = tmp_path / "results.csv"
    monkeypatch.setitem(FIGURES, "stored", plain("stored", data=(missing,)))
    out = tmp_path / "out"
    line = refusal(run("--only", "windows", "stored", "--out", out))
    assert line == f"Error: figure 'stored' needs the data file {missing}, which does not exist"
    assert not out.exists()
    missing.write_text("x\n1\n")
    assert run("--only", "stored", "--out", out).exit_code == 0
    assert (out / "stored.png").is_file()


def test_failure_leaves_the_earlier_file_and_no_temporary_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plain.png").write_bytes(b"earlier")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("retconv.figures.runner.save", fail)
    with pytest.raises(OSError, match=r"No space left on device: .*plain\.png"):
        list(render([plain()], ["png"], tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["plain.png"]
    assert (tmp_path / "plain.png").read_bytes() == b"earlier"


@pytest.mark.usefixtures("only_plain")
def test_partial_run_keeps_the_other_figures_in_the_gallery(tmp_path: Path) -> None:
    run("--only", "other", "--format", "svg", "--out", tmp_path)
    run("--only", "plain", "--format", "pdf", "--out", tmp_path)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert re.findall(r'id="(\w+)"', text) == ["plain", "other"]
    assert re.findall(r'src="([^"]+)"', text) == ["other.svg"], "a browser shows no PDF as an image"
    assert set(re.findall(r'href="(\w+\.\w+)"', text)) == {"plain.pdf", "plain.csv", "other.svg", "other.csv"}
    assert "Plain &lt;one&gt;" in text
    assert "A line &amp; nothing else." in text


def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    """Even in another process, with another hash seed and another number of threads."""
    args = ["--only", "windows", "locality_extroversion", "--format", "png", "pdf", "svg", "--out"]
    assert run(*args, tmp_path / "here").exit_code == 0
    environment = os.environ | {"PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-m", "retconv.figures", *args, str(tmp_path / "there")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "no bar and no warning where stderr is not a terminal"
    files = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert len(files) == 9
    for file in files:
        assert (tmp_path / "here" / file).read_bytes() == (tmp_path / "there" / file).read_bytes(), file


def test_files_embed_type_42_fonts_and_no_date(tmp_path: Path) -> None:
    assert run("--only", "underflow", "--format", "png", "pdf", "svg", "--out", tmp_path).exit_code == 0
    pdf = (tmp_path / "underflow.pdf").read_bytes()
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"Date" not in pdf
    assert b"<dc:date>" not in (tmp_path / "underflow.svg").read_bytes()
    with Image.open(tmp_path / "underflow.png") as image:
        assert set(image.info) <= {"dpi"}


@pytest.mark.usefixtures("only_plain")
def test_drawing_leaves_settings_as_they_were(tmp_path: Path) -> None:
    with matplotlib.rc_context({"font.size": 31.0}):
        settings, threads = dict(matplotlib.rcParams), torch.get_num_threads()
        with house_style():
            assert matplotlib.rcParams["font.size"] == 7.0
        assert run("--out", tmp_path).exit_code == 0
        assert dict(matplotlib.rcParams) == settings
        assert torch.get_num_threads() == threads
        assert plt.get_fignums() == []
