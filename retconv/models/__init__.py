"""Masks inside vision transformers: into any timm model in one line, and the paper's small models."""

from retconv.models.named import MASKS
from retconv.models.raster import RasterMask
from retconv.models.search import UnsupportedModelError
from retconv.models.small import OTHERS, VITS
from retconv.models.surgery import add_masks, grids_of, kernels_of, masks_of, remove_masks

#: Names of the models registered with timm.
SMALL_MODELS = (*VITS, *OTHERS)

__all__ = [
    "MASKS",
    "SMALL_MODELS",
    "RasterMask",
    "UnsupportedModelError",
    "add_masks",
    "grids_of",
    "kernels_of",
    "masks_of",
    "remove_masks",
]
