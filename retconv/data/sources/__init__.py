"""Where data sets come from: one module for each form in which they lie on a disk."""

from retconv.data.sources.arrays import Arrays, Source
from retconv.data.sources.bundled import find_bundled
from retconv.data.sources.folders import find_folders
from retconv.data.sources.parquet import find_parquet
from retconv.data.sources.torchvision_files import find_torchvision

#: In the order in which they are tried.
FINDERS = (find_bundled, find_parquet, find_torchvision, find_folders)

__all__ = ["FINDERS", "Arrays", "Source"]
