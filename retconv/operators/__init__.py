"""Masks as linear operators: ``M @ x`` by six methods that agree."""

from retconv.operators.operator import METHODS, MaskOperator, operator

__all__ = ["METHODS", "MaskOperator", "operator"]
