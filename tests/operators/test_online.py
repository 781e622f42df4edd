"""``M x`` token by token is ``M x``, however the tokens arrive."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from retconv.masks import RetNetMask
from retconv.operators import OnlineConvolution, one_sided, operator
from tests.approximate.cases import causal
from tests.compare import assert_close, assert_exact
from tests.operators import naive_online
from tests.strategies import DTYPES, HEADS, normal, seeds

#: Sizes at which blocks of 4 tokens and tiles of 4, 8, 16, … end, or just do not.
SIZES = (1, 3, 4, 5, 8, 9, 15, 16, 17, 31, 33)


@pytest.fixture
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles on lines that a loop can follow."""
    monkeypatch.setattr(one_sided, "LEAF", 4)


def check_online(size: int, cut: int, seed: int, dtype: torch.dtype) -> None:
    """Some tokens at once and then one by one, against the double loop."""
    taps, x = normal(seed, HEADS, size, dtype=dtype), normal(seed + 1, HEADS, size, 3, dtype=dtype)
    online = OnlineConvolution(causal(taps), size)
    parts = [online.step(x[:, :cut])] if cut else []
    parts += [online.step(x[:, n : n + 1]) for n in range(cut, size)]
    out = torch.cat(parts, dim=1)
    assert out.dtype == dtype
    assert online.position == size
    assert_close(out, [naive_online.convolution(taps[h].tolist(), x[h].tolist()) for h in range(HEADS)])


@pytest.mark.usefixtures("short_blocks")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_token_by_token_it_is_the_double_loop(size: int, dtype: torch.dtype) -> None:
    for cut in {0, size // 2, size}:
        check_online(size, cut, size, dtype)


@pytest.mark.usefixtures("short_blocks")
@settings(max_examples=15)
@given(cuts=st.lists(st.integers(1, 30), min_size=1, max_size=6), spare=st.integers(0, 9), seed=seeds)
@example(cuts=[4, 4, 8, 16], spare=0, seed=0)
def test_cuts_do_not_matter(cuts: list[int], spare: int, seed: int) -> None:
    """Nor room that is left."""
    size = sum(cuts)
    x, taps = normal(seed, 2, HEADS, size, 2), normal(seed + 1, HEADS, size + spare)
    kernel = causal(taps)
    online, parts, begin = OnlineConvolution(kernel, size + spare), [], 0
    for count in cuts:
        parts.append(online.step(x[:, :, begin : begin + count]))
        begin += count
    assert_close(torch.cat(parts, dim=2), operator(causal(taps[:, :size]), size, "dense") @ x)


def test_with_blocks_of_64() -> None:
    """As it is, over several tiles; a mask of one head serves all, and a module is read."""
    size = 300
    x = normal(0, 3, HEADS, size, 2)
    for mask in (causal(normal(1, 1, size)), RetNetMask(HEADS).double(), causal(normal(2, HEADS, size))):
        online = OnlineConvolution(mask, size)
        out = torch.cat([online.step(part) for part in x.split(7, dim=2)], dim=2)
        assert_close(out, operator(mask, size, "dense") @ x)


def test_nothing_leaks_into_the_past() -> None:
    """A token of 1e10 changes no bit of what came before it."""
    kernel, x = causal(normal(0, 1, 200)), normal(1, 1, 200, 1)
    loud = x.clone()
    loud[:, 150] = 1e10
    outs = []
    for tokens in (x, loud):
        online = OnlineConvolution(kernel, 200)
        outs.append(torch.cat([online.step(tokens[:, n : n + 1]) for n in range(200)], dim=1))
    assert_exact(outs[0][:, :150], outs[1][:, :150])


def test_it_is_a_snapshot() -> None:
    kernel = causal(normal(0, HEADS, 5))
    x, expected = normal(1, HEADS, 5, 1), operator(kernel.clone(), 5) @ normal(1, HEADS, 5, 1)
    online = OnlineConvolution(kernel, 5)
    kernel.zero_()
    assert_close(online.step(x), expected)
    learnt = causal(normal(0, HEADS, 5)).requires_grad_()
    out = OnlineConvolution(learnt, 5).step(x)
    assert not out.requires_grad


@pytest.mark.usefixtures("short_blocks")
@pytest.mark.parametrize("size", [32, 40, 48, 63])
def test_what_is_done_in_advance_is_what_the_page_says(size: int) -> None:
    """Sums for at most half the line."""
    online = OnlineConvolution(causal(normal(0, 1, size)), size)
    most = 0
    for token in normal(1, 1, size, 3).split(1, dim=1):
        online.step(token)
        assert online._tiles is not None
        most = max(most, online._tiles._ahead.numel())
    assert 0 < most <= size // 2 * 3
