"""Law 20: a Gaussian bias is a dot product of extra channels of query and key."""

import torch
from hypothesis import settings

from retconv.attention import bias_logits, channels
from retconv.grid import Grid
from retconv.masks import GaussianMixtureMask
from tests.attention.cases import qkv
from tests.compare import assert_close
from tests.strategies import HEADS, every_grid, normal, uniform

F64 = torch.float64


def gaussian(seed: int, dtype: torch.dtype) -> GaussianMixtureMask:
    return GaussianMixtureMask.from_parameters(
        uniform(seed, 1.5, 4.0, HEADS, 1, dtype=dtype), uniform(seed + 1, 0.5, 2.0, HEADS, 1, dtype=dtype)
    )


def check_law_20(shape: tuple[int, ...], seed: int, dtype: torch.dtype, prefix: int) -> None:
    grid, mask = Grid(shape, prefix), gaussian(seed, dtype)
    exact = GaussianMixtureMask.from_parameters(mask.sigma.detach().double(), mask.alpha.detach().double())
    inputs = qkv(grid, seed, dtype)
    results = []
    for module, backend in ((mask, "channels"), (exact, "reference")):
        q, k, v = (x.to(module.sigma.dtype).requires_grad_() for x in inputs)
        out = bias_logits(q, k, v, module, grid, backend=backend)
        upstream = normal(seed + 30, *out.shape, dtype=out.dtype)
        # Without prefix tokens α is a constant of every row, which the softmax removes.
        wanted = [q, k, v, module.sigma, *([module.alpha] if prefix else [])]
        results.append([out, *torch.autograd.grad((out * upstream).sum(), wanted)])
    for actual, expected in zip(*results, strict=True):
        assert_close(actual, expected)


@settings(max_examples=15)
@every_grid
def test_law_20_quadratic_encoding(shape: tuple[int, ...], seed: int) -> None:
    """``softmax(S + log M)`` of one Gaussian is plain attention with D + 1 extra channels, gradients to σ included."""
    check_law_20(shape if max(shape) > 1 else (2, 2), seed, F64, prefix=seed % 2)


def test_law_20_in_float32_on_a_large_grid() -> None:
    """Equal to the dense bias to 1e-5."""
    grid, mask = Grid((14, 14)), GaussianMixtureMask.from_parameters(torch.tensor([[3.0], [8.0]]), torch.ones(2, 1))
    q, k, v = qkv(grid, 6, torch.float32)
    fused = bias_logits(q, k, v, mask, grid, backend="channels")
    assert_close(fused, bias_logits(q.double(), k.double(), v.double(), mask.double(), grid, backend="reference"))


def test_extra_channels_are_the_bias_up_to_a_constant_of_each_row() -> None:
    grid, mask = Grid((3, 4)), gaussian(7, F64)
    zero = torch.zeros(1, HEADS, grid.length, 5, dtype=F64)
    query, key = channels.extended(zero, zero, channels.factors(mask.forms(grid)), scale=0.5)
    difference = 0.5 * query @ key.transpose(-2, -1) - mask(grid).log()
    assert query.shape[-1] == 8
    assert_close(difference - difference[..., :1] + 1, torch.ones_like(difference))


def test_law_20_in_float32_with_prefix() -> None:
    """Gradients included, against the reference in float64."""
    check_law_20((6, 7), 2, torch.float32, prefix=1)
