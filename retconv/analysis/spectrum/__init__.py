"""Spectra of masks: symbol, eigenvalues and singular values, norm, Szegő's law, definiteness and passband."""

from retconv.analysis.spectrum.bounds import NormBounds, norm_bounds
from retconv.analysis.spectrum.circulant import torus_symbol
from retconv.analysis.spectrum.closed_forms import (
    causal_decay_symbol,
    gaussian_mixture_symbol,
    gaussian_symbol,
    gpsa_symbol,
    manhattan_decay_symbol,
)
from retconv.analysis.spectrum.definite import Definiteness, definiteness
from retconv.analysis.spectrum.distribution import Szego, szego
from retconv.analysis.spectrum.passbands import Passband, passband
from retconv.analysis.spectrum.symbols import frequencies, sampled_symbol, symbol
from retconv.analysis.spectrum.values import eigenvalues, operator_norm, singular_values

__all__ = [
    "Definiteness",
    "NormBounds",
    "Passband",
    "Szego",
    "causal_decay_symbol",
    "definiteness",
    "eigenvalues",
    "frequencies",
    "gaussian_mixture_symbol",
    "gaussian_symbol",
    "gpsa_symbol",
    "manhattan_decay_symbol",
    "norm_bounds",
    "operator_norm",
    "passband",
    "sampled_symbol",
    "singular_values",
    "symbol",
    "szego",
    "torus_symbol",
]
