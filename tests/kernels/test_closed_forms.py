"""Closed forms: each against its own loop over offsets, in every dtype, with gradients in each parameter."""

import pytest
import torch

from retconv import kernels
from retconv.grid import Grid
from tests.compare import assert_close, assert_exact
from tests.kernels.cases import CASES, centered, check_closed_form
from tests.strategies import DTYPES, HEADS, every_grid, on_grids, uniform


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


@pytest.mark.parametrize("name", CASES)
def test_a_grid_is_not_its_offsets(name: str) -> None:
    case = CASES[name]
    with pytest.raises(TypeError, match=r"offset must be a torch\.Tensor, got Grid: pass grid\.offsets\(\)"):
        case.function(Grid(5), *case.draw(0, 1))  # type: ignore[arg-type]
