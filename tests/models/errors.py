"""Errors of the models."""

import timm
import torch
from torch import nn

from retconv.grid import Grid
from retconv.masks import DecayMask, GaussianMixtureMask, Mask
from retconv.models import add_masks
from retconv.models.count import count
from retconv.models.inputs import example_input
from retconv.models.named import make_masks
from retconv.models.t2t import TokensToTokens
from tests.error_table import Error


def vit(**more: object) -> nn.Module:
    return timm.create_model("vit_tiny_patch16_224", img_size=32, embed_dim=8, depth=1, num_heads=2, **more)


def make(mask: object, share: str = "head", **options: object) -> list[Mask]:
    return make_masks(mask, [(Grid((2, 2)), 2), (Grid((2, 2)), 4)], share, options)  # type: ignore[arg-type]


def dropped_patches() -> None:
    model = add_masks(vit(patch_size=8, patch_drop_rate=0.5), "gmm").train()
    model(torch.zeros(1, 3, 32, 32))


MODELS: dict[str, Error] = {
    "unknown share": (lambda: make("gmm", "block"), ValueError, r"unknown share 'block': choose from head, lay"),
    "mask options without a name": (
        lambda: make(DecayMask(1), components=3),
        ValueError,
        r"options \['components'\] belong to a mask given by name",
    ),
    "heads that do not agree": (
        lambda: make(DecayMask(2)),
        ValueError,
        "a mask of 2 heads cannot serve an attention of 4: give a mask of 1 head, or a name or factory",
    ),
    "mask misspelt": (lambda: make("gm"), ValueError, "unknown mask 'gm': did you mean 'gmm'?"),
    "mask unknown": (lambda: make("vortex"), ValueError, "unknown mask 'vortex': choose from alibi, elm, euclidean, "),
    "many heads for a shared mask": (
        lambda: make(DecayMask(4), "layer"),
        ValueError,
        "share='layer' is one mask for all heads, got one of 4 heads: give a mask of 1",
    ),
    "mask of no kind": (lambda: make(3), TypeError, r"a name, a Mask, or a factory \(grid, heads\) -> Mask, got int"),
    "a class for a factory": (
        lambda: make(DecayMask),
        TypeError,
        r"a factory, got the class DecayMask: give lambda grid, heads: DecayMask\(…\)",
    ),
    "factory of something else": (
        lambda: make(lambda grid, heads: torch.ones(2)),
        TypeError,
        "factory must return a retconv Mask, got Tensor",
    ),
    "placement unknown": (
        lambda: add_masks(vit(), "gmm", placement="add"),
        ValueError,
        "unknown placement 'add': choose from multiply_logits, bias_logits",
    ),
    "start without a gradient": (
        lambda: add_masks(vit(), "elm", placement="bias_logits"),
        ValueError,
        r"attention 'blocks\.0\.attn': .* ElementwiseMask is 0 everywhere in head 0: .* Start it at 1 \(start='ones'\)",
    ),
    "masks twice": (lambda: add_masks(add_masks(vit(), "gmm"), "elm"), ValueError, r"call remove_masks\(model\) first"),
    "where there is nothing": (
        lambda: add_masks(vit(), "gmm", where="layers.*"),
        ValueError,
        r"no attention matches where='layers\.\*': there are blocks\.0\.attn",
    ),
    "no attention": (
        lambda: add_masks(nn.Conv2d(3, 3, 1), "gmm", example=torch.zeros(1, 3, 4, 4)),
        ValueError,
        "no place for a mask in Conv2d: no attention was computed. retconv looks for modules that call torch's",
    ),
    "no image size": (
        lambda: example_input(nn.Conv2d(3, 3, 1)),
        ValueError,
        "Conv2d names no image size: give an input of it as example=",
    ),
    "input of another size": (
        lambda: add_masks(vit(), "gmm", example=torch.zeros(1, 3, 40, 40)),
        ValueError,
        r"VisionTransformer does not run on an input \(1, 3, 40, 40\) \(Input height.*\): give one of its own size",
    ),
    "input of another size counted": (
        lambda: count(vit(), torch.zeros(1, 3, 40, 40)),
        ValueError,
        r"VisionTransformer does not run on an input \(1, 3, 40, 40\)",
    ),
    "patches dropped": (dropped_patches, ValueError, r"'blocks.0.attn' sees 9 tokens, but its feature map makes Grid"),
    "Swin by its class token": (
        lambda: timm.create_model("retconv_swin_tiny", pooling="token"),
        ValueError,
        "retconv_swin_tiny pools by 'avg', got pooling='token'",
    ),
    "pooling unknown": (
        lambda: timm.create_model("retconv_vit_tiny", pooling="max"),
        ValueError,
        "retconv_vit_tiny pools by 'token' or 'avg', got pooling='max'",
    ),
    "soft splits of three": (
        lambda: TokensToTokens(img_size=30, patch_size=3),
        ValueError,
        r"patch_size must be a power of 2 that divides \(30, 30\), got 3",
    ),
    "sizes of several heads": (
        lambda: make(lambda grid, heads: GaussianMixtureMask(3)),
        ValueError,
        "a mask of 3 heads cannot serve an attention of 2",
    ),
}

TABLES = {"models": MODELS}
