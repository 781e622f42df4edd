"""The calls by which models attend: torch's attention function, its module's, or a product and a softmax by hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

ATTENTION = F.scaled_dot_product_attention
MULTIHEAD = F.multi_head_attention_forward
#: Every way in which a module may call softmax.
SOFTMAX = (torch.softmax, Tensor.softmax, F.softmax)
#: Every way in which it may multiply queries and keys.
PRODUCTS = (
    torch.matmul,
    Tensor.matmul,
    Tensor.__matmul__,
    torch.bmm,
    Tensor.bmm,
    torch.einsum,
)
