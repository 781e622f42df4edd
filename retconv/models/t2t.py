"""Tokens-to-Token embedding, which timm lacks, written from its paper for small images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import Mlp, to_2tuple
from torch import Tensor, nn


class TokenTransformer(nn.Module):
    """One layer of attention with a single head that also changes the number of channels.

    ``t = v + W softmax(q kᵀ / √c) v``, then ``t + MLP(norm(t))``: since input and output differ in channels, the values
    take the place of the residual connection. As in the code that goes with the paper, q and k have the output's
    channels and the scale is that of the input's, ``c = dim``.

    Args:
        dim: Channels of the input.
        channels: Channels of the output, and of the one head.

    Source:
        Yuan et al. 2021, T2T-ViT (arXiv 2101.11986), section 3.1, "re-structurization".
    """

    def __init__(self, dim: int, channels: int) -> None:
        super().__init__()
        self.scale = dim**-0.5
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * channels, bias=False)
        self.proj = nn.Linear(channels, channels)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, tokens, dim)`` to ``(batch, tokens, channels)``."""
        q, k, v = self.qkv(self.norm1(x))[:, None].chunk(3, dim=-1)  # shape: (batch, 1, tokens, channels)
        x = (v + self.proj(F.scaled_dot_product_attention(q, k, v, scale=self.scale)))[:, 0]
        return x + self.mlp(self.norm2(x))


class TokensToTokens(nn.Module):
    """Image to tokens by soft splits, overlapping 3×3 patches of stride 2, with token transformers between them.

    Stands where timm's ``PatchEmbed`` stands. The grid is halved until it is that of the patch size: two splits make
    8×8 tokens of a 32×32 image, three of a 64×64 one.

    Args:
        img_size: Height and width of the image.
        patch_size: Pixels from one final token to the next, a power of 2.
        in_chans: Channels of the image.
        embed_dim: Channels of the final tokens.
        token_dim: Channels of the tokens in between.
        **_: Further arguments that timm gives a patch embedding.

    Attributes:
        grid_size: Height and width of the final grid of tokens.

    Raises:
        ValueError: If the patch size is no power of 2 or does not divide the image.

    Source:
        Yuan et al. 2021, T2T-ViT (arXiv 2101.11986), section 3.1, eq. (5). The paper's splits of a 224×224 image are
        7×7 of stride 4, and twice 3×3 of stride 2; those here are the small images' of the reference.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 32,
        patch_size: int = 4,
        in_chans: int = 3,
        embed_dim: int = 256,
        token_dim: int = 64,
        **_: object,
    ) -> None:
        super().__init__()
        self.img_size = to_2tuple(img_size)
        splits = patch_size.bit_length() - 1
        if patch_size != 2**splits or splits < 1 or any(side % patch_size for side in self.img_size):
            raise ValueError(
                f"TokensToTokens halves the image: patch_size must be a power of 2 that divides {self.img_size}, got "
                f"{patch_size}"
            )
        self.in_chans = in_chans
        self.patch_size = to_2tuple(patch_size)
        self.grid_size = tuple(side // patch_size for side in self.img_size)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        self.split = nn.Unfold(kernel_size=3, stride=2, padding=1)
        self.transformers = nn.ModuleList(
            TokenTransformer(9 * (token_dim if i else in_chans), token_dim) for i in range(splits - 1)
        )
        self.proj = nn.Linear(9 * (token_dim if splits > 1 else in_chans), embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, in_chans, height, width)`` to ``(batch, tokens, embed_dim)``."""
        height, width = self.img_size
        for transformer in self.transformers:
            tokens = transformer(self.split(x).mT)
            height, width = height // 2, width // 2
            x = tokens.mT.unflatten(-1, (height, width))
        return self.proj(self.split(x).mT)


def sinusoids(tokens: int, channels: int) -> Tensor:
    """Fixed positions ``(1, tokens, channels)``: sine and cosine of ``i / 10000^(2j / channels)`` by turns.

    Source:
        Vaswani et al. 2017 (arXiv 1706.03762), section 3.5, of the token's raster index i, as T2T-ViT uses them.
    """
    rate = 10000 ** (-torch.arange(0, channels, 2, dtype=torch.float64) / channels)
    angle = torch.arange(tokens, dtype=torch.float64)[:, None] * rate
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)[None].to(torch.get_default_dtype())
