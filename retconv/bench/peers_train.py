"""What our trainer is measured against: plain loops, one written by hand, one fed by a ``DataLoader``."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from timm.data.mixup import mixup_target
from timm.loss import SoftTargetCrossEntropy
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchvision.transforms import v2

from retconv.data import Dataset
from retconv.train.build import build_model
from retconv.train.config import Config

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
        if q.dtype == torch.float32 or q.device.type != "cpu":
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


class Loaded:
    """The same model and optimiser, fed by a plain ``DataLoader`` that transforms sample by sample."""

    def __init__(self, config: Config, data: Dataset) -> None:
        self.device = data.train_images.device
        self.config = config
        self.model = build_model(config, data.size, len(data.classes)).to(self.device)
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=1e-3, weight_decay=0.05, fused=True)
        self.loss = SoftTargetCrossEntropy()
        self.transform = v2.Compose(
            [
                v2.RandomCrop(32, padding=4),
                v2.RandomHorizontalFlip(),
                v2.TrivialAugmentWide(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(data.mean, data.std),
                v2.RandomErasing(0.25),
            ]
        )
        rows = TensorDataset(data.train_images.cpu(), data.train_labels.cpu())
        self.loader = DataLoader(rows, config.batch_size, shuffle=True, drop_last=True, collate_fn=self._collate)
        self.batches = self._forever()

    def _collate(self, samples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        images, labels = zip(*samples, strict=True)
        return torch.stack([self.transform(image) for image in images]), torch.stack(labels)

    def _forever(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from self.loader

    def batch(self) -> tuple[Tensor, Tensor]:
        """The next batch, on the device."""
        images, labels = next(self.batches)
        return images.to(self.device), mixup_target(labels.to(self.device), 10, smoothing=0.1)

    def step(self) -> None:
        """One training step."""
        self.model.train()
        images, targets = self.batch()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            logits = self.model(images)
        self.optimiser.zero_grad(set_to_none=True)
        self.loss(logits.float(), targets).backward()
        self.optimiser.step()
