"""Attention with a mask: every placement as a function, with a plain reference and fast exact backends."""

from retconv.attention.backends import BACKENDS
from retconv.attention.placements import (
    PLACEMENTS,
    Placement,
    bias_logits,
    convolution,
    multiply_logits,
    multiply_weights,
    retention,
)

__all__ = [
    "BACKENDS",
    "PLACEMENTS",
    "Placement",
    "bias_logits",
    "convolution",
    "multiply_logits",
    "multiply_weights",
    "retention",
]
