"""A trained model at image sizes that it never saw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from timm.layers import PatchEmbed

from retconv.masks import BiasTableMask, ElementwiseMask, KernelTableMask
from retconv.measure.model import Trained
from retconv.measure.rows import Row
from retconv.models import masks_of

#: Image sizes, as multiples of the one trained at: 32, 40, 48 and 64 pixels.
FACTORS = (1.0, 1.25, 1.5, 2.0)


def transfer_rows(load: Callable[[], Trained]) -> list[Row]:
    """Accuracy at larger image sizes, with no further training.

    Images are resized (bilinear), position embeddings resampled as timm does (bicubic), and masks evaluated on the
    larger grid: those that depend on the offset alone move exactly. An element-wise mask belongs to pairs of tokens and
    cannot move, nor can a table of biases: their accuracy is missing. A kernel table is 0 at offsets that it never saw.
    ``change`` is in percentage points, against the size trained at. Missing is also the accuracy at a size that patches
    do not divide; a model that timm does not move to other sizes (CaiT, PiT, T2T) has no rows.

    Args:
        load: Gives the trained model anew, once for each size.
    """
    rows: list[Row] = []
    before = 0.0
    for factor in FACTORS:
        trained = load()
        model: Any = trained.model
        if not (hasattr(model, "set_input_size") and isinstance(model.patch_embed, PatchEmbed)):
            return []
        pixels = round(factor * trained.images.shape[-1])
        model.set_input_size(img_size=(pixels, pixels))
        kinds = {type(mask) for mask in masks_of(model).values()}
        row: Row = {"size": pixels, "factor": factor, "tokens": model.patch_embed.num_patches}
        row |= {"accuracy": None, "loss": None, "change": None, "note": ""}
        if ElementwiseMask in kinds and factor != 1:
            row["note"] = "cannot move: its entries belong to pairs of tokens, not to offsets"
        elif BiasTableMask in kinds and factor != 1:
            row["note"] = "cannot move: its table has no number for offsets that it never saw"
        elif any(pixels % side for side in model.patch_embed.patch_size):
            row["note"] = f"patches of {max(model.patch_embed.patch_size)} pixels do not divide it"
        else:
            loss, accuracy = trained.evaluate(pixels)
            before = before if rows else accuracy
            row |= {"accuracy": accuracy, "loss": loss, "change": accuracy - before}
            row["note"] = "offsets beyond its table are 0" if KernelTableMask in kinds and factor != 1 else ""
        rows.append(row)
    return rows
