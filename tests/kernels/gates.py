"""Gates of a seed: of each element of a batch and head, some of them 0, some nearly 1, one that underflows."""

import torch
from torch import Tensor

from tests.strategies import HEADS, uniform

BATCH = 2


def log_gates(seed: int, size: int, batch: int | None = BATCH, dtype: torch.dtype = torch.float64) -> Tensor:
    """``(batch, heads, N)``, or ``(heads, N)`` without a batch."""
    front = (HEADS,) if batch is None else (batch, HEADS)
    logs, kind = -uniform(seed, 0, 2, *front, size), uniform(seed + 1, 0, 1, *front, size)
    logs = torch.where(kind < 0.1, -torch.inf, torch.where(kind < 0.2, -1e-9, torch.where(kind < 0.25, -900.0, logs)))
    return logs.to(dtype)


def open_gates(seed: int, *size: int) -> Tensor:
    """Without zeros, for derivatives."""
    return -uniform(seed, 0.01, 2, *size)
