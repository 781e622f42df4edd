"""Image data sets, decoded once, whole on the training device; their splits, and their augmentation in ``augment``."""

from retconv.data.dataset import Dataset
from retconv.data.errors import CorruptDataError, DataNotFoundError
from retconv.data.loading import load
from retconv.data.registry import NAMES

__all__ = ["NAMES", "CorruptDataError", "DataNotFoundError", "Dataset", "load"]
