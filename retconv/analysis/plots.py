"""One kernel at a glance: its weights, its gain by frequency, and its mass by radius."""

from __future__ import annotations

import math

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from retconv.analysis.spectrum import frequencies, sampled_symbol
from retconv.colours import scale
from retconv.grid import Grid
from retconv.showing.drawing import Drawing

_TICKS = ([-math.pi, 0, math.pi], ["−π", "0", "π"])


def plot_kernel(kernel: Tensor, grid: Grid, title: str) -> Figure:
    """Draw one head's kernel.

    Args:
        kernel: ``(2 n_1 − 1, …, 2 n_D − 1)``. Of a kernel of three axes the middle slice along the first is shown.
        grid: Its grid.
        title: Title of the figure.

    Returns:
        A figure of three panels: the kernel by offset, the modulus of its symbol by frequency, and the share of its
        mass within each radius.
    """
    figure = Drawing(figsize=(9.0, 2.9), layout="constrained")
    figure.suptitle(title)
    weights, gain, mass = figure.subplots(1, 3)
    section = kernel[kernel.shape[0] // 2] if kernel.ndim == 3 else kernel
    sizes = tuple(8 * side for side in section.shape)
    response = sampled_symbol(section[None], sizes)[0].abs()
    if section.ndim == 1:
        offset = np.arange(section.shape[0]) - section.shape[0] // 2
        weights.stem(offset, section.cpu().numpy(), basefmt=" ", markerfmt=".")
        weights.set(xlabel="offset key − query (tokens)", ylabel="weight")
        gain.plot(frequencies(sizes)[:, 0].numpy(), response.cpu().numpy())
        gain.set(xlabel="frequency θ (rad/token)", ylabel="|symbol|", ylim=(0, None))
        gain.set_xticks(*_TICKS)
    else:
        down, right = (side // 2 + 0.5 for side in section.shape)
        values = section.cpu().numpy()
        image = weights.imshow(values, **scale(values, bool(values.min() < 0)), extent=(-right, right, down, -down))
        figure.colorbar(image, ax=weights, label="weight")
        weights.set(xlabel="offset right (tokens)", ylabel="offset down (tokens)")
        values = response.cpu().numpy()
        image = gain.imshow(values, **scale(values, False), extent=(-math.pi, math.pi, math.pi, -math.pi))
        figure.colorbar(image, ax=gain, label="|symbol|")
        gain.set(xlabel="θ right (rad/token)", ylabel="θ down (rad/token)")
        gain.set_xticks(*_TICKS)
        gain.set_yticks(*_TICKS)
    _draw_mass(mass, kernel, grid)
    return figure


def _draw_mass(ax: Axes, kernel: Tensor, grid: Grid) -> None:
    distance = grid.offsets(kernel.device).to(torch.float64).norm(dim=-1).flatten()
    order = distance.argsort()
    share = kernel.abs().flatten()[order].cumsum(dim=0)
    ax.step(distance[order].cpu(), (share / share[-1].clamp(min=1e-300)).cpu(), where="post")
    for level in (0.5, 0.95):
        ax.axhline(level, color="0.7", linewidth=0.7, zorder=0)
    ax.set(xlabel="radius (tokens)", ylabel="share of the kernel's mass", ylim=(0, 1.03), xlim=(0, None))
    ax.set_yticks([0, 0.5, 0.95], ["0", "0.5", "0.95"])
