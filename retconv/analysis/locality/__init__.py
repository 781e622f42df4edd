"""Locality of kernels, masks and attention weights, with exact treatment of the border."""

from retconv.analysis.locality.measures import Locality, locality, mass_within
from retconv.analysis.locality.rows import window_sums

__all__ = ["Locality", "locality", "mass_within", "window_sums"]
