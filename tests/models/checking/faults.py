"""Small models whose attention goes wrong after masks were put into them, each in one way."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retconv.models import add_masks
from retconv.models.places import Fixed
from retconv.models.surgery import masked_modules
from tests.models.cases import plain

CHANNELS, HEADS, SIDE = 8, 2, 8


class SmallAttention(nn.Module):
    """Attention of two heads on the whole map, or on windows, which can be told to go wrong.

    Args:
        window: Side of its windows, 0 for the whole map.
        turned: Whether tokens of a window are taken by columns.
        exchanged: Whether two images are taken for two heads, and the other way round.
        again: Whether it attends a second time, by another way.
    """

    def __init__(self, window: int = 0, turned: bool = False, exchanged: bool = False, again: bool = False) -> None:
        super().__init__()
        self.num_heads = HEADS
        self.window_size = (window, window) if window else None
        self.turned, self.exchanged, self.again = turned, exchanged, again
        self.qkv, self.proj = nn.Linear(CHANNELS, 3 * CHANNELS), nn.Linear(CHANNELS, CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        if self.exchanged and q.shape[0] == HEADS:
            q, k, v = (part.transpose(0, 1) for part in (q, k, v))
        out = F.scaled_dot_product_attention(q, k, v)
        if self.exchanged and q.shape[0] == HEADS:
            out = out.transpose(0, 1)
        if self.again:
            out = out + (q @ k.mT).softmax(dim=-1) @ v
        return self.proj(out.transpose(1, 2).flatten(2))


class Small(nn.Module):
    """An embedding of ``SIDE × SIDE`` patches, one attention, one more after a normalisation, and the tokens' mean."""

    img_size = 4 * SIDE

    def __init__(self, window: int = 0) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, CHANNELS, 4, stride=4)
        self.first, self.second = SmallAttention(window), SmallAttention(window)
        self.norm = nn.LayerNorm(CHANNELS)
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).movedim(1, -1)
        for attention in (self.first, self.second):
            x = x + self._mix(attention, self.norm(x))
        return x.mean(dim=(1, 2))

    def _mix(self, attention: SmallAttention, x: Tensor) -> Tensor:
        batch, side = x.shape[0], self.window or SIDE
        # shape: (batch, rows of windows, columns of windows, height, width, channels)
        windows = x.unflatten(2, (-1, side)).unflatten(1, (-1, side)).transpose(2, 3)
        windows = windows.transpose(3, 4) if attention.turned else windows
        windows = attention(windows.flatten(3, 4).flatten(0, 2)).unflatten(1, (side, side))
        windows = windows.transpose(1, 2) if attention.turned else windows
        windows = windows.unflatten(0, (batch, SIDE // side, SIDE // side))
        return windows.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def small(window: int = 0, **wrong: bool) -> nn.Module:
    """With masks; the first attention then goes wrong as told."""
    torch.manual_seed(0)
    model = add_masks(Small(window), "table")
    for name, value in wrong.items():
        setattr(model.first, name, value)
    return model


def transposed_grid() -> nn.Module:
    """A map of 2 × 5 tokens that the mask takes for one of 5 × 2."""
    model = add_masks(plain("ViT of an oblong"), "table")
    for _, module in masked_modules(model):
        module.place.source = Fixed((5, 2))
    return model


def _reordered(order: Tensor) -> nn.Module:
    """A ViT whose tokens are put into another order before the first of its layers."""
    model = add_masks(plain("ViT without class token"), "table")
    model.blocks[0].register_forward_pre_hook(lambda module, args: (args[0][:, order],))
    return model


#: A model with a planted fault, and the experiment that notices it.
FAULTS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "a transposed grid": (transposed_grid, "position"),
    "transposed tokens": (lambda: _reordered(torch.arange(16).view(4, 4).mT.flatten()), "position"),
    "mirrored tokens": (lambda: _reordered(torch.arange(16).view(4, 4).flip(1).flatten()), "position"),
    "unrolled tokens": (
        lambda: _reordered(torch.arange(16).view(2, 2, 2, 2).permute(1, 3, 0, 2).flatten()),
        "position",
    ),
    "shuffled tokens": (lambda: _reordered(torch.randperm(16, generator=torch.Generator().manual_seed(1))), "position"),
    "windows by columns": (lambda: small(window=4, turned=True), "position"),
    "heads taken for images": (lambda: small(exchanged=True), "batch"),
    "a second way without the mask": (lambda: small(again=True), "one token"),
}
