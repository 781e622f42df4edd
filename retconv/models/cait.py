"""The attention of the small CaiT, whose heads are wider than its channels divided among them."""

from __future__ import annotations

from torch import Tensor, nn

#: Channels of each head.
HEAD_CHANNELS = 64


class TalkingHeads(nn.Module):
    """Talking-heads attention of patches, ``proj_w(softmax(proj_l(Q Kᵀ / √d))) V``: heads mix scores and weights.

    Args:
        dim: Channels of the tokens.
        num_heads: Number of heads, of ``HEAD_CHANNELS`` each.
        qkv_bias: Whether queries, keys and values have a bias.
        attn_drop: Dropout of weights.
        proj_drop: Dropout of the output.
        **_: Further arguments that timm gives an attention block.

    Source:
        Shazeer et al. 2020 (arXiv 2003.02436); Touvron et al. 2021, CaiT (arXiv 2103.17239).
    """

    def __init__(
        self,
        dim: int,
        num_heads: int = 4,
        qkv_bias: bool = False,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
        **_: object,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        width = num_heads * HEAD_CHANNELS
        self._project(dim, width, qkv_bias)
        self.proj_l = nn.Linear(num_heads, num_heads, bias=False)
        self.proj_w = nn.Linear(num_heads, num_heads, bias=False)
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj = nn.Linear(width, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, tokens, dim)`` to the same."""
        return self._attend(*self.qkv(x).chunk(3, dim=-1))

    def _project(self, dim: int, width: int, bias: bool) -> None:
        self.qkv = nn.Linear(dim, 3 * width, bias=bias)

    def _attend(self, *qkv: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in qkv)
        scores = self.proj_l(((q * HEAD_CHANNELS**-0.5) @ k.mT).movedim(1, -1)).movedim(-1, 1)
        weights = self.proj_w(scores.softmax(dim=-1).movedim(1, -1)).movedim(-1, 1)
        return self.proj_drop(self.proj((self.attn_drop(weights) @ v).transpose(1, 2).flatten(2)))


class ClassTalkingHeads(TalkingHeads):
    """The class token looks at the patches, with talking heads.

    As in the code whose cost was published, keys and values are those of the patches alone; CaiT's paper puts the class
    token among them.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Class token and patches ``(batch, 1 + tokens, dim)`` to a new class token ``(batch, 1, dim)``."""
        return self._attend(self.q(x[:, :1]), *self.kv(x[:, 1:]).chunk(2, dim=-1))

    def _project(self, dim: int, width: int, bias: bool) -> None:
        self.q = nn.Linear(dim, width, bias=bias)
        self.kv = nn.Linear(dim, 2 * width, bias=bias)
