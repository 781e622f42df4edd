"""Errors of the least number of extra channels; ``test_errors`` raises each."""

import torch

from retconv import kernels
from retconv.approximate import channels
from retconv.grid import Grid
from retconv.masks import Forms, GaussianMixtureMask
from tests.error_table import Error

LINE = torch.ones(1, 9)
X = torch.ones(1, 1, 5, 3)
inf = float("inf")
NARROW = GaussianMixtureMask.from_parameters(torch.tensor([[0.01]]), torch.ones(1, 1))

CHANNELS: dict[str, Error] = {
    "negative tolerance": (
        lambda: channels(LINE, 5, -1.0),
        ValueError,
        "channels: tolerance is an error of logits, finite and at least 0, got -1",
    ),
    "no heads": (lambda: channels(LINE[:0], 5), ValueError, r"channels: the mask \(0, 5, 5\) has no heads"),
    "unknown placement": (
        lambda: channels(LINE, 5, placement="multiply_logits"),
        ValueError,
        "channels: no placement 'multiply_logits': choose from bias_logits, retention",
    ),
    "causality on a board": (
        lambda: channels(torch.ones(1, 3, 5), (2, 3), causal=True),
        ValueError,
        r"channels: causality is an order on a line, got Grid\(\(2, 3\)\): use Grid\(6\)",
    ),
    "hidden keys that may not be": (
        lambda: channels(kernels.causal_decay(Grid(5).offsets(), 0.5), 5, causal=False),
        ValueError,
        "causal=False, and 10 entries hide their keys: leave it out, and they are free",
    ),
    "window": (
        lambda: channels(kernels.window(Grid(5).offsets(), 1), 5),
        ValueError,
        "12 hidden entries of 25 form no chain in which each row sees all that another sees",
    ),
    "infinite bias": (
        lambda: channels(Forms.of_log(LINE * inf, 5), 5),
        ValueError,
        "channels: log M must be finite, got inf, inf, inf, inf and 21 more",
    ),
    "attention by channels of retention": (
        lambda: channels(LINE, 5, placement="retention").attend(X, X, X),
        ValueError,
        "channels of 'retention' are no bias on logits: multiply features by them instead",
    ),
    "terms too large": (
        lambda: channels(NARROW, 5).attend(X, X, X),
        ValueError,
        r"reach .* logits, and dot products in torch\.float32 keep its tolerance up to 41\.9: use .* backend='sdpa'",
    ),
}

TABLES: dict[str, dict[str, Error]] = {"approximate, extra channels": CHANNELS}
