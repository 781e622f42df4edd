"""What the atlas knows of a mask before it computes anything: where it is from, and how it is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from retconv.attention import PLACEMENTS
from retconv.grid import Grid
from retconv.masks import MaskLike
from retconv.names import unknown


@dataclass(frozen=True)
class Entry:
    """A published mask, with the parameters of its source, or where these are learnt those that it starts with.

    Attributes:
        name: By which it is asked for, in lower case with underscores.
        title: As its authors write it.
        formula: Of one entry, in δ = key − query where it depends on nothing else.
        source: Authors, year, arXiv number, and equation or section; where we depart from it.
        placement: Where it acts, a name of ``retconv.attention.PLACEMENTS``.
        grid: On which its verdict is computed.
        build: The mask on a grid, one head or more; of a bias, its exponential with the bias as its logarithm
            (``Forms.of_log``), so that M is always what multiplies.
        reads: What its entries depend on beside the pair of tokens: ``""``, ``"queries"`` or ``"tokens"``, of which
            ``build`` then draws some from a fixed seed.

    Example:
        >>> retconv.atlas.ENTRIES["alibi"].formula
        'exp(m δ) for δ ≤ 0, else 0; slopes of 12 heads'
    """

    name: str
    title: str
    formula: str
    source: str
    placement: str
    grid: Grid
    build: Callable[[Grid], MaskLike]
    reads: str = ""

    def __post_init__(self) -> None:
        """Refuse what would be no row of the atlas."""
        if self.placement not in PLACEMENTS:
            raise ValueError(f"{self.name!r}: {unknown('placement', self.placement, PLACEMENTS)}")
        if self.reads not in ("", "queries", "tokens"):
            raise ValueError(f"{self.name!r} reads {self.reads!r}: choose '', 'queries' or 'tokens'")
