"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file under a temporary name beside ``path``, force it to disk, and rename it when it is complete.

    At every instant ``path`` is either what it was or complete, also if the process is killed or power fails.

    Args:
        path: Where the file is to stand; a link is followed, and what is no file, such as a pipe, is written to.

    Yields:
        The temporary file, which goes if what is inside the ``with`` block raises.

    Raises:
        OSError: If the disk is full or the folder cannot be written to, naming ``path``, which is then what it was.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as stream:
            yield stream
        return
    path = path.resolve()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        # A full disk names no file, and the temporary one says little.
        if error.errno is not None and error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
