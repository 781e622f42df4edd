"""Timing side by side: every contender once per round, ratios within a round, spread over rounds."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from tqdm import tqdm

#: A contender whose first run takes this many times the fastest's is not run again.
HOPELESS = 50.0


def race(contenders: Mapping[str, Callable[[], object]], rounds: int, reference: str) -> pd.DataFrame:
    """Time contenders in turn, so that a slow moment of the machine falls on all of them.

    Args:
        contenders: Functions by name; each is run once to warm up.
        rounds: How many timed rounds.
        reference: The contender that ratios refer to.

    Returns:
        One row for each contender: ``ms`` (median), ``ms_min``, ``ms_max``, ``speedup`` over the reference (median of
        the ratios within each round) with its quartiles ``speedup_q1`` and ``speedup_q3``, and ``n`` rounds.
    """
    first = {name: _seconds(run) for name, run in contenders.items()}
    first = {
        name: min(first[name], _seconds(run)) if first[name] < 1 else first[name] for name, run in contenders.items()
    }
    fastest = min(first.values())
    times = {name: [] if s < HOPELESS * fastest or name == reference else [s] for name, s in first.items()}
    for _ in range(rounds):
        for name, run in contenders.items():
            if first[name] < HOPELESS * fastest or name == reference:
                times[name].append(_seconds(run))
    rows = []
    for name, seconds in times.items():
        ratio = np.array(times[reference][: len(seconds)]) / np.array(seconds)
        q1, median, q3 = np.percentile(ratio, [25, 50, 75])
        ms = 1e3 * np.array(seconds)
        rows.append(
            {
                "contender": name,
                "ms": np.median(ms),
                "ms_min": ms.min(),
                "ms_max": ms.max(),
                "speedup": median,
                "speedup_q1": q1,
                "speedup_q3": q3,
                "n": len(seconds),
            }
        )
    return pd.DataFrame(rows)


class _Held(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make, from their making until they are freed."""

    def __init__(self) -> None:
        super().__init__()
        self.held = self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in given | self.seen:
                    self.seen.add(storage._cdata)
                    self.held += storage.nbytes()
                    weakref.finalize(storage, self._free, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self.held)
        return out

    def _free(self, storage: int, size: int) -> None:
        self.seen.discard(storage)
        self.held -= size


def peak_bytes(run: Callable[[], object]) -> int:
    """Most bytes of tensors made during a call that are held at once, the result included.

    Scratch memory inside one operation is not seen.
    """
    with _Held() as held:
        run()
    return held.peak


def progress(items: list, label: str) -> tqdm:
    """A progress bar over ``items``, silent when standard error is not a terminal."""
    return tqdm(items, desc=label, disable=not sys.stderr.isatty(), leave=False)


def provenance() -> dict[str, str]:
    """Command, commit, versions, processor and threads: what a number needs to be believed."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    )
    return {
        "command": "python -m retconv.bench " + " ".join(sys.argv[1:]),
        "commit": commit.stdout.strip() or "unknown",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": _processor(),
        "threads": str(torch.get_num_threads()),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
