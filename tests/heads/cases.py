"""Models of planted heads, images for them, and what a stream must tell."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import timm
import torch
from scipy.stats import t as student
from torch import Tensor, nn

from retconv.grid import Grid
from retconv.heads import HeadStream
from retconv.heads.stream import GROUPS
from retconv.masks import KernelTableMask, Mask
from retconv.models import add_masks
from tests.analysis.checks import attention
from tests.compare import assert_close
from tests.heads import naive_look as by_loops
from tests.models.cases import images, plain
from tests.strategies import HEADS, normal

#: An oblong of 3×5 tokens without prefix, two layers of two heads.
VIT: dict[str, Any] = {
    "img_size": (24, 40), "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 5,
    "class_token": False, "global_pool": "avg",
}  # fmt: skip
SHAPE = (3, 5)


def vit(**more: Any) -> nn.Module:
    """A plain model whose attention is far from uniform."""
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", **(VIT | more)).eval()
    for parameter in model.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return model


def pictures(count: int, size: tuple[int, int] = (24, 40), seed: int = 1) -> Tensor:
    return normal(seed, count, 3, *size, dtype=torch.float32)


def planted(kernels: Callable[[Grid, int], Mask], placement: str, **more: Any) -> nn.Module:
    """A model whose queries are 0: under ``bias_logits`` its attention is its masks with rows divided by their sums."""
    model = vit(**more)
    for block in model.blocks:
        block.attn.qkv.weight.data[: block.attn.qkv.in_features] = 0
        block.attn.qkv.bias.data[: block.attn.qkv.in_features] = 0
    return add_masks(model, kernels, placement=placement)


def table(kernel: Tensor) -> Callable[[Grid, int], Mask]:
    """A factory of masks with that kernel."""
    return lambda grid, heads: KernelTableMask.from_kernel(kernel)


def check_stream(shape: tuple[int, ...], seed: int, count: int = 4, prefix: int = 2, windows: int = 1) -> None:
    """Every number of a stream, against loops."""
    if math.prod(shape) == 1:
        return
    weights = attention(shape, seed, count * windows, prefix)
    stream = HeadStream(Grid(shape, prefix=prefix))
    stream.update(weights, count)
    result = stream.result()
    assert stream.windows == windows
    for head in range(HEADS):
        whole = weights[:, head].tolist()
        body = weights[:, head, prefix:, prefix:].tolist()
        groups = [body[i * windows : (i + 1) * windows] for i in range(count)]
        groups = [[matrix for group in groups[i::GROUPS] for matrix in group] for i in range(min(count, GROUPS))]
        estimate, error = by_loops.jackknife(groups, shape)
        middle, spread = by_loops.jackknife(groups, shape, by_loops.logit)
        quantile = float(student.ppf(0.975, len(groups) - 1))
        ends = [
            (min(max(estimate + t * error, 0.0), 1.0), 1 / (1 + math.exp(-middle - t * spread)))
            for t in (-quantile, quantile)
        ]
        low, high = min(ends[0]), max(ends[1])
        numbers = [
            (result.effective.explained, by_loops.share(body, shape)),
            (result.circulant, by_loops.circulant(body, shape)),
            (result.prefix, by_loops.prefix_share(whole, prefix)),
            (result.variation, by_loops.variation(body)),
            (result.interval.estimate, estimate),
            (result.interval.low, low),
            (result.interval.high, high),
        ]
        for value, expected in numbers:
            # Of shares, whose scale is 1: the jackknife takes differences of them, times the number of groups.
            assert_close(torch.stack([value[head], value.new_tensor(10.0)]), [expected, 10.0])


__all__ = ["SHAPE", "check_stream", "images", "pictures", "plain", "planted", "table", "vit"]
