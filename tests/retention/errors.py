"""Errors of retention; ``test_errors`` raises each."""

import torch

from retconv.grid import Grid
from retconv.kernels import Exponentials
from retconv.masks import DecayMask, GaussianMixtureMask, RetNetMask
from retconv.memory import DenseLimitError, dense_limit
from retconv.retention import (
    Conventions,
    Decoder,
    MultiScaleRetention,
    RetentionState,
    chunkwise,
    recurrent,
    retention,
    rotate,
    rotation_angles,
)
from tests.error_table import Error


def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(*shape)


X = zeros(1, 2, 4, 3)
MASK = RetNetMask(2)
#: 10⁸ − (10⁸ − 1) at distance 0.
CANCELLING = Exponentials(torch.tensor([[1e8, 1 - 1e8]] * 2, dtype=torch.float64), torch.full((2, 2), 0.9))


def parallel_above_limit() -> None:
    with dense_limit(99):
        retention(X, X, X, MASK, 4, method="parallel")


RETENTION: dict[str, Error] = {
    "prefix": (lambda: retention(X, X, X, MASK, Grid(4, prefix=1)), ValueError, "first 1 token"),
    "unknown method": (
        lambda: retention(X, X, X, MASK, 4, method="fast"),
        ValueError,
        "unknown method 'fast': did you mean|'fast': choose from auto, ",
    ),
    "method of another mask": (
        lambda: retention(X, X, X, DecayMask(2), (2, 2), method="chunkwise"),
        ValueError,
        r"'chunkwise' does not apply to this mask on Grid\(\(2, 2\)\): choose one of parallel, tiled, scan, fft",
    ),
    "weights that cancel": (
        lambda: retention(X, X, X, CANCELLING, 4, method="chunkwise"),
        ValueError,
        r"by 'chunkwise': weights of the exponentials cancel, .* in torch.float32 2e\+08 times: give q, k and",
    ),
    "budget of 0": (lambda: retention(X, X, X, MASK, 4, budget=0), ValueError, "positive number of bytes, got 0"),
    "chunk of 0": (lambda: retention(X, X, X, MASK, 4, chunk=0), ValueError, "positive number of tokens, got 0"),
    "three axes": (lambda: retention(X[0], X[0], X[0], MASK, 4), ValueError, r"\(batch, heads, N, d\).*\(2, 4, 3\)"),
    "keys of another size": (lambda: retention(X, X[..., :2], X, MASK, 4), ValueError, r"\(1, 2, 4, 2\)"),
    "integers": (
        lambda: retention(X.long(), X.long(), X.long(), MASK, 4),
        ValueError,
        "floating dtype, got torch.int64",
    ),
    "two dtypes": (
        lambda: retention(X, X.double(), X, MASK, 4),
        ValueError,
        "float32, torch.float64 and torch.float32",
    ),
    "other grid": (
        lambda: retention(X, X, X, MASK, 5),
        ValueError,
        r"the 5 tokens of Grid\(\(5,\)\), got 4: give the grid of these",
    ),
    "a class token": (lambda: retention(X, X, X, MASK, 3), ValueError, "got 4: a class token .* leave the first 1 out"),
    "heads behind tokens": (lambda: retention(X, X, X, MASK, 2), ValueError, r"axis 1 has them, .* transpose\(1, 2\)"),
    "other heads": (
        lambda: retention(X, X, X, RetNetMask(3), 4),
        ValueError,
        r"3 heads, q has 2 in shape \(1, 2, 4, 3\)",
    ),
    "raster": (lambda: retention(X, X, X, MASK, (2, 2)), ValueError, r"causal along one axis.*Grid\(4\)"),
    "exponentials on a plane": (
        lambda: retention(X, X, X, Exponentials(zeros(2, 1), zeros(2, 1)), (2, 2)),
        ValueError,
        r"kernel on one axis, got Grid\(\(2, 2\)\): use Grid\(4\)",
    ),
    "dense": (parallel_above_limit, DenseLimitError, r"\(2, 4, 4\)"),
    "no exponentials": (
        lambda: recurrent(X, X, X, GaussianMixtureMask(2)),
        ValueError,
        r"GaussianMixtureMask is not known to be a sum of exponentials.*approximate\.exponentials",
    ),
    "a normalised decay": (
        lambda: recurrent(X, X, X, RetNetMask(2, normalize=True)),
        ValueError,
        "RetNetMask is not known to be a sum of exponentials, .*: use it with normalize=False",
    ),
    "two-sided state": (lambda: chunkwise(X, X, X, DecayMask(2)), ValueError, "needs a causal mask"),
    "state of another size": (
        lambda: recurrent(X, X, X, MASK, RetentionState(zeros(1, 2, 1, 3, 4), 1)),
        ValueError,
        r"memory \(1, 2, 1, 3, 3\) in torch.float32 for these inputs, got \(1, 2, 1, 3, 4\)",
    ),
    "state of another dtype": (
        lambda: recurrent(X, X, X, MASK, RetentionState(zeros(1, 2, 1, 3, 3).double(), 1)),
        ValueError,
        r"in torch.float32 for these inputs, got .* in torch.float64",
    ),
    "decoding a two-sided mask": (lambda: Decoder(DecayMask(2)), ValueError, "needs a causal mask"),
    "decoding other heads": (lambda: Decoder(RetNetMask(3)).step(X, X, X), ValueError, "3 heads, q has 2"),
    "decoding keys of another size": (lambda: Decoder(MASK).step(X, X[..., :2], X), ValueError, r"\(1, 2, 4, 2\)"),
    "decoding from a state of another size": (
        lambda: Decoder(MASK, RetentionState(zeros(1, 2, 1, 3, 4), 1)).step(X, X, X),
        ValueError,
        r"memory \(1, 2, 1, 3, 3\) in torch.float32 for these inputs, got \(1, 2, 1, 3, 4\)",
    ),
    "decoding what autograd follows": (
        lambda: Decoder(MASK).step(X.clone().requires_grad_(), X, X),
        ValueError,
        r"has no gradient: use torch.no_grad\(\), or recurrent\(…\)",
    ),
    "decoding in a transform": (
        lambda: torch.vmap(lambda x: Decoder(MASK).step(x, x, x))(X[None]),
        ValueError,
        r"where autograd or torch.func watches",
    ),
    "odd head size": (lambda: rotation_angles(3), ValueError, "head size must be even, got 3"),
    "layout": (
        lambda: rotate(X, zeros(1), layout="whole"),
        ValueError,
        "unknown layout 'whole': choose from interleaved, half",
    ),  # type: ignore[arg-type]
    "angles": (lambda: rotate(X, zeros(2)), ValueError, r"each of 2 angles, got shape \(1, 2, 4, 3\)"),
    "heads of the layer": (lambda: MultiScaleRetention(8, 3), ValueError, "got 3 heads, 8 and 8"),
    "no heads of the layer": (lambda: MultiScaleRetention(8, 0), ValueError, "got 0 heads, 8 and 8"),
    "whole numbers rotated": (lambda: rotate(X.long(), zeros(1)), ValueError, "floating dtype, got torch.int64"),
    "preset": (
        lambda: MultiScaleRetention(8, 2, conventions="fla"),
        ValueError,
        r"unknown preset 'fla': choose from torchscale, plain, or give Conv",
    ),
    "norm by another name": (
        lambda: Conventions(norm="RMS"),  # type: ignore[arg-type]
        ValueError,
        "Conventions: unknown norm 'RMS': did you mean 'rms'",
    ),
    "rotation by another name": (
        lambda: Conventions(rotation="rope"),  # type: ignore[arg-type]
        ValueError,
        "Conventions: unknown rotation 'rope': choose from none, interleaved, half",
    ),
}

TABLES = {"retention": RETENTION}
