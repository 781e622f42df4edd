"""What attention weights amount to: their effective kernel, and how much of them it leaves unexplained."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from retconv.approximate import DecayFit, GaussianMixtureFit, fit_decay, fit_gaussian_mixture
from retconv.approximate.decay import DecayMetric
from retconv.grid import Grid

_UNROLLED = "measure the attention on grid.opened()"


@dataclass(frozen=True)
class Effective:
    """Attention weights of many images as one kernel for each head, with what that kernel misses (law 17).

    The squared deviation of all weights from their average divides, exactly, into three orthogonal parts: what depends
    on the offset alone, what further depends on the pair of tokens, and what changes from image to image.

    Attributes:
        grid: The grid, without prefix tokens.
        count: Number of images.
        kernel: ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``, the mean over images and pairs of equal offset: of all kernels the
            nearest to the weights.
        mean: ``(heads, N, N)``, the mean attention.
        explained: ``(heads,)``, the share of variance that the kernel explains, self-weights included; NaN where the
            weights do not vary, as in uniform attention.
        position: ``(heads,)``, the share that the mean attention explains beyond the kernel.
        content: ``(heads,)``, the share that changes from image to image.
        residual: ``(heads, n_1, …, n_D)``, for each query the relative residual ``‖A_q − M_q‖ / ‖A_q‖`` of its row
            against the kernel's window, root mean square over images; 0 where the kernel says all.

    Example:
        >>> weights = torch.rand(8, 2, 9, 9).softmax(-1)  # of eight images
        >>> effective = retconv.analysis.effective.effective_kernel(weights, (3, 3))
        >>> effective.kernel.shape, effective.count
        (torch.Size([2, 5, 5]), 8)
    """

    grid: Grid
    count: int
    kernel: Tensor
    mean: Tensor
    explained: Tensor
    position: Tensor
    content: Tensor
    residual: Tensor

    def gaussian_mixture(self, components: int) -> GaussianMixtureFit:
        """The Gaussian mixture mask nearest to the effective kernel, with its residual and certificate (law 12).

        Args:
            components: Gaussians per head.

        Returns:
            The fit of ``retconv.approximate.fit_gaussian_mixture``; ``.mask`` is the module.

        Raises:
            ValueError: If the grid is periodic.
        """
        self.grid.require_open("a fit of distances", _UNROLLED)
        return fit_gaussian_mixture(self.kernel, components)

    def decay(self, metric: DecayMetric = "manhattan") -> DecayFit:
        """The decay, up to a factor, nearest to the effective kernel, with its residual and certificate.

        Args:
            metric: ``"manhattan"``, ``"euclidean"``, or on a line ``"two_sided"`` or ``"causal"``.

        Returns:
            The fit of ``retconv.approximate.fit_decay``; ``.gamma`` and ``.scale`` are its numbers.

        Raises:
            ValueError: If the grid is periodic.
        """
        self.grid.require_open("a fit of distances", _UNROLLED)
        return fit_decay(self.kernel, metric)
