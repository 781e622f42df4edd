"""What our trainer is measured against: a plain training loop of a small ViT, written by hand and by the book."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retconv.data import Dataset

#: Cells along each side of the image.
_CELLS = 8


class _Block(nn.Module):
    """A pre-norm transformer block: attention by batched products with a softmax in float32, and an MLP of ratio 2."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if q.dtype == torch.float32:
            out = F.scaled_dot_product_attention(q, k, v)
        else:  # fused attention of short sequences is slow in bfloat16 on CPUs
            out = ((q * q.shape[-1] ** -0.5) @ k.mT).softmax(-1).to(v.dtype) @ v
        x = x + self.proj(out.transpose(1, 2).flatten(2))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x)), approximate="tanh"))


class HandWritten:
    """A ViT of 64 tokens with mean pooling, random crops and mirror images, and fused AdamW.

    Args:
        data: The images, of 32×32 pixels.
        dim: Channels.
        depth: Layers.
        heads: Heads.
        batch: Images of a step.
        half: Compute products in bfloat16, by autocast.
    """

    def __init__(self, data: Dataset, dim: int, depth: int, heads: int, batch: int, half: bool) -> None:
        self.data, self.batch, self.half = data, batch, half
        self.device = data.train_images.device
        side = data.train_images.shape[-1] // _CELLS
        self.embed = nn.Conv2d(3, dim, side, side)
        self.blocks = nn.Sequential(*(_Block(dim, heads) for _ in range(depth)))
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, len(data.classes))
        self.position = nn.Parameter(torch.randn(1, _CELLS**2, dim) * 0.02)
        self.parts = nn.ModuleList([self.embed, self.blocks, self.norm, self.head]).to(self.device)
        self.position.data = self.position.data.to(self.device)
        self.optimiser = torch.optim.AdamW([self.position, *self.parts.parameters()], lr=1e-3, fused=True)

    def logits(self, images: Tensor) -> Tensor:
        """``(batch, 3, H, W)`` to ``(batch, classes)``."""
        x = self.embed(images).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.blocks(x)).mean(dim=1))

    def step(self) -> None:
        """One training step on random images."""
        rows = torch.randint(len(self.data.train_labels), (self.batch,), device=self.device)
        padded = F.pad(self.data.train_images[rows], (4, 4, 4, 4))
        side = self.data.train_images.shape[-1]
        top, left = torch.randint(9, (2,)).tolist()  # one crop for the batch: the cheapest that anyone would write
        images = padded[..., top : top + side, left : left + side].float().div_(255).sub_(0.5).div_(0.25)
        images = torch.where(torch.rand(self.batch, 1, 1, 1, device=self.device) < 0.5, images, images.flip(-1))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            logits = self.logits(images)
        loss = F.cross_entropy(logits.float(), self.data.train_labels[rows].long(), label_smoothing=0.1)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
