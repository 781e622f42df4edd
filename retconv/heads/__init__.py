"""The heads of a vision transformer as convolutions: what each head is."""

from typing import TYPE_CHECKING

from retconv.lazy import lazily

if TYPE_CHECKING:
    from retconv.heads.layer import LayerLook
    from retconv.heads.looking import look
    from retconv.heads.result import Look
    from retconv.heads.sources import SourceError, check_model, image_files, load_model, read
    from retconv.heads.stream import HeadStream
    from retconv.heads.verdicts import Verdict

lazily(__name__)

__all__ = [
    "HeadStream",
    "LayerLook",
    "Look",
    "SourceError",
    "Verdict",
    "check_model",
    "image_files",
    "load_model",
    "look",
    "read",
]
