"""Errors of attention; ``test_errors`` raises each."""

import torch

from retconv.attention import (
    attend,
    bias_logits,
    convolution,
    flex_backend,
    multiply_logits,
    multiply_weights,
    retention,
    triton_backend,
)
from retconv.grid import Grid
from retconv.masks import GaussianMixtureMask
from tests.error_table import Error

GRID = Grid((2, 3), prefix=1)
X = torch.ones(2, 4, 7, 3)
KERNEL = torch.ones(4, 3, 5)
ONES = torch.ones(4, 1)

ATTENTION: dict[str, Error] = {
    "unbatched": (
        lambda: multiply_logits(X[0], X[0], X[0], KERNEL, GRID),
        ValueError,
        r"\(batch, heads, length, d\).*got q \(4, 7, 3\), k \(4, 7, 3\), v \(4, 7, 3\)",
    ),
    "keys of another length": (
        lambda: retention(X, X[:, :, :6], X, KERNEL, GRID),
        ValueError,
        r"equal batch, heads and length, got q \(2, 4, 7, 3\), k \(2, 4, 6, 3\)",
    ),
    "grid without the prefix": (
        lambda: multiply_logits(X, X, X, KERNEL, (2, 3)),
        ValueError,
        r"Grid\(\(2, 3\)\) has 6 tokens.* the queries have 7: a class token .* use Grid\(\(2, 3\), prefix=1\)",
    ),
    "no channels": (
        lambda: multiply_logits(X[..., :0], X[..., :0], X[..., :0], KERNEL, GRID),
        ValueError,
        r"at least one channel, got q \(2, 4, 7, 0\)",
    ),
    "another grid": (
        lambda: multiply_logits(X, X, X, KERNEL, (2, 5)),
        ValueError,
        r"the queries have 7: give the grid of these",
    ),
    "heads behind tokens": (
        lambda: multiply_logits(X, X, X, KERNEL, 4),
        ValueError,
        r"axis 1 has them, heads come before tokens, use transpose\(1, 2\)",
    ),
    "mixed dtypes": (
        lambda: multiply_logits(X, X, X.double(), KERNEL, GRID),
        ValueError,
        r"one floating dtype, got torch\.float32, torch\.float32, torch\.float64",
    ),
    "heads of the mask": (
        lambda: multiply_logits(X, X, X, KERNEL[:3], GRID),
        ValueError,
        "the mask has 3 heads, the queries 4",
    ),
    "kernel of another grid": (
        lambda: multiply_logits(X, X, X, torch.ones(4, 3, 7), GRID),
        ValueError,
        r"kernel must be \(heads, 3, 5\)",
    ),
    "integer mask": (
        lambda: multiply_logits(X, X, X, torch.ones(4, 7, 7).long(), GRID),
        ValueError,
        "mask must have a floating dtype",
    ),
    "bias of another length": (
        lambda: multiply_logits(X, X, X, KERNEL, GRID, bias=torch.zeros(6, 6)),
        ValueError,
        r"bias must broadcast to \(batch, heads, length, length\) = \(2, 4, 7, 7\), got \(6, 6\)",
    ),
    "bias that says which keys may be seen": (
        lambda: multiply_logits(X, X, X, KERNEL, GRID, bias=torch.ones(7, 7).bool()),
        ValueError,
        r"bias is added to logits, got torch.bool: .* torch.zeros\(mask.shape\).masked_fill\(~mask, -torch.inf\)",
    ),
    "complex bias": (
        lambda: multiply_logits(X, X, X, KERNEL, GRID, bias=torch.ones(7, 7) + 0j),
        ValueError,
        "bias must be real, got torch.complex64",
    ),
    "bias without softmax": (
        lambda: convolution(X, X, X, KERNEL, GRID, bias=torch.zeros(7, 7)),
        ValueError,
        "convolution has no softmax, so a bias on logits has no meaning",
    ),
    "dropout of everything": (
        lambda: multiply_logits(X, X, X, KERNEL, GRID, dropout_p=1.0),
        ValueError,
        r"dropout_p must lie in \[0, 1\), got 1\.0",
    ),
    "unknown backend": (
        lambda: retention(X, X, X, KERNEL, GRID, backend="flash"),
        ValueError,
        "retention has no backend 'flash': choose 'auto' or one of reference, recompute, compiled, triton",
    ),
    "negative weight": (
        lambda: bias_logits(X, X, X, -KERNEL, GRID),
        ValueError,
        r"must not be negative: .* no logarithm \(law 10\), use .*Forms\.of_log.*, got -1, -1, -1, -1 and 56 more",
    ),
}

ATTENTION |= {
    "weights of a fused backend": (
        lambda: multiply_logits(X, X, X, KERNEL, GRID, return_weights=True, backend="recompute"),  # type: ignore[call-overload]
        ValueError,
        "backend 'recompute' never holds the weights: use backend='reference'",
    ),
    "dropout in blocks": (
        lambda: multiply_logits(X, X, X, KERNEL, GRID, dropout_p=0.1, backend="recompute"),
        ValueError,
        "backend 'recompute' does not apply: it holds no weights to drop, and dropout_p is 0.1; use backend='auto'",
    ),
    "placement": (
        lambda: attend(X, X, X, KERNEL, GRID, placement="multiply"),
        ValueError,
        "unknown placement 'multiply': did you mean 'multiply_logits'",
    ),
    "channels of no Gaussian": (
        lambda: bias_logits(X, X, X, KERNEL, GRID, backend="channels"),
        ValueError,
        "does not apply: the mask is not a GaussianMixtureMask of one component",
    ),
    "operator of a mask": (
        lambda: convolution(X, X, X, torch.ones(4, 7, 7), GRID, backend="operator"),
        ValueError,
        "'operator' does not apply: the mask has no kernel",
    ),
    "negative Gaussian": (
        lambda: bias_logits(X, X, X, GaussianMixtureMask.from_parameters(ONES, -ONES), GRID, backend="channels"),
        ValueError,
        r"alpha must be positive to have a logarithm \(law 10\), got -1, -1, -1, -1",
    ),
}

WIDE = torch.ones(2, 4, 7, 129)


def second_derivative_of_fused_kernels() -> None:
    """Of tensors without values: no device is needed to refuse."""
    q = torch.ones(1, 1, 2, 16, device="meta", requires_grad=True)
    out, _ = triton_backend._attend(q, q, q, torch.ones(1, 3, device="meta"), "retention", 1.0, [2], 0, 1)
    (gradient,) = torch.autograd.grad(out.sum(), q, create_graph=True)
    gradient.sum().backward()


TRITON: dict[str, Error] = {
    "bias": (
        lambda: multiply_logits(X, X, X, KERNEL, GRID, bias=torch.zeros(7, 7), backend="triton"),
        ValueError,
        "backend 'triton' does not apply: it reads masks by offset, and a bias has none; use backend='auto'",
    ),
    "dropout": (
        lambda: multiply_logits(X, X, X, KERNEL, GRID, dropout_p=0.1, backend="triton"),
        ValueError,
        "'triton' does not apply: it holds no weights to drop, and dropout_p is 0.1",
    ),
    "mask without a kernel": (
        lambda: retention(X, X, X, torch.ones(4, 7, 7), GRID, backend="triton"),
        ValueError,
        "'triton' does not apply: the mask has no kernel",
    ),
    "wide heads": (
        lambda: bias_logits(WIDE, WIDE, X, KERNEL, GRID, backend="triton"),
        ValueError,
        "'triton' does not apply: a head may have 128 channels, and has 129",
    ),
    "float64": (
        lambda: multiply_weights(X.double(), X.double(), X.double(), KERNEL, GRID, backend="triton"),
        ValueError,
        r"'triton' does not apply: it computes in float32, and q, k and v are torch\.float64",
    ),
    "tensors elsewhere than on a GPU": (
        lambda: multiply_logits(X.to("meta"), X.to("meta"), X.to("meta"), KERNEL.to("meta"), GRID, backend="triton"),
        ValueError,
        "'triton' does not apply: it runs on a GPU, and q, k and v are on meta; use backend='auto'",
    ),
    "forward mode": (
        lambda: torch.func.jvp(lambda q: multiply_logits(q, X, X, KERNEL, GRID, backend="triton"), (X,), (X,)),
        ValueError,
        "'triton' does not apply: it has a backward pass, but no derivative in forward mode or by torch.func",
    ),
    "second derivative": (
        second_derivative_of_fused_kernels,
        NotImplementedError,
        "backend 'triton' has no second derivative: use backend='reference'",
    ),
}


def another_program() -> None:
    """Than the none that are kept."""
    kept, flex_backend.PROGRAMS = flex_backend.PROGRAMS, 0
    try:
        multiply_logits(X, X, X, KERNEL, GRID, backend="flex")
    finally:
        flex_backend.PROGRAMS = kept


FLEX: dict[str, Error] = {
    "placement without a softmax": (
        lambda: retention(X, X, X, KERNEL, GRID, backend="flex"),
        ValueError,
        "retention has no backend 'flex': choose 'auto' or one of reference, recompute, compiled, triton",
    ),
    "placement behind the softmax": (
        lambda: multiply_weights(X, X, X, KERNEL, GRID, backend="flex"),
        ValueError,
        "multiply_weights has no backend 'flex': choose 'auto' or one of reference, recompute, compiled, triton",
    ),
    "bias": (
        lambda: multiply_logits(X, X, X, KERNEL, GRID, bias=torch.zeros(7, 7), backend="flex"),
        ValueError,
        "backend 'flex' does not apply: it reads masks by offset, and a bias has none; use backend='auto'",
    ),
    "dropout": (
        lambda: multiply_logits(X, X, X, KERNEL, GRID, dropout_p=0.1, backend="flex"),
        ValueError,
        "'flex' does not apply: it holds no weights to drop, and dropout_p is 0.1",
    ),
    "weights": (
        lambda: multiply_logits(X, X, X, KERNEL, GRID, return_weights=True, backend="flex"),  # type: ignore[call-overload]
        ValueError,
        "backend 'flex' never holds the weights: use backend='reference'",
    ),
    "mask without a kernel": (
        lambda: bias_logits(X, X, X, torch.ones(4, 7, 7), GRID, backend="flex"),
        ValueError,
        "'flex' does not apply: the mask has no kernel",
    ),
    "gradients on a CPU": (
        lambda: bias_logits(X, X, X, KERNEL.clone().requires_grad_(), GRID, backend="flex"),
        ValueError,
        "'flex' does not apply: FlexAttention has no backward pass on a CPU; use backend='auto'",
    ),
    "tensors elsewhere": (
        lambda: multiply_logits(X.to("meta"), X.to("meta"), X.to("meta"), KERNEL.to("meta"), GRID, backend="flex"),
        ValueError,
        "'flex' does not apply: it runs on a GPU or a CPU, and q, k and v are on meta; use backend='auto'",
    ),
    "forward mode": (
        lambda: torch.func.jvp(lambda q: multiply_logits(q, X, X, KERNEL, GRID, backend="flex"), (X,), (X,)),
        ValueError,
        "'flex' does not apply: it has a backward pass, but no derivative in forward mode or by torch.func",
    ),
    "several models at once": (
        lambda: torch.vmap(lambda q: multiply_logits(q, X, X, KERNEL, GRID, backend="flex"))(X[None]),
        ValueError,
        "'flex' does not apply: FlexAttention has no rule for torch.vmap; use backend='auto'",
    ),
    "too many programs": (
        another_program,
        RuntimeError,
        r"keeps 0 compiled programs, and q \(2, 4, 7, 3\) of torch\.float32 on Grid.* another: call torch\.compiler",
    ),
}

TABLES: dict[str, dict[str, Error]] = {"attention": ATTENTION, "triton": TRITON, "flex": FLEX}
