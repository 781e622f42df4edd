"""Torch's fused attention, where its kernels lack a rule for who watches by the plain formula."""

from __future__ import annotations

from functools import partial

import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from retconv.watching import has_tangent, is_transformed


def fused(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float, dropout_p: float, causal: bool = False
) -> Tensor:
    """``scaled_dot_product_attention``, also under ``torch.func`` and in forward mode; causal ones have no bias."""
    run = partial(
        F.scaled_dot_product_attention, q, k, v, attn_mask=bias, dropout_p=dropout_p, is_causal=causal, scale=scale
    )
    tensors = [q, k, v] if bias is None else [q, k, v, bias]
    if not (is_transformed(*tensors) or has_tangent(*tensors)):
        return run()
    # No kernel has a forward mode. Of several models at once the CPU's has no gradient of a bias, cuDNN's neither, and
    # the efficient one refuses the row sums that it is handed back in backward.
    plain = q.device.type == "cpu" or has_tangent(*tensors)
    with sdpa_kernel([SDPBackend.MATH] if plain else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
        return run()
