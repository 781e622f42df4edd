"""Where a number comes from: what a stored result needs in order to be believed and repeated."""

from __future__ import annotations

import datetime
import os
import platform
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy
import torch


def commit() -> str:
    """The commit of this code: the environment variable ``RETCONV_COMMIT``, or what git says, or ``unknown``.

    A tree that is copied to another machine without its history takes the variable along.
    """
    variable = os.environ.get("RETCONV_COMMIT", "").strip()
    if variable:
        return variable
    here = Path(__file__).parent.parent
    if not (here / ".git").exists():  # installed, perhaps within a repository of somebody else's
        return "unknown"
    command = ["git", "describe", "--always", "--dirty"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, cwd=here, check=False)
    except OSError:  # there is no git
        return "unknown"
    return answer.stdout.strip() or "unknown"


def provenance(device: torch.device | str = "cpu") -> dict[str, str | int]:
    """Command, commit, versions, host, device, threads and time of a session; tables store what they need of it.

    Args:
        device: What computes; of a CPU its processor is named.
    """
    device = torch.device(device)
    return {
        "command": " ".join([*_program(), *sys.argv[1:]]),
        "commit": commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": metadata.version("timm"),  # importing it would take a second
        "numpy": numpy.__version__,
        "host": socket.gethostname(),
        "process": os.getpid(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _program() -> list[str]:
    """``retconv bench``, however it was called; of another program the name, as its folder is there nowhere else."""
    program, package = Path(sys.argv[0]), Path(__file__).parent
    if not program.is_relative_to(package):
        return [program.name]
    parts = program.relative_to(package).with_suffix("").parts
    return ["retconv", *(part for part in parts if part != "__main__")]


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
