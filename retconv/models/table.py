"""The small models beside their published sizes and costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import timm
from torch import nn

from retconv.model_names import FIVE
from retconv.models.count import count
from retconv.models.named import make_masks
from retconv.models.surgery import masked_modules

#: Millions of parameters, and millions of multiply-accumulates at 32×32 pixels, as the paper prints them.
PUBLISHED: dict[str, tuple[float, float]] = {
    "retconv_vit_tiny": (2.7, 170.9),
    "retconv_swin_tiny": (7.1, 236.9),
    "retconv_cait_tiny": (5.1, 305.9),
    "retconv_pit_tiny": (7.0, 239.1),
    "retconv_t2t_tiny": (6.5, 417.4),
}

#: What the counted model is, where timm's own building blocks would give other figures.
NOTES: dict[str, str] = {
    "retconv_vit_tiny": (
        "mean pooling, no class token: the published row of the plain ViT repeats that of the masked one; with a class "
        "token it takes 65 instead of 64 tokens through each layer, 173.6M. Queries, keys and values have no bias."
    ),
    "retconv_swin_tiny": "timm's Swin; queries, keys and values have no bias (with it, 0.4M more).",
    "retconv_cait_tiny": (
        "4 heads of 64 channels each, where timm's would have 108 / 4 = 27; the class token looks at the 64 patches, "
        "not also at itself (with it, 0.1M more). Mixing heads is counted with attention, as in the published figure."
    ),
    "retconv_pit_tiny": (
        "with a class token; after each depthwise pooling a pointwise convolution, which timm's PiT lacks (64·192² + "
        "16·384² = 4.7M); queries, keys and values have no bias."
    ),
    "retconv_t2t_tiny": (
        "mean pooling, no class token; two soft splits with one token transformer of 64 channels on 256 tokens between "
        "them. The fixed positions, 64·256 numbers, are counted as parameters."
    ),
}


def table(masks: Sequence[str] = ("gmm", "table", "elm"), num_classes: int = 100, img_size: int = 32) -> pd.DataFrame:
    """Count the small models, with masks and without, and set them beside the published figures.

    Args:
        masks: Names of masks whose parameters are counted, as each is by default.
        num_classes: Classes; the published figures are those of 100.
        img_size: Side of the image; the published costs are those of 32.

    Returns:
        One row for each model: ``model``, ``parameters`` (numbers, without masks), ``published_parameters`` (millions),
        for each mask a column ``gmm_parameters`` and so on (numbers), ``layer_macs`` (linear and convolution layers),
        ``published_macs`` (millions), ``attention_macs`` (Q Kᵀ, weights times V, mixing heads), ``agrees`` (whether
        both equal the published figures at their printed precision), and ``note``.
    """
    rows = []
    for name in FIVE:
        options: dict[str, Any] = {"num_classes": num_classes, "img_size": img_size}
        cost = count(timm.create_model(name, **options))
        masked = timm.create_model(name, mask=masks[0] if masks else None, **options)  # finding the places takes long
        parameters, macs = PUBLISHED[name]
        rows.append(
            {
                "model": name,
                "parameters": cost.parameters,
                "published_parameters": parameters,
                **{f"{mask}_parameters": _numbers(mask, masked) for mask in masks},
                "layer_macs": cost.layer_macs,
                "published_macs": macs,
                "attention_macs": cost.attention_macs,
                "agrees": f"{cost.parameters / 1e6:.1f} {cost.layer_macs / 1e6:.1f}" == f"{parameters} {macs}",
                "note": NOTES[name],
            }
        )
    return pd.DataFrame(rows)


def _numbers(mask: str, masked: nn.Module) -> int:
    """Numbers of all masks of a kind together, in the places of a model that has masks."""
    places = [(module.place.grid(), module.place.heads) for _, module in masked_modules(masked)]
    return sum(p.numel() for one in make_masks(mask, places, "head") for p in one.parameters())
