"""Retention ``(S ⊙ M) V`` without softmax, for every mask that has a kernel, in forms that agree (laws 14 and 15)."""

from retconv.retention.conventions import PRESETS, Conventions
from retconv.retention.decode import Decoder
from retconv.retention.flash import FlashDecoder
from retconv.retention.functional import METHODS, chunkwise, recurrent, retention
from retconv.retention.multiscale import MultiScaleRetention
from retconv.retention.recurrence import RetentionState
from retconv.retention.rotation import rotate, rotation_angles

__all__ = [
    "METHODS",
    "PRESETS",
    "Conventions",
    "Decoder",
    "FlashDecoder",
    "MultiScaleRetention",
    "RetentionState",
    "chunkwise",
    "recurrent",
    "retention",
    "rotate",
    "rotation_angles",
]
