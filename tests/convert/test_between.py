"""Rectangular masks against loops over pairs: gathers, closed forms, and the way back with its residual."""

import math

import pytest
import torch

from retconv.convert import kernel_to_mask, project, project_rectangular, rectangular
from retconv.cross import Cross
from retconv.kernels import gaussian, manhattan_decay
from retconv.memory import DenseLimitError, dense_limit
from tests import naive_cross as naive
from tests.compare import assert_close, assert_exact
from tests.cross_cases import CROSSES
from tests.strategies import DTYPES, HEADS, kernel_of, mask_of, normal

every_cross = pytest.mark.parametrize("cross", CROSSES, ids=str)


def rows_of(cross: Cross) -> list[list[naive.Offset]]:
    return naive.pairs(cross.queries.shape, cross.keys.shape, cross.stride, cross.origin)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bfloat16])
@every_cross
def test_table_to_mask_and_back(cross: Cross, dtype: torch.dtype) -> None:
    """Every entry a copy, prefix tokens neutral; and back bit for bit, with residual 0."""
    kernel = normal(0, HEADS, *cross.table_shape, dtype=dtype)
    mask = rectangular(kernel, cross)
    assert mask.shape == (HEADS, *cross.shape)
    queries, keys = cross.queries.prefix, cross.keys.prefix
    assert bool((mask[:, :queries] == 1).all() and (mask[:, :, :keys] == 1).all())
    rows = rows_of(cross)
    expected = [
        naive.mask(rows, dict(zip(naive.table(rows), one, strict=True)).__getitem__)
        for one in kernel.flatten(1).tolist()
    ]
    assert_exact(mask[:, queries:, keys:], expected)
    back = project_rectangular(mask, cross)
    assert_exact(back.kernel, kernel)
    assert_exact(back.residual, [0.0] * HEADS)


@every_cross
def test_closed_forms_at_offsets_between_the_tokens(cross: Cross) -> None:
    """Decay and Gaussian, two heads, at half and third steps too."""
    gammas, sigmas = (0.3, 0.9), (0.8, 2.5)
    decay = rectangular(lambda d: manhattan_decay(d, torch.tensor(gammas, dtype=torch.float64)), cross)
    bell = rectangular(lambda d: gaussian(d, torch.tensor(sigmas, dtype=torch.float64)), cross)
    queries, keys = cross.queries.prefix, cross.keys.prefix
    rows = rows_of(cross)
    for head in range(HEADS):
        gamma, variance = gammas[head], sigmas[head] ** 2 + 1e-5
        values = naive.mask(rows, lambda d, g=gamma: g ** float(sum(map(abs, d))))  # type: ignore[misc]
        assert_close(decay[head, queries:, keys:], values)
        values = naive.mask(rows, lambda d, v=variance: math.exp(-float(sum(x * x for x in d)) / (2 * v)))  # type: ignore[misc]
        assert_close(bell[head, queries:, keys:], values)


@every_cross
def test_projection_is_the_mean_over_pairs(cross: Cross) -> None:
    """With its residual; what is left is orthogonal to every mask of a kernel."""
    mask = normal(1, HEADS, *cross.shape)
    kernel, residual = project_rectangular(mask, cross)
    body = mask[:, cross.queries.prefix :, cross.keys.prefix :]
    expected = [naive.project(rows_of(cross), one) for one in body.tolist()]
    assert_close(kernel.flatten(1), [one for one, _ in expected])
    assert float((residual - torch.tensor([rest for _, rest in expected], dtype=torch.float64)).abs().max()) <= 1e-12


def test_on_one_grid_it_is_the_square_mask() -> None:
    for shape in ((1,), (5,), (2, 3), (2, 1, 3)):
        cross, kernel, mask = Cross(shape, shape), kernel_of(shape, 0), mask_of(shape, 0)
        assert_exact(rectangular(kernel, cross), kernel_to_mask(kernel, shape))
        assert_close(project_rectangular(mask, cross).kernel, project(mask, shape).kernel)
        assert_close(project_rectangular(mask, cross).residual, project(mask, shape).residual)


def test_gradients_and_memory() -> None:
    """Both ways differentiable; a large mask is refused before it is formed."""
    cross = Cross((2, 4), (1, 2))
    table, mask = normal(0, 1, *cross.table_shape).requires_grad_(), normal(1, 1, *cross.shape).requires_grad_()
    assert torch.autograd.gradcheck(lambda k: rectangular(k, cross), table)
    assert torch.autograd.gradcheck(lambda m: tuple(project_rectangular(m, cross)), mask)
    with dense_limit(100), pytest.raises(DenseLimitError):
        rectangular(table, cross)
