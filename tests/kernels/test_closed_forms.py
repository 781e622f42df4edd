"""Closed forms: each against its own loop over offsets, in every dtype, with gradients in each parameter."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from retconv import kernels
from retconv.grid import Grid
from tests import naive
from tests.compare import assert_close, assert_each_close, assert_exact
from tests.strategies import DTYPES, HEADS, every_grid, normal, on_grids, uniform


@dataclass(frozen=True)
class Case:
    """A closed form, its naive twin, and parameters drawn from a seed and the number of axes."""

    function: Callable[..., Tensor]
    loop: Callable[..., float]
    draw: Callable[[int, int], tuple[Tensor, ...]]
    axes: tuple[int, ...] = (1, 2, 3)


def positive(seed: int, _: int) -> tuple[Tensor, ...]:
    return (uniform(seed, 0.05, 1.9, HEADS),)


def gamma(seed: int, _: int) -> tuple[Tensor, ...]:
    return (uniform(seed, 0.02, 1.0, HEADS),)


def mixture(seed: int, _: int) -> tuple[Tensor, ...]:
    return uniform(seed, 0.3, 12.0, HEADS, 3), normal(seed + 1, HEADS, 3)


def two_positive(seed: int, _: int) -> tuple[Tensor, ...]:
    return (*positive(seed, 0), *positive(seed + 1, 0))


def centered(seed: int, axes: int) -> tuple[Tensor, ...]:
    return uniform(seed, 0.05, 1.9, HEADS), normal(seed + 1, HEADS, axes)


def one_gaussian(offset: naive.Position, sigma: float) -> float:
    return naive.gaussian_mixture(offset, [sigma], [1.0])


CASES = {
    "causal_decay": Case(kernels.causal_decay, naive.causal_decay, gamma, (1,)),
    "two_sided_decay": Case(kernels.two_sided_decay, naive.manhattan_decay, gamma, (1,)),
    "manhattan_decay": Case(kernels.manhattan_decay, naive.manhattan_decay, gamma),
    "euclidean_decay": Case(kernels.euclidean_decay, naive.euclidean_decay, gamma),
    "gaussian": Case(kernels.gaussian, one_gaussian, positive),
    "gaussian_mixture": Case(kernels.gaussian_mixture, naive.gaussian_mixture, mixture),
    "gpsa": Case(kernels.gpsa, naive.gpsa, centered),
    "gpsa, centre 0": Case(kernels.gpsa, lambda d, a: naive.gpsa(d, a, [0.0] * len(d)), positive),
    "alibi": Case(kernels.alibi, naive.alibi, positive),
    "kerple_log": Case(kernels.kerple_log, naive.kerple_log, two_positive),
    "kerple_power": Case(kernels.kerple_power, naive.kerple_power, two_positive),
}
#: A sum of signed terms has no relative accuracy entry by entry, only relative to its largest entry.
SIGNED = {"gaussian_mixture", "gpsa"}


def by_loops(case: Case, parameters: tuple[Tensor, ...], shape: tuple[int, ...]) -> Tensor:
    """The kernel of each head from the naive form, on the parameters as they are after rounding to their dtype."""
    per_head = [[p[h].tolist() for p in parameters] for h in range(HEADS)]
    tables = [naive.kernel(lambda d, own=own: case.loop(d, *own), shape) for own in per_head]
    return torch.tensor(tables, dtype=torch.float64).reshape(HEADS, *(2 * n - 1 for n in shape))


def check_closed_form(name: str, shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    case = CASES[name]
    parameters = tuple(p.to(dtype) for p in case.draw(seed, len(shape)))
    actual = case.function(Grid(shape).offsets(), *parameters)
    assert actual.dtype == dtype
    expected = by_loops(case, parameters, shape)
    if name in SIGNED:
        assert_close(actual, expected)
    else:
        # Computed in float64 and cast last: float32 is off by its own rounding only.
        assert_each_close(actual, expected, relative=1e-12 if dtype == torch.float64 else torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if 3 in case.axes])
@every_grid
def test_closed_form(shape: tuple[int, ...], seed: int, name: str, dtype: torch.dtype) -> None:
    """K[δ] is the published formula, offset by offset."""
    check_closed_form(name, shape, seed, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.axes == (1,)])
@on_grids((1,))
def test_closed_form_on_lines(shape: tuple[int, ...], seed: int, name: str, dtype: torch.dtype) -> None:
    """K[δ] is the published formula, offset by offset, for forms that are defined on a line only."""
    check_closed_form(name, shape, seed, dtype)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("name", CASES)
def test_gradients_in_every_parameter(name: str, axes: int) -> None:
    """Gradcheck, at offset 0 too, where |δ|^r and ‖δ‖ are easily differentiated wrongly."""
    case = CASES[name]
    if axes not in case.axes:
        axes = 1
    offset = Grid((3, 2, 2)[:axes]).offsets()
    parameters = tuple(p.requires_grad_() for p in case.draw(3, axes))
    assert torch.autograd.gradcheck(lambda *p: case.function(offset, *p), parameters)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_finite_in_float32(name: str) -> None:
    case = CASES[name]
    axes = case.axes[-1]
    parameters = tuple(p.float().requires_grad_() for p in case.draw(3, axes))
    case.function(Grid((9,) * axes).offsets(), *parameters).sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in parameters)


@pytest.mark.parametrize("name", CASES)
def test_offsets_of_any_layout(name: str) -> None:
    """A closed form is a function: offsets ``(*S, D)`` of any leading shape give ``(heads, *S)``, one by one."""
    case = CASES[name]
    axes = case.axes[-1]
    parameters = case.draw(5, axes)
    offsets = Grid((3,) * axes).offsets().reshape(-1, axes)
    table = case.function(offsets, *parameters)
    single = torch.stack([case.function(offset, *parameters) for offset in offsets], dim=1)
    assert table.shape == (HEADS, len(offsets))
    assert_close(single, table)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.draw is not centered])
def test_numbers_are_one_head(name: str) -> None:
    """A plain number is the same as a tensor of one head."""
    case = CASES[name]
    axes = case.axes[-1]
    offset, drawn = Grid((3,) * axes).offsets(), case.draw(0, axes)
    tensors = [torch.full((1,) * p.ndim, 0.25) for p in drawn]
    assert_exact(case.function(offset, *[0.25] * len(drawn)), case.function(offset, *tensors))


def test_alibi_is_the_logarithm_of_a_decay() -> None:
    """−m |δ| = log γ^|δ| with γ = exp(−m)."""
    offset, slope = Grid((3, 4)).offsets(), uniform(2, 0.1, 2.0, HEADS)
    assert_close(kernels.alibi(offset, slope).exp(), kernels.manhattan_decay(offset, (-slope).exp()))


def test_gpsa_is_the_logarithm_of_a_gaussian() -> None:
    """−α ‖δ‖² = log exp(−‖δ‖² / 2(σ² + ε)) with α = 1 / 2(σ² + ε)."""
    offset, sigma = Grid((3, 4)).offsets(), uniform(2, 0.5, 2.0, HEADS)
    alpha = 0.5 / (sigma.square() + kernels.GAUSSIAN_EPSILON)
    assert_close(kernels.gpsa(offset, alpha).exp(), kernels.gaussian(offset, sigma))


def test_gpsa_attends_to_its_centre() -> None:
    """The largest score stands at offset Δ."""
    center = torch.tensor([[1.0, -2.0], [0.0, 2.0]])
    scores = kernels.gpsa(Grid((4, 4)).offsets(), torch.ones(2), center)
    best = [Grid((4, 4)).offsets().reshape(-1, 2)[i].tolist() for i in scores.flatten(1).argmax(dim=1)]
    assert best == center.tolist()
