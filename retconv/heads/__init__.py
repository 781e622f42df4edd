"""What convolution each head of a model's attention is, convolutions in place of heads, and attention from kernels."""

from typing import TYPE_CHECKING

from retconv.lazy import lazily

if TYPE_CHECKING:
    from retconv.heads.convolving import Convolution, convolve
    from retconv.heads.encoding import PositionalAttention, attention_from
    from retconv.heads.layer import LayerLook
    from retconv.heads.loading import load_convolutions
    from retconv.heads.looking import look
    from retconv.heads.replacing import ConvolvedHeads
    from retconv.heads.result import Look
    from retconv.heads.sources import SourceError, check_model, image_files, load_model, read
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
    "SourceError",
    "Verdict",
    "attention_from",
    "check_model",
    "convolve",
    "image_files",
    "load_convolutions",
    "load_model",
    "look",
    "read",
    "remove_convolutions",
    "start_attention",
]
