"""Downloading data sets."""

from __future__ import annotations

from pathlib import Path

from torchvision import datasets

from retconv.data.registry import Spec
from retconv.extras import extra


def fetch(spec: Spec, root: Path) -> None:
    """Download a data set below a folder, in a form that the sources find there.

    CIFAR, SVHN and Fashion-MNIST come through torchvision, Tiny-ImageNet from the Hugging Face hub.

    Args:
        spec: The data set.
        root: The folder that holds data sets, made if it does not exist.

    Raises:
        Exception: Whatever torchvision, the hub, the network or the disk raise.
    """
    root.mkdir(parents=True, exist_ok=True)
    if spec.hub:
        hub = extra("huggingface_hub", f"downloading {spec.name}")
        folder = root / spec.folders[-2]
        hub.snapshot_download(spec.hub, repo_type="dataset", allow_patterns="*.parquet", local_dir=folder)
    elif spec.name == "svhn":
        for split in ("train", "test"):
            datasets.SVHN(root / "svhn", split=split, download=True)
    else:
        kinds = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100, "fashion-mnist": datasets.FashionMNIST}
        kinds[spec.name](root, download=True)
