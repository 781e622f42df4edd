"""The tests are tested: with the sign of the offset flipped, M[q, k] = K[q − k], they must fail."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from retconv.convert.folding import Fold, Unfold
from retconv.grid import Grid, forget_kept
from retconv.operators import operator
from tests import test_grid
from tests.convert import test_conv as test_convert_conv
from tests.convert import test_mask as test_convert
from tests.kernels import test_closed_forms as test_kernels
from tests.laws import test_convolution as test_laws
from tests.masks import test_conformance as test_masks_conformance
from tests.masks.cases import MASKS
from tests.operators import test_methods as test_operator
from tests.proofs import test_numeric as test_proofs_numeric

SHAPE, SEED, F64 = (3, 5), 0, torch.float64
Check = Callable[[], None]


def inner(test: Callable[..., None], **arguments: object) -> Check:
    """One example of a property test, run as a plain function on a grid without symmetry and an asymmetric kernel."""
    return lambda: test.hypothesis.inner_test(shape=SHAPE, seed=SEED, **arguments)  # type: ignore[attr-defined]


def mask_check(name: str) -> Check:
    shape = (7,) if name.startswith("retnet") else SHAPE
    return lambda: test_masks_conformance.check_naive_agreement(MASKS[name], shape, F64)


def operator_check(method: str) -> Check:
    return lambda: test_operator.check_against_loops(SHAPE, SEED, method, F64)


#: What reads a kernel by the gather must notice that the gather reads it backwards.
GATHER = {
    "convert: mask": inner(test_convert.test_mask_is_a_gather_of_the_kernel, dtype=F64),
    "convert: windows": inner(test_convert.test_windows_start_at_n_minus_one_minus_q, dtype=F64),
    "masks: retnet": mask_check("retnet"),
    "masks: table": mask_check("table"),
    "operators: dense": operator_check("dense"),
    "law 1": inner(test_laws.test_law_1_equivalence, dtype=F64),
    "law 1, convolution": inner(test_laws.test_law_1_convolution_module),
    "law 2": inner(test_laws.test_law_2_windows),
    "law 6, proved inverse": lambda: test_proofs_numeric.test_law_6_inverse.hypothesis.inner_test(gamma=0.7, n=5),
}
#: What computes with offsets must notice that they are query − key.
OFFSETS = {
    "grid: offsets": inner(test_grid.test_offsets_run_from_one_minus_n_to_n_minus_one),
    "grid: index": inner(test_grid.test_offset_index_is_key_minus_query),
    "kernels: causal": lambda: test_kernels.check_closed_form("causal_decay", (7,), SEED, F64),
    "kernels: gpsa": lambda: test_kernels.check_closed_form("gpsa", SHAPE, SEED, F64),
    "convert: bank": inner(test_convert.test_bank_is_one_kernel_per_query, dtype=F64),
    "masks: retnet": mask_check("retnet"),
    "law 4": inner(test_laws.test_law_4_every_mask_is_a_bank),
}
#: What multiplies by the operator must notice that it is the transposed one.
OPERATORS = {f"operators: {method}": operator_check(method) for method in ("dense", "direct", "fft", "toeplitz")} | {
    "operators: separable": operator_check("separable"),
    "operators: recursive": lambda: test_operator.check_against_loops((7,), SEED, "recursive", F64),
    "operators: auto": operator_check("auto"),
}
#: And the module from ``torch.nn`` that its weight is flipped.
MODULES = {"convert: conv": inner(test_convert_conv.test_conv_does_what_the_mask_does, dtype=F64)}

checks = {**GATHER, **OFFSETS, **OPERATORS, **MODULES}


@pytest.fixture
def flipped_gather(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unfold reads K[q − k], and Fold, its adjoint, follows it."""
    unfold, fold = Unfold.forward, Fold.forward

    def backwards(kernel: Tensor, shape: tuple[int, ...]) -> Tensor:
        return kernel.flip(tuple(range(-len(shape), 0)))

    monkeypatch.setattr(Unfold, "forward", staticmethod(lambda k, shape: unfold(backwards(k, shape), shape)))
    monkeypatch.setattr(Fold, "forward", staticmethod(lambda m, shape: backwards(fold(m, shape), shape)))


@pytest.fixture
def flipped_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The grid says query − key."""
    offsets, index = Grid.offsets, Grid.offset_index
    monkeypatch.setattr(Grid, "offsets", lambda self, device=None: -offsets(self, device))
    monkeypatch.setattr(Grid, "offset_index", lambda self, device=None: index(self, device).T)
    forget_kept()
    yield
    forget_kept()


@pytest.fixture
def flipped_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every method multiplies by the transposed mask."""
    flipped = lambda source, grid, method="auto": operator(source, grid, method=method).adjoint()  # noqa: E731
    monkeypatch.setattr(test_operator, "operator", flipped)


@pytest.fixture
def flipped_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """``kernel_to_conv`` copies the kernel backwards."""
    straight = test_convert_conv.kernel_to_conv
    monkeypatch.setattr(
        test_convert_conv,
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
