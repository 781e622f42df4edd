"""Attention with a mask: every placement by one function, with a plain reference and fast exact backends."""

from retconv.attention.backends import (
    attend,
    bias_logits,
    convolution,
    multiply_logits,
    multiply_weights,
    retention,
)
from retconv.attention.placements import BACKENDS, PLACEMENTS, Placement

__all__ = [
    "BACKENDS",
    "PLACEMENTS",
    "Placement",
    "attend",
    "bias_logits",
    "convolution",
    "multiply_logits",
    "multiply_weights",
    "retention",
]
