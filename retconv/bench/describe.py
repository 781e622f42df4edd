"""``retconv bench describe``: how long a person at a terminal waits for a description."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial

import pandas as pd

from retconv.bench.timing import race

REFERENCE = "import torch"
TORCH = "import torch; print(torch.__version__, flush=True)"
#: The command line of each mask, as a person types it.
COMMANDS = {
    "retnet": "retnet --grid 196 --gamma 0.97",
    "retnet, normalised": "retnet --grid 196 --gamma 0.97 --normalize",
    "two-sided": "two-sided --grid 196 --gamma 0.97",
    "manhattan, 12 heads": "manhattan --grid 14x14 --gamma rmt --heads 12",
    "euclidean, 12 heads": "euclidean --grid 14x14 --gamma rmt --heads 12",
    "gaussian": "gaussian --grid 14x14 --sigma 3",
    "gmm": "gmm --grid 14x14 --sigma 2 0.2 --alpha 0.6 -0.8",
    "gpsa": "gpsa --grid 14x14 --alpha 1",
    "window": "window --grid 14x14 --radius 3",
    "window, 32×32": "window --grid 32x32 --radius 3",
}


def bench(rounds: int) -> pd.DataFrame:
    """Time the command from a cold start, one new interpreter each, beside that of importing torch alone.

    Returns:
        The rows of ``race``; ``speedup`` is over ``import torch``, below 1.
    """
    contenders: dict[str, Callable[[], object]] = {REFERENCE: partial(_start, ["-c", TORCH])}
    contenders |= {n: partial(_start, ["-m", "retconv.describe", *text.split()]) for n, text in COMMANDS.items()}
    table = race(contenders, rounds, REFERENCE)
    table.insert(0, "kind", "cold start")
    return table


def _start(arguments: list[str]) -> None:
    """Wait for the first line: a description is printed at once. How long Python takes to end is nobody's wait."""
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.kill()
    if not line:
        raise RuntimeError(f"{' '.join(arguments)} printed nothing")
