"""Planted truths: small tasks whose answer is known, so that "the mask learns …" can be wrong.

- ``recovery``: targets are a known convolution of the tokens. Every family of masks that holds the planted kernel finds
  it, at an expected squared distance of ``p s² / n``: parameters, noise and samples. Families that do not hold it stay
  at their distance from it.
- ``varying``: the same with a target that varies in space. A free mask must not become a convolution there: its
  projection residual (law 3) settles at the planted one, and no kernel comes nearer than that.
- ``bias``: attention with a planted mask and content. What softmax leaves free (a constant of each row, or the joint
  scale of mask and scores) is never found, everything else is, at the Cramér–Rao distance.
- ``pairs``: a classification that near, far, or both kinds of token pairs solve, and the ceiling of who sees less.

Each module states its expectations as ``bounds(table)``. Theory and hypotheses came before any run. How much room a
bound leaves was settled on pilots before the stored tables were made: small grids, and one each of ``recovery`` and
``pairs`` at full size. Four bounds that failed there were changed: the search for the nearest mixture or decay had
missed it and got more starts; the scatter of few numbers got its chi-square; "far from what is planted" became 0.05
instead of 0.1 of it; and what is free is judged by how much it adds to a distance, not by the distance itself.
"""

from typing import TYPE_CHECKING

from retconv.lazy import lazily

if TYPE_CHECKING:
    from retconv.planted import bias as bias
    from retconv.planted import pairs as pairs
    from retconv.planted import recovery as recovery
    from retconv.planted import tables as tables
    from retconv.planted import varying as varying
    from retconv.planted.tables import Bound

lazily(__name__)

__all__ = ["Bound"]
