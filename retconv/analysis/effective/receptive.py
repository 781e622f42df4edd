"""Law 19: the kernel of a stack of layers, and its effective receptive field by theory and by gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from retconv.grid import Grid, GridLike
from retconv.kernels.parameters import check_real, compute_dtype
from retconv.watching import recording


def compose(kernels: Sequence[Tensor]) -> Tensor:
    """The kernel of convolutions one after another, away from the border: the convolution of their kernels.

    Symbols multiply, means and variances of the offset add. Near the border a product of masks is no convolution
    (law 5). The support grows with every layer; ``retconv.resize`` brings the result to a grid.

    Args:
        kernels: Each ``(heads, odd, …)``; a kernel of one head serves all. A residual connection, ``x + M x``, is a
            kernel with 1 added at its centre.

    Returns:
        ``(heads, Σ(side − 1) + 1, …)``, float64, offset 0 in the centre.

    Raises:
        ValueError: If there is no kernel, one is not real, or they have different numbers of axes or an even side.

    Example:
        >>> compose([torch.ones(1, 3), torch.ones(1, 3)]).round().tolist()
        [[1.0, 2.0, 3.0, 2.0, 1.0]]
    """
    shapes = [tuple(k.shape) for k in kernels]
    if not kernels or len({len(s) for s in shapes}) > 1 or any(side % 2 == 0 for s in shapes for side in s[1:]):
        raise ValueError(f"compose: expected kernels (heads, odd, …) of one number of axes, got shapes {shapes}")
    for kernel in kernels:
        check_real(kernel, "kernel")
    axes = tuple(range(1, kernels[0].ndim))
    sides = [sum(shape[axis] - 1 for shape in shapes) + 1 for axis in axes]
    # A stack often repeats a kernel: each is transformed once.
    spectra = {id(k): torch.fft.rfftn(k.to(compute_dtype(k.device)), s=sides, dim=axes) for k in kernels}
    spectrum = spectra[id(kernels[0])]
    for kernel in kernels[1:]:
        spectrum = spectrum * spectra[id(kernel)]
    return torch.fft.irfftn(spectrum, s=sides, dim=axes)


def composed_sigma(sigma: Tensor) -> Tensor:
    """Law 19: Gaussians compose as ``σ_eff² = Σ_l σ_l²``, so L equal layers reach √L times as far as one.

    Args:
        sigma: ``(layers, …)``, in tokens.

    Returns:
        ``(…)``, in tokens.

    Example:
        >>> composed_sigma(torch.tensor([3.0, 4.0])).item()
        5.0
    """
    return sigma.square().sum(dim=0).sqrt()


def spread(weights: Tensor, ndim: int) -> Tensor:
    """Standard deviation of position along each axis, ``|weight|`` being the mass: the size of a receptive field.

    Args:
        weights: ``(…, n_1, …, n_D)``: kernels by offset, or maps over the grid.
        ndim: Number of axes, D.

    Returns:
        float64 ``(…, D)``, in tokens; NaN where there is no mass. The standard deviation of a Gaussian is its σ.

    Example:
        >>> spread(torch.ones(1, 3), 1)
        tensor([[0.8165]], dtype=torch.float64)
    """
    mass = weights.detach().abs().to(compute_dtype(weights.device))
    lead = mass.shape[: mass.ndim - ndim]
    result = []
    for axis in range(ndim):
        others = tuple(len(lead) + a for a in range(ndim) if a != axis)
        marginal = mass.sum(dim=others) if others else mass
        share = marginal / marginal.sum(dim=-1, keepdim=True)
        position = torch.arange(marginal.shape[-1], device=mass.device, dtype=mass.dtype)
        centred = position - (share * position).sum(dim=-1, keepdim=True)
        result.append((share * centred.square()).sum(dim=-1).sqrt())
    return torch.stack(result, dim=-1)


def gradient_field(
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    grid: GridLike,
    query: Sequence[int] | None = None,
) -> Tensor:
    """The effective receptive field by gradient: which input tokens move one output token, and how much.

    The gradient of the sum of the output token's channels with respect to every input token; its magnitude, summed
    over channels and averaged over the inputs.

    Args:
        function: Any differentiable map of tokens, ``(batch, length, channels)`` to ``(batch, length, channels')``:
            one layer or a whole network.
        x: Inputs ``(batch, length, channels)``, random or real.
        grid: The grid; prefix tokens take part but are not part of the field.
        query: Grid position of the output token; the middle of the grid if not given.

    Returns:
        ``(n_1, …, n_D)`` in x's dtype, at least 0.

    Raises:
        ValueError: If x is not of the grid's length, the function changes it, or the query is not on the grid.

    Source:
        Luo et al. 2016, Understanding the Effective Receptive Field (arXiv 1701.04128), who take the gradient at the
        central unit for random inputs and weights. They average gradients over weights; with fixed weights, as here,
        gradients of opposite sign would cancel, so magnitudes are averaged.

    Example:
        >>> mask = retconv.DecayMask(heads=1, gamma=0.5)(5)
        >>> gradient_field(lambda x: mask @ x, torch.rand(1, 5, 2), 5).tolist()
        [0.5, 1.0, 2.0, 1.0, 0.5]
    """
    grid = Grid.of(grid)
    place = tuple(n // 2 for n in grid.shape) if query is None else tuple(query)
    if len(place) != grid.ndim or not all(0 <= p < n for p, n in zip(place, grid.shape, strict=True)):
        raise ValueError(f"query must be a position on {grid}, got {place}")
    if x.ndim != 3 or x.shape[1] != grid.length:
        raise ValueError(f"x must be (batch, {grid.length}, channels) on {grid}, got shape {tuple(x.shape)}")
    token = int(np.ravel_multi_index(place, grid.shape))
    with recording():
        leaf = x.detach().clone().requires_grad_()
        y = function(leaf)
        if y.ndim != 3 or y.shape[:2] != x.shape[:2]:
            raise ValueError(f"function must keep batch and tokens {tuple(x.shape[:2])}, got shape {tuple(y.shape)}")
        if not y.requires_grad:
            raise ValueError("function gives nothing that follows from x by autograd, so that x has no gradient")
        (gradient,) = torch.autograd.grad(y[:, grid.prefix + token].sum(), leaf)
    return gradient[:, grid.prefix :].abs().sum(dim=2).mean(dim=0).reshape(grid.shape)
