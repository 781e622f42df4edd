"""Errors of gates, and of masks that have a batch."""

import torch

from retconv.attention import attend
from retconv.grid import Grid
from retconv.kernels import Gates, PolylineGates
from retconv.masks import Forms
from retconv.retention import Decoder, chunkwise, recurrent, retention
from tests.error_table import Error


def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(*shape)


X = zeros(2, 2, 4, 3)
GATES = Gates(zeros(2, 4))
PLANE = PolylineGates((zeros(2, 4), zeros(2, 4)))

ERRORS: dict[str, Error] = {
    "gates of tokens alone": (
        lambda: Gates(zeros(4)),
        ValueError,
        r"\(heads, N\) or .* got shape \(4,\) in torch.float32",
    ),
    "no gates": (lambda: Gates(zeros(2, 0)), ValueError, r"not empty, got shape \(2, 0\)"),
    "gates of integers": (lambda: Gates(zeros(2, 4).long()), ValueError, "floating and not empty, .* torch.int64"),
    "complex gates": (lambda: Gates(zeros(2, 4).cfloat()), ValueError, "log_gamma must be real"),
    "gates above 1": (
        lambda: Gates(torch.tensor([[0.0, 0.25]])),
        ValueError,
        r"log_gamma must be at most 0, the logarithm of a gate in \[0, 1\], got 0.25",
    ),
    "gates that are no numbers": (lambda: Gates(torch.tensor([[torch.nan]])), ValueError, "at most 0, .* got nan"),
    "gates beyond a line": (
        lambda: Forms.of(GATES, (2, 2)),
        ValueError,
        r"gates are of a line, got Grid\(\(2, 2\)\): use Grid\(4\), or kernels.PolylineGates",
    ),
    "gates of another line": (
        lambda: Forms.of(GATES, 5),
        ValueError,
        r"Grid\(\(5,\)\) has 5 tokens, the gates are of 4",
    ),
    "no axes": (lambda: PolylineGates(()), ValueError, r"1 to 3 tensors of one shape, got \[\]"),
    "axes that differ": (
        lambda: PolylineGates((zeros(2, 4), zeros(2, 6))),
        ValueError,
        r"of one shape, got \[\(2, 4\), \(2, 6\)\]",
    ),
    "gates of another plane": (
        lambda: Forms.of(PLANE, (2, 3)),
        ValueError,
        r"Grid\(\(2, 3\)\) has 2 axes and 6 tokens, the gates are of 2 axes and 4 tokens",
    ),
    "a batch of masks": (
        lambda: attend(X, X, X, Gates(zeros(3, 2, 4)), 4, placement="bias_logits"),
        ValueError,
        r"the mask has a batch of \(3,\), the queries one of 2: give one mask for each, or 1",
    ),
    "a batch of gates": (
        lambda: retention(X, X, X, Gates(zeros(3, 2, 4)), 4),
        ValueError,
        "the gates are of a batch of 3, q has one of 2: give one for each, or 1",
    ),
    "a batch has no one kernel": (
        lambda: Forms.of(Gates(zeros(3, 2, 4)), 4).convolution(),
        ValueError,
        r"mask must be \(heads, 4, 4\) on Grid\(\(4,\)\), got shape \(3, 2, 4, 4\)",
    ),
    "heads of gates": (lambda: retention(X, X, X, Gates(zeros(3, 4)), 4), ValueError, "3 heads, q has 2"),
    "gates by FFT": (
        lambda: retention(X, X, X, GATES, 4, method="fft"),
        ValueError,
        "'fft' does not apply .* choose one of parallel, recurrent, chunkwise",
    ),
    "two-sided gates from a state": (
        lambda: chunkwise(X, X, X, Gates(zeros(2, 4), causal=False)),
        ValueError,
        r"a recurrence with a state needs causal gates, got two-sided ones: use retention\(",
    ),
    "state of others than gates": (
        lambda: recurrent(X, X, X, GATES, recurrent(X[:1], X[:1], X[:1], GATES)[1]),
        ValueError,
        r"state must be of memory \(2, 2, 1, 3, 3\) in torch.float32 for these inputs, got \(1, 2, 1, 3, 3\)",
    ),
    "gates are no snapshot": (
        lambda: Decoder(Gates(zeros(2, 1))),
        ValueError,
        "Gates is not known to be a sum of exponentials",
    ),
    "gates on prefix tokens": (lambda: retention(X, X, X, GATES, Grid(4, prefix=1)), ValueError, "first 1 token"),
}

TABLES = {"gates": ERRORS}
