"""What convolution each head of a model's attention is, convolutions in place of heads, and attention from kernels."""

from typing import TYPE_CHECKING

from retconv.lazy import lazily

if TYPE_CHECKING:
    from retconv.heads import sources as sources
    from retconv.heads.convolving import Convolution, convolve
    from retconv.heads.encoding import PositionalAttention, attention_from
    from retconv.heads.layer import LayerLook
    from retconv.heads.loading import load_convolutions
    from retconv.heads.looking import look
    from retconv.heads.replacing import ConvolvedHeads
    from retconv.heads.result import Look
    from retconv.heads.starts import start_attention
    from retconv.heads.stream import HeadStream
    from retconv.heads.undoing import remove_convolutions
    from retconv.heads.verdicts import Verdict

lazily(__name__)

__all__ = [
    "Convolution",
    "ConvolvedHeads",
    "HeadStream",
    "LayerLook",
    "Look",
    "PositionalAttention",
    "Verdict",
    "attention_from",
    "convolve",
    "load_convolutions",
    "look",
    "remove_convolutions",
    "start_attention",
]
