"""The small PiT: timm's, with the reference's pooling, and mean pooling of tokens as a choice."""

from __future__ import annotations

from typing import Any

import torch
from timm.models.pit import PoolingVisionTransformer
from torch import Tensor, nn


class PiT(PoolingVisionTransformer):
    """Pooling-based vision transformer, which ends in its class token or, without one, in the mean of its tokens.

    It differs from timm's as the code of the published numbers does: queries, keys and values have no bias, and pooling
    is a depthwise convolution followed by a pointwise one.

    Args:
        global_pool: ``"token"`` or ``"avg"``.
        **kwargs: Arguments of timm's class.

    Source:
        Heo et al. 2021, PiT (arXiv 2103.16302), section 3.
    """

    def __init__(self, global_pool: str = "token", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.global_pool = global_pool
        stages: Any = self.transformers
        for stage in stages:
            for block in stage.blocks:
                block.attn.qkv.bias = None
            if stage.pool is not None:
                width = stage.pool.fc.out_features
                stage.pool.conv = nn.Sequential(stage.pool.conv, nn.Conv2d(width, width, kernel_size=1))
                if global_pool != "token":
                    stage.pool.fc = _Nothing(width)
        if global_pool != "token":
            del self.cls_token
            self.num_tokens = 0

    def forward_features(self, x: Tensor) -> Tensor:
        """Normalised class token ``(batch, 1, channels)``, or all tokens if there is none."""
        if self.global_pool == "token":
            return super().forward_features(x)
        x = self.pos_drop(self.patch_embed(x) + self.pos_embed)
        x, _ = self.transformers((x, x.new_zeros(x.shape[0], 0, x.shape[1])))
        return self.norm(x.flatten(2).mT)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits of the class token, or of the mean token."""
        return super().forward_head(x.mean(dim=1) if self.global_pool == "avg" else x, pre_logits)


class _Nothing(nn.Module):
    """Widens no class token: ``(batch, 0, dim)`` to ``(batch, 0, channels)``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros(x.shape[0], 0, self.channels, dtype=x.dtype, device=x.device)
