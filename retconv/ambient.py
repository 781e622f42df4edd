"""What a program sets for all of torch, and what here must not depend on it: the device and dtype of new tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def host() -> Iterator[None]:
    """Tensors that are made inside without a device are on the CPU; also a decorator.

    For what works on the CPU by itself. What runs somebody's model is none of it: that may count on its own default.
    """
    if torch.get_default_device().type == "cpu":
        yield
        return
    with torch.device("cpu"):
        yield


@contextmanager
def single() -> Iterator[None]:
    """Tensors that are made inside without a dtype are float32, as in a new process; also a decorator."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads of torch inside, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def noise(seed: int, *size: int) -> Tensor:
    """Standard normal numbers of a seed, float32 on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*size, generator=generator, device="cpu", dtype=torch.float32)
