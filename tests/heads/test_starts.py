"""Structured starts: what attention is then, that it learns, and in which models."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retconv.analysis.effective import Effective, EffectiveKernel
from retconv.heads import start_attention
from retconv.heads.projections import Projections
from retconv.heads.starts import _noisy
from retconv.models import add_masks, masks_of, remove_masks
from retconv.models.neutral import NeutralMask
from retconv.models.surgery import masked_modules
from tests.compare import assert_close, assert_exact
from tests.heads import naive_starts as naive
from tests.heads import oracle_starts as oracle
from tests.models.cases import images, plain
from tests.strategies import normal

FIRST = "blocks.0.attn"
SHAPE = (4, 4)


def vit(**more: Any) -> nn.Module:
    """A start of timm's, no class token; 16 tokens of 24 channels, two heads of 12."""
    torch.manual_seed(0)
    given = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 5}
    model: nn.Module = timm.create_model(
        "vit_tiny_patch16_224", **({"class_token": False, "global_pool": "avg"} | given | more)
    )
    return model.eval()


def attention(model: nn.Module, x: Tensor) -> dict[str, Effective]:
    add_masks(model, NeutralMask())
    modules: dict[str, Any] = dict(masked_modules(model))
    streams = {name: EffectiveKernel(module.place.grid()) for name, module in modules.items()}
    for name, module in modules.items():
        module.observer = streams[name].update
    with torch.no_grad():
        model(x)
    for module in modules.values():
        module.observer = None
    remove_masks(model)
    return {name: stream.result() for name, stream in streams.items()}


def strongest(effective: Effective) -> list[list[int]]:
    """The offset of the largest weight of each head."""
    offsets = effective.grid.offsets().reshape(-1, 2)
    return [offsets[int(kernel.flatten().argmax())].tolist() for kernel in effective.kernel]


def test_impulse_attends_at_its_offsets() -> None:
    """On random images: explained by one kernel each, the largest weight of which is at the offset; before, nothing."""
    x = normal(1, 4, 3, 32, 32, dtype=torch.float32)
    model = vit(embed_dim=48)
    before = attention(model, x)
    starts = start_attention(model, "impulse", offsets=[(0, 1), (-1, 0)], position_scale=100)
    after = attention(model, x)
    assert starts[FIRST].tolist() == [[0, 1], [-1, 0]]
    for name, effective in after.items():
        assert bool((before[name].explained < 0.15).all())
        assert bool((effective.explained > 0.9).all()), effective.explained
        assert strongest(effective) == [[0, 1], [-1, 0]]


def test_impulse_is_that_of_the_authors_code() -> None:
    """But for its noise, which is a hundredth, and the scale of its logits."""
    model = vit()
    model.pos_embed.data[0] = oracle.embedding()
    start_attention(model, "impulse", offsets=[(0, 0), (-1, 0)], position_scale=1)
    features = F.layer_norm(oracle.embedding().double(), (24,))
    query, key, _ = model.blocks[0].attn.qkv.weight.detach().double().unflatten(0, (3, 2, 12))
    for h, expected in enumerate(oracle.impulse_logits()):
        logits = features @ query[h].T @ key[h] @ features.T
        assert float((logits / logits.norm() - expected / expected.norm()).norm()) < 0.02
        assert abs(float(query[h].norm()) - 7) < 1e-5


def test_law_20_quadratic_by_loops_where_a_token_is_its_position() -> None:
    """No content, in float64: the first layer's weights are those of the formula."""
    model = vit().double()
    nn.init.zeros_(model.patch_embed.proj.weight)
    nn.init.zeros_(model.patch_embed.proj.bias)
    offsets = [(1, -2), (0, 0)]
    start_attention(model, "quadratic", offsets=offsets, alpha=0.4, position_scale=1e4)
    effective = attention(model, normal(1, 1, 3, 32, 32))
    expected = [naive.quadratic(SHAPE, offset, 0.4) for offset in offsets]
    assert_close(effective[FIRST].mean, expected)


def test_quadratic_of_broad_kernels_is_near_them_with_content() -> None:
    model, x = vit(embed_dim=48), normal(1, 4, 3, 32, 32, dtype=torch.float32)
    start_attention(model, "quadratic")
    for effective in attention(model, x).values():
        assert bool((effective.explained > 0.5).all()), effective.explained


def test_mimetic_products_by_loops() -> None:
    """``W_V W_O = 0.4 Z − 0.4 I``; of ``0.7 Z + 0.7 I`` no product of so few channels is nearer (Eckart and Young)."""
    model = vit(depth=1).double()
    assert start_attention(model, "mimetic", seed=3)[FIRST].tolist() == [[0, 0], [0, 0]]
    module = model.blocks[0].attn
    generator = torch.Generator().manual_seed(3)
    wanted = [_noisy(24, 0.7, 0.7, generator) for _ in range(2)]
    query, key, value = module.qkv.weight.detach().unflatten(0, (3, 2, 12))
    for h in range(2):
        found = torch.tensor(naive.product(query[h].T.tolist(), key[h].tolist()), dtype=torch.float64)
        best = float(torch.linalg.svdvals(wanted[h])[12:].norm())
        assert abs(float((found - wanted[h]).norm()) - best) <= 1e-12 * best
    out = naive.product(value.flatten(0, 1).T.tolist(), module.proj.weight.detach().T.tolist())
    assert_close(torch.tensor(out, dtype=torch.float64), _noisy(24, 0.4, -0.4, generator))
    noise = _noisy(200, 1.0, 0.0, generator)
    assert abs(float(noise.var()) * 200 - 1) < 0.02


def test_mimetic_attends_to_itself() -> None:
    model, x = vit(embed_dim=96), normal(1, 4, 3, 32, 32, dtype=torch.float32)
    start_attention(model, "mimetic")
    effective = attention(model, x)[FIRST]
    assert strongest(effective) == [[0, 0], [0, 0]]
    assert bool((effective.explained > 0.8).all()), effective.explained


@pytest.mark.parametrize("how", ["impulse", "mimetic", "quadratic"])
def test_a_start_learns_and_is_reproducible(how: str) -> None:
    model, same = vit(), vit()
    for each in (model, same):
        start_attention(each, how)
    for ours, theirs in zip(model.parameters(), same.parameters(), strict=True):
        assert_exact(ours.detach(), theirs.detach())
    assert not masks_of(model)
    x = normal(1, 4, 3, 32, 32, dtype=torch.float32)
    model(x).square().sum().backward()
    gradients = [block.attn.qkv.weight.grad for block in model.blocks]
    assert all(bool(g.isfinite().all()) and float(g[:48].abs().max()) > 0 for g in gradients)


@pytest.mark.parametrize("family", ["ViT", "registers", "DeiT distilled", "ViT of an oblong"])
@pytest.mark.parametrize("masked", [False, True])
def test_prefix_tokens_and_masks_stay(family: str, masked: bool) -> None:
    model, x = plain(family), images(family)
    if masked:
        add_masks(model, "table")
    embedding = model.pos_embed.detach().clone()
    # An oblong grid of two rows: an axis of two has no square of its own.
    starts = start_attention(model, "quadratic", where="*0.attn", position_scale=2)
    assert list(starts) == [FIRST]
    prefix = embedding.shape[1] - (10 if family == "ViT of an oblong" else 16)
    assert prefix >= 0
    assert_exact(model.pos_embed.detach()[:, prefix:], 2 * embedding[:, prefix:])
    assert_exact(model.pos_embed.detach()[:, :prefix], embedding[:, :prefix])
    assert bool(model(x).isfinite().all())
    assert bool(masks_of(model)) is masked
    assert not model.blocks[0].attn.qkv.bias[:24].any()
    assert model.blocks[1].attn.qkv.bias[:24].any()


def test_separate_maps_and_torchs_own_module() -> None:
    """Weights of one meaning under all names."""
    torch.manual_seed(0)
    mha = nn.MultiheadAttention(8, 2)
    named = nn.ModuleDict({name: nn.Linear(8, 8) for name in ("query", "key", "value")})
    bias = nn.Module()
    bias.qkv, bias.q_bias = nn.Linear(8, 24, bias=False), nn.Parameter(torch.ones(8))
    holder = nn.Module()
    for name, linear in named.items():
        setattr(holder, name, linear)
    own = Projections.of("a", mha)
    assert_exact(torch.cat([own.query, own.key, own.value]), mha.in_proj_weight.detach())
    assert_exact(own.out, mha.out_proj.weight.detach())
    assert [b.shape for b in own.biases] == [(8,), (8,)]
    apart = Projections.of("b", holder)
    assert apart.out is None
    assert_exact(apart.key, named["key"].weight.detach())
    assert [b.shape for b in Projections.of("c", bias).biases] == [(8,)]
