"""Timing in turn where getting ready takes long: each contender in a process of its own, made side by side.

To compile a training step takes the better part of a minute, to time it a second. The processes get ready all at once,
on the cores that there are, and then are asked one after another, so that only one at a time uses the device.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol

import torch

from retconv.bench.timing import ready_made

#: What contenders import, and torch once more at a model's first step.
NEEDED = ("retconv.bench.steps", "retconv.bench.fused", "torch._dynamo")
#: A turn lasts about so many seconds, and at least so many calls.
TURN, LEAST = 0.1, 5
#: Calls before the first turn.
WARM = 3


class Ready(Protocol):
    """What a contender has made: functions to time, by name, and facts about itself."""

    def runs(self) -> Mapping[str, Callable[[], object]]:
        """Functions by name."""
        ...

    def facts(self) -> Mapping[str, Any]:
        """What else there is to know, once all are timed."""
        ...


@dataclass
class Outcome:
    """What came of a contender.

    Attributes:
        fault: Why it could not be timed, or None.
        seconds: Of each of its functions, those of a call in each round.
        facts: What it told of itself.
        ready: Seconds until it was ready.
    """

    fault: str | None = None
    seconds: dict[str, list[float]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    ready: float = float("nan")


def race_ready(
    contenders: Mapping[str, Callable[[], Ready]],
    rounds: int,
    device: torch.device,
    limit: float,
    lock: Path | None = None,
) -> dict[str, Outcome]:
    """Make contenders side by side, and time them in turn.

    Args:
        contenders: By name, what makes each of them, in a new process: it must be possible to pickle it.
        rounds: Turns of each.
        device: Where they run.
        limit: Seconds after which those that are not ready are left out.
        lock: A file that is held locked while they are timed, for others who use the device and hold it.
    """
    context = ready_made(*NEEDED)
    start = time.monotonic()
    outcomes = {name: Outcome() for name in contenders}
    pipes, processes = {}, []
    for name, make in contenders.items():
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, make, device), daemon=True)
        process.start()
        theirs.close()
        processes.append(process)
        pipes[ours] = name
    ready: dict[str, Connection] = {}
    waiting = dict(pipes)
    while waiting and (left := start + limit - time.monotonic()) > 0:
        for pipe in wait(list(waiting), timeout=left):
            assert isinstance(pipe, Connection)
            name = waiting.pop(pipe)
            outcomes[name].fault = _heard(pipe)
            outcomes[name].ready = time.monotonic() - start
            if outcomes[name].fault is None:
                ready[name] = pipe
    for name in waiting.values():
        outcomes[name].fault = f"not ready after {limit:.0f} s"
    with _holding(lock):
        for _ in range(rounds):
            for name, pipe in ready.items():
                turn = _asked(pipe, "turn")
                outcomes[name].fault = "its process ended" if turn is None else None
                for run, seconds in (turn or {}).items():
                    outcomes[name].seconds.setdefault(run, []).append(seconds)
    for name, pipe in ready.items():
        outcomes[name].facts = _asked(pipe, "facts") or {}
    for process in processes:
        process.kill()
    return outcomes


@contextmanager
def _holding(lock: Path | None) -> Iterator[None]:
    if lock is None:
        yield
        return
    with lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _heard(pipe: Connection) -> str | None:
    try:
        fault: str | None = pipe.recv()
    except EOFError:
        return "its process ended"
    return fault


def _asked(pipe: Connection, what: str) -> dict[str, Any] | None:
    """What a contender answers; None if its process has ended."""
    try:
        pipe.send(what)
        answer: dict[str, Any] = pipe.recv()
    except (EOFError, OSError):
        return None
    return answer


def _serve(pipe: Connection, make: Callable[[], Ready], device: torch.device) -> None:
    """In a process of its own: make it, say so, and do what is asked."""
    torch.set_num_threads(1)
    try:
        ready = make()
        runs = ready.runs()
        for run in runs.values():
            for _ in range(WARM):
                run()
        _settle(device)
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:300])
        return
    pipe.send(None)
    while True:
        try:
            request = pipe.recv()
        except EOFError:
            return
        pipe.send(
            {name: _turn(run, device) for name, run in runs.items()} if request == "turn" else dict(ready.facts())
        )


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _turn(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call, the mean over many in a row: a device takes the next one while it works on the last."""
    run()
    calls = LEAST
    for _ in range(2):  # the first time to learn how many calls fill a turn
        _settle(device)
        start = time.perf_counter()
        for _ in range(calls):
            run()
        _settle(device)
        seconds = (time.perf_counter() - start) / calls
        calls = max(LEAST, min(2000, round(TURN / seconds)))
    return seconds
