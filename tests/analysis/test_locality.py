"""Locality: against loops over the keys that each query has, on kernels, masks and attention weights."""

import math

import pytest
import torch
from hypothesis import settings

from retconv.analysis.locality import locality, mass_within, window_sums
from retconv.approximate import effective_size
from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.kernels import causal_decay, gaussian, gaussian_mixture, gpsa, manhattan_decay
from retconv.masks import DecayMask, GaussianMixtureMask
from retconv.memory import dense_limit
from tests.analysis import naive as by_loops
from tests.analysis.cases import f64
from tests.analysis.checks import check_locality_of_masks, check_window_sums
from tests.compare import assert_close
from tests.strategies import DTYPES, HEADS, every_grid, mask_of


@settings(max_examples=12)
@every_grid
def test_measures_are_sums_over_the_keys_that_exist(shape: tuple[int, ...], seed: int) -> None:
    check_locality_of_masks(shape, seed)


@every_grid
def test_window_sums_are_the_row_sums_of_the_mask(shape: tuple[int, ...], seed: int) -> None:
    check_window_sums(shape, seed)


@pytest.mark.parametrize("center", [(5.0,), (-5.0,), (3.0, 3.0), (-3.0, 3.0), (-3.0, -3.0)])
def test_a_row_that_sees_little_of_the_kernel_keeps_its_digits(center: tuple[float, ...]) -> None:
    """A row at the border sees no key where the mass is: its own is 1e-33 of others', and it counts as they do."""
    shape = (6,) * len(center) if len(center) > 1 else (12,)
    kernel = gpsa(Grid(shape).offsets(), f64([3.0]), f64([center]))
    mask = kernel_to_mask(kernel, shape)
    assert (window_sums(kernel, Grid(shape)) / mask.sum(dim=2) - 1).abs().max() < 1e-12
    rows, found = by_loops.rows_of_mask(mask[0].tolist(), shape), locality(kernel, shape)
    assert_close(found.mean_distance[0], by_loops.mean_share(rows, lambda d, _: by_loops.distance(d)))
    assert_close(found.entropy[0], by_loops.entropy(rows))
    assert_close(mass_within(kernel, shape, 2.0)[0], by_loops.within(rows, 2.0))
    assert float(found.radius_half) == by_loops.radius_of(rows, 0.5)


@settings(max_examples=12)
@every_grid
def test_radii_are_of_the_mean_share(shape: tuple[int, ...], seed: int) -> None:
    """The smallest radius at which the double loop over queries and keys finds the share, and none below it."""
    free = mask_of(shape, seed)
    found = locality(free, shape)
    for head in range(HEADS):
        rows = by_loops.rows_of_mask(free[head].tolist(), shape)
        for share, radius in ((0.5, float(found.radius_half[head])), (0.95, float(found.radius_95[head]))):
            assert by_loops.within(rows, radius) >= share - 1e-9
            assert radius == 0 or by_loops.within(rows, radius * (1 - 1e-9) - 1e-9) < share


def test_a_radius_is_no_mean_of_radii() -> None:
    """Two queries look at themselves and one two tokens away: half of the mean share is at home, not at 2/3."""
    mask = f64([[[1, 0, 0], [0, 1, 0], [1, 0, 0]]])
    each = [by_loops.radius_of([row], 0.5) for row in by_loops.rows_of_mask(mask[0].tolist(), (3,))]
    assert each == [0, 0, 2]
    found = locality(mask, 3)
    assert (float(found.radius_half), float(found.radius_95), float(found.size_95)) == (0, 2, 5)


@settings(max_examples=12)
@every_grid
def test_mass_within_a_radius(shape: tuple[int, ...], seed: int) -> None:
    free, radii = mask_of(shape, seed), [0.0, 1.0, 1.5, 9.0]
    actual = mass_within(free, shape, f64(radii))
    expected = [[by_loops.within(by_loops.rows_of_mask(m.tolist(), shape), r) for r in radii] for m in free]
    assert_close(actual, expected)
    assert_close(mass_within(free, shape, 1.5), actual[:, 2])
    roots = [2.0, 8.0, 13.0]  # of which float32's are below float64's
    assert_close(mass_within(free, shape, torch.tensor(roots).sqrt()), mass_within(free, shape, f64(roots).sqrt()))


# --- special cases, by hand -----------------------------------------------------------------------------------------


def test_uniform_attention_and_the_identity() -> None:
    """The two ends: mass everywhere, and all of it at home."""
    shape, n = (4, 6), 24
    uniform = locality(torch.full((1, n, n), 1 / n, dtype=torch.float64), shape)
    assert float(uniform.entropy) == pytest.approx(math.log(n))
    assert float(uniform.extroversion) == pytest.approx(0)
    assert float(uniform.anisotropy) == pytest.approx(0)
    assert uniform.center.abs().max() < 1e-15
    identity = locality(torch.eye(n, dtype=torch.float64)[None], shape)
    for name in ("mean_distance", "radius_half", "radius_95", "entropy", "anisotropy"):
        assert float(getattr(identity, name)) == pytest.approx(0, abs=1e-12)
    assert float(identity.extroversion) == -1


def test_law_10_extroversion_of_locality_minus_identity_is_one() -> None:
    """Self-weight −0.2 beside neighbours of 0.53."""
    mask = GaussianMixtureMask.from_parameters(f64([[2.0, 0.2], [2.0, 0.2]]), f64([[0.6, -0.8], [0.6, 0.0]]))
    found = locality(mask, (9, 9))
    assert found.self_weight.tolist() == pytest.approx([-0.2, 0.6])
    assert found.extroversion.tolist() == pytest.approx(
        [1.0, (math.exp(-1 / 8.00002) - 1) / (math.exp(-1 / 8.00002) + 1)]
    )


def test_mean_distance_of_causal_decay_away_from_the_border() -> None:
    """Σ d γ^d / Σ γ^d = γ / (1 − γ), all of it in the past."""
    kernel = causal_decay(Grid(600).offsets(), f64([0.5, 0.9]))
    found = locality(kernel, 600, border=False)
    assert found.mean_distance.tolist() == pytest.approx([1.0, 9.0])
    assert found.center.tolist() == [[pytest.approx(-1.0)], [pytest.approx(-9.0)]]
    assert bool((locality(kernel, 600).mean_distance < found.mean_distance).all()), "the first queries have no past"


def test_radii_of_a_gaussian_are_those_of_rayleigh() -> None:
    """On a plane the distance of a Gaussian's mass is Rayleigh's: radius of share p is σ √(−2 log(1 − p))."""
    found = locality(gaussian(Grid((80, 80)).offsets(), f64([9.0])), (80, 80), border=False)
    assert float(found.radius_half) == pytest.approx(9 * math.sqrt(2 * math.log(2)), rel=0.01)
    assert float(found.radius_95) == pytest.approx(9 * math.sqrt(2 * math.log(20)), rel=0.01)
    assert float(found.mean_distance) == pytest.approx(9 * math.sqrt(math.pi / 2), rel=0.01)


def test_law_12_effective_kernel_size_is_that_of_truncation() -> None:
    """Without the border; on the mask it is smaller, since the rows at the border see no more of the window."""
    kernel = gaussian(Grid((30, 30)).offsets(), f64([1.0, 2.5, 6.0]))
    whole, mask = locality(kernel, (30, 30), border=False), locality(kernel, (30, 30))
    assert whole.size_95.tolist() == effective_size(kernel, 0.05).tolist()
    assert bool((mask.size_95 <= whole.size_95).all())


def test_anisotropy() -> None:
    """Of a covariance diag(σ²·4, σ²) it is 3/4, of a round kernel 0 on an oblong grid too, off centre or not."""
    grid = Grid((41, 25))
    offset = grid.offsets().double()
    stretched = torch.exp(-(offset[..., 0] ** 2 / 4 + offset[..., 1] ** 2) / (2 * 2.0**2))[None]
    turned = torch.exp(-((offset.sum(-1)) ** 2 / 4 + (offset[..., 0] - offset[..., 1]) ** 2) / (4 * 2.0**2))[None]
    assert locality(torch.cat([stretched, turned]), grid).anisotropy.tolist() == pytest.approx([0.75, 0.75], abs=1e-3)
    narrow = Grid((5, 41))
    assert float(locality(manhattan_decay(narrow.offsets(), f64([0.99])), narrow).anisotropy) == pytest.approx(
        0, abs=1e-12
    )
    shifted = gpsa(Grid((31, 31)).offsets(), f64([0.2]), f64([[3.0, -2.0]])).exp()
    found = locality(shifted, (31, 31), border=False)
    assert float(found.anisotropy) == pytest.approx(0, abs=1e-6)
    assert found.center[0].tolist() == pytest.approx([3, -2], abs=1e-6)


def test_anisotropy_of_entries_undoes_the_border() -> None:
    """Read entry by entry, a mask gives what its kernel gives, although far offsets have fewer pairs."""
    mask = DecayMask(1).double()((5, 9))
    expected = locality(mask, (5, 9)).anisotropy
    mask[0, 0, 0] += 1e-13
    assert_close(locality(mask, (5, 9)).anisotropy + 1, expected + 1)


def test_rows_of_no_mass_are_left_out() -> None:
    mask = f64([[[0, 0, 0], [1, 1, 0], [0, 0, 2]]])
    assert float(locality(mask, 3).mean_distance) == pytest.approx((0.5 + 0) / 2)
    nothing = locality(torch.zeros(1, 3, 3), 3)
    assert math.isnan(float(nothing.mean_distance))
    assert math.isnan(float(nothing.radius_half))
    assert math.isnan(float(nothing.anisotropy))
    assert float(nothing.extroversion) == 0


def test_a_batch_of_attention_weights_is_averaged_and_prefix_tokens_left_out() -> None:
    grid = Grid((3, 4), prefix=1)
    weights = torch.stack([torch.randn(2, 13, 13, generator=torch.Generator().manual_seed(i)) for i in range(3)])
    weights = weights.softmax(dim=-1)
    found = locality(weights, grid)
    each = [locality(w[:, 1:, 1:], (3, 4)) for w in weights]
    assert_close(found.entropy, sum(e.entropy for e in each) / 3)
    assert_close(found.center, sum(e.center for e in each) / 3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_is_computed_in_float64(dtype: torch.dtype) -> None:
    kernel = gaussian_mixture(Grid((4, 5)).offsets(), f64([[2.0, 0.2]]), f64([[0.6, -0.8]]))
    found = locality(kernel.to(dtype), (4, 5))
    assert found.entropy.dtype == torch.float64
    assert_close(found.entropy, locality(kernel, (4, 5)).entropy, dtype)


def test_the_mask_of_a_kernel_is_never_formed() -> None:
    """Row sums of a kernel take memory of its size, on grids too large for any mask."""
    mask, grid = DecayMask(HEADS, gamma=0.5), (64, 64)
    with dense_limit(2**22):
        found, near = locality(mask, grid), mass_within(mask, grid, 1.0)
    assert float(found.center.abs().max()) < 1e-12
    assert float(found.mean_distance.max()) < 3 < float(found.size_95.max())
    assert bool((near < 1).all())
