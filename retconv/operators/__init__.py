"""Masks as linear operators: ``M @ x`` by six methods that agree."""

from retconv.operators.linear import METHODS, MaskOperator, operator

__all__ = ["METHODS", "MaskOperator", "operator"]
