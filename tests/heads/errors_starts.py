"""Errors of attention from kernels, and of structured starts."""

from __future__ import annotations

import timm
import torch
from torch import nn

from retconv.heads import attention_from, start_attention
from retconv.heads.projections import Projections, position_embedding
from tests.error_table import Error
from tests.models.errors import vit

SHIFT = torch.zeros(1, 3, 3)
SHIFT[0, 1, 2] = 1


def start(how: str, **options: object) -> None:
    start_attention(vit(patch_size=8), how, **options)  # type: ignore[arg-type]


def narrow() -> None:
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, embed_dim=4, depth=1, num_heads=2)
    start_attention(model, "quadratic")


def without_out() -> None:
    model = vit(patch_size=8)
    model.blocks[0].attn.proj = nn.Identity()
    start_attention(model, "mimetic")


STARTS: dict[str, Error] = {
    "negative kernel": (
        lambda: attention_from(-SHIFT, (2, 2)),
        ValueError,
        "attention_from: the kernel must be at least 0: attention has no negative weights",
    ),
    "kernel that hides keys": (
        lambda: attention_from(torch.cat([SHIFT, SHIFT + SHIFT.flip(2)]), (2, 2)),
        ValueError,
        "attention_from: head 1 has 2 offsets and hides the others.*: give one offset, or a kernel above 0",
    ),
    "causal kernel": (
        lambda: attention_from(torch.tensor([[0.25, 0.5, 1.0, 0.0, 0.0]]), 3),
        ValueError,
        "attention_from: head 0 has 3 offsets and hides the others",
    ),
    "alpha of 0": (lambda: attention_from(SHIFT, (2, 2), alpha=0), ValueError, "alpha must be positive, got 0"),
    "encoding of another grid": (
        lambda: attention_from(SHIFT, (2, 2), encoding=torch.ones(3, 2)),
        ValueError,
        r"encoding must be \(4, channels\) on Grid\(\(2, 2\)\), got shape \(3, 2\)",
    ),
    "start unknown": (
        lambda: start("impulses"),
        ValueError,
        "unknown start 'impulses': did you mean 'impulse'",
    ),
    "nowhere": (
        lambda: start("impulse", where="x*"),
        ValueError,
        r"no attention matches where='x\*': there are bl",
    ),
    "offset off the grid": (
        lambda: start("impulse", offsets=[(0, 4)]),
        ValueError,
        r"offsets must be 2 numbers for each head and lie on Grid\(\(4, 4\)\), got \[\[0, 4\], \[0, 4\]\]",
    ),
    "too few channels": (narrow, ValueError, "heads of 'blocks.0.attn' have 2 channels, and a quadratic .* takes 3"),
    "no output map": (
        without_out,
        ValueError,
        "'blocks.0.attn' has values of 8 of 8 channels and no output map: a",
    ),
    "no position embedding": (
        lambda: position_embedding(nn.Linear(2, 2), 4),
        ValueError,
        "Linear has no position embedding of 4 tokens under the names pos_embed, .*: start it by 'mimetic'",
    ),
    "normalised queries": (
        lambda: start_attention(vit(patch_size=8, qk_norm=True), "mimetic"),
        ValueError,
        "attention 'blocks.0.attn' normalises queries and keys, .*: start a model without q_norm",
    ),
    "no weights known": (
        lambda: Projections.of("mixer", nn.Linear(2, 2)),
        ValueError,
        "attention 'mixer', a Linear, has no weights of queries and keys under a known name: qkv, in_proj_weight",
    ),
}

TABLES = {"starts": STARTS}
