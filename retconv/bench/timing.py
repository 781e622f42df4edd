"""Timing side by side: every contender once per round, ratios within a round, spread over rounds."""

from __future__ import annotations

import ctypes
import sys
import time
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from multiprocessing import get_all_start_methods, get_context
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch._library.custom_ops import OPDEFS
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from tqdm import tqdm

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

T = TypeVar("T")

#: A contender whose first run takes this many times the fastest's is not run again.
HOPELESS = 50.0
#: How long a contender's turn lasts, in seconds.
TURN = 0.03


def race(
    contenders: Mapping[str, Callable[[], object]], rounds: int, reference: str, floors: Collection[str] = ()
) -> pd.DataFrame:
    """Time contenders in turn, so that a slow moment of the machine falls on all of them.

    In its turn a contender runs once to warm up and then for ``TURN`` seconds or once, of which the mean counts: the
    caches are its own, not its predecessor's.

    Args:
        contenders: Functions by name.
        rounds: How many timed rounds.
        reference: The contender that ratios refer to.
        floors: Those that do less: they make no other hopeless.

    Returns:
        One row for each contender: ``ms`` (median), ``ms_min``, ``ms_max``, ``speedup`` over the reference (median of
        the ratios within each round) with its quartiles ``speedup_q1`` and ``speedup_q3``, and ``n`` rounds.
    """
    first = {name: min(_seconds(run), _seconds(run)) for name, run in contenders.items()}
    fastest = min(s for name, s in first.items() if name not in floors)
    hopeless = {name for name, s in first.items() if s > HOPELESS * fastest and name != reference}
    times: dict[str, list[float]] = {name: [first[name]] if name in hopeless else [] for name in contenders}
    names = [name for name in contenders if name not in hopeless]
    for turn in range(rounds):
        # Each round starts with another contender, so that none always follows the same one.
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            times[name].append(_turn(contenders[name], first[name]))
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


def synchronised(run: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """The same, over when the device has done it: on a GPU a call returns before its work is done."""
    if device.type != "cuda":
        return run

    def timed() -> None:
        run()
        torch.cuda.synchronize(device)

    return timed


class _Held(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make, from their making until they are freed."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self.live: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        if func.namespace == "retconv":
            # What our own operations hold inside counts as well.
            with self, torch.no_grad():
                out = OPDEFS[func._schema.name]._init_fn(*args, **(kwargs or {}))
        else:
            out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in inputs | self.live:
                    self.live.add(storage._cdata)
                    self.bytes += storage.nbytes()
                    weakref.finalize(storage, self._free, storage._cdata, storage.nbytes())
        self.peak = max(self.peak, self.bytes)
        return out

    def _free(self, storage: int, size: int) -> None:
        self.live.discard(storage)
        self.bytes -= size


def peak_bytes(run: Callable[[], object]) -> int:
    """Most bytes of tensors made during a call that are held at once, the result included.

    Scratch memory inside one operation of torch is not seen, that of ``retconv``'s own operations is.
    """
    with _Held() as counter:
        run()
    return counter.peak


def operand_bytes(operand: object) -> int:
    """Bytes of the tensors that an object holds in its attributes, each once; scratch (``_scratch``) is not counted."""
    storages = {s._cdata: s.nbytes() for tensor in _held(operand) for s in [tensor.untyped_storage()]}
    return sum(storages.values())


def _held(operand: object) -> Iterator[Tensor]:
    if isinstance(operand, Tensor):
        yield operand
    elif isinstance(operand, list | tuple):
        for part in operand:
            yield from _held(part)
    elif isinstance(operand, dict):
        yield from _held([value for name, value in operand.items() if name != "_scratch"])
    elif type(operand).__module__.startswith("retconv.") and hasattr(operand, "__dict__"):
        yield from _held(vars(operand))


def ready_made(*modules: str) -> ForkServerContext | SpawnContext:
    """Starts a process in milliseconds, as a fork of a server that has imported modules; on Windows, without one, anew.

    A program has one server, with the modules of who first starts a process. To import them must start no GPU.
    """
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([*modules])
    return context


def progress(items: Iterable[T], label: str) -> Iterable[T]:
    """A progress bar over ``items``, silent when standard error is not a terminal."""
    bar: Iterable[T] = tqdm(items, desc=label, disable=not sys.stderr.isatty(), leave=False)
    return bar


def keep_pages() -> str:
    """Let the C library keep freed memory, as a long-running program's does, and say so.

    By default glibc hands large arrays back to the system at once, and the page faults of the next call, up to several
    times the work of a fast contender, depend on what ran before it. All contenders run under this one setting.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except OSError:
        return "default"
    threshold, trim = -3, -1  # M_MMAP_THRESHOLD and M_TRIM_THRESHOLD of malloc.h
    success = mallopt(threshold, 2**30) and mallopt(trim, -1)  # never trimmed
    return "glibc, freed pages kept" if success else "default"


def _turn(run: Callable[[], object], expected: float) -> float:
    repeats = max(1, min(100, round(TURN / expected)))
    run()
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
