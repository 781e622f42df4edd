"""Law 23 wherever a grid is taken: on a periodic one every public operation is right, or refuses by name.

What takes a grid is found by its signature, so that a new operation has to say which of the two it is.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

import retconv
from retconv import analysis, attention, checks, convert, kernels, masks, models
from retconv.analysis import effective, locality, spectrum
from retconv.attention import BACKENDS, attend
from retconv.cross import Cross
from retconv.grid import Grid
from retconv.masks import (
    BiasMask,
    DecayMask,
    ElementwiseMask,
    Forms,
    GaussianMixtureMask,
    KernelTableMask,
    MaskLike,
    OffDiagonalMask,
    WindowMask,
)
from retconv.retention import retention
from tests.compare import assert_close, assert_exact
from tests.laws import naive_boundaries as naive
from tests.laws.rings import on_rings, ring_kernel, ring_mask
from tests.public.errors_rings import MIXED, REFUSED, RING
from tests.strategies import HEADS, normal

MODULES = (retconv, convert, kernels, masks, checks, attention, analysis, spectrum, locality, effective, models)
MODULES += (importlib.import_module("retconv.operators"), importlib.import_module("retconv.retention"))


def taking_a_grid() -> Iterator[str]:
    """Names of public functions, classes and methods with a grid among their parameters."""
    for module in MODULES:
        for name in getattr(module, "__all__", None) or [n for n in dir(module) if not n.startswith("_")]:
            one = getattr(module, name)
            home = getattr(getattr(one, "func", one), "__module__", "")
            if not callable(one) or home.split(".")[0] != "retconv":
                continue
            parts = {name: one.__init__ if inspect.isclass(one) else one}
            if inspect.isclass(one):
                own = {n: f for n, f in vars(one).items() if inspect.isfunction(f) and not n.startswith("_")}
                parts |= {f"{name}.{n}": f for n, f in own.items()}
            for full, function in parts.items():
                if {"grid", "window"} & set(inspect.signature(function).parameters):
                    yield full


def dense(mask: torch.nn.Module, grid: Grid) -> Tensor:
    """The mask of a function of the torus distance, by a loop over tokens."""
    table = mask.kernel(Grid(tuple(2 * n for n in grid.shape)))  # type: ignore[operator]
    offsets = naive.offsets([2 * n for n in grid.shape], [False] * grid.ndim)
    at = dict(zip(offsets, table.flatten(1).T.tolist(), strict=True))
    rows = [
        [at[naive.nearest(q, k, grid.shape, grid.periodic)] for k in naive.tokens(grid.shape)]
        for q in naive.tokens(grid.shape)
    ]
    return torch.tensor(rows, dtype=torch.float64).permute(2, 0, 1)


def modules() -> dict[str, torch.nn.Module]:
    """Masks of two heads in float64."""
    sigma, alpha = torch.tensor([[0.7], [2.0]]).double(), torch.tensor([[1.0], [0.5]]).double()
    made: dict[str, torch.nn.Module] = {
        "manhattan": DecayMask(HEADS),
        "euclidean": DecayMask(HEADS, metric="euclidean"),
        "one Gaussian": GaussianMixtureMask.from_parameters(sigma, alpha),
        "two Gaussians": GaussianMixtureMask.from_parameters(sigma.repeat(1, 2), alpha.repeat(1, 2)),
        "off diagonal": OffDiagonalMask(HEADS),
        "kerple, logarithmic": BiasMask(HEADS, "kerple_log", scale=1.5, rate=torch.tensor([0.5, 2.0])),
        "kerple, power": BiasMask(HEADS, "kerple_power", scale=0.5, exponent=torch.tensor([0.5, 1.5])),
        "window": WindowMask(HEADS, radius=1),
    }
    return {name: mask.double() for name, mask in made.items()}


@pytest.mark.parametrize("name", modules())
@on_rings
def test_mask_modules_are_functions_of_the_torus_distance(grid: Grid, name: str) -> None:
    """Entries, kernel and logarithm; no recursion, factor or channel is claimed."""
    mask = modules()[name]
    expected, forms = dense(mask, grid), mask.forms(grid)  # type: ignore[operator]
    assert_close(mask(grid), expected)
    assert_close(forms.entries, expected)
    assert forms.decay is forms.factors is forms.exponentials is forms.gaussian is None
    assert_close(forms.log.entries.exp(), expected)
    assert_exact(forms.opened().entries, forms.entries)
    assert_exact(forms.opened().log.entries, forms.log.entries)
    assert_exact(forms.transposed().entries, forms.entries.mT)
    assert_exact(forms.part(slice(1, 2)).entries, forms.entries[1:])
    assert_close(
        retconv.operator(mask, grid) @ normal(1, HEADS, grid.size, 3), expected @ normal(1, HEADS, grid.size, 3)
    )


@pytest.mark.parametrize("grid", [Grid(5, periodic=True), Grid((4, 3), 2, (True, False))], ids=str)
@pytest.mark.parametrize("placement", BACKENDS)
def test_every_backend_of_attention(placement: str, grid: Grid) -> None:
    """Each runs the dense mask's plain formula, or says why it does not apply."""
    q, k, v = (normal(i, 2, HEADS, grid.length, 4) for i in range(3))
    plain_grid, prefix = grid.without_prefix(), grid.prefix
    free = torch.nn.functional.pad(ring_mask(plain_grid).abs(), (prefix, 0, prefix, 0), value=1.0)
    masks_: dict[str, MaskLike] = modules() | {"table": ring_kernel(plain_grid).abs(), "free": free}  # type: ignore[assignment]
    for name in ("manhattan", "one Gaussian", "table", "free"):
        entries = Forms.of(masks_[name], grid).entries
        plain = attend(q, k, v, entries, grid.opened(), placement=placement, backend="reference")
        for backend in ("auto", *BACKENDS[placement]):
            with _unless_refused(backend):
                assert_close(attend(q, k, v, masks_[name], grid, placement=placement, backend=backend), plain)


@contextmanager
def _unless_refused(backend: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        if backend == "auto" or f"backend {backend!r} does not apply" not in str(error):
            raise


@pytest.mark.parametrize("method", ["auto", "parallel", "tiled", "fft", "convolution"])
@on_rings
def test_retention(grid: Grid, method: str) -> None:
    """By every method that serves any mask; recurrences are refused."""
    q, k, v = (normal(i, 2, HEADS, grid.size, 3) for i in range(3))
    for mask in (ring_kernel(grid), modules()["manhattan"]):
        entries = Forms.of(mask, grid).entries  # type: ignore[arg-type]
        assert_close(retention(q, k, v, mask, grid, method=method, scale=1.0), (q @ k.mT * entries) @ v)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@on_rings
def test_operator(grid: Grid, dtype: torch.dtype) -> None:
    """Dense and FFT, of n places on a ring, and their adjoints, are the loop's matrix; gradients agree."""
    kernel, x = ring_kernel(grid, dtype=dtype).requires_grad_(), normal(1, HEADS, grid.size, 3, dtype=dtype)
    rows = [naive.mask(k, grid.shape, grid.periodic) for k in kernel.detach().flatten(1).tolist()]
    mask = torch.tensor(rows, dtype=torch.float64)
    gradients = []
    for method in ("dense", "fft", "auto"):
        op = retconv.operator(kernel, grid, method)
        assert op.methods == ("dense", "fft")
        assert_close(op @ x, mask @ x.double())
        assert_close(op.T @ x, mask.mT @ x.double())
        gradients.append(torch.autograd.grad((op @ x).square().sum(), kernel)[0])
    assert_close(gradients[1], gradients[0])
    checks.dot_test(retconv.operator(kernel.detach(), grid))
    checks.assert_equivalent(convert.kernel_to_mask(kernel.detach(), grid), kernel.detach(), grid)


@on_rings
def test_spectra_are_those_of_the_matrix(grid: Grid) -> None:
    """On a torus by the transform, else by decomposition; without a kernel too."""
    for mask in (ring_kernel(grid), ring_mask(grid)):
        entries = Forms.of(mask, grid).entries
        singular = torch.linalg.svdvals(entries)
        assert_close(spectrum.singular_values(mask, grid), singular)
        assert_close(spectrum.operator_norm(mask, grid), singular[:, 0])
        values = torch.linalg.eigvals(entries)
        assert_close(spectrum.eigenvalues(mask, grid).abs(), values.abs().sort(dim=1, descending=True).values)
        even = ring_mask(grid) + ring_mask(grid).mT
        lowest = torch.linalg.eigvalsh(even)[:, 0].tolist()
        each = spectrum.definiteness(even, grid)
        assert_close(torch.tensor([one.lowest for one in each], dtype=torch.float64), lowest)


@on_rings
def test_effective_kernel_is_the_mean_over_equal_offsets(grid: Grid) -> None:
    weights = ring_mask(grid).abs().expand(3, -1, -1, -1)
    kernel = effective.effective_kernel(weights, grid).kernel
    assert_close(kernel, convert.project(weights[0], grid).kernel)


@pytest.mark.parametrize("name", ["manhattan", "euclidean", "one Gaussian", "two Gaussians"])
def test_mask_modules_between_two_grids(name: str) -> None:
    """At the offsets of one grid they are its kernel; to pooled keys their closed form."""
    mask = modules()[name]
    assert_close(mask.at(Grid((4, 3)).offsets()), mask.kernel(Grid((4, 3))))  # type: ignore[operator]
    pooled = convert.rectangular(mask.at, Cross((4, 6), (2, 2)))  # type: ignore[arg-type]
    # The first query to the first key: half a step where cells are even, a whole one where they are odd.
    corner = torch.tensor([[0.5, 1.0]], dtype=torch.float64)
    assert_close(pooled[:, 0, 0], mask.at(corner)[:, 0])  # type: ignore[operator]


def test_free_masks_and_fields_belong_to_their_tokens() -> None:
    """ELM has entries whatever the border is, a table on a ring one entry for each place, a field no border at all."""
    elm, table = ElementwiseMask(RING, HEADS, start="ones"), KernelTableMask(RING, HEADS)
    assert_exact(elm(RING), torch.ones(HEADS, 12, 12))
    assert_exact(elm.kernel(RING), torch.ones(HEADS, 4, 3))
    assert_exact(elm.kernel(MIXED), torch.ones(HEADS, 4, 5))
    assert table.kernel(Grid((4, 3), 1, True)).shape == (HEADS, 4, 3)
    x = normal(0, 1, RING.size, 2)
    assert_exact(effective.gradient_field(torch.tanh, x, RING), effective.gradient_field(torch.tanh, x, RING.opened()))
    raster = models.RasterMask(DecayMask(HEADS))
    assert_exact(raster(RING), raster(RING.opened()))
    assert_exact(raster.forms(RING).entries, raster(RING))
    assert_close(
        checks.shift_invariance_residual(ring_mask(RING), RING), convert.project(ring_mask(RING), RING).residual
    )


#: What is right, by the tests above and those named in other files: laws 23, ``convert/test_boundary``, ``showing``.
RIGHT = {
    *("DecayMask.kernel", "DecayMask.separable", "DecayMask.decay", "DecayMask.log_kernel"),
    *("GaussianMixtureMask.kernel", "GaussianMixtureMask.separable", "GaussianMixtureMask.log_kernel"),
    *("GaussianMixtureMask.forms", "OffDiagonalMask.kernel", "Forms", "Decay.kernel", "Decay.log_kernel"),
    *("Mask.kernel", "Mask.separable", "Mask.decay", "Mask.log_kernel", "Mask.forms", "Mask.forward"),
    *("ElementwiseMask", "ElementwiseMask.kernel", "ElementwiseMask.forms", "ElementwiseMask.forward"),
    *("RasterMask.forms", "RasterMask.forward"),
    *("bank_to_mask", "kernel_to_mask", "mask_to_bank", "mask_to_kernel", "project", "unroll", "windows", "wrap"),
    *("operator", "wrapped_decay", "wrapped_gaussian", "shift_invariance_residual", "assert_equivalent", "retention"),
    "assert_forms",
    *("attend", "bias_logits", "convolution", "multiply_logits", "multiply_weights"),
    *("definiteness", "eigenvalues", "operator_norm", "singular_values"),
    *("BiasMask.separable", "WindowMask.kernel", "WindowMask.separable", "WindowMask.log_kernel"),
    *("EffectiveKernel", "effective_kernel", "gradient_field", "extended_attention", "Mask.plot"),
}
#: Records, which hold the grid that they are of.
RESULTS = {"Description", "Masking"}


def test_everything_that_takes_a_grid_is_said_to_be_right_or_refused() -> None:
    assert set(taking_a_grid()) - RIGHT - set(REFUSED) - RESULTS == set()
    assert set(taking_a_grid()) >= RIGHT
