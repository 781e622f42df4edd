"""Eigenvalues and singular values, norm bounds, Szegő's law, definiteness and passbands."""

import math

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from retconv.analysis.reading import is_symmetric, resolve
from retconv.analysis.spectrum import (
    causal_decay_symbol,
    definiteness,
    eigenvalues,
    gaussian_symbol,
    manhattan_decay_symbol,
    norm_bounds,
    operator_norm,
    passband,
    singular_values,
    symbol,
    szego,
)
from retconv.analysis.spectrum.lanczos import eigenvalue_range, largest_eigenvalues, largest_singular_values
from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.kernels import Separable, causal_decay, gaussian, gaussian_mixture, manhattan_decay, two_sided_decay
from retconv.masks import DecayMask, ElementwiseMask, RetNetMask
from retconv.memory import DenseLimitError, dense_limit
from tests.analysis.cases import f64, mixture
from tests.compare import assert_close, assert_exact
from tests.strategies import HEADS, every_grid, kernel_of, mask_of, seeds, shapes, uniform

#: Of a Lanczos value, relative: what the issue asks.
LANCZOS = 1e-8


# --- what is analysed -----------------------------------------------------------------------------------------------


@every_grid
def test_kernel_mask_module_and_factors_are_one_subject(shape: tuple[int, ...], seed: int) -> None:
    """A mask is taken by its kernel where it has one bit for bit, prefix tokens being left out."""
    kernel = kernel_of(shape, seed)
    grid = Grid(shape, prefix=2)
    for source in (kernel, kernel_to_mask(kernel, grid)):
        subject = resolve(source, grid)
        assert torch.equal(subject.kernel, kernel)
        assert subject.grid == Grid(shape)
        assert torch.equal(subject.entries, kernel_to_mask(kernel, shape))
    factors = DecayMask(HEADS).double().separable(shape)
    assert isinstance(factors, Separable)
    assert_close(resolve(factors, shape).kernel, DecayMask(HEADS).double().kernel(shape))
    if math.prod(shape) > 1:
        free = mask_of(shape, seed)
        assert torch.equal(resolve(free, shape).entries, free)
        assert resolve(ElementwiseMask(shape, 1), grid).kernel is not None, "an ELM of zeros has a kernel"


@every_grid
def test_symmetry_is_that_of_the_mask(shape: tuple[int, ...], seed: int) -> None:
    kernel, free = kernel_of(shape, seed), mask_of(shape, seed)
    even = kernel + kernel.flip(tuple(range(1, kernel.ndim)))
    single = math.prod(shape) == 1
    for source, expected in ((kernel, single), (even, True), (free, single), (free + free.mT, True)):
        assert is_symmetric(resolve(source, shape)).tolist() == [expected] * HEADS


# --- eigenvalues and singular values --------------------------------------------------------------------------------


@every_grid
def test_dense_values_are_those_of_the_mask(shape: tuple[int, ...], seed: int) -> None:
    """Largest in magnitude first: their moments are traces, Σ λ = tr M, Σ λ² = tr M², Σ s² = ‖M‖²."""
    for source in (kernel_of(shape, seed), mask_of(shape, seed)):
        mask = resolve(source, shape).entries
        values, singular = eigenvalues(source, shape), singular_values(source, shape)
        assert values.shape == singular.shape == (HEADS, math.prod(shape))
        assert bool((values.abs().diff(dim=1) <= 1e-12).all())
        assert_close(values.sum(dim=1).real, mask.diagonal(dim1=1, dim2=2).sum(dim=1), torch.float32)
        assert_close((values**2).sum(dim=1).real, (mask * mask.mT).sum(dim=(1, 2)), torch.float32)
        assert_close(singular.square().sum(dim=1), mask.square().sum(dim=(1, 2)))
        assert_close(operator_norm(source, shape), torch.linalg.matrix_norm(mask, 2))


@pytest.mark.parametrize("n", [9, 1300])
def test_eigenvalues_of_a_head_do_not_depend_on_other_heads(n: int) -> None:
    """A symmetric head, a triangular one, and with few tokens one that is neither: each as it is alone."""
    offset = Grid(n).offsets()
    heads = [two_sided_decay(offset, f64([0.9])), causal_decay(offset, f64([0.5]))]
    heads += [kernel_of((n,), 0)[:1]] if n < 100 else []
    together = eigenvalues(torch.cat(heads), n, k=3)
    assert together.is_complex() == (len(heads) == 3)
    for row, head in zip(together, heads, strict=True):
        assert_exact(row[None], eigenvalues(head, n, k=3).to(row.dtype))


def kronecker_values(lines: list[Tensor], k: int) -> Tensor:
    """The k largest singular values of a Kronecker product of masks of lines: products of theirs."""
    values = torch.ones(1, dtype=torch.float64)
    for mask in lines:
        values = torch.outer(values, torch.linalg.svdvals(mask)).flatten()
    return values.sort(descending=True).values[:k]


@pytest.mark.parametrize(
    ("name", "shape"),
    [("manhattan", (128, 128)), ("gaussian", (128, 128)), ("narrow", (60, 70)), ("causal", (36, 40))],
)
def test_lanczos_on_large_grids(name: str, shape: tuple[int, int]) -> None:
    """16,384 tokens against products of the lines' values: 1e-8 relative, double values counted twice.

    The narrow Gaussian's values all lie within 3e-5 of each other, the hardest case for an iteration.
    """
    factors = []
    for n in shape:
        offset = Grid(n).offsets()
        one = {"manhattan": manhattan_decay, "gaussian": gaussian, "narrow": gaussian, "causal": causal_decay}[name]
        factors.append(one(offset, f64([{"manhattan": 0.9, "gaussian": 1.5, "narrow": 0.2, "causal": 0.7}[name]])))
    kernel = factors[0][:, :, None] * factors[1][:, None, :]
    expected = kronecker_values([kernel_to_mask(f, n)[0] for f, n in zip(factors, shape, strict=True)], 8)
    with dense_limit(2**24):
        values = singular_values(kernel, shape, k=8)
        assert float((values[0] / expected - 1).abs().max()) <= LANCZOS
        if name != "causal":
            assert float((eigenvalues(kernel, shape, k=8)[0] / expected - 1).abs().max()) <= LANCZOS


def test_no_heads_have_no_spectrum() -> None:
    for mask in (torch.zeros(0, 5), torch.zeros(0, 3, 3)):
        assert eigenvalues(mask, 3).shape == (0, 3)
        assert eigenvalues(mask, 3, k=2).shape == (0, 2)
    assert len(passband(torch.zeros(0, 5)).band) == len(norm_bounds(torch.zeros(0, 5), 3).symbol) == 0


@every_grid
def test_bounds_are_in_their_order_to_the_last_bit(shape: tuple[int, ...], seed: int) -> None:
    kernel = kernel_of(shape, seed)  # and of one weight, whose transform exceeds it by rounding
    single = kernel * (kernel == kernel.flatten(1).amax(dim=1).view(-1, *[1] * len(shape)))
    for table in (kernel, single):
        bounds = norm_bounds(table, shape)
        assert bool(((bounds.sampled <= bounds.symbol) & (bounds.symbol <= bounds.l1)).all())


def test_lanczos_takes_each_head_for_itself_and_needs_no_memory_of_a_mask() -> None:
    """Two heads of 1,089 tokens, against the dense decomposition; a mask without kernel works too."""
    shape = (33, 33)
    kernel = gaussian_mixture(Grid(shape).offsets(), f64([[2.0, 0.2], [1.0, 4.0]]), f64([[0.6, -0.8], [1.0, -0.3]]))
    mask = kernel_to_mask(kernel, shape)
    expected = torch.linalg.svdvals(mask)[:, :5]
    assert_close(singular_values(kernel, shape, k=5), expected)
    mask[:, 0, 1] += 1e-3
    assert_close(singular_values(mask, shape, k=3), torch.linalg.svdvals(mask)[:, :3])


def test_lanczos_of_a_mask_that_is_zero_or_one_number_on_the_diagonal() -> None:
    """Where an iteration has nothing to start from: a dead head beside a live one, and ±1."""
    grid = Grid((36, 36))
    one = (grid.offsets() == 0).all(dim=-1).double()
    heads = torch.stack([one, torch.zeros_like(one), -one])
    assert_close(operator_norm(heads, grid), [1.0, 0.0, 1.0])
    assert_close(singular_values(heads, grid, k=2), [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]])
    assert_close(eigenvalues(heads, grid, k=1), [[1.0], [0.0], [-1.0]])
    assert [d.verdict for d in definiteness(heads, grid)] == ["positive definite", "zero", "negative definite"]


def test_prefix_tokens_of_a_ring_are_left_out_in_every_form() -> None:
    grid, mask = Grid((4,), prefix=1, periodic=True), DecayMask(HEADS, gamma=f64([0.5] * HEADS))
    for form in (mask, mask(grid), mask.forms(grid)):
        assert_close(eigenvalues(form, grid), [[2.25, 0.75, 0.75, 0.25]] * HEADS)
        assert_close(singular_values(form, grid), [[2.25, 0.75, 0.75, 0.25]] * HEADS)


@pytest.mark.parametrize("unit", [2.0**-500, 2.0**-66, 2.0**500])
def test_lanczos_in_any_unit(unit: float) -> None:
    """ARPACK takes what is small for rounding, and squares of what is large are infinite."""
    kernel, free = gaussian(Grid(60).offsets(), f64([0.5])), kernel_of((60,), 1, heads=1)
    for mask in (kernel, kernel_to_mask(kernel, 60)):
        one, other = (resolve(mask * by, 60) for by in (1.0, unit))
        assert_exact(torch.tensor(largest_eigenvalues(other, 0, 3) / unit), largest_eigenvalues(one, 0, 3).tolist())
        assert [x / unit for x in eigenvalue_range(other, 0, 1e-5)] == list(eigenvalue_range(one, 0, 1e-5))
    one, other = (resolve(free * by, 60) for by in (1.0, unit))
    found = largest_singular_values(other, 0, 3) / unit
    assert_exact(torch.tensor(found), largest_singular_values(one, 0, 3).tolist())


@pytest.mark.parametrize("shape", [(7,), (3, 4), (40, 40)])
def test_eigenvalues_of_a_triangular_mask_are_its_diagonal(shape: tuple[int, ...]) -> None:
    """Exactly, where a numerical method gives a circle around them: the mask is one Jordan block."""
    grid = Grid(shape)
    kernel = kernel_of(shape, 0)
    kernel.flatten(1)[:, kernel[0].numel() // 2 + 1 :] = 0
    center = kernel[(slice(None), *grid.center)]
    for source in (kernel, kernel.flip(tuple(range(1, kernel.ndim)))):
        assert torch.equal(eigenvalues(source, shape, k=3), center[:, None].expand(-1, 3))
    if grid.size < 100:
        mask = kernel_to_mask(kernel, shape)
        mask[:, 0, 0] = 9.0
        assert eigenvalues(mask, shape)[:, 0].tolist() == [9.0, 9.0]


def test_all_values_of_a_large_mask_are_refused() -> None:
    with dense_limit(2**20), pytest.raises(DenseLimitError, match="above the limit"):
        singular_values(torch.zeros(1, 127, 127, dtype=torch.float64), (64, 64))


# --- law 12: bounds -------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(shape=shapes((1, 2)), seed=seeds)
def test_law_12_norm_below_symbol_below_l1(shape: tuple[int, ...], seed: int) -> None:
    """‖M‖₂ ≤ ‖a‖_∞ ≤ ‖K‖₁, where no sampled gain exceeds the certified bound."""
    kernel = kernel_of(shape, seed)
    bounds = norm_bounds(kernel, shape)
    theta = uniform(seed, -math.pi, math.pi, 200, len(shape))
    gain = symbol(kernel, theta).abs().amax(dim=1)
    exact = 1 + 1e-12
    assert bool((bounds.norm <= bounds.symbol * exact).all())
    assert bool((gain <= bounds.symbol * exact).all())
    assert bool((bounds.sampled <= bounds.symbol * exact).all())
    assert bool((bounds.symbol <= bounds.l1).all())
    assert bool((bounds.symbol <= 1.04 * bounds.sampled).all()), "a bound of no use"
    assert_close(bounds.norm, torch.linalg.matrix_norm(kernel_to_mask(kernel, shape), 2))
    assert_close(bounds.l1, kernel.abs().flatten(1).sum(dim=1))


def test_law_12_bounds_of_a_kernel_of_one_sign_are_its_sum() -> None:
    """Gain is largest at zero frequency, where it is Σ K = ‖K‖₁; the norm tends to it as the grid grows."""
    ratios = []
    for n in (4, 16, 64, 256):
        bounds = norm_bounds(DecayMask(1, "two_sided", gamma=0.6).double(), n)
        assert_close(bounds.symbol, bounds.l1)
        assert_close(bounds.sampled, bounds.l1)
        ratios.append(float(bounds.norm / bounds.l1))
    assert ratios == sorted(ratios)
    assert ratios[-1] == pytest.approx(1, abs=2e-3)


# --- law 13: Szegő --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [0.3, 0.8])
def test_law_13_distance_falls_with_the_grid(gamma: float) -> None:
    """Like 1/n on a line, against the symbol of the unbounded kernel; the symbol's range holds every eigenvalue."""
    mask = DecayMask(1, "two_sided", gamma=gamma).double()
    distances = []
    for n in (16, 64, 256):
        result = szego(mask, n, lambda theta: manhattan_decay_symbol(theta, mask.gamma))
        assert result.values.shape == (1, n)
        assert result.symbol.shape[:2] == (1, n)
        assert bool(((1 - gamma) / (1 + gamma) <= result.values).all())
        assert bool((result.values <= (1 + gamma) / (1 - gamma)).all())
        distances.append(float(result.distance))
    assert distances[1] == pytest.approx(distances[0] / 4, rel=0.35)
    assert distances[2] == pytest.approx(distances[1] / 4, rel=0.1)


def test_law_13_on_a_plane_and_for_singular_values() -> None:
    gauss = [
        float(szego(mixture([[1.0]], [[1.0]]), (n, n), lambda theta: gaussian_symbol(theta, f64([1.0]))).distance)
        for n in (8, 32)
    ]
    assert gauss[1] < gauss[0] / 3
    causal = [
        szego(RetNetMask(1, gamma=0.7).double(), n, lambda theta: causal_decay_symbol(theta, f64([0.7])))
        for n in (32, 256)
    ]
    assert float(causal[1].distance) < float(causal[0].distance) / 6
    assert float(causal[1].values[0, -1]) <= 1 / 0.3
    assert float(szego(torch.zeros(1, 5, dtype=torch.float64), 3).distance) == 0


def test_szego_distance_is_the_mean_gap_of_quantiles() -> None:
    """An identity scaled by 2 beside a symbol of 3 everywhere: the relative distance is 1/3."""
    kernel = f64([[0.0, 0.0, 2.0, 0.0, 0.0]])
    result = szego(kernel, 3, lambda theta: torch.full((1, *theta.shape[:-1]), 3.0))
    assert float(result.distance) == pytest.approx(1 / 3)


def test_a_limit_of_one_head_is_that_of_all() -> None:
    def limit(theta: torch.Tensor) -> torch.Tensor:
        return manhattan_decay_symbol(theta, 0.5)

    both = szego(DecayMask(2, gamma=0.5), 64, limit=limit)
    one = szego(DecayMask(1, gamma=0.5), 64, limit=limit)
    assert_close(both.distance, one.distance.expand(2))


@pytest.mark.parametrize(("n", "known"), [(2, True), (9, True), (16, True), (128, False)])
def test_unsymmetric_eigenvalues_are_their_formula_or_refused(n: int, known: bool) -> None:
    """``1 + 2 √0.1 cos(jπ / (n + 1))`` of three diagonals, which are further from normal the longer they are."""
    kernel = torch.zeros(1, 2 * n - 1, dtype=torch.float64)
    kernel[0, n - 2 : n + 1] = torch.tensor([1.0, 1.0, 0.1])
    if not known:
        with pytest.raises(ValueError, match="ill-conditioned"):
            eigenvalues(kernel, n)
        return
    expected = sorted((1 + 2 * math.sqrt(0.1) * math.cos(j * math.pi / (n + 1)) for j in range(1, n + 1)), reverse=True)
    assert eigenvalues(kernel, n)[0].real.tolist() == pytest.approx(expected, abs=1e-6)
