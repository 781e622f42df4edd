"""The paper's Gaussian mixture mask."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from retconv.grid import Grid, GridLike
from retconv.kernels import Separable
from retconv.kernels.gaussians import bumps, log_mixture, mixture
from retconv.kernels.parameters import as_parameter, compute_dtype, result_dtype
from retconv.kernels.tables import distances
from retconv.masks.base import Mask, extent
from retconv.masks.forms import Forms
from retconv.names import unknown

Start = Literal["reference", "local"]


class GaussianMixtureMask(Mask):
    """GMM: ``M[q, k] = Σ_c α_c exp(−‖k − q‖² / 2(σ_c² + ε))`` per head, two learnable numbers for each Gaussian.

    The variance is ``σ² + 1e-5``, so no value of σ degenerates: at σ = 0 the Gaussian is the identity, finite and with
    finite gradients. Its sign is irrelevant, and exactly at σ = 0 its gradient vanishes.

    Args:
        heads: Number of heads.
        components: Gaussians per head (the paper's K; 5 in its code).
        start: ``"reference"``: σ = 10 + 10·N(0, 1), α = 2·N(0, 1), the authors' random, non-local start.
            ``"local"``: σ_c = 2^c tokens (c = 0, 1, …) with 10 % spread, α = 1/K: a bump of height 1 on the diagonal.
        generator: Source of the random numbers of the start.
        positive: Weigh each Gaussian by ``|α|``, so that the mask cannot turn negative and has a logarithm: the sign of
            α is then as irrelevant as that of σ.

    Raises:
        ValueError: If components is not positive or the start is unknown.

    Source:
        Li and Zhang 2023 (arXiv 2309.05375), section 3.3 and ``models/gmm.py``. We compute the same function with the
        exponents combined; the authors' float32 formula is a wrong zero wherever d² ≥ 104.

    Example:
        >>> mask = GaussianMixtureMask(heads=3, components=5)
        >>> sum(p.numel() for p in mask.parameters()), mask((14, 14)).shape
        (30, torch.Size([3, 196, 196]))
    """

    def __init__(
        self,
        heads: int,
        components: int = 5,
        start: Start = "reference",
        generator: torch.Generator | None = None,
        positive: bool = False,
    ) -> None:
        super().__init__(heads)
        if components < 1:
            raise ValueError(f"components must be at least 1, got {components}")
        if start not in get_args(Start):
            raise ValueError(unknown("start", start, get_args(Start)))
        self.components = components
        self.positive = positive
        self.start: Start = start
        self.sigma = nn.Parameter(torch.empty(heads, components))
        self.alpha = nn.Parameter(torch.empty(heads, components))
        self.reset_parameters(generator)

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the start anew."""
        self.sigma.normal_(generator=generator)
        self.alpha.normal_(generator=generator)
        if self.start == "reference":
            self.sigma.mul_(10).add_(10)
            self.alpha.mul_(2)
        else:
            scale = torch.exp2(torch.arange(self.components, dtype=self.sigma.dtype, device=self.sigma.device))
            self.sigma.mul_(0.1).exp_().mul_(scale)
            self.alpha.fill_(1 / self.components)

    @classmethod
    def from_parameters(cls, sigma: Tensor, alpha: Tensor) -> GaussianMixtureMask:
        """A mask with given parameters, both ``(heads, components)``.

        Raises:
            ValueError: If a parameter is not finite or the shapes disagree.
        """
        dtype = result_dtype(sigma, alpha)
        sigma, alpha = (as_parameter(x, n, axes=2).to(dtype) for x, n in ((sigma, "sigma"), (alpha, "alpha")))
        if sigma.shape != alpha.shape:
            raise ValueError(f"sigma and alpha must have one shape, got {tuple(sigma.shape)} and {tuple(alpha.shape)}")
        # A start is drawn and thrown away, by a generator of its own: nobody's random numbers move.
        heads, components = sigma.shape
        with torch.device("cpu"):
            mask = cls(heads, components, generator=torch.Generator())
        mask.sigma = nn.Parameter(sigma.detach().clone())
        mask.alpha = nn.Parameter(alpha.detach().clone())
        return mask

    @property
    def weights(self) -> Tensor:
        """``(heads, components)``, the weights of the Gaussians: α, or ``|α|`` if they are positive."""
        return self.alpha.abs() if self.positive else self.alpha

    def kernel(self, grid: GridLike) -> Tensor:
        """``(heads, 2 n_1 − 1, …, 2 n_D − 1)``; no ``(heads, components, N, N)`` tensor is ever formed."""
        sigma, weights, squared = self._computing(Grid.of(grid).without_prefix())
        return mixture(squared, sigma, weights).to(self._dtype)

    def at(self, offset: Tensor) -> Tensor:
        """The mixture at any offsets ``(*S, D)``, in tokens and between them: ``(heads, *S)``, for ``rectangular``."""
        device = self.sigma.device
        sigma, weights, offset = (x.to(device, compute_dtype(device)) for x in (self.sigma, self.weights, offset))
        return mixture(offset.square().sum(dim=-1), sigma, weights).to(self._dtype)

    def log_at(self, offset: Tensor) -> Tensor:
        """The logarithm of ``at``, by a closed form: −∞ where it is 0, NaN where it is negative."""
        device = self.sigma.device
        sigma, weights, offset = (x.to(device, compute_dtype(device)) for x in (self.sigma, self.weights, offset))
        return log_mixture(offset.square().sum(dim=-1), sigma, weights).to(self._dtype)

    def separable(self, grid: GridLike) -> Separable | None:
        """One outer product for each Gaussian (law 9); α is carried by the first axis. None on a periodic grid."""
        grid = Grid.of(grid)
        if not grid.is_open:
            return None
        first, *others = grid.shape
        along: dict[int, Tensor] = {}
        for n in {first, *others}:
            sigma, weights, squared = self._computing(Grid(n))
            along[n] = bumps(squared, sigma)
        weighted = along[first] * weights[..., None]
        return Separable(tuple(factor.to(self._dtype) for factor in (weighted, *(along[n] for n in others))))

    def log_kernel(self, grid: GridLike) -> Tensor | None:
        """The logarithm of the mixture, at any distance; −∞ where it is 0, NaN where it is negative."""
        sigma, weights, squared = self._computing(Grid.of(grid).without_prefix())
        return log_mixture(squared, sigma, weights).to(self._dtype)

    def forms(self, grid: GridLike) -> Forms:
        """As every mask's, with σ and α themselves if there is one Gaussian a head."""
        forms = super().forms(grid)
        if self.components > 1:
            return forms
        return replace(forms, given={**forms.given, "gaussian": lambda: (self.sigma[:, 0], self.weights[:, 0])})

    @property
    def _dtype(self) -> torch.dtype:
        return torch.promote_types(self.sigma.dtype, self.alpha.dtype)

    def _computing(self, grid: Grid) -> tuple[Tensor, Tensor, Tensor]:
        """σ, the weights, and the squared distances of a grid in the computing dtype."""
        device = self.sigma.device
        sigma, weights = (p.to(compute_dtype(device)) for p in (self.sigma, self.weights))
        return sigma, weights, distances(grid, device, "squared")

    def extra_repr(self) -> str:
        """Heads, components, and the ranges of σ and α."""
        ranges = f"sigma={extent(self.sigma)}, alpha={extent(self.alpha)}"
        return f"heads={self.heads}, components={self.components}, {ranges}" + (", positive=True" * self.positive)
