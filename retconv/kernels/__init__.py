"""Closed forms: every mask of the field as a pure, differentiable function of the offset key − query.

A kernel function takes offsets of shape ``(*S, D)`` and per-head parameters whose first axis is ``heads``, and returns
``(heads, *S)``. Evaluated on ``grid.offsets()`` that is the kernel table ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``;
evaluated on any other offsets it is the same function there.
"""

from retconv.kernels.decay import Decay, causal_decay, euclidean_decay, manhattan_decay, two_sided_decay
from retconv.kernels.exponentials import Exponentials
from retconv.kernels.gates import Gates, PolylineGates
from retconv.kernels.gaussians import GAUSSIAN_EPSILON, gaussian, gaussian_mixture, gpsa
from retconv.kernels.query_gaussian import QueryGaussian
from retconv.kernels.relative import alibi, kerple_log, kerple_power, relative_table, swin_table, window
from retconv.kernels.schedules import SCHEDULES, gammas
from retconv.kernels.separable import Separable

__all__ = [
    "GAUSSIAN_EPSILON",
    "SCHEDULES",
    "Decay",
    "Exponentials",
    "Gates",
    "PolylineGates",
    "QueryGaussian",
    "Separable",
    "alibi",
    "causal_decay",
    "euclidean_decay",
    "gammas",
    "gaussian",
    "gaussian_mixture",
    "gpsa",
    "kerple_log",
    "kerple_power",
    "manhattan_decay",
    "relative_table",
    "swin_table",
    "two_sided_decay",
    "window",
]
