"""Planted truths: small tasks whose answer is known, so that "the mask learns …" can be wrong.

- ``recovery``: targets are a known convolution of the tokens. Every family of masks that holds the planted kernel finds
  it, at an expected squared distance of ``p s² / n``: parameters, noise and samples. Families that do not hold it stay
  at their distance from it.
- ``varying``: the same with a target that varies in space. A free mask must not become a convolution there: its
  projection residual (law 3) settles at the planted one, and no kernel comes nearer than that.
- ``bias``: attention with a planted mask and content. What softmax leaves free (a constant of each row, or the joint
  scale of mask and scores) is never found, everything else is, at the Cramér–Rao distance.
- ``pairs``: a classification that near, far, or both kinds of token pairs solve, and the ceiling of who sees less.

Each module states its expectations as ``bounds(table)``; they were written before its table was made.
"""

from retconv.planted.tables import Bound

__all__ = ["Bound"]
