"""``retconv bench retention``: every form of ``(S ⊙ M) V``, and the public ones, side by side by length."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from functools import partial

import click
import pandas as pd
import torch
from torch import Tensor

from retconv.bench.peers.public import peers
from retconv.bench.timing import peak_bytes, progress, race, synchronised
from retconv.checks import relative_error
from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.masks import DecayMask, Forms, GaussianMixtureMask, Mask, RetNetMask
from retconv.memory import DenseLimitError
from retconv.retention import METHODS, retention
from retconv.retention.functional import methods

#: A contender whose first run takes more seconds than this is not run again, the references aside.
SLOW = 0.5
#: The mask is there before the clock starts: what a mask that never changes can gain.
GIVEN = "parallel, mask given"
#: Heads on which errors are measured, against ``tiled`` in float64.
CHECKED = 2


def bench(
    lengths: list[int],
    kinds: tuple[str, ...],
    heads: int,
    head_size: int,
    rounds: int,
    device: str = "cpu",
) -> pd.DataFrame:
    """Race all forms on each length and kind of mask.

    Args:
        lengths: Numbers of tokens N; the grid is a line for ``"causal"``, else the square of √N × √N.
        kinds: Of the command's ``KINDS``.
        heads: Number of heads.
        head_size: Features of q, k and v for each head.
        rounds: Timed rounds.
        device: Where they run.

    Returns:
        The rows of ``race`` with ``kind``, ``grid``, ``tokens``, ``mib`` (peak memory of tensors beyond q, k and v),
        and ``error64`` and ``error32``, relative errors in float64 and float32. Speed-ups refer to ``"parallel"``, or
        where that exceeds the dense limit to ``"auto"``.
    """
    tables = []
    for kind, length in progress([(kind, n) for kind in kinds for n in lengths], "bench retention"):
        grid, mask = _problem(kind, length, heads)
        mask = mask.to(device)
        q, k, v = torch.randn(3, 1, heads, length, head_size, generator=torch.Generator().manual_seed(0)).to(device)
        with torch.no_grad():
            runs = _contenders(q, k, v, mask, grid)
            contenders = {name: synchronised(run, q.device) for name, run in runs.items()}
            seconds, peaks = _first(contenders)
            exempt = ("auto", "parallel", GIVEN)
            once = {name: s for name, s in seconds.items() if s > SLOW and name not in exempt}
            again = {name: run for name, run in contenders.items() if name not in once}
            reference = "parallel" if "parallel" in again else "auto"
            table = pd.concat([race(again, rounds, reference), _once(once)], ignore_index=True)
            table["mib"] = table["contender"].map(peaks)
            names = [m for m in methods(Forms.of(mask, grid)) if m in contenders]
            errors = _errors(kind, length, head_size, names, device)
        for dtype, values in errors.items():
            table[dtype] = table["contender"].map(values)
        table.insert(0, "kind", kind)
        table.insert(1, "grid", "×".join(map(str, grid.shape)))
        table.insert(2, "tokens", length)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _problem(kind: str, length: int, heads: int) -> tuple[Grid, Mask]:
    if kind == "causal":
        return Grid(length), RetNetMask(heads, "retnet_linspace")
    side = math.isqrt(length)
    if side**2 != length:
        raise click.UsageError(f"{kind} is raced on a square grid: {length} is no square, for instance {side**2} is")
    generator = torch.Generator().manual_seed(0)
    return Grid((side, side)), DecayMask(heads) if kind == "manhattan" else GaussianMixtureMask(
        heads, generator=generator
    )


def _contenders(q: Tensor, k: Tensor, v: Tensor, mask: Mask, grid: Grid) -> dict[str, Callable[[], object]]:
    names = ["auto", *methods(Forms.of(mask, grid))]
    contenders: dict[str, Callable[[], object]] = {
        name: partial(retention, q, k, v, mask, grid, method=name) for name in names
    }
    try:
        grid.require_dense(q.shape[1], q.dtype)
    except DenseLimitError:
        del contenders["parallel"]
    else:
        contenders[GIVEN] = partial(_given, q, k, v, kernel_to_mask(mask.kernel(grid), grid))
    return contenders | (peers(q, k, v, mask.gamma) if isinstance(mask, RetNetMask) else {})


def _given(q: Tensor, k: Tensor, v: Tensor, dense: Tensor) -> Tensor:
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    return scores.mul_(dense) @ v


def _first(contenders: dict[str, Callable[[], object]]) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of a first run of each, and peak MiB of our forms, from a run of its own: counting takes time."""
    seconds, peaks = {}, {}
    for name, run in contenders.items():
        start = time.perf_counter()
        run()
        seconds[name] = time.perf_counter() - start
        if name in (*METHODS, "auto", GIVEN):
            gc.disable()  # else the collector walks the many small records of a form of many steps again and again
            peaks[name] = peak_bytes(run) / 2**20
            gc.enable()
    return seconds, peaks


def _once(seconds: dict[str, float]) -> pd.DataFrame:
    """Rows of contenders that ran once."""
    rows = [
        {"contender": name, "ms": 1e3 * s, "ms_min": 1e3 * s, "ms_max": 1e3 * s, "n": 1} for name, s in seconds.items()
    ]
    return pd.DataFrame(rows)


def _errors(kind: str, length: int, head_size: int, methods: list[str], device: str) -> dict[str, dict[str, float]]:
    """Relative errors of the forms on a few heads, in both precisions, against ``tiled`` in float64."""
    grid, mask = _problem(kind, length, CHECKED)
    mask = mask.double().to(device)
    generator = torch.Generator().manual_seed(1)
    # float32 numbers, so that both precisions get the same.
    q, k, v = torch.randn(3, 1, CHECKED, length, head_size, generator=generator).double().to(device)
    expected = retention(q, k, v, mask, grid, method="tiled")
    errors: dict[str, dict[str, float]] = {"error64": {}, "error32": {}}
    for method in methods:
        for column, dtype in (("error64", torch.float64), ("error32", torch.float32)):
            if (method, column) != ("tiled", "error64"):
                actual = retention(q.to(dtype), k.to(dtype), v.to(dtype), mask, grid, method=method)
                errors[column][method] = relative_error(actual, expected)
    return errors
