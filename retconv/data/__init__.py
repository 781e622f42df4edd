"""Image data sets, decoded once, whole on the training device; their splits, and their augmentation in ``augment``."""

from typing import TYPE_CHECKING

from retconv.lazy import lazily

if TYPE_CHECKING:
    from retconv.data.dataset import Dataset
    from retconv.data.errors import CorruptDataError, DataNotFoundError
    from retconv.data.loading import load
    from retconv.data.registry import NAMES

lazily(__name__)

__all__ = ["NAMES", "CorruptDataError", "DataNotFoundError", "Dataset", "load"]
