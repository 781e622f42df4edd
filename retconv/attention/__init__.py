"""Attention with a mask: every placement by one function, with a plain reference and fast exact backends."""

from retconv.attention.backends import (
    attend,
    bias_logits,
    convolution,
    multiply_logits,
    multiply_weights,
    retention,
)
from retconv.attention.channels import extended_attention
from retconv.attention.extra import (
    alibi_channels,
    cosine_channels,
    decay_channels,
    forget_channels,
    gaussian_channels,
    gpsa_channels,
    shifted_gaussian_channels,
)
from retconv.attention.factors import ExtraChannels
from retconv.attention.placements import BACKENDS, PLACEMENTS, Placement

__all__ = [
    "BACKENDS",
    "PLACEMENTS",
    "ExtraChannels",
    "Placement",
    "alibi_channels",
    "attend",
    "bias_logits",
    "convolution",
    "cosine_channels",
    "decay_channels",
    "extended_attention",
    "forget_channels",
    "gaussian_channels",
    "gpsa_channels",
    "multiply_logits",
    "multiply_weights",
    "retention",
    "shifted_gaussian_channels",
]
