"""Errors of what runs token by token; ``test_errors`` raises each."""

import torch

from retconv.masks import DecayMask
from retconv.operators import OnlineConvolution
from retconv.retention import FlashDecoder
from tests.error_table import Error

PAST = torch.tensor([[0.25, 0.5, 1.0, 0.0, 0.0]]).repeat(2, 1)
ONE = PAST[:1]
X = torch.ones(1, 2, 2, 4)


def continued(first: torch.Tensor, second: torch.Tensor, kernel: torch.Tensor = PAST) -> None:
    online = OnlineConvolution(kernel, 3)
    online.step(first)
    online.step(second)


def decoded(first: torch.Tensor, second: torch.Tensor, kernel: torch.Tensor = PAST) -> None:
    decoder = FlashDecoder(kernel, 3)
    decoder.step(first, first, first)
    decoder.step(second, second, second)


TABLES: dict[str, dict[str, Error]] = {
    "online": {
        "a kernel of the future": (
            lambda: OnlineConvolution(PAST.flip(1), 3),
            ValueError,
            r"OnlineConvolution: the kernel must be 0 for δ > 0, or use operator or retention, got 0\.5, 0\.25",
        ),
        "a two-sided decay": (lambda: FlashDecoder(DecayMask(2), 3), ValueError, "FlashDecoder: the kernel must be 0"),
        "too long": (
            lambda: continued(X, X),
            ValueError,
            "OnlineConvolution: 2 tokens and 2 more do not fit into length 3: make it for a longer line",
        ),
        "a prompt too long": (
            lambda: decoded(X, X),
            ValueError,
            "FlashDecoder: 2 tokens and 2 more do not fit into length 3",
        ),
        "other columns": (
            lambda: continued(X, X[:, :, :1, :3]),
            ValueError,
            r"tokens before were \(…, N, columns\) of \(1, 2, 4\), got \(1, 2, 3\): make a new one",
        ),
        "as many sequences, another batch": (
            lambda: continued(X, X[:, :, :1].reshape(2, 2, 1, 2), ONE),
            ValueError,
            r"tokens before were \(…, N, columns\) of \(1, 2, 4\), got \(2, 2, 2\): make a new one",
        ),
        "another dtype": (
            lambda: continued(X, X[:, :, :1].double()),
            ValueError,
            r"tokens before were of torch\.float32, got torch\.float64: make a new one",
        ),
        "as many heads in all, another batch": (
            lambda: decoded(X, X[:, :, :1].transpose(0, 1), ONE),
            ValueError,
            r"tokens before were \(1, 2, 4, 4, torch\.float32\), got \(2, 1, 4, 4, torch\.float32\): make a new one",
        ),
        "another batch": (
            lambda: decoded(X, X[:, :, :1].repeat(2, 1, 1, 1)),
            ValueError,
            r"tokens before were \(1, 2, 4, 4, torch\.float32\), got \(2, 2, 4, 4, torch\.float32\): make a new one",
        ),
        "no floating x": (
            lambda: OnlineConvolution(PAST, 3).step(X.int()),
            ValueError,
            r"floating \(…, 2, N, columns\) and not empty, got torch\.int32 of shape \(1, 2, 2, 4\)",
        ),
        "what autograd follows": (
            lambda: OnlineConvolution(PAST, 3).step(X.clone().requires_grad_()),
            ValueError,
            r"OnlineConvolution\.step overwrites its memory, and has no gradient: use torch\.no_grad\(\), or operator",
        ),
        "a kernel that is mapped over": (
            lambda: torch.vmap(lambda kernel: FlashDecoder(kernel, 3).step(X, X, X))(PAST[None]),
            ValueError,
            r"FlashDecoder\.step overwrites its memory",
        ),
    }
}
