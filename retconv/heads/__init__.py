"""What convolution each head of a model's attention is, convolutions in place of heads, and attention from kernels."""

from typing import TYPE_CHECKING

from retconv.lazy import lazily

if TYPE_CHECKING:
    from retconv.heads.convolving import Convolution, convolve, remove_convolutions
    from retconv.heads.encoding import PositionalAttention, attention_from
    from retconv.heads.loading import load_convolutions
    from retconv.heads.replacing import ConvolvedHeads
    from retconv.heads.starts import start_attention

lazily(__name__)

__all__ = [
    "Convolution",
    "ConvolvedHeads",
    "PositionalAttention",
    "attention_from",
    "convolve",
    "load_convolutions",
    "remove_convolutions",
    "start_attention",
]
