"""Closed forms: every mask of the field as a pure, differentiable function of the offset key − query.

A kernel function takes offsets of shape ``(*S, D)`` and per-head parameters whose first axis is ``heads``, and returns
``(heads, *S)``. Evaluated on ``grid.offsets()`` that is the kernel table ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``;
evaluated on any other offsets it is the same function there.
"""

from retconv.kernels.buckets import t5, t5_bucket
from retconv.kernels.decay import Decay, causal_decay, euclidean_decay, manhattan_decay, two_sided_decay
from retconv.kernels.exponentials import Exponentials
from retconv.kernels.gates import Gates, PolylineGates
from retconv.kernels.gaussians import GAUSSIAN_EPSILON, gaussian, gaussian_mixture, gpsa
from retconv.kernels.positions import block_causal, dilated_segments, fire, neighbourhood, same_window
from retconv.kernels.query_gaussian import QueryGaussian
from retconv.kernels.relative import alibi, kerple_log, kerple_power, relative_table, swin_table
from retconv.kernels.schedules import SCHEDULES, SLOPES, gammas, slopes
from retconv.kernels.separable import Separable
from retconv.kernels.vision import beit_table, euclidean_alibi, field_of_view, gaussian_bias, swin_v2
from retconv.kernels.waves import cosformer, rotary, sandwich, xpos
from retconv.kernels.windows import causal_window, strided_window, window
from retconv.kernels.wrapped import wrapped_decay, wrapped_gaussian

__all__ = [
    "GAUSSIAN_EPSILON",
    "SCHEDULES",
    "SLOPES",
    "Decay",
    "Exponentials",
    "Gates",
    "PolylineGates",
    "QueryGaussian",
    "Separable",
    "alibi",
    "beit_table",
    "block_causal",
    "causal_decay",
    "causal_window",
    "cosformer",
    "dilated_segments",
    "euclidean_alibi",
    "euclidean_decay",
    "field_of_view",
    "fire",
    "gammas",
    "gaussian",
    "gaussian_bias",
    "gaussian_mixture",
    "gpsa",
    "kerple_log",
    "kerple_power",
    "manhattan_decay",
    "neighbourhood",
    "relative_table",
    "rotary",
    "same_window",
    "sandwich",
    "slopes",
    "strided_window",
    "swin_table",
    "swin_v2",
    "t5",
    "t5_bucket",
    "two_sided_decay",
    "window",
    "wrapped_decay",
    "wrapped_gaussian",
    "xpos",
]
