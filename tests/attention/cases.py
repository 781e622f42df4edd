"""What the tests of attention share: queries, keys, values and biases of a seed, and the loops' answer for them."""

from typing import Any

import torch
from torch import Tensor

from retconv.attention import attend
from retconv.grid import Grid
from tests.attention import naive as naive_attention
from tests.compare import assert_close
from tests.strategies import HEADS, kernel_of, normal

BATCH, DIM, VALUE_DIM = 2, 3, 4
#: Placements in which a bias on logits has a meaning.
SOFTMAX = ("multiply_logits", "bias_logits", "multiply_weights")


def qkv(grid: Grid, seed: int, dtype: torch.dtype = torch.float64, heads: int = HEADS) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, each ``(batch, heads, length, d)``."""
    size = (BATCH, heads, grid.length)
    return tuple(normal(seed + 10 + i, *size, d, dtype=dtype) for i, d in enumerate((DIM, DIM, VALUE_DIM)))  # type: ignore[return-value]


def kernel_for(placement: str, shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """A kernel without symmetry, positive where the placement takes its logarithm."""
    kernel = kernel_of(shape, seed, dtype)
    return kernel.exp() if placement == "bias_logits" else kernel


def bias_for(placement: str, grid: Grid, seed: int, dtype: torch.dtype = torch.float64) -> Tensor | None:
    """None, or a bias of each shape that broadcasts, by turns."""
    batch, heads = ((1, HEADS), (BATCH, 1), (BATCH, HEADS))[seed % 3]
    bias = normal(seed + 20, batch, heads, grid.length, grid.length, dtype=dtype)
    return bias if placement in SOFTMAX and seed % 2 else None


def loops(
    placement: str, q: Tensor, k: Tensor, v: Tensor, kernel: Tensor, grid: Grid, bias: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """Output and weights by the double loop."""
    masks = [naive_attention.mask(head.flatten().tolist(), grid.shape, grid.prefix) for head in kernel]
    full = bias.expand(*q.shape[:2], grid.length, grid.length) if bias is not None else None
    outs, weights = [], []
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            rows = full[b, h].tolist() if full is not None else None
            w = naive_attention.weights(placement, q[b, h].tolist(), k[b, h].tolist(), masks[h], scale, rows)
            weights.append(w)
            outs.append(naive_attention.output(w, v[b, h].tolist()))
    shape = (*q.shape[:2], grid.length)
    return (
        torch.tensor(outs, dtype=torch.float64).reshape(*shape, -1),
        torch.tensor(weights, dtype=torch.float64).reshape(*shape, -1),
    )


def gradients(placement: str, leaves: dict[str, Tensor], grid: Grid, upstream: Tensor, **options: Any) -> list[Tensor]:
    """Output, then gradients with respect to q, k, v, the mask and the bias, those that are there."""
    given = {name: leaf.detach().clone().requires_grad_() for name, leaf in leaves.items()}
    bias = given.get("bias")
    out = attend(given["q"], given["k"], given["v"], given["mask"], grid, bias=bias, **options, placement=placement)
    used = [leaf for name, leaf in given.items() if placement != "convolution" or name in ("v", "mask")]
    return [out.detach(), *torch.autograd.grad((out * upstream).sum(), used)]


def check_against_loops(placement: str, shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """With and without prefix tokens and bias, by turns, and with a scale of its own."""
    grid, scale = Grid(shape, prefix=seed % 3), 0.7
    q, k, v = qkv(grid, seed, dtype)
    kernel, bias = kernel_for(placement, shape, seed, dtype), bias_for(placement, grid, seed, dtype)
    out, weights = attend(q, k, v, kernel, grid, scale=scale, bias=bias, return_weights=True, placement=placement)
    expected, expected_weights = loops(placement, q, k, v, kernel, grid, bias, scale)
    assert_close(out, expected)
    assert_close(weights, expected_weights)
