"""Models of transformers and torchvision that are tried, from configurations of a few narrow layers."""

from __future__ import annotations

from typing import Any

from retconv.models.support.case import Case

_NARROW: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
_WIDE = {**_NARROW, "intermediate_size": 64}
_IMAGE = {"image_size": 64, "patch_size": 16}
_SIDES = {"image_size": [64, 64], "patch_size": [16, 16]}
_SWIN: dict[str, Any] = {"patch_size": 4, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4]}
_WINDOWED = {**_SWIN, "image_size": 64, "window_size": 4}
_SAM = {"output_channels": 16, "mlp_dim": 64, "global_attn_indexes": [1], "window_size": 2}
_JEPA: dict[str, Any] = {"pred_hidden_size": 32, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1}
_IMAGES = (1, 3, 64, 64)
_VIDEO = (1, 4, 3, 64, 64)

#: By the class's prefix: its suffix, and what makes it small; on images of 64 × 64.
_CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "ViT": ("Model", {**_WIDE, **_IMAGE}),
    "DeiT": ("Model", {**_WIDE, **_IMAGE}),
    "Beit": ("Model", {**_WIDE, **_IMAGE, "use_relative_position_bias": True}),
    "Data2VecVision": ("Model", {**_WIDE, **_IMAGE}),
    "Dinov2": ("Model", {**_NARROW, **_IMAGE}),
    "Dinov2WithRegisters": ("Model", {**_NARROW, **_IMAGE}),
    "DINOv3ViT": ("Model", {**_WIDE, **_IMAGE}),
    "CLIPVision": ("Model", {**_WIDE, **_IMAGE}),
    "ChineseCLIPVision": ("Model", {**_WIDE, **_IMAGE}),
    "SiglipVision": ("Model", {**_WIDE, **_IMAGE}),
    "Aimv2Vision": ("Model", {**_WIDE, **_IMAGE}),
    "BlipVision": ("Model", {**_WIDE, **_IMAGE}),
    "OwlViTVision": ("Model", {**_WIDE, **_IMAGE}),
    "MLCDVision": ("Model", {**_WIDE, **_IMAGE}),
    "InternVLVision": ("Model", {**_WIDE, **_SIDES}),
    "PixtralVision": ("Model", {**_WIDE, **_IMAGE}),
    "Idefics3Vision": ("Transformer", {**_WIDE, **_IMAGE}),
    "ViTMAE": ("Model", {**_WIDE, **_IMAGE, "mask_ratio": 0.0}),
    "ViTMSN": ("Model", {**_WIDE, **_IMAGE}),
    "IJepa": ("Model", {**_WIDE, **_IMAGE}),
    "VitDet": ("Model", {**_NARROW, **_IMAGE}),
    "VitPoseBackbone": ("", {**_NARROW, **_SIDES}),
    "Yolos": ("Model", {**_WIDE, "image_size": [64, 64], "patch_size": 16, "num_detection_tokens": 3}),
    "DPT": ("Model", {**_WIDE, **_IMAGE}),
    "Swin": ("Model", _WINDOWED),
    "Swinv2": ("Model", _WINDOWED),
    "DonutSwin": ("Model", _WINDOWED),
    "Hiera": ("Model", {"image_size": [64, 64], "embed_dim": 16, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 4, 8]}),
    "Pvt": ("Model", {"image_size": 64}),
    "PvtV2": ("Model", {"image_size": 64}),
    "Segformer": ("Model", {}),
    "MobileViT": ("Model", {"image_size": 256}),
    "MobileViTV2": ("Model", {"image_size": 64}),
    "Levit": ("Model", {"image_size": 64}),
    "Cvt": ("Model", {}),
    "SamVision": ("Model", {**_NARROW, **_IMAGE, **_SAM}),
    "PoolFormer": ("Model", {}),
    "SwiftFormer": ("Model", {}),
    "FocalNet": ("Model", {}),
}
_SIDE = {"MobileViT": 256, "SwiftFormer": 224}
#: The same of videos of four frames.
_VIDEOS: dict[str, tuple[str, dict[str, Any]]] = {
    "VideoMAE": ("Model", {**_WIDE, **_IMAGE, "num_frames": 4}),
    "Vivit": ("Model", {**_WIDE, "image_size": 64, "tubelet_size": [2, 16, 16], "num_frames": 4}),
    "Timesformer": ("Model", {**_WIDE, **_IMAGE, "num_frames": 4}),
    "VJEPA2": ("Model", {**_NARROW, **_JEPA, "patch_size": 16, "crop_size": 64, "frames_per_clip": 4}),
}
#: By name: class or function in torchvision.models, and what makes it small.
_TORCHVISION: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": (
        "vision_transformer.VisionTransformer",
        {**_IMAGE, "num_layers": 2, "num_heads": 2, "hidden_dim": 32, "mlp_dim": 64},
    ),
    "swin": ("swin_transformer.SwinTransformer", {**_SWIN, "patch_size": [4, 4], "window_size": [4, 4]}),
    "swin_v2": (
        "swin_transformer.SwinTransformer",
        {
            **_SWIN,
            "patch_size": [4, 4],
            "window_size": [4, 4],
            "block": "torchvision.models.swin_transformer.SwinTransformerBlockV2",
            "downsample_layer": "torchvision.models.swin_transformer.PatchMergingV2",
        },
    ),
    "maxvit": (
        "maxvit.MaxVit",
        {
            "input_size": (64, 64),
            "stem_channels": 8,
            "partition_size": 4,
            "block_channels": [8, 16],
            "block_layers": [1, 1],
            "head_dim": 4,
            "stochastic_depth_prob": 0.1,
        },
    ),
}


def _transformers(prefix: str, suffix: str, options: dict[str, Any], shape: tuple[int, ...]) -> Case:
    return Case("transformers", prefix, shape, options, f"transformers.{prefix}{suffix}", f"{prefix}Config")


TRANSFORMERS: tuple[Case, ...] = (
    *(_transformers(n, *c, (1, 3, _SIDE.get(n, 64), _SIDE.get(n, 64))) for n, c in _CLASSES.items()),
    *(_transformers(n, *c, _VIDEO) for n, c in _VIDEOS.items()),
)
TORCHVISION: tuple[Case, ...] = tuple(
    Case("torchvision", name, _IMAGES, {**options, "num_classes": 10}, f"torchvision.models.{factory}")
    for name, (factory, options) in _TORCHVISION.items()
)
