"""What the explorer shows: a mask, its parameters and a grid, and all that follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from retconv.convert import kernel_to_mask, resize
from retconv.figures.panels import array
from retconv.grid import Grid
from retconv.kernels import causal_decay, euclidean_decay, gaussian_mixture, manhattan_decay
from retconv.operators import operator

Kind = Literal["Gaussian mixture", "Manhattan decay", "Euclidean decay", "RetNet decay"]

#: Which parameters each mask has.
PARAMETERS: dict[Kind, tuple[str, ...]] = {
    "Gaussian mixture": ("alpha_1", "sigma_1", "alpha_2", "sigma_2"),
    "Manhattan decay": ("gamma",),
    "Euclidean decay": ("gamma",),
    "RetNet decay": ("gamma",),
}


@dataclass(frozen=True)
class Choice:
    """A mask on a board of tokens.

    RetNet's causal decay runs along the tokens in raster order, a line; the other masks see the board.

    Attributes:
        kind: The mask, one of ``PARAMETERS``.
        rows: Tokens down.
        columns: Tokens across.
        gamma: Decay per token, in (0, 1].
        alpha_1: Weight of the first Gaussian.
        sigma_1: Its width in tokens.
        alpha_2: Weight of the second.
        sigma_2: Its width in tokens.

    Example:
        >>> retconv.explorer.Choice(kind="Manhattan decay", gamma=0.5).columns
        14
    """

    kind: Kind = "Gaussian mixture"
    rows: int = 14
    columns: int = 14
    gamma: float = 0.8
    alpha_1: float = 0.6
    sigma_1: float = 2.0
    alpha_2: float = -0.8
    sigma_2: float = 0.2

    @property
    def grid(self) -> Grid:
        """The board, or for RetNet's decay the line of its tokens."""
        return Grid(self.rows * self.columns) if self.kind == "RetNet decay" else Grid((self.rows, self.columns))

    def kernel(self) -> Tensor:
        """The kernel, float64, shape ``(1, 2 n_1 − 1, …)``."""
        offset, gamma = self.grid.offsets(), torch.tensor([self.gamma], dtype=torch.float64)
        if self.kind == "Gaussian mixture":
            sigma = torch.tensor([[self.sigma_1, self.sigma_2]], dtype=torch.float64)
            alpha = torch.tensor([[self.alpha_1, self.alpha_2]], dtype=torch.float64)
            return gaussian_mixture(offset, sigma, alpha)
        if self.kind == "Manhattan decay":
            return manhattan_decay(offset, gamma)
        return (euclidean_decay if self.kind == "Euclidean decay" else causal_decay)(offset, gamma)


@dataclass(frozen=True)
class View:
    """The numbers of one picture.

    Attributes:
        kernel: ``(2 n_1 − 1, …)``.
        mask: ``(N, N)``, rows are queries.
        symbol: ``|a(θ)|`` of a line, the symbol itself of a board, ``(FREQUENCIES,) * D``, frequency 0 in the middle.
        radius: Distances from the query that occur, ascending, in tokens.
        share: Share of the kernel's ℓ1 mass within each radius.
        image: The photograph under the mask, a convolution with the kernel.

    Example:
        >>> retconv.explorer.view(Choice(rows=4, columns=4), np.zeros((4, 4))).kernel.shape
        (7, 7)
    """

    kernel: np.ndarray
    mask: np.ndarray
    symbol: np.ndarray
    radius: np.ndarray
    share: np.ndarray
    image: np.ndarray

    def radius_of(self, share: float) -> float:
        """The smallest radius that holds this share of the mass, in tokens."""
        # Sums of shares reach 1 only up to rounding.
        return float(self.radius[np.searchsorted(self.share, share - 1e-12)])


#: Samples of the symbol along each axis: odd, so that −π … π is symmetric about 0.
FREQUENCIES = 63


def view(choice: Choice, pixels: np.ndarray) -> View:
    """Compute what the explorer shows.

    Args:
        choice: The mask and the board.
        pixels: The photograph ``(height, width)``, each pixel a token.

    Example:
        >>> import numpy as np
        >>> view(Choice(rows=4, columns=4), np.zeros((4, 4))).mask.shape
        (16, 16)
    """
    kernel = choice.kernel()
    values = array(kernel[0])
    distance = array(choice.grid.offsets().double().norm(dim=-1))
    radius, place = np.unique(distance, return_inverse=True)
    mass = np.cumsum(np.bincount(place.ravel(), weights=np.abs(values).ravel()))
    # An all-zero kernel has no mass to share: α = 0 for both Gaussians.
    share = mass / mass[-1] if mass[-1] > 0 else np.ones_like(mass)
    return View(
        kernel=values,
        mask=array(kernel_to_mask(kernel, choice.grid)[0]),
        symbol=_symbol(values),
        radius=radius,
        share=share,
        image=_photograph_under(kernel, pixels),
    )


def _symbol(kernel: np.ndarray) -> np.ndarray:
    """``Σ_δ K[δ] e^{iδθ}``, one axis at a time: real for the even kernels of a board, by modulus on a line."""
    theta = np.linspace(-np.pi, np.pi, FREQUENCIES)
    symbol: np.ndarray = kernel.astype(complex)
    for n in kernel.shape:
        # Contracts the first axis and appends its frequencies: after all axes they stand in order.
        symbol = np.tensordot(symbol, np.exp(1j * np.outer(np.arange(n) - n // 2, theta)), axes=(0, 0))
    return np.abs(symbol) if kernel.ndim == 1 else symbol.real


def _photograph_under(kernel: Tensor, pixels: np.ndarray) -> np.ndarray:
    grid = Grid(pixels.size) if kernel.ndim == 2 else Grid(pixels.shape)
    x = torch.from_numpy(pixels).reshape(1, pixels.size, 1)
    return array(operator(resize(kernel, grid), grid, method="fft") @ x).reshape(pixels.shape)
