"""What heads are called: planted ones of each kind, and thresholds at their edges."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.heads import HeadStream, LayerLook
from retconv.heads.layer import pixels_of
from retconv.heads.verdicts import judge
from retconv.kernels import gaussian, manhattan_decay
from tests.analysis.cases import f64
from tests.strategies import normal

SHAPE = (6, 7)
OFFSETS = Grid(SHAPE).offsets()


def layer(weights: Tensor) -> LayerLook:
    """Of weights ``(images, heads, N, N)``."""
    stream = HeadStream(SHAPE)
    stream.update(weights, len(weights))
    return LayerLook.of("attn", Grid(SHAPE), 1, 16.0, stream.result())


def normalised(kernel: Tensor) -> Tensor:
    """As softmax attention has it, with a border."""
    mask = kernel_to_mask(kernel, SHAPE)
    return mask / mask.sum(dim=-1, keepdim=True)


def ahead() -> Tensor:
    """All weight on the key to the right, where there is one."""
    kernel = torch.zeros(1, *Grid(SHAPE).kernel_shape, dtype=torch.float64)
    kernel[0, 5, 6 + 1] = 1
    return kernel_to_mask(kernel, SHAPE)


PLANTED: dict[str, tuple[Tensor, str, str]] = {
    "Gaussian": (normalised(gaussian(OFFSETS, f64([1.2]))), "local", "local: a Gaussian of σ = 1.2 explains 0.9"),
    "decay": (normalised(manhattan_decay(OFFSETS, f64([0.3]))), "local", "local: a decay of γ = 0.29"),
    "itself": (torch.eye(42, dtype=torch.float64)[None], "local", "local: the token itself explains 1.00"),
    "key to the right": (ahead(), "local", "local: its kernel explains 1.00, most at offset (+0, +1)"),
    "far away": (
        kernel_to_mask(OFFSETS.double().square().sum(dim=-1)[None].exp(), SHAPE).log(),
        "convolution",
        "a convolution: its kernel explains 1.00, most at offset (-5, -6)",
    ),
    "one column": (torch.eye(42, dtype=torch.float64)[20].expand(1, 42, 42), "position", "position decides: 0.9"),
    "uniform": (torch.full((1, 42, 42), 1 / 42, dtype=torch.float64), "uniform", "uniform: its weights vary by 0 %"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_heads_are_called_by_their_name(name: str) -> None:
    mask, kind, text = PLANTED[name]
    (verdict,) = layer(mask.expand(4, 1, -1, -1)).verdicts
    assert (verdict.kind, verdict.text[: len(text)]) == (kind, text)


def test_attention_that_changes_with_the_image_is_content() -> None:
    weights = (3 * normal(0, 12, 2, 42, 42)).softmax(dim=-1)
    assert [verdict.text for verdict in layer(weights).verdicts] == [
        "content decides: 0.92 of the variance changes from image to image"
    ] * 2


BASE: dict[str, Any] = {
    "explained": 0.6, "explained_low": 0.5, "content": 0.3, "position": 0.1, "variation": 1.0,
    "sigma": 1.5, "sigma_explained": 0.55, "gamma": 0.4, "gamma_explained": 0.5,
    "windows": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "reach", "text"),
    [
        ({}, 0.5, "local: a Gaussian of σ = 1.5 explains 0.55"),
        ({}, 0.51, "a convolution: a Gaussian of σ = 1.5 explains 0.55"),
        ({"gamma_explained": 0.56}, 0.5, "local: a decay of γ = 0.4 explains 0.56"),
        ({"gamma_explained": 0.554}, 0.5, "local: a Gaussian of σ = 1.5 explains 0.55"),
        ({"sigma_explained": 0.53}, 0.5, "local: its kernel explains 0.60, most at offset (+1, -2)"),
        ({"sigma": 0.29}, 0.1, "local: the token itself explains 0.55"),
        ({"explained_low": 0.49}, 0.5, "mixed: its kernel explains 0.60, position 0.10, content 0.30"),
        ({"explained_low": float("nan")}, 0.5, "local: a Gaussian of σ = 1.5 explains 0.55"),
        ({"content": 0.5}, 0.5, "content decides: 0.50 of the variance changes from image to image"),
        ({"content": 0.5, "windows": 4}, 0.5, "content decides: 0.50 of the variance changes from window to window"),
        ({"variation": 0.09}, 0.5, "uniform: its weights vary by 9 % of their mean"),
        ({"explained": 0.1, "position": 0.6}, 0.5, "position decides: 0.60 is the same in all images, no kernel"),
    ],
)
def test_thresholds(change: dict[str, Any], reach: float, text: str) -> None:
    assert judge(BASE | change, reach, [1, -2]).text == text


@pytest.mark.parametrize(
    ("grid", "windows", "size", "pixels"),
    [
        ((14, 14), 1, (224, 224), 16),
        ((14, 28), 1, (224, 448), 16),
        ((7, 7), 64, (224, 224), None),
        ((7,), 1, (4, 4), None),
    ],
)
def test_pixels_of_a_token(grid: tuple[int, ...], windows: int, size: tuple[int, int], pixels: float | None) -> None:
    actual = pixels_of(Grid(grid), windows, size)
    assert actual == pixels if pixels else actual != actual
