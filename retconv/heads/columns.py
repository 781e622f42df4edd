"""What is told of one head in a table: how local its weights are, and the closed forms nearest to its kernel."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from torch import Tensor

from retconv.analysis.locality import Locality
from retconv.approximate import DecayFit, GaussianMixtureFit, fit_decay, fit_gaussian_mixture

_MEASURES = ("mean_distance", "radius_half", "radius_95", "size_95", "entropy", "anisotropy")


def locality_columns(measures: Locality, head: int) -> dict[str, Any]:
    """One head's measures as columns, those of a vector left out."""
    values = {f.name: float(getattr(measures, f.name)[head]) for f in fields(measures) if f.name != "center"}
    signed = {name: values[name] for name in ("self_weight", "neighbour_weight", "extroversion")}
    return signed | {name: values[name] for name in _MEASURES} | {"negative_center": values["self_weight"] < 0}


def fits(kernel: Tensor) -> tuple[DecayFit, GaussianMixtureFit]:
    """The Manhattan decay and the Gaussian nearest to a kernel ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``."""
    return fit_decay(kernel), fit_gaussian_mixture(kernel, 1)


def fitted_columns(kernel: Tensor) -> list[dict[str, Any]]:
    """By head, γ of the Manhattan decay and σ of the Gaussian nearest to a kernel, each with the residual it leaves."""
    decay, gaussian = fits(kernel)
    return [fit_columns(decay, gaussian, head) for head in range(len(kernel))]


def fit_columns(decay: DecayFit, gaussian: GaussianMixtureFit, head: int) -> dict[str, Any]:
    """One head's fits as columns."""
    return {
        "gamma": float(decay.gamma[head]),
        "gamma_residual": float(decay.residual[head]),
        "sigma": float(gaussian.sigma[head, 0]),
        "sigma_residual": float(gaussian.residual[head]),
    }
