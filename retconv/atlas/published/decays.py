"""Decays: powers of γ of a distance."""

from __future__ import annotations

from retconv.atlas.entry import Entry
from retconv.grid import Grid
from retconv.masks import DecayMask, RetNetMask

LINE, PLANE = Grid(64), Grid((8, 8))

ENTRIES = [
    Entry(
        "retnet",
        "RetNet",
        "γ^(−δ) for δ ≤ 0, else 0",
        "Sun et al. 2023 (arXiv 2307.08621), eq. (5)",
        "retention",
        LINE,
        lambda grid: RetNetMask(2).double().forms(grid),
    ),
    Entry(
        "manhattan",
        "RMT",
        "γ^‖δ‖₁",
        "Fan et al. 2024 (arXiv 2309.11523), eq. (4)",
        "multiply_weights",
        PLANE,
        lambda grid: DecayMask(2, gamma=0.9).double().forms(grid),
    ),
]
