"""The public checks: they pass on the truth, and they fail, saying where and by how much, on every planted fault."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from retconv import checks
from retconv.convert import kernel_to_mask
from retconv.grid import Grid, GridLike
from retconv.kernels import Decay, Separable
from retconv.masks import DecayMask, ElementwiseMask
from retconv.models import MASKS
from retconv.operators import MaskOperator, operator
from retconv.operators.fft import FFTProduct
from tests import naive
from tests.compare import assert_close, assert_exact
from tests.strategies import DTYPES, HEADS, every_grid, kernel_of, mask_of

SHAPE = (3, 4)


def test_the_one_table_of_tolerances() -> None:
    """Pinned here: loosening one is a change that this test sees."""
    assert checks.TOLERANCES[torch.float64] == 1e-12
    assert checks.TOLERANCES[torch.float32] == 1e-5
    for half in (torch.bfloat16, torch.float16):
        assert checks.TOLERANCES[half] == torch.finfo(half).eps
    assert len(checks.TOLERANCES) == 4
    assert all(checks.tolerance(dtype) == value for dtype, value in checks.TOLERANCES.items())


@pytest.mark.parametrize(
    ("actual", "expected", "error"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.5], [1.0, 2.0], 0.25),
        ([-3.0, 4.0], [1.0, 4.0], 1.0),
        ([0.5, 0.0], [0.0, 0.0], 0.5),
        ([float("nan"), 0.0], [1.0, 1.0], float("inf")),
        ([1.0, 1.0], [1.0, float("inf")], float("inf")),
        ([], [], 0.0),
    ],
)
def test_relative_error(actual: list[float], expected: list[float], error: float) -> None:
    """``max |a − e| / max |e|``; absolute where e is 0; infinite, and never NaN, where something is not finite."""
    assert checks.relative_error(torch.tensor(actual), torch.tensor(expected)) == error


def test_relative_error_is_measured_in_float64() -> None:
    """A difference that float32 would round away is seen."""
    one = torch.ones(1, dtype=torch.float64)
    assert checks.relative_error(one + 1e-12, one.float()) == pytest.approx(1e-12, rel=1e-3)


# --- assert_equivalent ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@every_grid
def test_equivalence_of_a_kernel_and_its_mask(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """Law 1 holds on every grid, with prefix tokens too."""
    kernel = kernel_of(shape, seed, dtype)
    for grid in (Grid(shape), Grid(shape, prefix=2)):
        checks.assert_equivalent(kernel_to_mask(kernel, grid), kernel, grid)


def test_equivalence_of_a_mask_module() -> None:
    mask = DecayMask(HEADS, learnable=True)
    checks.assert_equivalent(mask(SHAPE), mask.kernel(SHAPE), SHAPE)


def one_wrong_bit(mask: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
    mask[1, 5, 7] = torch.nextafter(mask[1, 5, 7], torch.tensor(9.0, dtype=mask.dtype))
    return mask, kernel


FAULTS: dict[str, tuple[Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], str]] = {
    "one wrong bit": (one_wrong_bit, r"first at \[head, query, key\] = \[1, 5, 7\], .* against "),
    "flipped kernel": (lambda mask, kernel: (mask, kernel.flip(1, 2)), r"\[0, 0, 1\]"),
    "transposed mask": (lambda mask, kernel: (mask.mT, kernel), r"\[0, 0, 1\]"),
    "another head's kernel": (lambda mask, kernel: (mask, kernel[[1, 0]]), r"\[0, 0, 0\]"),
    "one head": (lambda mask, kernel: (mask[:1], kernel), r"shape \(1, 12, 12\), the kernel's has \(2, 12, 12\)"),
    "no convolution": (lambda mask, kernel: (mask_of(SHAPE, 3), kernel), "not the kernel's gather"),
}


@pytest.mark.parametrize(("fault", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_equivalence_sees_a_fault(fault: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], message: str) -> None:
    kernel = kernel_of(SHAPE, 0)
    mask, kernel = fault(kernel_to_mask(kernel, SHAPE), kernel)
    with pytest.raises(AssertionError, match=message):
        checks.assert_equivalent(mask, kernel, SHAPE)


def test_equivalence_sees_a_faulty_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each method is run, and the one that is off is named, with its error and the bound."""
    product = FFTProduct.__call__
    monkeypatch.setattr(FFTProduct, "__call__", lambda self, x: product(self, x) * (1 + 1e-9))
    kernel = kernel_of(SHAPE, 0)
    with pytest.raises(AssertionError, match=r"method 'fft': relative error .*e-\d\d in head 0 on .*above 1e-12"):
        checks.assert_equivalent(kernel_to_mask(kernel, SHAPE), kernel, SHAPE)


# --- assert_forms ---------------------------------------------------------------------------------------------------


class Half(DecayMask):
    """A decay that names a wrong form: half of it, in the last head."""

    wrong = ""

    def separable(self, grid: GridLike) -> Separable | None:
        first, *others = self.forms_of(grid).factors
        return Separable((first * self.factor("separable").view(-1, 1, 1), *others))

    def decay(self, grid: GridLike) -> Decay | None:
        return Decay(self.gamma * self.factor("decay"), causal=False)

    def log_kernel(self, grid: GridLike) -> Tensor | None:
        log = self.kernel(grid).log()
        return log + self.factor("log_kernel").log().view(-1, *[1] * (log.ndim - 1))

    def forms_of(self, grid: GridLike) -> Separable:
        return Decay(self.gamma, causal=False).factors(Grid.of(grid))

    def factor(self, name: str) -> Tensor:
        return torch.tensor([1.0, 0.5 if name == self.wrong else 1.0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MASKS)
def test_the_forms_of_every_mask_are_its_kernel(name: str, dtype: torch.dtype) -> None:
    for grid in (Grid(7), Grid((3, 5)), Grid((1, 7), prefix=1), Grid((2, 3, 4))):
        if name not in ("swin_table", "gpsa") or grid.ndim == 2:
            checks.assert_forms(MASKS[name](grid.without_prefix(), 2).to(dtype), grid)


@pytest.mark.parametrize("wrong", ["separable", "decay", "log_kernel"])
def test_a_wrong_form_is_named(wrong: str) -> None:
    mask = Half(2, gamma=torch.tensor([0.5, 0.9]))
    checks.assert_forms(mask, SHAPE)
    mask.wrong = wrong
    with pytest.raises(AssertionError, match=rf"Half.{wrong} is not its kernel: relative error .* in head 1 on Grid"):
        checks.assert_forms(mask, SHAPE)


# --- dot_test -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-170, 1e-13, 1e170])
def test_checks_see_a_fault_of_one_head_whatever_its_scale(monkeypatch: pytest.MonkeyPatch, scale: float) -> None:
    """Beside a head of scale 1."""
    kernel = kernel_of(SHAPE, 0) * torch.tensor([scale, 1.0], dtype=torch.float64).view(2, 1, 1)
    checks.dot_test(operator(kernel, SHAPE))
    product, lost = MaskOperator.__matmul__, torch.tensor([0.0, 1.0], dtype=torch.float64).view(2, 1, 1)
    with monkeypatch.context() as patch:
        patch.setattr(MaskOperator, "adjoint", lambda self: operator(self.kernel, self.grid))
        with pytest.raises(AssertionError, match="in head 0, scale"):
            checks.dot_test(operator(kernel, SHAPE))
    monkeypatch.setattr(MaskOperator, "__matmul__", lambda self, x: product(self, x) * lost)
    with pytest.raises(AssertionError, match=r"relative error 1\.00e\+00 in head 0 on"):
        checks.assert_equivalent(kernel_to_mask(kernel, SHAPE), kernel, SHAPE)


@pytest.mark.parametrize("dtype", DTYPES)
@every_grid
def test_dot_test_passes_for_every_method(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """⟨M x, y⟩ = ⟨x, Mᵀ y⟩."""
    kernel = kernel_of(shape, seed, dtype)
    for method in operator(kernel, shape).methods:
        checks.dot_test(operator(kernel, shape, method), dtype=dtype)


def test_dot_test_of_separable_and_recursive_operators() -> None:
    gamma = torch.tensor([0.5, 0.9], dtype=torch.float64)
    source = Decay(gamma)
    for method in ("separable", "recursive"):
        checks.dot_test(operator(source, SHAPE, method))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda self: self,
        lambda self: operator(self.kernel.flip(1), self.grid, self.method),
        lambda self: operator(self.kernel.flip(1, 2) * (1 + 1e-9), self.grid, self.method),
    ],
    ids=["no flip", "one axis flipped", "slightly scaled"],
)
def test_dot_test_sees_a_wrong_adjoint(monkeypatch: pytest.MonkeyPatch, wrong: Callable[..., MaskOperator]) -> None:
    monkeypatch.setattr(MaskOperator, "adjoint", wrong)
    with pytest.raises(AssertionError, match=r"dot test: ⟨Mx, y⟩ = .*, ⟨x, Mᵀy⟩ = .*, scale .*float64"):
        checks.dot_test(operator(kernel_of(SHAPE, 0), SHAPE))


def test_dot_test_sees_nan() -> None:
    """A comparison with NaN is false: it must not pass for that."""
    kernel = kernel_of(SHAPE, 0)
    kernel[0, 0, 0] = torch.nan
    with pytest.raises(AssertionError, match="nan"):
        checks.dot_test(operator(kernel, SHAPE, "dense"))


# --- shift_invariance_residual --------------------------------------------------------------------------------------


@every_grid
def test_residual_of_a_convolution_is_zero(shape: tuple[int, ...], seed: int) -> None:
    assert_exact(
        checks.shift_invariance_residual(kernel_to_mask(kernel_of(shape, seed), shape), shape),
        [0.0] * HEADS,
    )


@every_grid
def test_residual_of_any_mask(shape: tuple[int, ...], seed: int) -> None:
    """‖M − PM‖_F / ‖M‖_F, by loops."""
    mask = mask_of(shape, seed)
    assert_close(checks.shift_invariance_residual(mask, shape), [naive.projection(m, shape)[1] for m in mask.tolist()])


def test_residual_of_an_elementwise_mask() -> None:
    """A free matrix of independent entries keeps what its projection does not: √(1 − offsets / pairs) on average."""
    mask = ElementwiseMask((6, 6), 1)
    mask.load_state_dict({"weight": mask_of((6, 6), 0, torch.float32, heads=1)})
    residual = float(checks.shift_invariance_residual(mask((6, 6)).detach(), (6, 6)))
    assert residual == pytest.approx((1 - 121 / 1296) ** 0.5, abs=0.02)
