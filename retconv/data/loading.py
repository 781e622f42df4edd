"""``load``: a data set by its name, from wherever it is."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from retconv.ambient import host
from retconv.data.cache import cached, content_hash, user_folder
from retconv.data.dataset import Dataset
from retconv.data.errors import DataNotFoundError
from retconv.data.fetch import fetch
from retconv.data.registry import NAMES, SPECS, Spec
from retconv.data.sources import FINDERS, Source
from retconv.names import like

#: Where Debian's packages of data sets put them.
_SYSTEM = Path("/usr/share/datasets")


@host()
def load(name: str, root: str | Path | None = None, download: bool = True) -> Dataset:
    """Load a data set by name.

    It is looked for below ``root``, or else below ``$RETCONV_DATA``, or else below the user's cache folder, in this
    order of forms, the first found being taken:

    1. parquet shards in the Hugging Face layout, ``<root>/<name>/**/train*.parquet``;
    2. what torchvision downloads, such as ``<root>/cifar-10-batches-py``;
    3. folders of images, ``<root>/<name>/train/<class>/*``, Tiny-ImageNet as published among them.

    If it is nowhere, it is downloaded. The first time it is decoded to uint8 arrays that are cached (see
    ``retconv.data.cache``).

    Args:
        name: One of ``NAMES``. ``tiny-imagenet-32`` may also come from ``tiny-imagenet``, averaged over 2×2 pixels;
            ``digits`` come with scikit-learn, with a fixed stratified test set of 360.
        root: The folder that holds data sets.
        download: Whether to download what is not found.

    Returns:
        The data set, on the CPU, in the order of its files. That may be class by class, so its first images may all be
        of one: ``Dataset.subset`` and ``split`` draw from every class, at random by a seed.

    Raises:
        ValueError: If there is no such data set.
        DataNotFoundError: If it is nowhere and cannot be downloaded.
        CorruptDataError: If its files are damaged or incomplete.

    Example:
        >>> load("digits").test_labels.shape
        torch.Size([360])
    """
    if name not in SPECS:
        hint = like(name, NAMES)
        raise ValueError(f"no data set {name!r}: {hint}{' ' if hint else ''}There are {', '.join(NAMES)}")
    spec = SPECS[name]
    roots = _roots(root)
    source = _find(spec, roots)
    if source is None:
        reason = "downloads are off"
        if download:
            try:
                fetch(spec, roots[0])
                reason = "the download holds no such data"
            # Each library has exceptions of its own for a network or a disk that fails.
            except Exception as error:
                reason = f"the download failed: {str(error).strip().rstrip('.')}"
            source = _find(spec, roots)
        if source is None:
            raise DataNotFoundError(_where_to_put(spec, roots, reason))
    return _dataset(spec, source)


def _roots(root: str | Path | None) -> list[Path]:
    if root is not None:
        return [Path(root)]
    return [Path(os.environ.get("RETCONV_DATA") or user_folder() / "data"), _SYSTEM]


def _find(spec: Spec, roots: list[Path]) -> Source | None:
    return next((source for root in roots for find in FINDERS if (source := find(spec, root))), None)


def _where_to_put(spec: Spec, roots: list[Path], reason: str) -> str:
    places = ", ".join(f"{root}{'' if root.is_dir() else ' (does not exist)'}" for root in roots)
    test, downloaded = spec.test, "" if spec.hub else f", or what torchvision downloads into {roots[0]}"
    return (
        f"{spec.name} is nowhere below {places}, and {reason}. Put parquet shards (train*.parquet, {test}*.parquet) or "
        f"folders of images (train/<class>/, {test}/<class>/) into {roots[0] / spec.folders[0]}{downloaded}; "
        "load(…, root=…) or the environment variable RETCONV_DATA names another root"
    )


def _dataset(spec: Spec, source: Source) -> Dataset:
    form = source.form
    if source.files:
        digest = content_hash(spec, source.files)
        arrays = cached(spec, source, digest)
        form = f"{form}, sha256 {digest}"
    else:
        arrays = source.read()
    mean, std = arrays.statistics()
    images = [torch.from_numpy(part) for part in (arrays.train_images, arrays.test_images)]
    labels = [torch.from_numpy(part) for part in (arrays.train_labels, arrays.test_labels)]
    return Dataset(
        spec.name, images[0], labels[0], images[1], labels[1], arrays.classes, mean, std, flip=spec.flip, source=form
    )
