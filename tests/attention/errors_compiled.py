"""What compiled loops of attention refuse; ``test_errors`` raises each."""

import torch

from retconv.attention import bias_logits, multiply_logits, multiply_weights, retention
from retconv.grid import Grid
from tests.error_table import Error
from tests.operators.cases import without_numba

GRID, KERNEL = Grid((2, 3), prefix=1), torch.ones(4, 3, 5)
X, WIDE = torch.ones(2, 4, 7, 3), torch.ones(2, 4, 7, 129)
LONG, LONG_GRID = torch.ones(1, 1, 257, 3), Grid(256, prefix=1)


def no_numba() -> None:
    with without_numba():
        multiply_logits(X, X, X, KERNEL, GRID, backend="compiled")


COMPILED: dict[str, Error] = {
    "bias": (
        lambda: multiply_logits(X, X, X, KERNEL, GRID, bias=torch.zeros(7, 7), backend="compiled"),
        ValueError,
        "backend 'compiled' does not apply: it adds no bias to logits; use backend='auto'",
    ),
    "dropout": (
        lambda: multiply_weights(X, X, X, KERNEL, GRID, dropout_p=0.1, backend="compiled"),
        ValueError,
        "'compiled' does not apply: it holds no weights to drop, and dropout_p is 0.1",
    ),
    "gradients": (
        lambda: multiply_logits(X, X, X, KERNEL.clone().requires_grad_(), GRID, backend="compiled"),
        ValueError,
        r"'compiled' does not apply: it has no backward pass: use torch\.no_grad\(\); use backend='auto'",
    ),
    "half types": (
        lambda: retention(X.half(), X.half(), X.half(), KERNEL, GRID, backend="compiled"),
        ValueError,
        r"'compiled' does not apply: it computes in float32, and q, k and v are torch\.float16",
    ),
    "many tokens": (
        lambda: bias_logits(LONG, LONG, LONG, torch.ones(1, 511), LONG_GRID, backend="compiled"),
        ValueError,
        "'compiled' does not apply: it serves up to 256 tokens, and there are 257",
    ),
    "wide values": (
        lambda: bias_logits(X, X, WIDE, KERNEL, GRID, backend="compiled"),
        ValueError,
        "'compiled' does not apply: a head may have 128 channels, and has 129",
    ),
    "another device": (
        lambda: multiply_logits(X.to("meta"), X.to("meta"), X.to("meta"), KERNEL, GRID, backend="compiled"),
        ValueError,
        "'compiled' does not apply: compiled loops read plain memory of a CPU",
    ),
    "several models at once": (
        lambda: torch.vmap(lambda q: multiply_logits(q, X, X, KERNEL, GRID, backend="compiled"))(X[None]),
        ValueError,
        "'compiled' does not apply: .* follow no transform, mode or tracer; use backend='auto'",
    ),
    "without numba": (
        no_numba,
        ValueError,
        r"'compiled' does not apply: it needs numba: pip install 'retconv\[compiled\]'; use backend='auto'",
    ),
}

TABLES: dict[str, dict[str, Error]] = {"compiled attention": COMPILED}
