"""A learnable temperature for each head of a model's attention."""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import Attention
from torch import Tensor, nn


class HeadTemperature(nn.Module):
    """Queries of each head times its own learnable number: ``softmax(τ_h S) V``, starting at τ = 1.

    It stands where timm's attention normalises its queries. τ is the inverse of a temperature, beside the fixed
    ``d^(−1/2)`` of the scores. A mask that multiplies logits can do the same by its overall scale; without one, only
    the norms of the query weights can.

    Args:
        heads: Number of heads.

    Source:
        Learnable temperature scaling in locality self-attention, LSA: Lee et al. 2021 (arXiv 2112.13492), section 3.2,
        eq. (8), there one number for each layer or, in the code, each head.
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(heads))

    def forward(self, q: Tensor) -> Tensor:
        """``(batch, heads, length, d)`` to the same."""
        # In autocast queries are bfloat16 and the temperature is not: keys and queries must keep one dtype.
        return (q * self.scale[:, None, None]).to(q.dtype)


def add_temperature(model: nn.Module) -> nn.Module:
    """Give every attention of a ViT a learnable temperature for each head.

    Returns:
        The same model.

    Raises:
        ValueError: If the model has no attention of timm's that leaves its queries as they are.
    """
    modules: list[Any] = [m for m in model.modules() if isinstance(m, Attention) and isinstance(m.q_norm, nn.Identity)]
    if not modules:
        raise ValueError(
            f"{type(model).__name__} has no attention of timm's ViT without query normalisation, which is where a "
            "temperature goes: use a ViT, and qk_norm=False"
        )
    for module in modules:
        module.q_norm = HeadTemperature(module.num_heads)
    return model
