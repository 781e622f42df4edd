"""What every mask must do: a new mask passes the whole suite by one line in ``MASKS``."""

import copy
import math

import pytest
import torch
from torch import Tensor

from retconv.convert import NotAConvolutionError, crop
from retconv.grid import Grid
from tests import naive
from tests.compare import assert_close, assert_exact
from tests.masks.cases import MASKS, Case, build, check_naive_agreement
from tests.strategies import DTYPES, HEADS

every_mask = pytest.mark.parametrize("case", MASKS.values(), ids=MASKS.keys())
with_kernel = pytest.mark.parametrize(
    "case", [c for c in MASKS.values() if c.has_kernel], ids=[n for n, c in MASKS.items() if c.has_kernel]
)

with_numbers = pytest.mark.parametrize(
    "case", [c for c in MASKS.values() if c.has_numbers], ids=[n for n, c in MASKS.items() if c.has_numbers]
)


@pytest.mark.parametrize("dtype", DTYPES)
@every_mask
def test_agrees_with_the_double_loop(case: Case, dtype: torch.dtype) -> None:
    """M[q, k] is the published formula; a mask of the offset alone is the same function on every grid."""
    for shape in case.shapes:
        check_naive_agreement(case, shape, dtype)


@with_kernel
def test_mask_is_its_kernel_unfolded(case: Case) -> None:
    """M[q, k] = K[k − q], bit for bit."""
    for shape in case.shapes:
        mask = build(case, Grid(shape))
        kernel = mask.kernel(Grid(shape))
        assert kernel.shape == (HEADS, *Grid(shape).kernel_shape)
        assert_exact(mask(Grid(shape)), [naive.mask_of_kernel(k, shape) for k in kernel.flatten(1).tolist()])


@with_kernel
def test_shift_invariance(case: Case) -> None:
    """M[q + s, k + s] = M[q, k], bit for bit."""
    for shape in case.shapes:
        mask = build(case, Grid(shape))(Grid(shape))
        assert all(naive.shift_invariant(head, shape) for head in mask.tolist())


@pytest.mark.parametrize("name", [name for name, case in MASKS.items() if not case.has_kernel])
def test_a_mask_without_kernel_says_so(name: str) -> None:
    """Its residual is not 0, and ``kernel`` refuses, naming the projection as the remedy."""
    case = MASKS[name]
    for shape in case.shapes:
        mask = build(case, Grid(shape))
        assert min(naive.projection(head, shape)[1] for head in mask(Grid(shape)).tolist()) > 1e-3
        with pytest.raises(NotAConvolutionError, match=r"retconv\.project"):
            mask.kernel(Grid(shape))


@with_kernel
def test_kernels_of_two_grids_agree_where_both_have_offsets(case: Case) -> None:
    """Moving to a larger grid changes no entry, nor, of a mask that only shrinks, to a smaller one; bit for bit."""
    for shape in case.shapes:
        larger = tuple(n + 3 for n in shape)
        mask = build(case, Grid(shape if case.grows else larger))
        assert_exact(crop(mask.kernel(larger), shape), mask.kernel(shape))


@every_mask
def test_prefix_tokens_are_neutral(case: Case) -> None:
    """1 in their rows and columns; the grid's block and the kernel do not notice them."""
    for shape in case.shapes:
        mask = build(case, Grid(shape))
        whole = mask(Grid(shape, prefix=2))
        assert_exact(whole[:, 2:, 2:], mask(Grid(shape)))
        assert bool((whole[:, :2] == 1).all())
        assert bool((whole[:, :, :2] == 1).all())


@with_kernel
def test_kernel_ignores_prefix_tokens(case: Case) -> None:
    for shape in case.shapes:
        mask = build(case, Grid(shape))
        assert_exact(mask.kernel(Grid(shape, prefix=2)), mask.kernel(Grid(shape)))


@pytest.mark.parametrize("dtype", DTYPES)
@with_numbers
def test_gradients_reach_every_parameter(case: Case, dtype: torch.dtype) -> None:
    """Finite, and not 0 for any head; buffers take part too, as the parameters that they are in the learnable form."""
    grid = Grid(case.shapes[-1])
    mask = build(case, grid, dtype)
    state = {name: value.detach().clone().requires_grad_() for name, value in mask.state_dict().items()}
    torch.func.functional_call(mask, state, (grid,)).sum().backward()
    for name, value in state.items():
        assert value.grad is not None, name
        assert bool(torch.isfinite(value.grad).all()), name
        assert bool((value.grad.reshape(len(value), -1) != 0).any(dim=1).all()), name


@with_numbers
def test_gradcheck(case: Case) -> None:
    """Of the mask in each of its parameters."""
    shape = next(shape for shape in case.shapes if math.prod(shape) > 1)
    mask = build(case, Grid(shape))
    names, values = zip(*[(n, p.detach().clone()) for n, p in mask.state_dict().items()], strict=True)
    values = tuple(v.requires_grad_() for v in values)

    def forward(*state: Tensor) -> Tensor:
        return torch.func.functional_call(mask, dict(zip(names, state, strict=True)), (Grid(shape),))

    assert torch.autograd.gradcheck(forward, values)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bfloat16])
@every_mask
def test_state_dict_round_trip_is_exact(case: Case, dtype: torch.dtype) -> None:
    """Into a mask whose state was something else before."""
    grid = Grid(case.shapes[-1])
    source, target = build(case, grid).to(dtype), build(case, grid).to(dtype)
    for value in target.state_dict().values():
        value.copy_(torch.full_like(value, 0.375))
    target.load_state_dict(source.state_dict())
    assert_exact(target(grid), source(grid))


@with_numbers
def test_every_parameter_trains_and_what_does_not_is_a_buffer(case: Case) -> None:
    """No frozen parameters, no hidden state: parameters and buffers together are the state dict."""
    mask = build(case, Grid(case.shapes[-1]))
    parameters, buffers = dict(mask.named_parameters()), dict(mask.named_buffers())
    assert all(p.requires_grad for p in parameters.values())
    assert not any(b.requires_grad for b in buffers.values())
    assert set(mask.state_dict()) == set(parameters) | set(buffers) != set()


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bfloat16])
@every_mask
def test_computed_in_float64_and_cast_last(case: Case, dtype: torch.dtype) -> None:
    """In a narrow dtype a mask is the rounded float64 mask of the same (rounded) parameters, bit for bit."""
    for shape in case.shapes:
        mask = build(case, Grid(shape)).to(dtype)
        wide = copy.deepcopy(mask).double()
        assert mask(Grid(shape)).dtype == dtype
        assert_exact(mask(Grid(shape)), wide(Grid(shape)).to(dtype))


@with_numbers
def test_deepcopy_is_equal_and_independent(case: Case) -> None:
    grid = Grid(case.shapes[-1])
    mask = build(case, grid)
    twin = copy.deepcopy(mask)
    before = mask(grid).clone()
    assert_exact(twin(grid), before)
    for value in twin.state_dict().values():
        value.zero_()
    assert_exact(mask(grid), before)
    assert not torch.equal(twin(grid), before)


@every_mask
def test_repr_tells_the_key_facts(case: Case) -> None:
    """On one line, and the same in training and evaluation, as the mask itself is."""
    grid = Grid(case.shapes[-1])
    mask = build(case, grid)
    text = repr(mask.train())
    assert text.startswith(type(mask).__name__)
    assert "\n" not in text
    assert [fact for fact in case.facts if fact not in text] == []
    before = mask(grid)
    assert repr(mask.eval()) == text
    assert_exact(mask(grid), before)


@with_kernel
def test_what_is_written_to_one_head_of_a_kernel_is_not_written_to_others(case: Case) -> None:
    with torch.no_grad():
        kernel = build(case, Grid(case.shapes[-1])).kernel(case.shapes[-1])
        before = kernel.clone()
        kernel[0] += 1
    assert_exact(kernel[1:], before[1:])


@pytest.mark.parametrize("dtype", DTYPES)
@with_kernel
def test_separable_form_is_the_kernel(case: Case, dtype: torch.dtype) -> None:
    """K[δ] = Σ_r ∏_d f_{r,d}[δ_d], in loops, where a mask has that form."""
    for shape in case.shapes:
        mask = build(case, Grid(shape), dtype)
        separable = mask.separable(Grid(shape))
        if separable is not None:
            factors = [factor.tolist() for factor in separable.factors]
            outer = [naive.outer([factor[h] for factor in factors], shape) for h in range(HEADS)]
            assert_close(mask.kernel(Grid(shape)).flatten(1), outer)
