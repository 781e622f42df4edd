"""Retention under any causal kernel token by token: what the parallel form gives, from loops to lines of 300 tokens."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from retconv.masks import MaskLike, RetNetMask
from retconv.operators import one_sided
from retconv.retention import Decoder, FlashDecoder, flash, retention
from tests.approximate.cases import causal
from tests.compare import assert_close, assert_exact
from tests.retention import naive_online
from tests.retention.cases import inputs
from tests.strategies import DTYPES, HEADS, normal, seeds


@pytest.fixture
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles on lines that a loop can follow, their features one at a time."""
    monkeypatch.setattr(one_sided, "LEAF", 4)
    monkeypatch.setattr(flash, "budget_bytes", lambda device: 1)


def one_by_one(decoder: FlashDecoder, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    tokens = zip(*(t.split(1, dim=2) for t in (q, k, v)), strict=True)
    return torch.cat([decoder.step(*token) for token in tokens], dim=2)


@pytest.mark.usefixtures("short_blocks")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 3, 4, 7, 8, 9, 16, 21])
def test_token_by_token_it_is_the_loop(size: int, dtype: torch.dtype) -> None:
    taps, (q, k, v) = normal(size, HEADS, size, dtype=dtype), inputs(size, size, dtype)
    out = one_by_one(FlashDecoder(causal(taps), size, scale=0.7), q, k, v)
    assert out.dtype == dtype
    expected = [
        [naive_online.retention(taps[h].tolist(), *(t[b, h].tolist() for t in (q, k, v)), 0.7) for h in range(HEADS)]
        for b in range(len(q))
    ]
    assert_close(out, expected)


@pytest.mark.usefixtures("short_blocks")
@settings(max_examples=12)
@given(cuts=st.lists(st.integers(1, 20), min_size=1, max_size=5), spare=st.integers(0, 9), seed=seeds)
def test_a_prompt_and_what_follows(cuts: list[int], spare: int, seed: int) -> None:
    size = sum(cuts)
    taps, (q, k, v) = normal(seed, HEADS, size + spare), inputs(size, seed)
    decoder = FlashDecoder(causal(taps), size + spare)
    parts = zip(*(t.split(cuts, dim=2) for t in (q, k, v)), strict=True)
    out = torch.cat([decoder.step(*part) for part in parts], dim=2)
    assert decoder.position == size
    assert_close(out, retention(q, k, v, causal(taps[:, :size]), size, method="parallel"))


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bfloat16])
@pytest.mark.parametrize("size", [64, 200, 300])
def test_with_blocks_of_64(size: int, dtype: torch.dtype) -> None:
    """As it is; a kernel of one head serves all, a decay is what ``Decoder`` has."""
    q, k, v = inputs(size, 0, dtype)
    masks: list[MaskLike] = [causal(normal(1, HEADS, size)), causal(normal(1, 1, size)), RetNetMask(HEADS).double()]
    for mask in masks:
        expected = retention(*(t.double() for t in (q, k, v)), mask, size, method="parallel")
        assert_close(one_by_one(FlashDecoder(mask, size), q, k, v), expected.detach())
    assert_close(FlashDecoder(masks[2], size).step(q, k, v), Decoder(masks[2]).step(q, k, v), dtype)


def test_inference_mode_autocast_and_strides() -> None:
    kernel, (q, k, v) = causal(normal(0, HEADS, 150)), inputs(150, 1, torch.float32)
    expected = FlashDecoder(kernel, 150).step(q, k, v)
    decoder = FlashDecoder(kernel, 150)
    with torch.inference_mode():
        first = decoder.step(q[:, :, :100], k[:, :, :100], v[:, :, :100])
    second = decoder.step(*(t[:, :, 100:] for t in (q, k, v)))
    assert_close(torch.cat([first, second], dim=2), expected)
    turned = [t.transpose(1, 2).contiguous().transpose(1, 2) for t in (q, k, v)]
    assert_exact(FlashDecoder(kernel, 150).step(*turned), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert FlashDecoder(kernel, 150).step(q, k, v).dtype == torch.bfloat16
