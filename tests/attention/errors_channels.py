"""Errors of extra channels; ``test_errors`` raises each."""

import torch

from retconv import attention
from retconv.attention import ExtraChannels, extended_attention
from retconv.grid import Grid
from retconv.masks import GaussianMixtureMask, RetNetMask
from tests.error_table import Error

GRID = Grid((2, 3), prefix=1)
X = torch.ones(2, 4, 7, 3)
LONG = [torch.zeros(1, 1, 1024, 2, dtype=torch.float16)] * 3
EXTRA = ExtraChannels(torch.ones(4, 7, 2), torch.ones(1, 7, 2))

CHANNELS: dict[str, Error] = {
    "Gaussian of negative alpha": (
        lambda: attention.gaussian_channels(2.0, (2, 3), -1.0),
        ValueError,
        r"alpha must be positive to have a logarithm \(law 10\), got -1",
    ),
    "center of another grid": (
        lambda: attention.gpsa_channels(1.0, (2, 3), torch.zeros(1, 3)),
        ValueError,
        r"center must have a last axis of 2 on Grid\(\(2, 3\)\), got shape \(1, 3\)",
    ),
    "precision of another grid": (
        lambda: attention.shifted_gaussian_channels(torch.zeros(4, 6, 2), torch.zeros(4, 6, 3), (2, 3)),
        ValueError,
        r"shift must be \(…, heads, 6, 2\) on Grid\(\(2, 3\)\), .* got \(4, 6, 2\) and \(4, 6, 3\)",
    ),
    "causality on a board": (
        lambda: attention.alibi_channels(1.0, (2, 3)),
        ValueError,
        r"alibi_channels: causality is an order on a line, got Grid\(\(2, 3\)\): use Grid\(6\)",
    ),
    "gates of another grid": (
        lambda: attention.forget_channels(torch.zeros(4, 5), 6),
        ValueError,
        r"log_gamma must be \(…, heads, 6\) on Grid\(\(6,\)\), got shape \(4, 5\)",
    ),
    "gate of 0": (
        lambda: attention.forget_channels(torch.zeros(1, 5).log()),
        ValueError,
        "log_gamma must be finite: a gate of 0 needs a mask that hides keys, got -inf, -inf, -inf, -inf and 1 more",
    ),
    "frequencies of another grid": (
        lambda: attention.cosine_channels(torch.ones(4, 3), torch.ones(3, 1), (2, 3)),
        ValueError,
        r"frequency \(frequencies, 2\), got \(4, 3\), \(4, 3\) and \(3, 1\)",
    ),
    "causal attention on a board": (
        lambda: extended_attention(X, X, X, EXTRA, GRID, causal=True),
        ValueError,
        r"causality is an order on a line, got Grid\(\(2, 3\), prefix=1\): use Grid\(6\), or hide keys by a bias",
    ),
    "channels of two numbers": (
        lambda: extended_attention(X, X, X, ExtraChannels(EXTRA.query, torch.ones(1, 7, 3)), GRID),
        ValueError,
        "extra channels of queries and of keys are multiplied one by one, got 2 and 3 of them",
    ),
    "channels without a scale": (
        lambda: extended_attention(X, X, X, EXTRA, GRID, scale=0.0),
        ValueError,
        "extra channels are divided by the scale, got 0: give their logits as bias=",
    ),
    "a mask's channels without a scale": (
        lambda: attention.bias_logits(X, X, X, RetNetMask(4), Grid(7), scale=0.0, backend="channels"),
        ValueError,
        "backend 'channels' does not apply: its channels are divided by the scale, which is 0",
    ),
    "channels beyond float16": (
        lambda: attention.bias_logits(*LONG, GaussianMixtureMask(1, 1), Grid(1024), backend="channels"),
        ValueError,
        r"'channels' does not apply: a channel reaches 261632 on Grid\(\(1024,\)\), beyond torch.float16",
    ),
    "channels of another length": (
        lambda: extended_attention(X, X, X, ExtraChannels(*(x[:, :6] for x in EXTRA)), GRID),
        ValueError,
        r"= \(2, 4, 7, '…'\), of one head or all, with or without the batch, got \(4, 6, 2\)",
    ),
}

TABLES: dict[str, dict[str, Error]] = {"attention, extra channels": CHANNELS}
