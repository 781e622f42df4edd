"""A model and images as a person at a terminal names them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from PIL import Image, UnidentifiedImageError
from timm.data import create_transform, resolve_model_data_config
from timm.models import load_checkpoint
from torch import Tensor, nn

from retconv import models as models  # enters its small models into timm's registry
from retconv.names import unknown

#: What is read below a folder of images.
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
#: Images that are read at a time.
_BATCH = 16
Transform = Callable[[Image.Image], Tensor]


class SourceError(ValueError):
    """A model or images that are not to be had as they were named, with the remedy."""


def image_files(folder: Path, limit: int) -> list[Path]:
    """Images below a folder, in order of their names, evenly spaced over all of them, so that all classes have some.

    Args:
        folder: The folder.
        limit: No more than so many.

    Raises:
        SourceError: If there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is no folder: give --images a folder of images, which may have folders in it")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise SourceError(f"there is no image below {folder}: its files must end in one of {', '.join(SUFFIXES)}")
    count = min(limit, len(files))
    return [files[i * len(files) // count] for i in range(count)]


def check_model(name: str, weights: Path | None) -> None:
    """Refuse a name of which no model can be made, before any is.

    Raises:
        SourceError: If it is neither ``timm/NAME`` nor ``hf/FOLDER``, timm has no such model, the folder holds none, or
            there is no such file of weights.
    """
    source, _, rest = name.partition("/")
    if source not in ("timm", "hf") or not rest:
        raise SourceError(f"--model must be timm/NAME or hf/FOLDER, got {name!r}")
    if source == "timm" and not timm.is_model(rest):
        raise SourceError(unknown("model of timm", rest, timm.list_models()))
    if source == "hf" and not (Path(rest) / "config.json").is_file():
        raise SourceError(f"{rest} holds no config.json: give hf/ a folder that save_pretrained wrote")
    if source == "hf" and weights is not None:
        raise SourceError("--weights is for timm's models: a folder of save_pretrained has its own")
    if weights is not None and not weights.is_file():
        raise SourceError(f"there is no file of weights {weights}")


def load_model(name: str, weights: Path | None, untrained: bool) -> tuple[nn.Module, Transform]:
    """A model in evaluation mode, and what makes an image its input.

    Args:
        name: ``timm/NAME``, or ``hf/FOLDER`` as transformers' ``save_pretrained`` writes it.
        weights: Of a timm model, a checkpoint; the classifier is left out.
        untrained: Random weights, which are the same at each call.

    Raises:
        SourceError: If the weights are not to be had, or are those of another model.
    """
    source, _, rest = name.partition("/")
    return _transformers(rest) if source == "hf" else _timm(rest, weights, untrained)


def read(files: Sequence[Path], transform: Transform) -> Iterator[Tensor]:
    """Images in batches, each read when it is wanted.

    Raises:
        SourceError: If a file is no image.
    """
    for start in range(0, len(files), _BATCH):
        yield torch.stack([_image(path, transform) for path in files[start : start + _BATCH]])


def _image(path: Path, transform: Transform) -> Tensor:
    try:
        with Image.open(path) as image:
            return transform(image.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise SourceError(f"{path} is no image that can be read ({error}): take it out of the folder") from error


def _timm(name: str, weights: Path | None, untrained: bool) -> tuple[nn.Module, Transform]:
    pretrained = weights is None and not untrained
    try:
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            model = timm.create_model(name, pretrained=pretrained, num_classes=0)
    except (OSError, RuntimeError) as error:
        raise SourceError(
            f"the weights of {name} cannot be had ({str(error).splitlines()[0]}): give a file of them with --weights, "
            "or look at random ones with --untrained"
        ) from error
    if weights is not None:
        _fill(model, name, weights)
    return model.eval(), create_transform(**resolve_model_data_config(model), is_training=False)


def _fill(model: nn.Module, name: str, weights: Path) -> None:
    """Load a checkpoint, of which only the classifier may be left over."""
    try:
        keys = load_checkpoint(model, str(weights), strict=False)
    except Exception as error:
        # What reads files of weights raises what it likes.
        raise SourceError(f"{weights} does not load into {name} ({str(error).splitlines()[0]})") from error
    config: Any = model.pretrained_cfg
    classifier = config.get("classifier") or ()
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    left = [key for key in keys.unexpected_keys if not key.startswith(heads)] if heads else keys.unexpected_keys
    if keys.missing_keys or left:
        raise SourceError(
            f"{weights} is not of {name}: it lacks {list(keys.missing_keys)[:3]} and has {left[:3]} beside. Name the "
            "model that they are of with --model"
        )


def _transformers(folder: str) -> tuple[nn.Module, Transform]:
    try:
        # An extra, that only this call needs.
        from transformers import AutoImageProcessor, AutoModel
    except ImportError as error:
        raise SourceError("hf/ needs transformers, which is not installed: pip install transformers") from error
    try:
        model = AutoModel.from_pretrained(folder, local_files_only=True)
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise SourceError(
            f"{folder} does not load ({str(error).splitlines()[0]}): it must hold a model and an image processor, both "
            "written by save_pretrained"
        ) from error
    return model.eval(), lambda image: processor(image, return_tensors="pt")["pixel_values"][0]
