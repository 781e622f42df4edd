"""TensorBoard, an extra."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retconv.extras import extra


def boards(folders: Sequence[Path]) -> list[Any]:
    """A ``SummaryWriter`` in each run's folder.

    Raises:
        ModuleNotFoundError: If tensorboard is not installed.
    """
    writer = extra("tensorboard", "training with --tensorboard") and extra("torch.utils.tensorboard", "tensorboard")
    return [writer.SummaryWriter(str(folder / "tensorboard")) for folder in folders]
