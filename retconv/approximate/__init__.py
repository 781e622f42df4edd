"""Simpler kernels in place of a given one, each with a certificate of what that costs (law 12).

Cut to a window, split into outer products, written as a few exponentials (law 16), or fitted by a mask of the field.
Every function returns the new kernel K' and ``‖K − K'‖₁``, which bounds the operator-norm error, never too small.
``channels`` instead says how many extra channels of queries and keys the logarithm of a mask takes (law 21).

It needs scipy, and so is imported by name: ``from retconv import approximate``.
"""

from retconv.approximate.certificate import Approximation
from retconv.approximate.decay import DecayFit, fit_decay
from retconv.approximate.exponential_sums import ExponentialApproximation, OrderError, exponentials
from retconv.approximate.extra_channels import Channels, channels
from retconv.approximate.gaussians import GaussianMixtureFit, fit_gaussian_mixture
from retconv.approximate.outer_products import Separation, separate
from retconv.approximate.realisation import Realisation
from retconv.approximate.semiseparable import SemiseparableRank, semiseparable_rank
from retconv.approximate.size import (
    Truncation,
    decay_effective_size,
    effective_size,
    gaussian_effective_size,
    truncate,
)
from retconv.approximate.states import balanced_truncation, decay_sum, real_poles, roots_of_unity

__all__ = [
    "Approximation",
    "Channels",
    "DecayFit",
    "ExponentialApproximation",
    "GaussianMixtureFit",
    "OrderError",
    "Realisation",
    "SemiseparableRank",
    "Separation",
    "Truncation",
    "balanced_truncation",
    "channels",
    "decay_effective_size",
    "decay_sum",
    "effective_size",
    "exponentials",
    "fit_decay",
    "fit_gaussian_mixture",
    "gaussian_effective_size",
    "real_poles",
    "roots_of_unity",
    "semiseparable_rank",
    "separate",
    "truncate",
]
