"""Attention of queries on one grid and keys on another, against loops over pairs."""

import pytest
import torch

from retconv.attention import PLACEMENTS, attend, bias_logits
from retconv.cross import Cross
from retconv.grid import Grid
from retconv.kernels import two_sided_decay
from retconv.masks import DecayMask, GaussianMixtureMask, between, between_log
from tests.attention import naive_crossed as naive
from tests.attention.cases import SOFTMAX
from tests.compare import assert_close, assert_exact
from tests.cross_cases import CROSSES
from tests.strategies import DTYPES, HEADS, normal

F64 = torch.float64
BATCH = 2
every_placement = pytest.mark.parametrize("placement", PLACEMENTS)


def given(cross: Cross, seed: int, dtype: torch.dtype = F64) -> list[torch.Tensor]:
    """Queries, keys and values."""
    return [normal(seed + i, BATCH, HEADS, cross.shape[i > 0], 3 + i // 2, dtype=dtype) for i in range(3)]


@every_placement
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cross", CROSSES, ids=str)
def test_the_double_loop(cross: Cross, dtype: torch.dtype, placement: str) -> None:
    """Of tables, entries and entries of each element of the batch, with a bias where there is a softmax."""
    q, k, v = given(cross, 0, dtype)
    table = normal(5, HEADS, *cross.table_shape, dtype=dtype)
    own = normal(6, BATCH, HEADS, *cross.shape, dtype=dtype)
    bias = normal(7, 1, HEADS, *cross.shape, dtype=dtype) if placement in SOFTMAX else None
    logits = bias if bias is not None else torch.zeros(1, 1, 1, 1)
    for mask in (table, own[0], own):
        forms = between_log(mask, cross) if placement == "bias_logits" else between(mask, cross)
        acting = PLACEMENTS[placement].form(forms).entries.expand(BATCH, HEADS, *cross.shape)
        full = logits.expand(BATCH, HEADS, *cross.shape)
        expected = [
            [
                naive.attention(placement, *(x[b, h].tolist() for x in (q, k, v, acting)), 0.7, full[b, h].tolist())
                for h in range(HEADS)
            ]
            for b in range(BATCH)
        ]
        backends = ("auto", "reference", "sdpa") if placement == "bias_logits" else ("auto", "reference")
        for backend in backends:
            out = attend(q, k, v, forms, cross, placement=placement, scale=0.7, bias=bias, backend=backend)
            assert_close(out, expected)


@every_placement
def test_one_grid_for_both_is_that_grid(placement: str) -> None:
    """Prefix tokens too."""
    grid = Grid((2, 3), prefix=1)
    q, k, v = given(Cross(grid, grid), 1)
    for mask in (DecayMask(HEADS, "manhattan", torch.tensor([0.5, 0.9])).double(), normal(2, HEADS, 7, 7).exp()):
        both = [attend(q, k, v, mask, on, placement=placement) for on in (Cross(grid, grid), grid)]
        assert_close(*both)


def test_forms_that_were_made_are_taken_again() -> None:
    """Of a closed form too, which has no logarithm."""
    cross = Cross(4, 2)
    forms = between(lambda offset: two_sided_decay(offset, torch.tensor([0.25, 0.5], dtype=F64)), cross)
    q, k, v = given(cross, 0)
    again = attend(q, k, v, between(forms, cross), cross, placement="multiply_logits")
    assert_exact(again, attend(q, k, v, forms, cross, placement="multiply_logits"))


def test_one_query_appended_is_the_last_row() -> None:
    """Decoding; and of keys so far that a kernel underflows, the logarithm is a closed form."""
    cross = Cross(1, 9, stride=1, origin=-8)
    q, k, v = given(Cross(9, 9), 3)
    mask = DecayMask(HEADS, gamma=torch.tensor([1e-60, 0.5], dtype=F64)).double()
    out = bias_logits(q[:, :, -1:], k, v, mask, cross)
    assert_close(out, bias_logits(q, k, v, mask, 9)[:, :, -1:])
    bell = GaussianMixtureMask.from_parameters(torch.full((HEADS, 1), 1e-2, dtype=F64), torch.ones(HEADS, 1, dtype=F64))
    far = Cross(1, 2, stride=1, origin=-50)
    assert bool(between(bell, far).log.entries.isfinite().all() & (between(bell, far).entries == 0).all())


@pytest.mark.parametrize("backend", ["reference", "sdpa"])
def test_a_query_without_keys_is_0(backend: str) -> None:
    """With finite gradients, as every degenerate row."""
    cross = Cross(4, 2)
    q, k, v = (x.requires_grad_() for x in given(cross, 4))
    mask = torch.ones(HEADS, 4, 2, dtype=F64)
    mask[:, 1] = 0
    out = bias_logits(q, k, v, mask, cross, backend=backend)
    assert bool((out[:, :, 1] == 0).all())
    assert all(bool(g.isfinite().all()) for g in torch.autograd.grad(out.square().sum(), (q, k, v)))


@every_placement
def test_gradients_and_dropout(placement: str) -> None:
    """Gradients are those of the formula and reach a mask's parameters; a dropped weight is 0, others are rescaled."""
    cross = Cross((2, 4), (1, 2))
    q, k, v = (x.requires_grad_() for x in given(cross, 5))
    mask = normal(6, HEADS, *cross.shape).exp().requires_grad_()
    assert torch.autograd.gradcheck(lambda *x: attend(*x, cross, placement=placement), (q, k, v, mask))
    bell = GaussianMixtureMask(HEADS, start="local", positive=True).double()
    attend(q, k, v, bell, cross, placement=placement).square().sum().backward()
    assert all(bool((p.grad != 0).any() & p.grad.isfinite().all()) for p in bell.parameters())
    eye = torch.eye(2, dtype=F64).expand(BATCH, HEADS, 2, 2)
    out, weights = attend(q, k, eye, mask, cross, dropout_p=0.5, return_weights=True, placement=placement)
    assert_close(out, torch.where(out != 0, 2 * weights, 0.0))
