"""Masks as linear operators: ``M @ x`` by six methods that agree, and token by token."""

from retconv.operators.linear import METHODS, MaskOperator, operator
from retconv.operators.online import OnlineConvolution

__all__ = ["METHODS", "MaskOperator", "OnlineConvolution", "operator"]
