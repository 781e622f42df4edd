"""How long a command takes to print its help, against the import of torch: seconds of CPU in a process of its own."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys

import pandas as pd

COMMANDS = ("train", "sweep", "studies", "results", "models", "planted", "proofs", "figures", "bench")
_TORCH = ["-c", "import torch"]


def _seconds(arguments: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def starts(rounds: int) -> pd.DataFrame:
    """Every command's ``--help`` and the import of torch, in turn."""
    calls = {f"python -m retconv.{name} --help": ["-m", f"retconv.{name}", "--help"] for name in COMMANDS}
    times = [{name: _seconds(call) for name, call in {"": _TORCH, **calls}.items()} for _ in range(rounds)]
    facts = []
    for name in calls:
        ratios = [seconds[name] / seconds[""] for seconds in times]
        facts.append(
            {
                "part": "starting",
                "row": name,
                "ms": 1e3 * statistics.median(seconds[name] for seconds in times),
                "n": rounds,
                "over import torch": statistics.median(ratios),
            }
        )
    return pd.DataFrame(facts)
