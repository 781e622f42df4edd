"""Masks inside vision transformers: into any timm model in one line, and the paper's small models."""

from typing import TYPE_CHECKING

from retconv.lazy import lazily
from retconv.models.small import retconv_swin_tiny as retconv_swin_tiny  # enters all small models into timm's registry

if TYPE_CHECKING:
    from retconv.model_names import SMALL_MODELS
    from retconv.models import table as table
    from retconv.models.checking.checking import check_masks
    from retconv.models.named import MASKS
    from retconv.models.raster import RasterMask
    from retconv.models.search import UnsupportedModelError
    from retconv.models.surgery import add_masks, grids_of, kernels_of, masks_of, remove_masks

lazily(__name__)

__all__ = [
    "MASKS",
    "SMALL_MODELS",
    "RasterMask",
    "UnsupportedModelError",
    "add_masks",
    "check_masks",
    "grids_of",
    "kernels_of",
    "masks_of",
    "remove_masks",
]
