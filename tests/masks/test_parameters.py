"""What is particular to each mask: its published start, its variants, and the range of its parameters."""

import math

import pytest
import torch

from retconv.approximate import fit_gaussian_mixture
from retconv.convert import NotAConvolutionError, extend, kernel_to_mask, project
from retconv.grid import Grid
from retconv.masks import BiasTableMask, DecayMask, ElementwiseMask, GaussianMixtureMask, KernelTableMask, RetNetMask
from tests import naive
from tests.compare import assert_close, assert_each_close, assert_exact
from tests.strategies import HEADS, kernel_of, mask_of, normal, uniform

# --- decay ----------------------------------------------------------------------------------------------------------


def test_retnet_starts_at_its_published_gammas() -> None:
    """γ_h = 1 − 2^(−5−h), to float32 accuracy of 1 − γ."""
    assert_each_close(1 - RetNetMask(8).gamma, [2.0 ** (-5 - h) for h in range(8)], relative=3e-6)


def test_decay_starts_at_rmt_gammas() -> None:
    """γ_h = 1 − 2^(−2 − 4h/H)."""
    assert_each_close(1 - DecayMask(6).gamma, [2 ** (-2 - 4 * h / 6) for h in range(6)], relative=3e-6)


@pytest.mark.parametrize("schedule", ["retnet", "retnet_linspace", "rmt"])
@pytest.mark.parametrize("mask", [RetNetMask, DecayMask])
def test_schedules_by_name(mask: type[RetNetMask | DecayMask], schedule: str) -> None:
    gamma = mask(3, gamma=schedule).gamma
    assert len(set(gamma.tolist())) == 3
    assert bool((gamma > 0.7).all() & (gamma < 1).all())


def test_one_number_serves_all_heads() -> None:
    assert_each_close(DecayMask(3, gamma=0.25).gamma, [0.25] * 3, relative=1e-6)


@pytest.mark.parametrize("gamma", [1e-3, 0.5, 1 - 1e-6, 1 - 1e-9])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_gamma_near_one_survives_float32(gamma: float, as_tensor: bool) -> None:
    """1 − 1e-9 is 1 in float32, but log(−log γ) is not: 1 − γ keeps six digits."""
    value = torch.tensor([gamma, gamma], dtype=torch.float64) if as_tensor else gamma
    mask = DecayMask(2, gamma=value)
    assert mask.log_rate.dtype == torch.float32
    assert_each_close(1 - mask.gamma, [1 - gamma] * 2, relative=1e-5)


def test_gamma_near_one_is_legible() -> None:
    assert "gamma=1-1e-09" in repr(RetNetMask(2, gamma=1 - 1e-9))


@pytest.mark.parametrize("log_rate", [-1e30, -1e4, -50.0, 0.0, 50.0, 1e4, 1e30])
def test_gamma_stays_in_its_range_whatever_is_learnt(log_rate: float) -> None:
    """0 < γ < 1 for every real log_rate, with finite kernel and gradient."""
    mask = DecayMask(HEADS, learnable=True)
    with torch.no_grad():
        mask.log_rate.fill_(log_rate)
    kernel = mask.kernel((4, 4))
    kernel.sum().backward()
    assert bool(((mask.gamma > 0) & (mask.gamma < 1)).all())
    assert bool(torch.isfinite(kernel).all())
    assert mask.log_rate.grad is not None
    assert bool(torch.isfinite(mask.log_rate.grad).all())


@pytest.mark.parametrize("make", [RetNetMask, DecayMask])
def test_state_moves_between_fixed_and_learnable(make: type[RetNetMask | DecayMask]) -> None:
    """Both hold the same state: a parameter in one, a buffer in the other."""
    source, target = make(3, gamma=0.7, learnable=True), make(3, gamma=0.2)
    target.load_state_dict(source.state_dict())
    assert_exact(target(5), source(5))
    assert [n for n, _ in source.named_parameters()] == [n for n, _ in target.named_buffers()] == ["log_rate"]


def test_the_three_metrics_agree_on_a_line() -> None:
    """|δ| is every one of these distances."""
    gamma = uniform(0, 0.1, 0.9, HEADS)
    manhattan, euclidean, two_sided = (DecayMask(HEADS, m, gamma)(7) for m in ("manhattan", "euclidean", "two_sided"))
    assert_exact(manhattan, two_sided)
    assert_exact(manhattan, euclidean)


def test_two_sided_decay_is_causal_decay_and_its_transpose() -> None:
    """γ^|δ| = D + Dᵀ − I."""
    causal = RetNetMask(HEADS, gamma=0.8)(6)
    assert_exact(DecayMask(HEADS, "two_sided", 0.8)(6), causal + causal.mT - torch.eye(6))


def test_normalised_retnet_is_torchscale() -> None:
    """``mask / mask.sum(dim=-1, keepdim=True).sqrt()``, as torchscale's RetNetRelPos has it."""
    gamma = (0.6, 0.97)
    mask = RetNetMask(2, torch.tensor(gamma), normalize=True).double()
    expected = [naive.mask(lambda q, k, g=float(g): naive.normalized_retnet(q, k, g), (9,)) for g in mask.gamma]
    assert_close(mask(9), expected)


def test_normalised_retnet_refuses_a_kernel_and_offers_the_projection() -> None:
    """Law 17: the sum of a row depends on the query, not on the offset alone."""
    mask = RetNetMask(2, normalize=True)
    with pytest.raises(NotAConvolutionError, match=r"law 17.*normalize=False.*retconv\.project"):
        mask.kernel(6)
    assert float(project(mask(6), 6).residual.min()) > 0.1


def test_which_decays_separate() -> None:
    """Manhattan decay on every grid; Euclidean decay on a line only, where it is the same."""
    assert DecayMask(2).separable((3, 4)) is not None
    assert DecayMask(2, "euclidean").separable((3, 4)) is None
    assert DecayMask(2, "euclidean").separable(5) is not None


def test_a_decay_mask_names_its_decay_for_the_recursion() -> None:
    causal, manhattan = RetNetMask(2).decay(5), DecayMask(2).decay((3, 4))
    assert causal is not None
    assert manhattan is not None
    assert (causal.causal, manhattan.causal) == (True, False)
    assert_exact(causal.gamma, RetNetMask(2).gamma)
    assert DecayMask(2, "euclidean").decay((3, 4)) is None
    assert RetNetMask(2, normalize=True).decay(5) is None


# --- Gaussian mixture -----------------------------------------------------------------------------------------------


def test_reference_start_of_the_mixture() -> None:
    """σ = 10 + 10·N(0, 1), α = 2·N(0, 1), five Gaussians per head: mean and spread of 40 000 draws."""
    mask = GaussianMixtureMask(8000, generator=torch.Generator().manual_seed(0))
    sigma, alpha = mask.sigma.detach(), mask.alpha.detach()
    assert sigma.shape == alpha.shape == (8000, 5)
    # Five standard errors of each estimate.
    assert abs(float(sigma.mean()) - 10) < 5 * 10 / 200
    assert abs(float(sigma.std()) - 10) < 5 * 10 / 200 / math.sqrt(2)
    assert abs(float(alpha.mean())) < 5 * 2 / 200
    assert abs(float(alpha.std()) - 2) < 5 * 2 / 200 / math.sqrt(2)


def test_local_start_of_the_mixture() -> None:
    """σ_c = 2^c with 10 % spread, and weights that sum to 1: the self-weight is 1, far tokens weigh little."""
    mask = GaussianMixtureMask(50, components=4, start="local", generator=torch.Generator().manual_seed(0))
    ratio = (mask.sigma.detach() / torch.tensor([1.0, 2.0, 4.0, 8.0])).log()
    assert 0.05 < float(ratio.std()) < 0.2
    assert_close(mask(Grid((5, 5))).diagonal(dim1=1, dim2=2), torch.ones(50, 25))


@pytest.mark.parametrize("start", ["reference", "local"])
def test_start_is_drawn_from_the_generator(start: str) -> None:
    """The same seed gives the same mask, and drawing anew gives another."""
    first, second = (
        GaussianMixtureMask(2, start=start, generator=torch.Generator().manual_seed(5))  # type: ignore[arg-type]
        for _ in range(2)
    )
    assert_exact(first.sigma, second.sigma)
    second.reset_parameters()
    assert not torch.equal(first.sigma, second.sigma)


def test_a_gaussian_of_width_zero_is_the_identity() -> None:
    """σ = 0: M = Σα · I, finite, with finite gradients; the variance is never below 1e-5."""
    mask = GaussianMixtureMask.from_parameters(torch.zeros(2, 2), torch.tensor([[1.0, 2.0], [0.5, -1.0]]))
    mask(4).sum().backward()
    assert_exact(mask(4), torch.tensor([3.0, -0.5])[:, None, None] * torch.eye(4))
    assert mask.sigma.grad is not None
    assert bool(torch.isfinite(mask.sigma.grad).all())


def test_the_sign_of_sigma_is_irrelevant() -> None:
    sigma, alpha = uniform(0, 0.5, 3.0, 2, 3), normal(1, 2, 3)
    assert_exact(
        GaussianMixtureMask.from_parameters(sigma, alpha)((3, 4)),
        GaussianMixtureMask.from_parameters(-sigma, alpha)((3, 4)),
    )


def test_given_parameters_leave_the_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    GaussianMixtureMask.from_parameters(torch.ones(2, 3), torch.ones(2, 3))
    KernelTableMask.from_kernel(torch.ones(2, 5))
    BiasTableMask.from_table(torch.ones(9, 2), (2, 2))
    fit_gaussian_mixture(torch.ones(1, 5), 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_from_parameters_copies() -> None:
    sigma = torch.ones(2, 3)
    mask = GaussianMixtureMask.from_parameters(sigma, torch.ones(2, 3))
    sigma.zero_()
    assert (mask.heads, mask.components) == (2, 3)
    assert bool((mask.sigma == 1).all())


# --- free masks -----------------------------------------------------------------------------------------------------


def test_elm_is_shared_by_heads_and_zero_as_in_the_reference() -> None:
    mask = ElementwiseMask((2, 3), heads=4)
    assert mask.weight.shape == (1, 6, 6)
    assert_exact(mask((2, 3)), torch.zeros(4, 6, 6))


def test_elm_per_head_and_neutral_start() -> None:
    mask = ElementwiseMask((2, 3), heads=4, per_head=True, start="ones")
    assert mask.weight.shape == (4, 6, 6)
    assert_exact(mask((2, 3)), torch.ones(4, 6, 6))


def test_elm_cannot_move_to_another_grid_of_as_many_tokens() -> None:
    """Its entries belong to pairs of tokens: 2×3 is not 3×2."""
    with pytest.raises(ValueError, match=r"Grid\(\(2, 3\)\) and cannot move to Grid\(\(3, 2\)\).*KernelTableMask"):
        ElementwiseMask((2, 3), heads=1)((3, 2))


def test_elm_that_happens_to_be_a_convolution_has_a_kernel() -> None:
    mask, kernel = ElementwiseMask((2, 3), heads=HEADS, per_head=True), kernel_of((2, 3), 0, torch.float32)
    mask.load_state_dict({"weight": kernel_to_mask(kernel, (2, 3))})
    assert_exact(mask.kernel((2, 3)), kernel)


def test_elm_states_its_residual() -> None:
    mask, matrix = ElementwiseMask((2, 3), heads=HEADS, per_head=True), mask_of((2, 3), 0, torch.float32)
    mask.load_state_dict({"weight": matrix})
    with pytest.raises(NotAConvolutionError) as refusal:
        mask.kernel((2, 3))
    assert refusal.value.residual is not None
    assert_exact(refusal.value.residual, project(matrix, (2, 3)).residual)


@pytest.mark.parametrize(("start", "value"), [("ones", 1.0), ("zeros", 0.0)])
def test_table_starts_constant(start: str, value: float) -> None:
    mask = KernelTableMask((2, 3), heads=2, start=start)  # type: ignore[arg-type]
    assert_exact(mask.kernel((2, 3)), torch.full((2, 3, 5), value))


def test_table_is_cropped_on_a_smaller_grid_and_zero_beyond_its_own() -> None:
    kernel = kernel_of((3, 4), 0)
    mask = KernelTableMask.from_kernel(kernel)
    assert_exact(mask.kernel((2, 2)), kernel[:, 1:-1, 2:-2])
    assert_exact(mask.kernel((5, 6)), extend(kernel, (5, 6)))


def test_table_covers_offsets_of_grid_tokens_only() -> None:
    """A prefix adds nothing to learn."""
    assert KernelTableMask(Grid((2, 3), prefix=1), heads=2).weight.shape == (2, 3, 5)


def test_from_kernel_copies() -> None:
    kernel = kernel_of((2, 2), 0)
    mask = KernelTableMask.from_kernel(kernel)
    before = mask.kernel((2, 2)).detach().clone()
    kernel.zero_()
    assert_exact(mask.kernel((2, 2)), before)
