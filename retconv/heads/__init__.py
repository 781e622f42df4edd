"""What convolution each head of a model's attention is, convolutions in place of heads, and attention from kernels."""

from typing import TYPE_CHECKING

from retconv.lazy import lazily

if TYPE_CHECKING:
    from retconv.heads.convolving import Convolution, convolve, remove_convolutions
    from retconv.heads.loading import load_convolutions
    from retconv.heads.replacing import ConvolvedHeads

lazily(__name__)

__all__ = [
    "Convolution",
    "ConvolvedHeads",
    "convolve",
    "load_convolutions",
    "remove_convolutions",
]
