"""The sign of the offset flipped, for tests of tests: M[q, k] = K[q − k]."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from retconv.convert import folding
from retconv.convert.folding import Fold, Unfold
from retconv.grid import Grid, forget_kept

SHAPE, SEED, F64 = (3, 5), 0, torch.float64
Check = Callable[[], None]


def example(check: Callable[..., None], **arguments: object) -> Check:
    """A check of a property test, on a grid without symmetry and an asymmetric kernel."""
    return lambda: check(shape=SHAPE, seed=SEED, **arguments)


@pytest.fixture
def flipped_gather(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unfold reads K[q − k], and Fold, its adjoint, follows it."""
    unfold, fold = Unfold.forward, Fold.forward

    def backwards(kernel: Tensor, shape: tuple[int, ...]) -> Tensor:
        return kernel.flip(tuple(range(-len(shape), 0)))

    # Few pairs take a way of their own around both.
    monkeypatch.setattr(folding, "_is_few", lambda *_: False)
    monkeypatch.setattr(Unfold, "forward", staticmethod(lambda k, shape: unfold(backwards(k, shape), shape)))
    monkeypatch.setattr(Fold, "forward", staticmethod(lambda m, shape: backwards(fold(m, shape), shape)))


@pytest.fixture
def flipped_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The grid says query − key."""
    offsets, index = Grid.offsets, Grid.offset_index
    monkeypatch.setattr(Grid, "offsets", lambda self, device=None: -offsets(self, device))
    monkeypatch.setattr(Grid, "offset_index", lambda self, device=None: index(self, device).T)
    forget_kept()
    yield
    forget_kept()
