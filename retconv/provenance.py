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


def provenance(device: torch.device | str = "cpu", command: str = "") -> dict[str, str | int]:
    """Command, commit, versions, host, device, threads and time of a session; tables store what they need of it.

    Args:
        device: What computes; of a CPU its processor is named.
        command: The subcommand of ``retconv``, such as ``"bench"``; without, the command names its file.
    """
    device = torch.device(device)
    program = f"retconv {command}" if command else sys.argv[0]
    # Called as ``retconv bench …`` the subcommand is an argument, as ``python -m retconv.bench …`` it is none.
    arguments = sys.argv[1 + (sys.argv[1:2] == [command]) :]
    return {
        "command": " ".join([program, *arguments]),
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


def processor() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
