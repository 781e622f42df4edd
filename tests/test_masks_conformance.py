"""What every mask must do: a new mask passes the whole suite by one line in ``MASKS``."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import naive
import pytest
import torch
from compare import assert_close, assert_exact
from strategies import DTYPES, HEADS, SHAPES
from torch import Tensor

from retconv.convert import NotAConvolutionError, crop
from retconv.grid import Grid
from retconv.masks import (
    DecayMask,
    ElementwiseMask,
    GaussianMixtureMask,
    KernelTableMask,
    Mask,
    OffDiagonalMask,
    RetNetMask,
)

GAMMA = (0.55, 0.9)
SIGMA = ((0.7, 2.0, 9.0), (1.3, 0.4, 3.0))
ALPHA = ((1.5, -0.8, 0.6), (-0.3, 2.0, 0.5))
LINES = ((1,), (7,))
#: Grids on which offsets repeat, so that having a kernel is a statement.
LARGER = ((7,), (1, 7), (3, 5), (5, 3), (4, 4), (2, 3, 4))

#: The value of a head at a pair of tokens (query, key).
Pairwise = Callable[[int, naive.Position, naive.Position], float]


@dataclass(frozen=True)
class Case:
    """A mask of two distinct heads: how it is built for a grid, and its entries by the naive form."""

    build: Callable[[Grid], Mask]
    value: Pairwise
    facts: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...] = SHAPES
    has_kernel: bool = True
    moves: bool = True
    has_numbers: bool = True


def of_offset(value: Callable[[int, naive.Position], float]) -> Pairwise:
    """A mask that depends on the offset alone, from its value at each head and offset."""
    return lambda h, q, k: value(h, naive.difference(q, k))


def gamma() -> Tensor:
    return torch.tensor(GAMMA, dtype=torch.float64)


def mixture(positive: bool) -> Mask:
    mask = GaussianMixtureMask(HEADS, len(SIGMA[0]), positive=positive)
    mask.load_state_dict({"sigma": torch.tensor(SIGMA), "alpha": torch.tensor(ALPHA)})
    return mask


def table(grid: Grid) -> Mask:
    entries = [naive.kernel(lambda d, h=h: naive.ripple(h, *d), grid.shape) for h in range(HEADS)]
    return KernelTableMask.from_kernel(torch.tensor(entries).reshape(HEADS, *grid.kernel_shape))


def elementwise(grid: Grid, per_head: bool) -> Mask:
    mask = ElementwiseMask(grid, HEADS, per_head=per_head)
    matrices = range(HEADS if per_head else 1)
    rows = [naive.mask(lambda q, k, h=h: naive.ripple(h, *q, *k), grid.shape) for h in matrices]
    mask.load_state_dict({"weight": torch.tensor(rows)})
    return mask


CAUSAL = of_offset(lambda h, d: naive.causal_decay(d, GAMMA[h]))
MANHATTAN = of_offset(lambda h, d: naive.manhattan_decay(d, GAMMA[h]))
EUCLIDEAN = of_offset(lambda h, d: naive.euclidean_decay(d, GAMMA[h]))
MIXTURE = of_offset(lambda h, d: naive.gaussian_mixture(d, SIGMA[h], ALPHA[h]))
POSITIVE = of_offset(lambda h, d: naive.gaussian_mixture(d, SIGMA[h], [abs(a) for a in ALPHA[h]]))
DECAY = ("heads=2", "gamma=0.55…0.9")

MASKS = {
    "retnet": Case(lambda g: RetNetMask(2, gamma()), CAUSAL, (*DECAY, "fixed"), LINES),
    "retnet, learnable": Case(lambda g: RetNetMask(2, gamma(), learnable=True), CAUSAL, (*DECAY, "learnable"), LINES),
    "retnet, normalised": Case(
        lambda g: RetNetMask(2, gamma(), learnable=True, normalize=True),
        lambda h, q, k: naive.normalized_retnet(q, k, GAMMA[h]),
        (*DECAY, "normalize=True"),
        ((7,), (12,)),
        has_kernel=False,
    ),
    "two-sided": Case(lambda g: DecayMask(2, "two_sided", gamma()), MANHATTAN, (*DECAY, "'two_sided'"), LINES),
    "manhattan": Case(lambda g: DecayMask(2, gamma=gamma()), MANHATTAN, (*DECAY, "fixed", "'manhattan'")),
    "manhattan, learnable": Case(lambda g: DecayMask(2, "manhattan", gamma(), True), MANHATTAN, (*DECAY, "learnable")),
    "euclidean": Case(lambda g: DecayMask(2, "euclidean", gamma(), True), EUCLIDEAN, (*DECAY, "'euclidean'")),
    "gmm": Case(lambda g: mixture(False), MIXTURE, ("heads=2", "components=3", "sigma=0.4…9", "alpha=-0.8…2")),
    "gmm, positive": Case(lambda g: mixture(True), POSITIVE, ("alpha=-0.8…2", "positive=True")),
    "off diagonal": Case(
        lambda g: OffDiagonalMask(2), of_offset(lambda h, d: float(any(d))), ("heads=2",), has_numbers=False
    ),
    "table": Case(table, of_offset(lambda h, d: naive.ripple(h, *d)), ("heads=2", "Grid("), moves=False),
    "elm": Case(
        lambda g: elementwise(g, per_head=False),
        lambda h, q, k: naive.ripple(0, *q, *k),
        ("heads=2", "per_head=False", "Grid("),
        LARGER,
        has_kernel=False,
        moves=False,
    ),
    "elm, per head": Case(
        lambda g: elementwise(g, per_head=True),
        lambda h, q, k: naive.ripple(h, *q, *k),
        ("heads=2", "per_head=True", "Grid("),
        LARGER,
        has_kernel=False,
        moves=False,
    ),
}
every_mask = pytest.mark.parametrize("case", MASKS.values(), ids=MASKS.keys())
with_kernel = pytest.mark.parametrize(
    "case", [c for c in MASKS.values() if c.has_kernel], ids=[n for n, c in MASKS.items() if c.has_kernel]
)

with_numbers = pytest.mark.parametrize(
    "case", [c for c in MASKS.values() if c.has_numbers], ids=[n for n, c in MASKS.items() if c.has_numbers]
)


def build(case: Case, grid: Grid, dtype: torch.dtype = torch.float64) -> Mask:
    """The mask with parameters of a dtype from the start, not cast to it afterwards."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return case.build(grid)
    finally:
        torch.set_default_dtype(before)


def by_loops(case: Case, shape: tuple[int, ...]) -> list[naive.Rows]:
    return [naive.mask(lambda q, k, h=h: case.value(h, q, k), shape) for h in range(HEADS)]


def check_naive_agreement(case: Case, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """The mask on its grid, and where it moves on grids it was not built for, against the double loop."""
    mask = build(case, Grid(shape), dtype)
    for target in [shape, *([tuple(n + 2 for n in shape), tuple(max(1, n - 2) for n in shape)] if case.moves else [])]:
        assert_close(mask(Grid(target)), by_loops(case, target))


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
    """Moving to a larger grid changes no entry: cropping takes it back, bit for bit."""
    for shape in case.shapes:
        larger = tuple(n + 3 for n in shape)
        mask = build(case, Grid(shape))
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
