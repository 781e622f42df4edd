"""Errors of attention between two grids."""

import torch

from retconv.attention import bias_logits, multiply_logits
from retconv.cross import Cross
from retconv.masks import RetNetMask, between
from retconv.masks.crossed import between_log
from tests.error_table import Error

CROSS = Cross(4, 2)
Q, K = torch.ones(1, 2, 4, 3), torch.ones(1, 2, 2, 3)
MASK = torch.ones(2, 4, 2)

CROSSED: dict[str, Error] = {
    "lengths": (
        lambda: multiply_logits(Q, Q, Q, MASK, CROSS),
        ValueError,
        r"q must be \(batch, heads, 4, d\), k and v \(batch, heads, 2, d\).* got q \(1, 2, 4, 3\), k \(1, 2, 4, 3\)",
    ),
    "shape of the mask": (
        lambda: multiply_logits(Q, K, K, torch.ones(2, 4, 4), CROSS),
        ValueError,
        r"\('heads', 4, 2\) or a table \('heads', 6\), got torch.float32 of shape \(2, 4, 4\)",
    ),
    "shape of a logarithm": (
        lambda: between_log(torch.ones(2, 5), CROSS),
        ValueError,
        r"a table \('heads', 6\), got torch.float32 of shape \(2, 5\)",
    ),
    "heads of the mask": (
        lambda: multiply_logits(Q, K, K, torch.ones(3, 4, 2), CROSS),
        ValueError,
        "the mask has 3 heads, the queries 2",
    ),
    "module without offsets": (
        lambda: multiply_logits(Q, K, K, RetNetMask(2), CROSS),  # type: ignore[arg-type]
        TypeError,
        r"module with at and log_at.* got RetNetMask: give its entries \(4, 2\)",
    ),
    "forms of another pair": (
        lambda: between(between(MASK, CROSS), Cross(3, 2)),
        ValueError,
        r"these forms are \(4, 2\), not \(3, 2\)",
    ),
    "closed form without a logarithm": (
        lambda: bias_logits(Q, K, K, lambda d: (-d.abs().sum(-1))[None].exp(), CROSS),
        ValueError,
        "no logarithm but its own: give retconv.masks.between_log",
    ),
    "bias of one length": (
        lambda: multiply_logits(Q, K, K, MASK, CROSS, bias=torch.zeros(4, 4)),
        ValueError,
        r"= \(1, 2, 4, 2\), got \(4, 4\)",
    ),
    "backend": (
        lambda: multiply_logits(Q, K, K, MASK, CROSS, backend="recompute"),
        ValueError,
        "'recompute' does not apply: queries and keys lie on two grids",
    ),
}
TABLES = {"crossed": CROSSED}
