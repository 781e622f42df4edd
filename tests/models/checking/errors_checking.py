"""Errors of the experiments on masks."""

import timm
import torch
from torch import nn

from retconv.models import add_masks, check_masks
from tests.error_table import Error


def vit() -> nn.Module:
    return timm.create_model("vit_tiny_patch16_224", img_size=32, embed_dim=8, depth=1, num_heads=2)


CHECKING: dict[str, Error] = {
    "options for masks that are there": (
        lambda: check_masks(add_masks(vit(), "gmm"), where="blocks*"),
        ValueError,
        r"the model has its masks, so there is nothing to do with \['where'\]: give them to add_masks",
    ),
    "an example without an image": (
        lambda: check_masks(vit(), {"labels": torch.zeros(1, dtype=torch.long)}),
        TypeError,
        "an input must be a tensor, or keyword arguments with one, of floating numbers; got dict",
    ),
}

TABLES = {"checking": CHECKING}
