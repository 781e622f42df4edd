"""Processes of a stay on a GPU: each in a group of its own, which can be stopped whole, with what it prints kept."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

TREE = Path(__file__).resolve().parents[1]
LIBRARY = ctypes.CDLL(None)
#: Of what a process prints, the bytes that are kept.
KEPT = 2**18


def begin(command: list[str]) -> subprocess.Popen:
    """Start a command in this tree."""
    path = os.pathsep.join(filter(None, (str(TREE), os.environ.get("PYTHONPATH"))))
    env = os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    pipe, out = subprocess.PIPE, subprocess.STDOUT
    return subprocess.Popen(command, stdout=pipe, stderr=out, cwd=TREE, env=env, preexec_fn=_in_a_group)


def _in_a_group() -> None:
    """In the new process: a group of its own, which can be stopped whole; and the end of the slot is its end too."""
    os.setsid()
    end_with_parent()


def end_with_parent() -> None:
    """Called in a process: it is killed when the one that started it ends."""
    if hasattr(LIBRARY, "prctl"):
        LIBRARY.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def keep(printed: Any, log: BinaryIO, head: bytearray) -> None:
    """Write the beginning of what a process prints, and read the rest, so that it is never held up."""
    while chunk := printed.read1(2**16):
        part = chunk[: KEPT - len(head)]
        log.write(part)
        log.flush()
        head += part


def wait(process: subprocess.Popen, deadline: float) -> bool:
    """Whether it ended by itself before the deadline."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=max(0.0, deadline - time.monotonic()))
    return process.poll() is not None


def stop(process: subprocess.Popen, grace: float) -> None:
    """Ask to stop, and wait for so many seconds."""
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=grace)


def kill(process: subprocess.Popen) -> None:
    """Kill what is left of a stage: what it started would hold memory of the device."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def last_json(printed: bytes) -> dict[str, Any]:
    """What a stage found: the last line that it printed, if that is an object in JSON."""
    lines = [line for line in printed.decode(errors="replace").splitlines() if line.startswith("{")]
    try:
        return {"found": json.loads(lines[-1])} if lines else {}
    except ValueError:
        return {}
