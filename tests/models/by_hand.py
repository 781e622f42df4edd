"""Attention that modules write by hand, in every form that scales a product and adds to it, and a model of one."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tests.strategies import normal

HEADS, SIDE, CHANNELS = 2, 3, 8
TOKENS = SIDE**2
BIAS = normal(7, HEADS, TOKENS, TOKENS)
MIX = normal(8, HEADS, HEADS)
#: ``form(q, k, times)``: logits, with ``times`` done to the product of queries and keys.
Form = Callable[..., Tensor]


def same(x: Tensor) -> Tensor:
    return x


class ByHand(nn.Module):
    """An attention ``W softmax(form(q, k)) v``, whose form takes ``(batch, heads, tokens, channels)`` to logits."""

    def __init__(self, form: Form, heads: int = HEADS) -> None:
        super().__init__()
        self.num_heads, self.form = heads, form
        self.qkv = nn.Linear(CHANNELS, 3 * CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        logits = self.form(q, k)
        weights = logits.softmax(dim=-1).reshape(*q.shape[:3], -1)
        return (weights @ v).transpose(1, 2).flatten(2)


class Model(nn.Module):
    """Patches of one pixel and one attention."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.img_size = (SIDE, SIDE)
        self.embed = nn.Conv2d(3, CHANNELS, 1)
        self.attn = attention

    def forward(self, x: Tensor) -> Tensor:
        return self.attn(self.embed(x).flatten(2).mT)


def model(form: Form) -> Model:
    torch.manual_seed(0)
    return Model(ByHand(form)).double().eval()


def cosine(q: Tensor, k: Tensor, times: Form = same) -> Tensor:
    unit = nn.functional.normalize
    return times(unit(q, dim=-1) @ unit(k, dim=-1).mT) * torch.tensor([3.0, 5.0]).double()[:, None, None] + BIAS


def folded(q: Tensor, k: Tensor, times: Form = same) -> Tensor:
    scores = torch.bmm(q.flatten(0, 1), k.flatten(0, 1).mT)
    return times(scores.unflatten(0, (-1, HEADS))).flatten(0, 1) / 2 if times is not same else scores / 2


def hidden(q: Tensor, k: Tensor, times: Form = same) -> Tensor:
    return times(q @ k.mT).masked_fill(torch.ones(TOKENS, TOKENS).triu(2).bool(), -torch.inf)


def another(q: Tensor, k: Tensor, times: Form = same) -> Tensor:
    scores, other = times(q @ k.mT), q @ q.mT
    return scores / 2 + 0 * other


#: Every way to scale a product and to add to it.
FORMS: dict[str, Form] = {
    "scaled queries": lambda q, k, times=same: times((q * 0.5) @ k.mT),
    "scaled product and a bias": lambda q, k, times=same: times(q @ k.transpose(-2, -1)) * 0.5 + BIAS,
    "torch.matmul": lambda q, k, times=same: times(torch.matmul(q, k.mT)).div(math.sqrt(4)),
    "einsum": lambda q, k, times=same: times(torch.einsum("bhid,bhjd->bhij", q, k)) + BIAS,
    "cosine": cosine,
    "heads in the first axis": folded,
    "hidden keys": hidden,
    "another product behind": another,
}
