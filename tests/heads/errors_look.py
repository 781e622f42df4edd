"""Errors of looking at heads, and of its command."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import timm
import torch
from PIL import Image
from torch import nn

from retconv.__main__ import main
from retconv.grid import Grid
from retconv.heads import HeadStream, look
from retconv.heads.sources import check_model, image_files, load_model, read
from retconv.models import add_masks
from tests.error_table import Error


def vit() -> nn.Module:
    return timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=8, depth=1, num_heads=2)


def x(*shape: int) -> torch.Tensor:
    return torch.zeros(*(shape or (2, 3, 32, 32)))


def run(*words: str) -> None:
    main(list(words), standalone_mode=False)


def inside(work: Callable[[Path], object]) -> Callable[[], object]:
    """Work in a folder of its own, with one image, one file that is none, and a folder without a model."""

    def call() -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            Image.new("RGB", (4, 4)).save(folder / "one.png")
            (folder / "empty").mkdir()
            (folder / "none.pt").write_bytes(b"none")
            (folder / "broken").mkdir()
            (folder / "broken" / "config.json").write_text("{}")
            work(folder)

    return call


def without_weights() -> None:
    with mock.patch.object(timm, "create_model", side_effect=OSError("no connection")):
        load_model("timm/vit_tiny_patch16_224", None, untrained=False)


def other_weights(folder: Path) -> None:
    torch.save({"cls_token": torch.zeros(1, 1, 192)}, folder / "other.pt")
    load_model("timm/vit_tiny_patch16_224", folder / "other.pt", untrained=False)


def without_transformers() -> None:
    with mock.patch.dict("sys.modules", {"transformers": None}):
        load_model("hf/vit", None, untrained=False)


def no_image(folder: Path) -> None:
    (folder / "two.jpg").write_bytes(b"none")
    list(read([folder / "two.jpg"], lambda image: x(3, 4, 4)))


LOOKING: dict[str, Error] = {
    "stream on a ring": (
        lambda: HeadStream(Grid(4, periodic=True)),
        ValueError,
        r"HeadStream is for open grids, got .*: look on grid\.opened\(\)",
    ),
    "matrices of no whole images": (
        lambda: HeadStream(4).update(x(3, 1, 4, 4), 2),
        ValueError,
        r"of 2 images must be as many matrices for each, got 3 in shape \(3, 1, 4, 4\): images must not be dropped",
    ),
    "limit": (lambda: look(vit(), x(), limit=0), ValueError, "limit must be a positive number of images, got 0"),
    "confidence": (lambda: look(vit(), x(), confidence=1.0), ValueError, r"confidence must lie in \(0, 1\), got 1.0"),
    "no images": (lambda: look(vit(), []), ValueError, "there are no images: give at least one"),
    "one image": (
        lambda: look(vit(), x(3, 32, 32)),
        ValueError,
        r"got torch.float32 of shape \(3, 32, 32\): give one image as image\[None\]",
    ),
    "sizes": (
        lambda: look(vit(), [x(), x(1, 3, 16, 16)]),
        ValueError,
        r"must all be of one size, got \(3, 32, 32\) and then \(3, 16, 16\)",
    ),
    "names for images": (
        lambda: look(vit(), [{"images": x()}]),  # type: ignore[list-item]
        TypeError,
        "must be a tensor, .*, or a mapping with 'pixel_values', got NoneType",
    ),
    "no module": (
        lambda: look(add_masks(vit(), "table"), x(), where="neck*"),
        ValueError,
        r"no masked attention on one grid matches where='neck\*': there are blocks.0.attn",
    ),
}

SOURCES: dict[str, Error] = {
    "no folder": (lambda: image_files(Path("nowhere"), 4), ValueError, "nowhere is no folder: give --images a folder"),
    "folder without images": (
        inside(lambda folder: image_files(folder / "empty", 4)),
        ValueError,
        "there is no image below .*empty: its files must end in one of .bmp",
    ),
    "no image": (inside(no_image), ValueError, r"two\.jpg is no image that can be read .*: take it out of the folder"),
    "source": (lambda: check_model("vit", None), ValueError, "--model must be timm/NAME or hf/FOLDER, got 'vit'"),
    "unknown model": (
        lambda: check_model("timm/vit_smal_patch16_224", None),
        ValueError,
        "unknown model of timm 'vit_smal_patch16_224': did you mean 'vit_small_patch16_224",
    ),
    "folder without a model": (
        inside(lambda folder: check_model(f"hf/{folder / 'empty'}", None)),
        ValueError,
        "empty holds no config.json: give hf/ a folder that save_pretrained wrote",
    ),
    "weights of a folder": (
        inside(lambda folder: check_model(f"hf/{folder / 'broken'}", folder / "none.pt")),
        ValueError,
        "--weights is for timm's models",
    ),
    "no file of weights": (
        lambda: check_model("timm/vit_tiny_patch16_224", Path("none.pt")),
        ValueError,
        "there is no file of weights none.pt",
    ),
    "no pretrained weights": (
        without_weights,
        ValueError,
        r"the weights of vit_tiny_patch16_224 cannot be had \(no connection\): give a file of them with --weights",
    ),
    "a file that is no checkpoint": (
        inside(lambda folder: load_model("timm/vit_tiny_patch16_224", folder / "none.pt", untrained=False)),
        ValueError,
        r"none\.pt does not load into vit_tiny_patch16_224",
    ),
    "weights of another model": (
        inside(other_weights),
        ValueError,
        r"other\.pt is not of vit_tiny_patch16_224: it lacks \['pos_embed', .* Name the model that they are of",
    ),
    "without transformers": (without_transformers, ValueError, "hf/ needs transformers, which is not installed"),
    "a broken folder": (
        inside(lambda folder: load_model(f"hf/{folder / 'broken'}", None, untrained=False)),
        ValueError,
        "broken does not load .*: it must hold a model and an image processor",
    ),
}

COMMAND: dict[str, Error] = {
    "unknown command": (lambda: run("loook"), Exception, "unknown command 'loook': did you mean 'look'"),
    "images": (
        lambda: run("look", "--model", "timm/vit_tiny_patch16_224", "--images", "nowhere"),
        Exception,
        "nowhere is no folder",
    ),
    "out": (
        inside(
            lambda folder: run(
                *("look", "--model", "timm/retconv_vit_tiny", "--untrained", "--images", str(folder)),
                *("--out", os.fspath(folder / "one.png")),
            )
        ),
        Exception,
        "one.png.? is a file",
    ),
}

TABLES = {"looking": LOOKING, "sources of looks": SOURCES, "command look": COMMAND}
