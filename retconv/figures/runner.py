"""Draws figures and saves each with its data and the gallery: every file under a temporary name first."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from retconv.figures.every import find
from retconv.figures.gallery import gallery
from retconv.figures.registry import FigureSpec
from retconv.figures.style import save
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

    Nothing is drawn unless every data file is there. Figures that the folder holds already keep their place in the
    gallery, unless their data are gone.

    Args:
        specs: The figures.
        formats: Their formats, of ``FORMATS``.
        out: The folder, made if it does not exist.

    Yields:
        Each figure as it is saved.

    Raises:
        FiguresError: If a data file is missing.
        OSError: If a file cannot be written; what stood there is then untouched.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> (rendered,) = render(retconv.figures.find(["windows"]), ["png"], Path(tempfile.mkdtemp()))
        >>> [file.name for file in rendered.files]
        ['windows.png', 'windows.csv']
    """
    for spec in specs:
        spec.require_data()
    out.mkdir(parents=True, exist_ok=True)
    figures = find()
    for spec in specs:
        yield _render(spec, tuple(formats), out)
        with replacing(out / "index.html") as file:
            file.write(gallery(out, figures).encode())


def _render(spec: FigureSpec, formats: tuple[str, ...], out: Path) -> Rendered:
    start = time.perf_counter()
    files = tuple(out / f"{spec.name}.{kind}" for kind in (*formats, "csv"))
    with spec.drawn() as (figure, data):
        for path, form in zip(files, formats, strict=False):
            with replacing(path) as file:
                save(figure, file, form)
    with replacing(files[-1]) as file:
        file.write(data.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode())
    return Rendered(spec, files, len(data), time.perf_counter() - start, spec.finding(data))
