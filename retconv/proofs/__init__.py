"""Proofs by computer algebra: each law's closed form, derived step by step until SymPy is left with exactly 0.

A proof claims closed forms and argues from them: ``proof.steps`` are equations and signs, each with a reason, and the
law holds if every step's residual reduces to exactly 0. Assumptions are those of the symbols (γ = 1 / (1 + u) with
u > 0 says all of 0 < γ < 1); sums of symbolic length are compared term by term or by induction, with base case and step
both reduced; and nothing is ever evaluated in floating point. So a proof holds for every size of the grid.

``retconv proofs`` runs them all.
"""

from typing import TYPE_CHECKING

from retconv.lazy import lazily

if TYPE_CHECKING:
    from retconv.proofs.proof import Equation, Proof, Sign, Step
    from retconv.proofs.registry import PROOFS, find

lazily(__name__)

__all__ = ["PROOFS", "Equation", "Proof", "Sign", "Step", "find"]
