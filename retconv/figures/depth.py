"""Figure: effective receptive field by depth, by theory and by gradient (law 19)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from torch import Tensor
from torch.nn import functional as F

from retconv.analysis.effective import compose, gradient_field, spread
from retconv.convert import resize
from retconv.figures.panels import array, f64, headline, letters
from retconv.figures.registry import Drawn, register
from retconv.figures.style import BLUE, GREEN, ORANGE, SINGLE, new_figure
from retconv.grid import Grid
from retconv.kernels import gaussian
from retconv.masks import GaussianMixtureMask
from retconv.operators import operator

_GRID, _NEAR = Grid((33, 33)), Grid((10, 10))
_SIGMA = 1.5
_DEPTHS = (1, 2, 4, 8, 16, 32)
_PROFILES = dict(zip((1, 4, 16), sns.color_palette("flare", 3).as_hex(), strict=True))
_CHANNELS, _INPUTS = 16, 4

_KINDS = {
    "masks one after another": "linear",
    "with residual connections": "residual",
    "with channel mixing and GELU": "nonlinear",
}


def _kernel() -> Tensor:
    """The Gaussian of sum 1; beyond 9 tokens it is below 1e-8."""
    kernel = gaussian(_NEAR.offsets(), f64(_SIGMA))
    return kernel / kernel.sum()


def _step(kind: str) -> Callable[[Tensor], Tensor]:
    """One layer: the Gaussian mask, or half of it and half of the identity."""
    gain = float(gaussian(_NEAR.offsets(), f64(_SIGMA)).sum())
    mask = GaussianMixtureMask.from_parameters(f64(_SIGMA)[None], f64(1 / gain)[None])
    masked = operator(mask, _GRID, method="separable")
    return (lambda x: (x + masked @ x) / 2) if kind == "residual" else masked.__matmul__


def _network(kind: str, depth: int) -> Callable[[Tensor], Tensor]:
    """``depth`` layers on tokens ``(batch, N, channels)``; the nonlinear ones mix channels by fixed random weights."""
    step = _step(kind)
    generator = torch.Generator().manual_seed(0)
    size = (depth, _CHANNELS, _CHANNELS)
    weights = torch.randn(size, generator=generator, dtype=torch.float64) * (2 / _CHANNELS) ** 0.5

    def run(x: Tensor) -> Tensor:
        for layer in range(depth):
            x = step(x[:, None])[:, 0]
            if kind == "nonlinear":
                # Without a normalisation the sum over 33² tokens would leave GELU's curved part.
                x = F.gelu(F.layer_norm(x, x.shape[-1:]) @ weights[layer])
        return x

    return run


def _theory(kind: str, depth: int) -> Tensor:
    kernel = _kernel()
    if kind == "residual":
        identity = torch.zeros_like(kernel)
        identity[(0, *_NEAR.center)] = 1
        kernel = (kernel + identity) / 2
    return compose([kernel] * depth)


def _measure() -> tuple[pd.DataFrame, dict[tuple[str, int], np.ndarray]]:
    x = torch.randn(_INPUTS, _GRID.size, _CHANNELS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows, fields = [], {}
    for name, kind in _KINDS.items():
        for depth in _DEPTHS:
            inputs = x if kind == "nonlinear" else x[:1, :, :1]
            field = gradient_field(_network(kind, depth), inputs, _GRID)
            theory = _theory(kind, depth)
            influences = {"theory": theory[0], "on the grid": resize(theory, Grid((17, 17)))[0], "gradient": field}
            reach = {source: float(spread(influence, 2)[1]) for source, influence in influences.items()}
            rows.append({"layers": name, "depth": depth, **reach})
            fields[name, depth] = array(field / field.max())
    return pd.DataFrame(rows), fields


def _draw_profiles(ax: Axes, fields: dict[tuple[str, int], np.ndarray], name: str) -> pd.DataFrame:
    middle = _GRID.shape[0] // 2
    offset, tables = np.arange(-middle, middle + 1), []
    for depth, colour in _PROFILES.items():
        theory = resize(_theory(_KINDS[name], depth), _GRID)[0]
        cut = array(theory[_GRID.center[0], _GRID.center[1] - middle : _GRID.center[1] + middle + 1])
        cut = cut / cut.max()
        field = fields[name, depth][middle]
        ax.plot(offset, cut, color=colour, label=f"L = {depth}")
        ax.plot(offset, field, linestyle="", marker="o", markersize=2.2, color=colour)
        profile = pd.DataFrame({"offset": offset, "theory": cut, "gradient": field})
        tables.append(profile.assign(layers=name, depth=depth))
    ax.set(xlabel="offset from the query (tokens)", xticks=[-16, -8, 0, 8, 16], ylim=(0, 1.05))
    return pd.concat(tables)


def finding(data: pd.DataFrame) -> str:
    """How the reach grows with depth where the border is far, and what the border makes of it."""
    reach = data[data["offset"].isna()].set_index(["layers", "depth"])
    name = next(iter(_KINDS))
    error = max(abs(reach.loc[(name, d), "gradient"] / (_SIGMA * d**0.5) - 1) for d in (1, 2, 4))
    steps = [
        np.log2(reach.loc[(other, b), "gradient"] / reach.loc[(other, a), "gradient"])
        for other in list(_KINDS)[2:]
        for a, b in pairwise((1, 2, 4))
    ]
    return (
        f"linear stacks reach σ √L within {error:.1%} up to L = 4, with mixing and GELU like L^{np.mean(steps):.2f}; "
        f"at 32 layers {reach.loc[(name, 32), 'gradient']:.1f} of {_SIGMA * 32**0.5:.1f} tokens, for the border"
    )


@register("depth", 90, finding)
def draw() -> Drawn:
    """Effective receptive field by depth.

    Gaussian masks of σ = 1.5 tokens, L of them one after another, on 33×33 tokens. Influence of each input token on the
    middle output token along its row, by theory (the composed kernel, of variance Lσ²; curves) and by gradient (dots),
    for (b) masks alone and (c) masks with random channel mixing, layer normalisation and GELU between them. (a)
    Standard deviation of the field by depth: theory on an unbounded grid (solid), the same cut at the grid's border
    (dashed), and gradient (dots); a residual connection halves the variance of each layer.
    """
    reach, fields = _measure()
    figure = new_figure(SINGLE, 4.6)
    growth, linear, nonlinear = figure.subplots(3, 1, height_ratios=[1.5, 1, 1])
    names = list(_KINDS)
    tables = [_draw_profiles(linear, fields, names[0]), _draw_profiles(nonlinear, fields, names[2])]
    linear.set_ylabel("influence / largest")
    linear.set(title=names[0], xlabel="")
    nonlinear.set(title=names[2], ylabel="influence / largest")
    linear.legend(loc="upper right", handlelength=1.0, labelspacing=0.2)
    for name, colour in zip(names, (BLUE, GREEN, ORANGE), strict=True):
        rows = reach[reach["layers"] == name]
        if name != names[2]:
            growth.plot(rows["depth"], rows["theory"], color=colour, linewidth=0.9)
            growth.plot(rows["depth"], rows["on the grid"], color=colour, linewidth=0.9, linestyle="--")
        growth.plot(rows["depth"], rows["gradient"], linestyle="", marker="o", markersize=3, color=colour, label=name)
    growth.set_xscale("log", base=2)
    growth.set_yscale("log", base=2)
    growth.set_xticks(_DEPTHS, [str(d) for d in _DEPTHS])
    growth.set_yticks([1, 2, 4, 8], ["1", "2", "4", "8"])
    growth.minorticks_off()
    growth.set(xlabel="layers L", ylabel="standard deviation\n(tokens)", ylim=(0.9, 20))
    growth.legend(loc="upper left", handlelength=0.8, labelspacing=0.2)
    letters((growth, linear, nonlinear))
    headline(
        figure,
        "The reach of a stack of masks grows like the square root of its depth, until the border",
        f"Gaussian masks, σ = {_SIGMA} tokens, {_GRID.shape[0]}×{_GRID.shape[1]} tokens. Lines: theory, dashed: cut at "
        "the border; dots: gradients.",
    )
    columns = ["layers", "depth", "offset", "theory", "on the grid", "gradient"]
    data = pd.concat([reach.assign(offset=np.nan), *tables], ignore_index=True)
    return figure, data[columns].astype({"offset": "Int64"})
