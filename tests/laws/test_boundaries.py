"""Law 23: on a torus masks with a kernel are circulant, and a wrapped kernel is not one of the torus distance."""

import math

import pytest
import torch

from retconv import kernels
from retconv.analysis import spectrum
from retconv.convert import kernel_to_mask, mask_to_kernel, project, unroll, wrap
from retconv.grid import Grid
from retconv.masks import GaussianMixtureMask
from tests.compare import assert_close, assert_exact
from tests.laws import naive_boundaries as naive
from tests.laws.rings import on_rings, on_tori, ring_kernel, ring_mask
from tests.strategies import HEADS, normal


@on_rings
def test_law_23_offsets_count_modulo_n(grid: Grid) -> None:
    """``M[q, k] = K[(k − q) mod n]``, by a loop, bit for bit, and back."""
    kernel = ring_kernel(grid)
    mask = kernel_to_mask(kernel, grid)
    assert_exact(mask, [naive.mask(k, grid.shape, grid.periodic) for k in kernel.flatten(1).tolist()])
    assert_exact(mask_to_kernel(mask, grid), kernel)


@on_rings
def test_law_23_circulant_masks_are_toeplitz(grid: Grid) -> None:
    """BCCB ⊂ BTTB: a periodic mask has an open kernel, ``K[δ mod n]``, and unrolling is the adjoint of wrapping."""
    kernel, other = ring_kernel(grid), normal(5, HEADS, *grid.opened().kernel_shape)
    mask = kernel_to_mask(kernel, grid)
    assert_exact(mask_to_kernel(mask, grid.opened()), unroll(kernel, grid))
    assert_close((unroll(kernel, grid) * other).sum(), (kernel * wrap(other, grid)).sum())


@on_rings
def test_law_23_projection(grid: Grid) -> None:
    """The mean over pairs of equal offset modulo n is the orthogonal projector, and keeps at most BTTB's energy."""
    mask = ring_mask(grid)
    ring, line = project(mask, grid), project(mask, grid.opened())
    expected = [naive.project(rows, grid.shape, grid.periodic) for rows in mask.tolist()]
    assert_close(ring.kernel.flatten(1), [kernel for kernel, _ in expected])
    assert_close(ring.residual, [residual for _, residual in expected])
    assert bool((line.residual <= ring.residual + 1e-15).all())
    rest = mask - kernel_to_mask(ring.kernel, grid)
    assert abs(float((rest * kernel_to_mask(ring_kernel(grid, 9), grid)).sum())) <= 1e-12 * float(mask.norm()) * 99
    assert_close(project(kernel_to_mask(line.kernel, grid.opened()), grid).kernel, ring.kernel)


@on_tori
def test_law_23_spectrum_is_the_transform_of_the_kernel(grid: Grid) -> None:
    """``a(2πj/n) = Σ_δ K[δ] exp(i δ·θ)`` are all eigenvalues, and plane waves the eigenvectors."""
    kernel = ring_kernel(grid)
    symbol = spectrum.torus_symbol(kernel, grid).flatten(1)
    waves = torch.tensor([naive.waves(k, grid.shape) for k in kernel.flatten(1).tolist()], dtype=torch.complex128)
    assert_close(torch.view_as_real(symbol), torch.view_as_real(waves), torch.float64)
    theta = spectrum.frequencies(grid.shape).reshape(-1, grid.ndim)
    wave = torch.exp(1j * (grid.coordinates().double() @ theta.T))  # a column for each frequency
    image = kernel_to_mask(kernel, grid).to(wave.dtype) @ wave
    assert_close(torch.view_as_real(image), torch.view_as_real(symbol[:, None] * wave), torch.float64)
    assert_close(spectrum.eigenvalues(kernel, grid).abs(), symbol.abs().sort(dim=1, descending=True).values)


@pytest.mark.parametrize("grid", [Grid(n, periodic=True) for n in (1, 2, 7, 12)] + [Grid((4, 6), periodic=True)])
def test_law_23_wrapped_kernels_sample_the_symbol(grid: Grid) -> None:
    """``Σ_j K[δ + jn]`` has the spectrum a(2πj/n), a the symbol of the unbounded kernel: positive with it (law 11)."""
    gamma, sigma = torch.tensor([0.4, 0.97]).double(), torch.tensor([[0.7], [40.0]]).double()
    theta = spectrum.frequencies(grid.shape)
    decay = spectrum.torus_symbol(kernels.wrapped_decay(grid, gamma), grid)
    assert_close(decay.real, spectrum.manhattan_decay_symbol(theta, gamma))
    bell = spectrum.torus_symbol(kernels.wrapped_gaussian(grid, sigma), grid).real
    assert_close(bell, spectrum.gaussian_symbol(theta, sigma[:, 0]))
    for kernel in (kernels.wrapped_decay(grid, gamma), kernels.wrapped_gaussian(grid, sigma)):
        lowest = torch.linalg.eigvalsh(kernel_to_mask(kernel, grid))[:, 0]
        assert bool((lowest >= -1e-12 * kernel.abs().flatten(1).sum(dim=1)).all())


def test_law_23_wrapping_a_finite_kernel_adds_its_symbol_up() -> None:
    """Of any open table, of more offsets than the ring has places: DFT of the wrapped sum = samples of its symbol."""
    kernel, grid = normal(0, HEADS, 13, 9), Grid((4, 5), periodic=True)
    assert_close(
        torch.view_as_real(spectrum.torus_symbol(wrap(kernel, grid), grid)),
        torch.view_as_real(spectrum.sampled_symbol(kernel, grid.shape)),
        torch.float64,
    )


def test_law_23_torus_distance_may_lose_positivity() -> None:
    """A wide Gaussian of the torus distance is indefinite: on four places, σ² + ε = 4, 1 − 2e^(−1/8) + e^(−1/2) < 0."""
    grid, sigma = Grid(4, periodic=True), math.sqrt(4 - kernels.GAUSSIAN_EPSILON)
    mask = GaussianMixtureMask.from_parameters(torch.tensor([[sigma]], dtype=torch.float64), torch.ones(1, 1).double())
    lowest = spectrum.eigenvalues(mask, grid).min()
    assert_close(lowest, torch.tensor(1 - 2 * math.exp(-1 / 8) + math.exp(-1 / 2), dtype=torch.float64))
    assert spectrum.definiteness(mask, grid)[0].verdict == "indefinite"
    assert spectrum.definiteness(mask, grid.opened())[0].verdict == "positive definite"
    wrapped = kernels.wrapped_gaussian(grid, torch.tensor([[sigma]], dtype=torch.float64))
    assert float(spectrum.eigenvalues(wrapped, grid).min()) > 0


@pytest.mark.parametrize("n", [5, 6, 16])
def test_law_23_distance_on_a_ring_keeps_decay_positive(n: int) -> None:
    """γ^distance on a ring stays positive definite: not every function of the torus distance loses law 11."""
    grid = Grid(n, periodic=True)
    kernel = kernels.two_sided_decay(grid.offsets(), torch.tensor([0.3, 0.99]).double())
    assert float(spectrum.torus_symbol(kernel, grid).real.min()) > 0


def test_law_23_the_two_meanings_differ() -> None:
    """The function of the distance is the nearest image alone: what the wrapped sum adds are all others."""
    grid, gamma = Grid((4, 7), periodic=(True, False)), torch.tensor([0.8], dtype=torch.float64)
    near = kernels.manhattan_decay(grid.offsets(), gamma)
    every = kernels.wrapped_decay(grid, gamma)
    assert bool((every > near).all())
    expected = naive.images(lambda d: 0.8 ** sum(map(abs, d)), grid.shape, grid.periodic, 60)
    assert_close(every.flatten(), expected)
