"""Masks as linear operators: ``M @ x`` by six methods that agree, token by token, ``M⁻¹ y`` and ``log det M``."""

from retconv.operators.linear import METHODS, MaskOperator, operator
from retconv.operators.online import OnlineConvolution
from retconv.operators.residuals import SolveError
from retconv.operators.solve import SOLVE_METHODS, Solution

__all__ = ["METHODS", "SOLVE_METHODS", "MaskOperator", "OnlineConvolution", "Solution", "SolveError", "operator"]
