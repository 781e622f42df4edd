"""The tests are tested: with the sign of the offset flipped, M[q, k] = K[q − k], they must fail."""

import pytest

from retconv.operators import operator
from tests.convert import cases as convert
from tests.flips import F64, SEED, SHAPE, Check, example, flipped_gather, flipped_offsets  # noqa: F401  (fixtures)
from tests.grid_cases import check_offset_index, check_offsets
from tests.kernels.cases import check_closed_form
from tests.laws import cases as laws
from tests.masks.cases import MASKS, check_naive_agreement
from tests.operators import cases as operators
from tests.proofs.closed_forms import check_causal_inverse


def mask_check(name: str) -> Check:
    shape = (7,) if name.startswith("retnet") else SHAPE
    return lambda: check_naive_agreement(MASKS[name], shape, F64)


def operator_check(method: str) -> Check:
    return lambda: operators.check_against_loops(SHAPE, SEED, method, F64)


#: What reads a kernel by the gather must notice that the gather reads it backwards.
GATHER = {
    "convert: mask": example(convert.check_gather, dtype=F64),
    "convert: windows": example(convert.check_windows, dtype=F64),
    "masks: retnet": mask_check("retnet"),
    "masks: table": mask_check("table"),
    "operators: dense": operator_check("dense"),
    "law 1": example(laws.check_equivalence, dtype=F64),
    "law 1, convolution": example(laws.check_convolution_module),
    "law 2": example(laws.check_windows),
    "law 6, proved inverse": lambda: check_causal_inverse(gamma=0.7, n=5),
}
#: What computes with offsets must notice that they are query − key.
OFFSETS = {
    "grid: offsets": example(check_offsets),
    "grid: index": example(check_offset_index),
    "kernels: causal": lambda: check_closed_form("causal_decay", (7,), SEED, F64),
    "kernels: gpsa": lambda: check_closed_form("gpsa", SHAPE, SEED, F64),
    "convert: bank": example(convert.check_bank, dtype=F64),
    "masks: retnet": mask_check("retnet"),
    "law 4": example(laws.check_bank),
}
#: What multiplies by the operator must notice that it is the transposed one.
OPERATORS = {f"operators: {method}": operator_check(method) for method in ("dense", "direct", "fft", "toeplitz")} | {
    "operators: separable": operator_check("separable"),
    "operators: recursive": lambda: operators.check_against_loops((7,), SEED, "recursive", F64),
    "operators: auto": operator_check("auto"),
}
#: And the module from ``torch.nn`` that its weight is flipped.
MODULES = {"convert: conv": example(convert.check_conv, dtype=F64)}

checks = {**GATHER, **OFFSETS, **OPERATORS, **MODULES}


@pytest.fixture
def flipped_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every method multiplies by the transposed mask."""
    flipped = lambda source, grid, method="auto": operator(source, grid, method=method).adjoint()  # noqa: E731
    monkeypatch.setattr(operators, "operator", flipped)


@pytest.fixture
def flipped_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """``kernel_to_conv`` copies the kernel backwards."""
    straight = convert.kernel_to_conv
    monkeypatch.setattr(
        convert,
        "kernel_to_conv",
        lambda kernel, grid, **options: straight(kernel.flip(tuple(range(1, kernel.ndim))), grid, **options),
    )


@pytest.mark.parametrize("check", checks.values(), ids=checks.keys())
def test_checks_pass_with_the_right_sign(check: Check) -> None:
    """So that what makes them fail below is the sign."""
    check()


@pytest.mark.usefixtures("flipped_gather")
@pytest.mark.parametrize("check", GATHER.values(), ids=GATHER.keys())
def test_flipped_gather_is_noticed(check: Check) -> None:
    with pytest.raises(AssertionError):
        check()


@pytest.mark.usefixtures("flipped_offsets")
@pytest.mark.parametrize("check", OFFSETS.values(), ids=OFFSETS.keys())
def test_flipped_offsets_are_noticed(check: Check) -> None:
    with pytest.raises(AssertionError):
        check()


@pytest.mark.usefixtures("flipped_operator")
@pytest.mark.parametrize("check", OPERATORS.values(), ids=OPERATORS.keys())
def test_flipped_operator_is_noticed(check: Check) -> None:
    with pytest.raises(AssertionError):
        check()


@pytest.mark.usefixtures("flipped_module")
@pytest.mark.parametrize("check", MODULES.values(), ids=MODULES.keys())
def test_flipped_module_is_noticed(check: Check) -> None:
    with pytest.raises(AssertionError):
        check()


@pytest.mark.usefixtures("flipped_gather")
@pytest.mark.parametrize("name", ["manhattan", "euclidean", "gmm"])
def test_symmetric_masks_cannot_tell_the_sign(name: str) -> None:
    """K[−δ] = K[δ]: which is why the checks above need an asymmetric kernel."""
    mask_check(name)()
