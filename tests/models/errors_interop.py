"""Errors of masked models among other libraries: saved, loaded, traced, sharded, optimised."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from retconv.masks import DecayMask
from retconv.models import add_masks, load_masked, save_masked, spare_masks
from tests.error_table import Error
from tests.models.cases import VIT
from tests.models.errors import vit
from tests.models.interop import hugging_face

IMAGE = torch.zeros(1, 3, 32, 32)


def plain() -> nn.Module:
    return vit(patch_size=8)


def masked(mask: Any = "gmm", **options: Any) -> nn.Module:
    return add_masks(plain(), mask, **options)


def save(model: nn.Module) -> None:
    with tempfile.TemporaryDirectory() as folder:
        save_masked(model, folder)


def load(model: nn.Module | None = None, **config: Any) -> None:
    """From a folder of which only the configuration was ever written."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config), encoding="utf-8")
        load_masked(folder, model)


def saved_with(model: nn.Module, into: Callable[[], nn.Module]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        save_masked(model, folder)
        load_masked(folder, into())


def sharded() -> None:
    """As ``fully_shard`` leaves the parameters of a layer that is not running: tensors that have a full one."""
    model = add_masks(timm.create_model("vit_tiny_patch16_224", **VIT), "gmm", share="model")
    model.blocks[0].attn.mask.sigma.full_tensor = None  # type: ignore[union-attr]
    model(IMAGE)


INTEROP: dict[str, Error] = {
    "saving a plain model": (
        lambda: save(plain()),
        ValueError,
        "VisionTransformer has no masks: save it as its library does",
    ),
    "saving what wraps a masked model": (
        lambda: save(nn.Sequential(masked())),
        ValueError,
        "Sequential was not given to add_masks: save the model that was",
    ),
    "saving masks of a factory": (
        lambda: save(masked(lambda grid, heads: DecayMask(heads))),
        ValueError,
        "VisionTransformer cannot be described, its masks were made by a factory .*: use a name of retconv.models",
    ),
    "saving a generator": (
        lambda: save(masked(generator=torch.Generator())),
        ValueError,
        "an option of its masks is no plain number or text: Object of type Generator",
    ),
    "loading what says nothing": (
        lambda: load(architecture="vit_tiny_patch16_224"),
        ValueError,
        "config.json says nothing of masks: it must come from save_masked",
    ),
    "loading what nothing names": (
        lambda: load(retconv={"mask": "gmm"}),
        ValueError,
        "names no architecture of timm or transformers: .* give it as model=",
    ),
    "loading a class of nobody": (
        lambda: load(retconv={"mask": "gmm"}, architectures=["MyViT"]),
        ValueError,
        "transformers has no MyViT: build the plain model as it was, and give it as model=",
    ),
    "loading into other masks": (
        lambda: saved_with(masked("gmm"), lambda: masked("table", placement="bias_logits")),
        ValueError,
        "have mask='gmm', not 'table', placement='multiply_logits', not 'bias_logits': put in those that were",
    ),
    "loading into a window of another radius": (
        lambda: saved_with(masked("window", radius=1), lambda: masked("window", radius=3)),
        ValueError,
        r"have options=\{'radius': 1\}, not \{'radius': 3\}: put in those that were",
    ),
    "loading into masks of another size": (
        lambda: saved_with(masked("gmm"), lambda: masked("gmm", components=3)),
        ValueError,
        "are not those of VisionTransformer, as blocks.0.attn.mask.alpha, .*: put in those that it was saved with",
    ),
    "loading transformers' into other masks": (
        lambda: saved_with(add_masks(hugging_face(), "gmm"), lambda: add_masks(hugging_face(), "gmm", components=3)),
        ValueError,
        r"are not those of ViTForImageClassification, as vit\.layers\.0\.attention\.mask\.\w+, .*: put in those",
    ),
    "another model's optimiser": (
        lambda: spare_masks(torch.optim.SGD(plain().parameters(), 0.1), masked()),
        ValueError,
        r"this SGD has none of the 2 parameters of masks in VisionTransformer among its \d+: give the model that it",
    ),
    "traced by torch.jit": (
        lambda: torch.jit.trace(masked(), IMAGE),
        ValueError,
        r"'blocks\.0\.attn' has a mask, which torch\.jit\.trace would keep .*: use torch\.export or torch\.compile",
    ),
    "one mask of layers sharded one by one": (
        sharded,
        ValueError,
        r"'blocks\.1\.attn' has the mask of 'blocks\.0\.attn', which fully_shard has sharded .*: shard the model as a",
    ),
}

TABLES = {"interop": INTEROP}
