"""The families of masks that learn, and how they are fitted: full gradients, to the minimum."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from retconv.attention import convolution
from retconv.grid import Grid
from retconv.masks import DecayMask, ElementwiseMask, GaussianMixtureMask, KernelTableMask, Mask
from retconv.planted.targets import HEADS, Samples, compress

#: Gaussians of a mixture that learns, for each head: as many as are planted.
COMPONENTS = 2


def _gammas(generator: torch.Generator) -> Tensor:
    return 0.1 + 0.8 * torch.rand(HEADS, generator=generator)


#: The families, from the one that can say most to the one that can say least.
FAMILIES: dict[str, Callable[[Grid, torch.Generator], Mask]] = {
    "elm": lambda grid, generator: ElementwiseMask(grid, HEADS, per_head=True, start="zeros"),
    "table": lambda grid, generator: KernelTableMask(grid, HEADS, start="zeros"),
    "gmm": lambda grid, generator: GaussianMixtureMask(HEADS, COMPONENTS, "local", generator),
    "decay": lambda grid, generator: DecayMask(HEADS, "manhattan", _gammas(generator), learnable=True),
}


def build(family: str, grid: Grid, seed: int = 0) -> Mask:
    """A mask of a family at its start, in float64; starts of mixtures and decays depend on the seed."""
    return FAMILIES[family](grid, torch.Generator().manual_seed(seed)).double()


def count(mask: nn.Module) -> int:
    """Learnable numbers, of all heads."""
    return sum(p.numel() for p in mask.parameters())


def minimise(loss: Callable[[], Tensor], parameters: Iterable[Tensor], steps: int = 300) -> float:
    """L-BFGS with full gradients until nothing moves; the loss that is left.

    Its steps are combinations of gradients: what no gradient reaches stays where it started.
    """
    optimiser = torch.optim.LBFGS(
        list(parameters),
        max_iter=steps,
        history_size=30,
        tolerance_grad=1e-9,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    optimiser.step(closure)
    with torch.no_grad():
        return float(loss())


def learn(mask: Mask, grid: Grid, data: Samples) -> float:
    """Fit a mask under the placement ``convolution``; the share of the targets' energy that is left."""
    few = compress(data)
    energy = few.y.square().sum()

    def loss() -> Tensor:
        return (few.y - convolution(few.x, few.x, few.x, mask(grid), grid, backend="reference")).square().sum() / energy

    return minimise(loss, mask.parameters())
