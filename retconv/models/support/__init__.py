"""Which models take masks: families of timm, transformers and torchvision, each tried and asked by experiment."""

from typing import TYPE_CHECKING

from retconv.lazy import lazily

if TYPE_CHECKING:
    from retconv.models.support import page as page
    from retconv.models.support import survey as survey

lazily(__name__)

__all__ = ["page", "survey"]
