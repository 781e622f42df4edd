"""Randomness as a function of where a run is: its seed, a purpose, and a position.

A stream that is drawn from step by step would have to be saved, and would depend on who else draws. Here every random
number of a run follows from ``(seed, purpose, position)`` alone: a resumed run, a run beside replicas and a run by
itself draw the same ones.

timm draws from NumPy's legacy global generator, so that one is seeded here too.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def derive(seed: int, purpose: str, *position: int) -> int:
    """A 63-bit seed for a purpose at a position (epoch, step, process)."""
    text = ":".join(map(str, (seed, purpose, *position)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(device: torch.device, seed: int, purpose: str, *position: int) -> torch.Generator:
    """A generator on a device, at the start of the stream of that purpose and position."""
    return torch.Generator(device).manual_seed(derive(seed, purpose, *position))


@contextmanager
def seeded(seed: int, purpose: str, *position: int) -> Iterator[None]:
    """Inside, the global generators of Python, NumPy and torch's CPU are seeded; afterwards they are as before."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    value = derive(seed, purpose, *position)
    random.seed(value)
    np.random.seed(value % 2**32)  # noqa: NPY002
    torch.default_generator.manual_seed(value)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])


def state() -> dict[str, Any]:
    """The global generators as plain values and tensors, for whatever in a model may draw from them."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "python": random.getstate(),
        "numpy": (str(name), torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore(states: dict[str, Any]) -> None:
    """Set the global generators to a ``state()``; those of CUDA only on a machine with as many devices."""
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if states["cuda"] and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
