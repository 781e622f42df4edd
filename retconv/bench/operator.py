"""``retconv bench operator``: every way of computing ``M @ x``, and scipy's, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pandas as pd
import torch
from scipy.signal import fftconvolve, oaconvolve
from torch import Tensor

from retconv.bench.timing import operand_bytes, peak_bytes, progress, race, synchronised
from retconv.grid import Grid
from retconv.masks import DecayMask, GaussianMixtureMask, Mask
from retconv.memory import DenseLimitError
from retconv.operators import MaskOperator, operator

#: ``direct`` is left out where it would take more multiplications than this.
DIRECT_LIMIT = 2e9


def bench(
    grids: Sequence[Grid],
    kinds: tuple[str, ...],
    heads: int,
    channels: int,
    rounds: int,
    device: str = "cpu",
) -> pd.DataFrame:
    """Race all methods on each grid and kind of kernel.

    Args:
        grids: The grids.
        kinds: Of the command's ``KINDS``.
        heads: Kernels; the channels are shared out among them.
        channels: Channels in all.
        rounds: Timed rounds.
        device: Where all but scipy's functions run, which are raced on the CPU only.

    Returns:
        The rows of ``race`` with ``grid``, ``kind``, ``chosen`` (the method that auto chose), and in units of the input
        ``operand``, what auto's prepared operator takes, and ``memory``, what applying it takes beyond input and
        result.
    """
    tables = []
    for grid, kind in progress([(g, k) for g in grids for k in kinds], "bench operator"):
        x = torch.randn(heads, grid.size, channels // heads).to(device)
        source = _source(kind, grid, heads).to(device)
        contenders, choice = _contenders(source, grid, x)
        with torch.no_grad():
            table = race(contenders, rounds, "dense" if "dense" in contenders else "auto")
            operators: list[MaskOperator] = []
            extra = peak_bytes(partial(_prepare_and_apply, source, grid, x, operators)) - x.nbytes
            operand = operand_bytes(operators)
        table.insert(0, "grid", "×".join(map(str, grid.shape)))
        table.insert(1, "kind", kind)
        table["chosen"] = choice
        table["operand"] = table["contender"].map({"auto": operand / x.nbytes})
        table["memory"] = table["contender"].map({"auto": (extra - operand) / x.nbytes})
        table["best"] = table["ms"] / table.loc[~table["contender"].isin(["auto"]), "ms"].min()
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _source(kind: str, grid: Grid, heads: int) -> Tensor | Mask:
    generator = torch.Generator().manual_seed(0)
    if kind == "manhattan":
        return DecayMask(heads)
    if kind == "gmm":
        return GaussianMixtureMask(heads, generator=generator)
    return torch.randn(heads, *grid.kernel_shape, generator=generator)


def _contenders(source: Tensor | Mask, grid: Grid, x: Tensor) -> tuple[dict[str, Callable[[], object]], str]:
    """Prepared operators by name, scipy's functions on channels-first arrays, and the name that auto chose."""
    auto = operator(source, grid)
    names = [m for m in auto.methods if m != "direct" or x.numel() * auto.kernel[0].numel() < DIRECT_LIMIT]
    contenders: dict[str, Callable[[], object]] = {"auto": _applied(auto, x)}
    try:
        grid.require_dense(auto.shape[0], x.dtype)
    except DenseLimitError:
        names.remove("dense")
    contenders |= {name: _applied(operator(source, grid, name), x) for name in names}
    if x.device.type != "cpu":
        return contenders, auto.choose(x)
    heads, _, columns = x.shape
    images = x.transpose(1, 2).reshape(heads, columns, *grid.shape).contiguous().numpy()
    axes = tuple(range(1, auto.kernel.ndim))
    # scipy convolves, so the kernel is flipped; it is given the layout it likes best, at no charge.
    flipped = auto.kernel.detach().flip(axes)[:, None].numpy()
    for name, function in (("scipy fftconvolve", fftconvolve), ("scipy oaconvolve", oaconvolve)):
        contenders[name] = _convolved(function, images, flipped, tuple(a + 1 for a in axes))
    return contenders, auto.choose(x)


def _prepare_and_apply(source: Tensor | Mask, grid: Grid, x: Tensor, operators: list[MaskOperator]) -> None:
    operators.append(operator(source, grid))
    operators[-1] @ x


def _applied(op: MaskOperator, x: Tensor) -> Callable[[], object]:
    return synchronised(lambda: op @ x, x.device)


def _convolved(
    function: Callable[..., object], images: object, kernel: object, axes: tuple[int, ...]
) -> Callable[[], object]:
    return lambda: function(images, kernel, mode="same", axes=axes)
