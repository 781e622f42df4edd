"""Retention ``(S ⊙ M) V`` without softmax, for every mask that has a kernel, in forms that agree (laws 14 and 15)."""

from retconv.retention.functional import METHODS, chunkwise, recurrent, retention
from retconv.retention.recurrent import RetentionState

__all__ = ["METHODS", "RetentionState", "chunkwise", "recurrent", "retention"]
