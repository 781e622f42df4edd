"""A mask is the same in whatever form it is given, and in every form that it has."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from retconv import convert
from retconv.attention import PLACEMENTS, attend
from retconv.grid import Grid
from retconv.kernels import Decay, Exponentials, Separable, causal_decay, manhattan_decay
from retconv.masks import (
    DecayMask,
    ElementwiseMask,
    Forms,
    GaussianMixtureMask,
    KernelTableMask,
    Mask,
    MaskLike,
    OffDiagonalMask,
    RetNetMask,
)
from retconv.models.raster import RasterMask
from retconv.operators import operator
from retconv.retention import retention
from tests.compare import assert_close, assert_exact
from tests.strategies import HEADS, every_grid, kernel_of, mask_of, normal, uniform

F64 = torch.float64


def given(shape: tuple[int, ...], seed: int) -> dict[str, tuple[MaskLike, Tensor]]:
    """Masks in every form that they can be given in, each with its kernel."""
    grid, gamma = Grid(shape), uniform(seed, 0.3, 0.99, HEADS)
    kernel, offsets = kernel_of(shape, seed), Grid(shape).offsets()
    factors = Separable(tuple(normal(seed + d, HEADS, 3, 2 * n - 1) for d, n in enumerate(shape)))
    decays, table = DecayMask(HEADS, gamma=gamma).double(), KernelTableMask.from_kernel(kernel)
    found: dict[str, tuple[MaskLike, Tensor]] = {
        "kernel": (kernel, kernel),
        "forms": (Forms.of(kernel, grid), kernel),
        "factors": (factors, factors.kernel()),
        "decay": (Decay(gamma), manhattan_decay(offsets, gamma)),
        "module": (decays, decays.kernel(grid)),
        "table": (table, kernel),
    }
    if len(shape) == 1:
        line = Exponentials(normal(seed, HEADS, 2), uniform(seed, 0.2, 0.9, HEADS, 2))
        found["exponentials"] = (line, line.kernel(grid.size))
        found["causal"] = (Decay(gamma, causal=True), causal_decay(offsets, gamma))
    return found


@every_grid
def test_a_mask_is_the_same_in_every_form(shape: tuple[int, ...], seed: int) -> None:
    """Kernel, entries with neutral prefix tokens, factors, exponentials, heads, transposed."""
    for mask, kernel in given(shape, seed).values():
        grid = Grid(shape)
        forms = Forms.of(mask, grid)
        assert forms.heads == HEADS
        assert_close(forms.kernel, kernel)
        assert_close(forms.entries, convert.kernel_to_mask(kernel, grid))
        if forms.factors is not None:
            assert_close(forms.factors.kernel(), kernel)
        if forms.exponentials is not None:
            assert_close(forms.exponentials.kernel(grid.size), kernel)
        assert_close(forms.part(slice(1, 2)).kernel, kernel[1:2])
        flipped = forms.transposed()
        assert_close(flipped.entries, forms.entries.mT)
        assert flipped.factors is None or bool((flipped.factors.kernel() - flipped.kernel).abs().max() < 1e-12)


@every_grid
def test_prefix_tokens_are_neutral_and_can_be_left_out(shape: tuple[int, ...], seed: int) -> None:
    grid = Grid(shape, prefix=2)
    free = convert.kernel_to_mask(kernel_of(shape, seed), grid) * 1.0
    for mask in (kernel_of(shape, seed), Decay(uniform(seed, 0.3, 0.99, HEADS)), free):
        forms = Forms.of(mask, grid)
        assert bool((forms.entries[:, :2] == 1).all() and (forms.entries[:, :, :2] == 1).all())
        assert bool((forms.log.entries[:, :2] == 0).all()) if bool((forms.values > 0).all()) else True
        assert_exact(forms.without_prefix().entries, forms.entries[:, 2:, 2:])


@every_grid
def test_operators_attention_and_retention_take_every_form(shape: tuple[int, ...], seed: int) -> None:
    """With the result that they have for the kernel."""
    grid = Grid(shape)
    q, k, v = (normal(seed + i, 2, HEADS, grid.size, 3) for i in range(3))
    for mask, kernel in given(shape, seed).values():
        assert_close(operator(mask, grid) @ v, operator(kernel, grid, "dense") @ v)
        assert_close(retention(q, k, v, mask, grid), retention(q, k, v, kernel, grid, method="parallel"))
        for placement, rules in PLACEMENTS.items():
            if not rules.adds or bool((kernel >= 0).all()):
                run = partial(attend, q, k, v, placement=placement)
                assert_close(run(mask, grid), run(kernel, grid))


@every_grid
def test_entries_with_a_kernel_are_a_convolution(shape: tuple[int, ...], seed: int) -> None:
    """An element-wise mask or a tensor of entries is taken by its kernel where it has one bit for bit, else refused."""
    grid, kernel = Grid(shape), kernel_of(shape, seed)
    entries = convert.kernel_to_mask(kernel, grid)
    mask = ElementwiseMask(grid, HEADS, per_head=True).double().requires_grad_(False)
    mask.weight.data = entries
    for one in (mask, *([entries] if grid.size > 1 else [])):
        assert_exact(Forms.of(one, grid).convolution().kernel, kernel)
    if math.prod(shape) > 1:
        with pytest.raises(convert.NotAConvolutionError, match="relative residual"):
            Forms.of(mask_of(shape, seed), grid).convolution()
    with pytest.raises(convert.NotAConvolutionError, match="law 17"):
        Forms.of(RetNetMask(2, normalize=True), 5).convolution()


LOGARITHMS: dict[str, tuple[Mask, tuple[int, ...]]] = {
    "decay": (DecayMask(2, gamma=torch.tensor([0.05, 0.9])), (24, 24)),
    "Euclidean decay": (DecayMask(2, "euclidean", gamma=torch.tensor([0.05, 0.9])), (28, 28)),
    "causal decay": (RetNetMask(2, gamma=torch.tensor([0.5, 0.9])), (200,)),
    "raster": (RasterMask(RetNetMask(2, gamma=torch.tensor([0.5, 0.9]))), (12, 15)),
    "mixture": (GaussianMixtureMask.from_parameters(torch.tensor([[0.5, 1.0]]), torch.tensor([[2.0, 0.1]])), (24, 24)),
    "signed": (GaussianMixtureMask.from_parameters(torch.tensor([[2.0, 0.7]]), torch.tensor([[2.0, -0.1]])), (30, 30)),
}


@pytest.mark.parametrize("name", LOGARITHMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_logarithms_do_not_underflow(name: str, dtype: torch.dtype) -> None:
    """Of a mask that has underflowed far away there is no logarithm to take: it is that of the exact weights."""
    mask, shape = LOGARITHMS[name]
    grid = Grid(shape)
    log = mask.forms(grid).log.entries
    here = mask.to(dtype)
    assert (here(grid) == 0).sum() > (torch.isinf(log)).sum() or name in ("causal decay", "raster")
    rounded = here.forms(grid).log.entries
    assert rounded.dtype == dtype
    finite = torch.isfinite(log)
    assert_exact(torch.isfinite(rounded), finite)
    assert (
        float((rounded - log)[finite].abs().max().detach() / log[finite].abs().max().detach())
        <= 4 * torch.finfo(dtype).eps
    )
    exact = mask.double()(grid).log()
    known = exact > -600
    assert_close(mask.double().forms(grid).log.entries[known], exact[known])
    mask.float()


@pytest.mark.parametrize("sigma", [1.0, 0.01, 100.0])
def test_a_gaussian_of_weight_0_leaves_the_logarithm_of_the_others(sigma: float) -> None:
    """However wide it is, and although nothing in its own unit is left of them far away."""
    one = GaussianMixtureMask.from_parameters(torch.tensor([[sigma], [2.0]]), torch.tensor([[0.7], [0.0]]))
    wide = GaussianMixtureMask.from_parameters(
        torch.tensor([[1e4, sigma], [2.0, 3.0]]), torch.tensor([[0.0, 0.7], [0.0, 0.0]])
    )
    log = wide.forms(70).log.entries
    assert_close(log[:1], one.forms(70).log.entries[:1])
    assert bool((log[1] == -torch.inf).all())
    near = log[0].isfinite() & (log[0] > -30)
    for gradient in torch.autograd.grad(log[0][near].sum(), list(wide.parameters())):
        assert bool(gradient.isfinite().all())


def test_far_keys_alone_are_weighed_by_their_distance() -> None:
    """With the near keys hidden, the softmax of S + |δ| log γ is left, in float32 too."""
    grid = Grid((40, 40))
    q, k, v = (normal(i, 1, 2, grid.size, 4) for i in range(3))
    gamma = torch.tensor([0.5, 0.3], dtype=F64)
    distance = (grid.coordinates()[:, None] - grid.coordinates()[None]).abs().sum(-1).double()
    bias = torch.zeros(grid.size, grid.size, dtype=F64).masked_fill(distance < 45, -torch.inf)
    mask = DecayMask(2, gamma=gamma)
    scores = q @ k.mT / 2 + distance * gamma.log()[:, None, None] + bias
    expected = scores.softmax(-1).nan_to_num(0.0) @ v
    for backend in ("reference", "recompute", "sdpa"):
        out = attend(
            *(x.float() for x in (q, k, v)), mask, grid, bias=bias.float(), backend=backend, placement="bias_logits"
        )
        assert_close(out, expected)


def test_a_negative_weight_has_no_logarithm_and_zero_hides() -> None:
    signed = GaussianMixtureMask.from_parameters(torch.tensor([[2.0, 0.2]]), torch.tensor([[0.6, -0.8]]))
    with pytest.raises(ValueError, match=r"must not be negative: .* \(law 10\).*got -0.2"):
        _ = signed.forms((5, 5)).log
    log = OffDiagonalMask(2).forms(3).log.entries
    assert_exact(log, torch.where(torch.eye(3).bool(), -torch.inf, 0.0).expand(2, 3, 3))


@pytest.mark.parametrize("components", [1, 3])
def test_gradients_of_logarithms_are_those_of_the_logarithm(components: int) -> None:
    sigma, alpha = uniform(0, 0.5, 2.0, HEADS, components), uniform(1, 0.2, 1.0, HEADS, components)
    mask = GaussianMixtureMask.from_parameters(sigma, alpha)
    upstream = normal(2, HEADS, 12, 12)
    ours = torch.autograd.grad((mask.forms((3, 4)).log.entries * upstream).sum(), list(mask.parameters()))
    theirs = torch.autograd.grad((mask((3, 4)).log() * upstream).sum(), list(mask.parameters()))
    for one, other in zip(ours, theirs, strict=True):
        assert_close(one, other)


@every_grid
def test_the_mask_of_a_bias_has_it_as_its_logarithm(shape: tuple[int, ...], seed: int) -> None:
    """As a kernel or as entries: what multiplies is exp(bias), what is added the bias, bit for bit, −∞ included."""
    grid, bias = Grid(shape), normal(seed, HEADS, *Grid(shape).kernel_shape)
    bias.view(HEADS, -1)[:, 0] = -torch.inf
    forms = Forms.of_log(bias, grid)
    assert_exact(forms.kernel, bias.exp())
    assert_exact(forms.log.kernel, bias)
    entries = convert.kernel_to_mask(bias, grid, neutral=0.0)
    assert_exact(forms.entries, entries.exp())
    assert_exact(Forms.of_log(entries, grid).log.entries, entries)


def test_the_transpose_of_a_bias_keeps_its_logarithm() -> None:
    """What underflows as a weight is still a bias, and is that of the flipped offset (law 5)."""
    bias = -200.0 * torch.arange(10.0).reshape(2, 5)
    for grid in (Grid(3), Grid(5, periodic=True)):
        transposed = Forms.of_log(bias, grid).transposed()
        assert_exact(transposed.log.entries, Forms.of_log(bias, grid).log.entries.mT)


def test_the_first_reading_of_a_class_compiles_its_caller_once() -> None:
    class New(GaussianMixtureMask):
        """Read by nobody yet."""

    mask, counter = New(heads=1), CompileCounter()
    compiled = torch.compile(lambda x: x * Forms.of(mask, (2, 2)).entries, backend=counter)
    for _ in range(3):
        compiled(torch.ones(4, 4))
    assert counter.frame_count == 1


def test_what_was_made_without_gradients_does_not_take_them_from_what_comes_later() -> None:
    """Nor is it made again while they stay off."""
    mask, x = GaussianMixtureMask(HEADS), normal(0, HEADS, 15, 2, dtype=torch.float32)
    forms = mask.forms((3, 5))
    with torch.no_grad():
        assert forms.kernel is forms.kernel
        assert not forms.kernel.requires_grad
    op = operator(forms, (3, 5))
    with torch.no_grad():
        op.to_dense()
        op.T @ x
    for product in (op @ x, op.T @ x, op.to_dense()):
        gradients = torch.autograd.grad(product.square().sum(), list(mask.parameters()), retain_graph=True)
        assert all(bool(g.any()) for g in gradients)


@pytest.mark.parametrize("work", [lambda m, x: operator(m, 4) @ x[0], lambda m, x: retention(x, x, x, m, 4)])
def test_entries_that_are_learnt_are_no_kernel(work: Callable[[MaskLike, Tensor], Tensor]) -> None:
    """Read off one pair for each offset it would take their whole gradient there; what is fixed may be read."""
    mask = ElementwiseMask(4, HEADS, per_head=True, start="ones").double()
    x = normal(0, 1, HEADS, 4, 2)
    for learnt in (mask, mask(4)):
        with pytest.raises(ValueError, match=r"compute mask\(grid\) @ x where entries are learnt"):
            work(learnt, x)
    fixed = mask(4).detach()
    expected = work(torch.ones(HEADS, 7, dtype=F64), x)
    assert_close(work(fixed, x), expected)
    with torch.no_grad():
        assert_close(work(mask, x), expected)


def test_a_tracer_keeps_them_apart_too() -> None:
    def loss(alpha: Tensor, x: Tensor) -> Tensor:
        forms = Forms.of(alpha.expand(HEADS, 9), 5)
        with torch.no_grad():
            forms.log.values.sum()
            forms.entries.sum()
        return (forms.entries @ x).sum()

    alpha, x = torch.tensor(0.7, dtype=F64, requires_grad=True), normal(0, HEADS, 5, 2)
    (expected,) = torch.autograd.grad((alpha.expand(HEADS, 5, 5) @ x).sum(), alpha)
    found = torch.compile(loss, backend="aot_eager")(alpha, x)
    assert_close(torch.autograd.grad(found, alpha)[0], expected)
