"""A trained model at image sizes that it never saw."""

from __future__ import annotations

from typing import Any

from retconv.masks import ElementwiseMask, KernelTableMask
from retconv.models import masks_of
from retconv.studies.rows import Row, StudyRun

#: Image sizes, as multiples of the one trained at: 32, 40, 48 and 64 pixels.
FACTORS = (1.0, 1.25, 1.5, 2.0)


def transfer_rows(run: StudyRun) -> list[Row]:
    """Test accuracy at larger image sizes, with no further training.

    Images are resized (bilinear), position embeddings resampled as timm does (bicubic), and masks evaluated on the
    larger grid: those that depend on the offset alone move exactly. An element-wise mask belongs to pairs of tokens and
    cannot move, so its accuracy stays empty; a table is 0 at offsets that it never saw.
    """
    size = run.data.test_images.shape[-1]
    rows: list[Row] = []
    before = 0.0
    for factor in FACTORS:
        trained = run.load()
        model: Any = trained.model
        pixels = round(factor * size)
        model.set_input_size(img_size=(pixels, pixels))
        kinds = {type(mask) for mask in masks_of(model).values()}
        row: Row = {"size": pixels, "factor": factor, "tokens": model.patch_embed.num_patches}
        row |= {"test_accuracy": None, "test_loss": None, "change": None, "note": ""}
        if ElementwiseMask in kinds and factor != 1:
            row["note"] = "cannot move: its entries belong to pairs of tokens, not to offsets"
        else:
            loss, accuracy = trained.evaluate(pixels)
            before = before if rows else accuracy
            row |= {"test_accuracy": accuracy, "test_loss": loss, "change": accuracy - before}
            row["note"] = "offsets beyond its table are 0" if KernelTableMask in kinds and factor != 1 else ""
        rows.append(run.row(row))
    return rows
