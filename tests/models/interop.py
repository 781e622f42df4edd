"""A small model of transformers."""

from __future__ import annotations

import copy

from torch import nn
from transformers import ViTConfig, ViTForImageClassification

HUGGING_FACE = ViTConfig(
    hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, image_size=32, patch_size=8
)


def hugging_face(**options: object) -> nn.Module:
    """A ViT of two layers and heads on 4×4 tokens and a class token."""
    # A model writes into its configuration how it attends.
    model: nn.Module = ViTForImageClassification._from_config(copy.deepcopy(HUGGING_FACE), **options)
    return model
