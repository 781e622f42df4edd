"""Masks inside vision transformers: into any timm model in one line, and the paper's small models."""

from typing import TYPE_CHECKING

from retconv.lazy import lazily
from retconv.models import tracing as tracing  # masked attention is a leaf of timm's graphs from here on
from retconv.models.small import retconv_swin_tiny as retconv_swin_tiny  # enters all small models into timm's registry

if TYPE_CHECKING:
    from retconv.model_names import SMALL_MODELS
    from retconv.models import table as table
    from retconv.models.checking.checking import check_masks
    from retconv.models.described import Masking, masking_of
    from retconv.models.named import MASKS
    from retconv.models.raster import RasterMask
    from retconv.models.saved import load_masked, save_masked
    from retconv.models.search import UnsupportedModelError
    from retconv.models.spared import SparesMasks, mask_parameters, spare_masks
    from retconv.models.surgery import add_masks, grids_of, kernels_of, masks_of, remove_masks

lazily(__name__)

__all__ = [
    "MASKS",
    "SMALL_MODELS",
    "Masking",
    "RasterMask",
    "SparesMasks",
    "UnsupportedModelError",
    "add_masks",
    "check_masks",
    "grids_of",
    "kernels_of",
    "load_masked",
    "mask_parameters",
    "masking_of",
    "masks_of",
    "remove_masks",
    "save_masked",
    "spare_masks",
]
