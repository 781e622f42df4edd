"""Inputs of attention that need no gradient: each is still part of what the others' gradients are."""

import pytest
import torch
from torch import Tensor

from retconv.attention import attend
from retconv.grid import Grid
from tests.attention.cases import SOFTMAX, kernel_for, qkv
from tests.attention.cuts import every_cut, set_cut
from tests.compare import assert_close
from tests.strategies import HEADS, normal

GRID = Grid((2, 4), prefix=1)
#: Shapes of a bias that broadcasts over batch, heads, queries or keys.
BIASES = {
    "full": (2, HEADS, 9, 9),
    "of each head": (1, HEADS, 9, 9),
    "of each key": (2, 1, 1, 9),
    "of each query": (2, HEADS, 9, 1),
    "two axes": (9, 9),
}
LEAVES = ("q", "k", "v", "mask", "bias")


def derived(placement: str, given: dict[str, Tensor], constant: tuple[str, ...], backend: str) -> list[Tensor]:
    """Output, and gradients of all inputs but the constant ones."""
    leaves = {name: x.clone().requires_grad_(name not in constant) for name, x in given.items()}
    q, k, v, mask = (leaves[name] for name in LEAVES[:4])
    out = attend(q, k, v, mask, GRID, placement=placement, bias=leaves["bias"], backend=backend)
    watched = [leaf for leaf in leaves.values() if leaf.requires_grad]
    return [out.detach(), *torch.autograd.grad((out * given["v"]).sum(), watched)]


def inputs(placement: str, bias: str) -> dict[str, Tensor]:
    given = dict(zip("qkv", qkv(GRID, 31), strict=True))
    return given | {"mask": kernel_for(placement, GRID.shape, 31), "bias": normal(32, *BIASES[bias])}


@every_cut
@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("placement", SOFTMAX)
def test_blocks_with_a_constant_bias(placement: str, bias: str, cut: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mask of padding, as most biases are: in backward the scores are computed again, with it."""
    set_cut(monkeypatch, cut)
    given = inputs(placement, bias)
    fast, exact = (derived(placement, given, ("bias",), backend) for backend in ("recompute", "reference"))
    for actual, expected in zip(fast, exact, strict=True):
        assert_close(actual, expected)


@pytest.mark.parametrize("backend", ["recompute", "sdpa", "reference"])
@pytest.mark.parametrize("constant", [(name,) for name in LEAVES] + [("q", "k", "v"), ("mask", "bias")], ids="+".join)
@pytest.mark.parametrize("placement", SOFTMAX)
def test_what_is_constant_changes_no_other_gradient(
    placement: str, constant: tuple[str, ...], backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradients that are left are those with everything watched."""
    set_cut(monkeypatch, "rows")
    if backend == "sdpa" and placement != "bias_logits":
        backend = "auto"
    given = inputs(placement, "of each head")
    out, *watched = derived(placement, given, (), backend)
    expected = [gradient for name, gradient in zip(given, watched, strict=True) if name not in constant]
    for actual, wanted in zip(derived(placement, given, constant, backend), [out, *expected], strict=True):
        assert_close(actual, wanted)
