"""What is concluded from what was measured, for each way in which it can be wrong."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from retconv.grid import Grid
from retconv.models.checking.experiments import _gradient, _one_token
from retconv.models.checking.position import _of_map, _of_window, _Vote


def module(prefix: int = 0) -> Any:
    place = SimpleNamespace(grid=lambda: Grid((2, 2), prefix=prefix))
    return SimpleNamespace(place=place, modules=lambda: iter(()))


def rows(*values: float) -> Tensor:
    return torch.tensor(values).view(1, -1, 1)


@pytest.mark.parametrize(
    ("prefix", "of_mask", "of_output", "verdict"),
    [
        (0, torch.ones(2), rows(1, 1, 1, 1), "passed"),
        (0, torch.zeros(2), rows(1, 1, 1, 1), "failed"),
        (0, None, rows(1, 1, 1, 1), "failed"),
        (1, torch.zeros(2), rows(1, 0, 0, 0, 0), "passed"),
        (1, torch.zeros(2), rows(1, 0, 0, 2, 0), "failed"),
        (0, torch.zeros(2), rows(0, 0, 0, 0), "inconclusive"),
        (0, None, None, "inconclusive"),
    ],
)
def test_gradients(prefix: int, of_mask: Tensor | None, of_output: Tensor | None, verdict: str) -> None:
    assert _gradient("a", module(prefix), of_mask, of_output).verdict == verdict


EYE = torch.eye(4)[None, None]


@pytest.mark.parametrize(
    ("weights", "called", "left", "verdict"),
    [
        ([EYE], 1, 8.0, "passed"),
        ([EYE], 1, 32.0, "failed"),  # all that there is
        ([EYE], 1, 16.0, "inconclusive"),
        ([EYE], 2, 8.0, "failed"),  # one call went without
        ([EYE + 1e-6], 1, 8.0, "failed"),
        ([EYE[..., :2]], 1, 8.0, "inconclusive"),
        ([], 0, 0.0, "inconclusive"),
    ],
)
def test_one_token(weights: list[Tensor], called: int, left: float, verdict: str) -> None:
    """Of 32 numbers that an output depends on with a neutral mask, 8 are one token's."""
    assert _one_token("a", module(), weights, called, left, 32.0).verdict == verdict


@pytest.mark.parametrize(
    ("turn", "sharp", "verdict"),
    [
        (lambda y, x: (y, x), True, "passed"),
        (lambda y, x: (x, y), True, "failed"),
        (lambda y, x: (x, y), False, "inconclusive"),
        (lambda y, x: (y, min(x + 1, 4)), False, "passed"),  # off by one, as behind overlapping convolutions
        (lambda y, x: None, True, "inconclusive"),
    ],
)
def test_places_on_a_map(turn: Any, sharp: bool, verdict: str) -> None:
    spots = [(0, 1), (1, 4), (3, 0), (4, 3), (1, 3)]
    moved = [(spot, None if turn(*spot) is None else (turn(*spot), sharp)) for spot in spots]
    assert _of_map("a", (5, 5), moved).verdict == verdict  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("votes", "verdict"),
    [
        ([(0, True, True), (1, True, True)], "passed"),
        ([(0, True, True)], "inconclusive"),  # nothing along the other axis
        ([], "inconclusive"),
        ([(0, False, True), (1, False, True)], "failed"),
        ([(0, False, False), (1, False, False)], "inconclusive"),
        ([(0, True, True), (1, True, True), (1, False, False)], "passed"),
        ([(0, True, True), (1, True, True), (1, False, True)], "inconclusive"),
    ],
)
def test_votes_on_a_window(votes: list[tuple[int, bool, bool]], verdict: str) -> None:
    assert _of_window("a", (4, 4), [_Vote(*vote, "text") for vote in votes]).verdict == verdict
