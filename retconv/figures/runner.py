"""Draws figures and saves each with its data and the gallery: every file under a temporary name first."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from retconv.ambient import threads
from retconv.figures.every import find
from retconv.figures.formats import FiguresError
from retconv.figures.gallery import gallery
from retconv.figures.registry import FigureSpec
from retconv.figures.style import freeze, house_style, save
from retconv.files import replacing


@dataclass(frozen=True)
class Rendered:
    """A figure that has been saved.

    Attributes:
        spec: The figure.
        files: Its files: one for each format, then the CSV.
        rows: Rows of its table.
        seconds: How long drawing and saving took.
        finding: Its one-line result.

    Example:
        >>> (windows,) = retconv.figures.find(["windows"])
        >>> print(Rendered(windows, (Path("windows.png"),), 27, 0.4, "99 of 99 entries are equal"))
        windows: 99 of 99 entries are equal [png, 27 rows, 0.4 s]
    """

    spec: FigureSpec
    files: tuple[Path, ...]
    rows: int
    seconds: float
    finding: str

    def __str__(self) -> str:
        kinds = " ".join(path.suffix[1:] for path in self.files)
        return f"{self.spec.name}: {self.finding} [{kinds}, {self.rows} rows, {self.seconds:.1f} s]"


def render(specs: Sequence[FigureSpec], formats: Iterable[str], out: Path) -> Iterator[Rendered]:
    """Draw figures one by one; after each, its files and the gallery stand in the folder.

    Nothing is drawn unless every data file is there and the folder can be written to. Figures that the folder holds
    already keep their place in the gallery, unless their data are gone.

    Args:
        specs: The figures.
        formats: Their formats, of ``FORMATS``.
        out: The folder, made if it does not exist.

    Yields:
        Each figure as it is saved.

    Raises:
        FiguresError: If a data file is missing or the folder cannot be written to.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> (rendered,) = render(retconv.figures.find(["windows"]), ["png"], Path(tempfile.mkdtemp()))
        >>> [file.name for file in rendered.files]
        ['windows.png', 'windows.csv']
    """
    for spec in specs:
        spec.require_data()
    _require_writable(out)
    figures = find()
    for spec in specs:
        yield _render(spec, tuple(formats), out)
        with _whole(out / "index.html") as file:
            file.write(gallery(out, figures).encode())


def _render(spec: FigureSpec, formats: tuple[str, ...], out: Path) -> Rendered:
    start = time.perf_counter()
    files = tuple(out / f"{spec.name}.{kind}" for kind in (*formats, "csv"))
    # With one thread sums are split in one way, and rounding errors, which some figures show, are always the same.
    with house_style(), threads(1):
        figure, data = spec.draw()
        freeze(figure)
        for path, form in zip(files, formats, strict=False):
            with _whole(path) as file:
                save(figure, file, form)
    with _whole(files[-1]) as file:
        file.write(data.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode())
    return Rendered(spec, files, len(data), time.perf_counter() - start, spec.finding(data))


@contextmanager
def _whole(path: Path) -> Iterator[BinaryIO]:
    """Write a file whole or not at all."""
    try:
        with replacing(path) as file:
            yield file
    except OSError as error:
        raise FiguresError(f"cannot write {path}: {error.strerror or error}") from error


def _require_writable(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        reason = "it is a file" if isinstance(error, FileExistsError) else error.strerror or str(error)
        raise FiguresError(f"cannot write to the folder {out}: {reason}; choose another with --out") from error
