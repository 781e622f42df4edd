"""The paper's five small vision transformers in timm's registry: ``timm.create_model("retconv_vit_tiny", mask="gmm")``.

Each takes ``img_size`` (32, or 64 with patches twice as large), ``pooling`` and, for its masks, ``mask``,
``placement``, ``share`` and ``mask_options``, beside the arguments of timm's class that it is built from; a ViT also
``temperature``, a learnable one for each head. Dimensions are those of the authors' code, which took the models from
Lee et al. 2021 (arXiv 2112.13492); their sizes and costs as published are in ``retconv.models.table``.
"""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.cait import Cait
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from retconv.model_names import SMALL_MODELS, VITS
from retconv.models.cait import ClassTalkingHeads, TalkingHeads
from retconv.models.named import MaskChoice, Share
from retconv.models.pit import PiT
from retconv.models.surgery import add_masks
from retconv.models.t2t import TokensToTokens, sinusoids
from retconv.models.temperature import add_temperature

default_cfgs = generate_default_cfgs(
    {
        name: {
            "input_size": (3, 32, 32),
            "num_classes": 100,
            "pool_size": None,
            "interpolation": "bicubic",
            "mean": (0.5, 0.5, 0.5),
            "std": (0.5, 0.5, 0.5),
            "classifier": "head.fc" if "swin" in name else "head",
        }
        for name in SMALL_MODELS
    }
)


def _build(
    model_class: type[nn.Module],
    name: str,
    pretrained: bool,
    *,
    img_size: int = 32,
    patch: int = 8,
    pooling: str,
    poolings: tuple[str, ...] = ("token", "avg"),
    mask: MaskChoice | None = None,
    placement: str = "multiply_logits",
    share: Share = "head",
    mask_options: dict[str, Any] | None = None,
    temperature: bool = False,
    **kwargs: Any,
) -> Any:
    """Build a model by timm's means and put its masks in; ``patch`` says how many patches make up a side."""
    if pooling not in poolings:
        raise ValueError(f"{name} pools by {' or '.join(map(repr, poolings))}, got pooling={pooling!r}")
    if img_size <= 0 or (img_size % patch and "patch_size" not in kwargs):
        raise ValueError(f"{name} has {patch} patches along a side: img_size must be a multiple of it, got {img_size}")
    kwargs = {"patch_size": img_size // patch, "num_classes": 100} | kwargs
    model = build_model_with_cfg(model_class, name, pretrained, img_size=img_size, global_pool=pooling, **kwargs)
    if temperature:
        add_temperature(model)
    if mask is not None:
        add_masks(model, mask, placement=placement, share=share, where="*blocks*", **(mask_options or {}))
    return model


def _register_vit(name: str) -> None:
    dim, depth = VITS[name]

    def entry(pretrained: bool = False, pooling: str = "avg", **kwargs: Any) -> nn.Module:
        defaults: dict[str, Any] = {
            "embed_dim": dim,
            "depth": depth,
            "num_heads": 12,
            "mlp_ratio": 2.0,
            "qkv_bias": False,
        }
        defaults["class_token"] = pooling == "token"
        return _build(VisionTransformer, name, pretrained, pooling=pooling, **(defaults | kwargs))

    entry.__name__ = entry.__qualname__ = name
    entry.__doc__ = f"ViT of {dim} channels, {depth} layers and 12 heads, patches of 1/8 of the side, MLP ratio 2."
    globals()[name] = register_model(entry)


for _name in VITS:
    _register_vit(_name)


@register_model
def retconv_swin_tiny(pretrained: bool = False, pooling: str = "avg", **kwargs: Any) -> nn.Module:
    """Swin of 96 channels, depths 2-6-4, heads 3-6-12, windows of 4×4, patches of 1/16 of the side, MLP ratio 2."""
    defaults: dict[str, Any] = {"embed_dim": 96, "depths": (2, 6, 4), "num_heads": (3, 6, 12), "window_size": 4}
    # timm's own default drop path is 0.1: here, as in the other models, there is none unless asked for.
    defaults |= {"mlp_ratio": 2.0, "qkv_bias": False, "drop_path_rate": 0.0}
    # A Swin has no class token.
    return _build(
        SwinTransformer,
        "retconv_swin_tiny",
        pretrained,
        pooling=pooling,
        poolings=("avg",),
        patch=16,
        **(defaults | kwargs),
    )


@register_model
def retconv_cait_tiny(pretrained: bool = False, pooling: str = "token", **kwargs: Any) -> nn.Module:
    """CaiT of 108 channels, 24 layers, 4 talking heads of 64, MLP of 384; 2 class layers, without which it averages."""
    defaults: dict[str, Any] = {"embed_dim": 108, "depth": 24, "num_heads": 4, "qkv_bias": False}
    defaults |= {"mlp_ratio": 384 / 108, "mlp_ratio_token_only": 384 / 108, "init_values": 1e-5}
    defaults |= {"attn_block": TalkingHeads, "attn_block_token_only": ClassTalkingHeads}
    defaults["depth_token_only"] = 2 if pooling == "token" else 0
    return _build(Cait, "retconv_cait_tiny", pretrained, pooling=pooling, **(defaults | kwargs))


@register_model
def retconv_pit_tiny(pretrained: bool = False, pooling: str = "token", **kwargs: Any) -> nn.Module:
    """PiT of 96-192-384 channels, depths 2-6-4, heads 2-4-8, patches of 1/16 of the side, MLP ratio 2."""
    side = kwargs.get("img_size", 32)
    defaults: dict[str, Any] = {"base_dims": (48, 48, 48), "depth": (2, 6, 4), "heads": (2, 4, 8), "mlp_ratio": 2.0}
    defaults["stride"] = side // 16
    return _build(PiT, "retconv_pit_tiny", pretrained, pooling=pooling, patch=16, **(defaults | kwargs))


@register_model
def retconv_t2t_tiny(pretrained: bool = False, pooling: str = "avg", **kwargs: Any) -> nn.Module:
    """T2T-ViT of 256 channels, 12 layers, 4 heads, MLP ratio 2, 64 tokens by soft splits of channels 64."""
    defaults: dict[str, Any] = {"embed_dim": 256, "depth": 12, "num_heads": 4, "mlp_ratio": 2.0, "qkv_bias": False}
    defaults |= {"class_token": pooling == "token", "embed_layer": TokensToTokens, "no_embed_class": True}
    model = _build(VisionTransformer, "retconv_t2t_tiny", pretrained, pooling=pooling, **(defaults | kwargs))
    positions = sinusoids(model.pos_embed.shape[1], model.embed_dim).to(model.pos_embed)
    model.pos_embed = nn.Parameter(positions, requires_grad=False)
    return model
