"""Decoded data sets on disk, named by the content of what they were decoded from."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from retconv.data.errors import CorruptDataError
from retconv.data.registry import Spec
from retconv.data.sources import Arrays, Source
from retconv.files import replacing

#: Raised whenever decoding changes.
_VERSION = 2
_FIELDS = ("train_images", "train_labels", "test_images", "test_labels", "classes", "levels")


def user_folder() -> Path:
    """``$RETCONV_CACHE``, or ``retconv`` in the user's cache folder."""
    own = os.environ.get("RETCONV_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "retconv"


def content_hash(spec: Spec, files: Iterable[Path]) -> str:
    """SHA-256 over names and contents of files, and over what decides how they are decoded; its first 16 digits."""
    paths = tuple(files)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        digests = list(pool.map(_file_hash, paths))
    lines = [f"{_VERSION} {spec.name} {spec.size} {spec.reduce}"]
    base = os.path.commonpath([path.parent for path in paths])
    lines += [f"{path.relative_to(base).as_posix()} {digest}" for path, digest in zip(paths, digests, strict=True)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def cached(spec: Spec, source: Source, digest: str) -> Arrays:
    """Read the cache of a source; where there is none, or a damaged one, decode the source and write it.

    The file is a zip archive of NumPy arrays (``.npz``), so each array carries a checksum, which is verified when it is
    read. It is written under a temporary name and renamed when complete: another process sees all of it or nothing. If
    it cannot be written, a warning says so and the data set is returned all the same.

    Args:
        spec: The data set.
        source: What to decode.
        digest: Its content hash.

    Raises:
        CorruptDataError: If the source itself is damaged.
    """
    path = user_folder() / "decoded" / f"{spec.name}-{digest}.npz"
    if path.is_file():
        try:
            return _read(path, spec)
        except Exception as error:  # a bit that has turned makes parsers raise anything
            warnings.warn(f"{path} is damaged ({error}); decoding {spec.name} again", stacklevel=4)
    arrays = source.read()
    arrays.require(spec)
    try:
        _write(path, arrays)
    except OSError as error:
        warnings.warn(
            f"cannot keep the decoded {spec.name} in {path} ({error.strerror or error}): the next load takes as long "
            "as this one; set RETCONV_CACHE to a folder with room",
            stacklevel=4,
        )
    return arrays


def _read(path: Path, spec: Spec) -> Arrays:
    with np.load(path, allow_pickle=False) as stored:
        fields = {name: stored[name] for name in _FIELDS}
    arrays = Arrays(**fields | {"classes": tuple(str(name) for name in fields["classes"])})
    arrays.require(spec)
    return arrays


def _write(path: Path, arrays: Arrays) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fields: dict[str, Any] = {name: np.asarray(getattr(arrays, name)) for name in _FIELDS}
    with replacing(path) as file:
        np.savez(file, **fields)


def _file_hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CorruptDataError(f"cannot read {path}: {error.strerror or error}") from error
