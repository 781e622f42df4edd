"""The effective kernel of real attention, of one layer and of a stack."""

from retconv.analysis.effective.receptive import compose, composed_sigma, gradient_field, spread
from retconv.analysis.effective.result import Effective
from retconv.analysis.effective.stream import EffectiveKernel, effective_kernel

__all__ = ["Effective", "EffectiveKernel", "compose", "composed_sigma", "effective_kernel", "gradient_field", "spread"]
