"""What is no convolution is refused, and its residual stated, in every dtype and at every scale of its entries."""

from fractions import Fraction

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from retconv import checks
from retconv.approximate.shells import relative_residual
from retconv.convert import NotAConvolutionError, kernel_to_mask, mask_to_kernel, project
from tests import naive
from tests.compare import assert_exact
from tests.strategies import DTYPES, kernel_of, mask_of, seeds, shapes

ALL_DTYPES = (*DTYPES, torch.float16, torch.bfloat16)

#: Lines and planes on which an offset other than the corners has several pairs.
several = shapes((1, 2)).filter(lambda shape: max(shape) > 2)
#: A power of two in parts of the dtype's range: 1 is its largest number, −1 its smallest normal one.
scales = st.floats(-1, 1)


def unit(part: float, dtype: torch.dtype) -> float:
    """A power of two at this part of a dtype's range, with room for what the tests draw."""
    info = torch.finfo(dtype)
    most = torch.tensor([info.tiny, info.max], dtype=torch.float64).log2().abs()
    return 2.0 ** int(part * float(most[int(part > 0)] - 4))


def refused(mask: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The residual with which a mask is refused at tolerance 0."""
    with pytest.raises(NotAConvolutionError, match=r"relative residual .* tolerance 0") as refusal:
        mask_to_kernel(mask, shape)
    assert refusal.value.residual is not None
    return refusal.value.residual


@given(several, seeds, scales, st.sampled_from(ALL_DTYPES))
@example((4,), 0, -1.0, torch.float32)
@example((4,), 0, 1.0, torch.float64)
def test_no_scale_hides_a_residual(shape: tuple[int, ...], seed: int, part: float, dtype: torch.dtype) -> None:
    """Independent entries from the smallest to the largest numbers: refused, with the residual of exact arithmetic."""
    mask = mask_of(shape, seed, dtype).clamp(-4, 4) * unit(part, dtype)
    residual = refused(mask, shape)
    for value, rows in zip(residual.tolist(), mask.tolist(), strict=True):
        squared = naive.exact_projection(rows, shape)[1]
        assert abs(Fraction(value) ** 2 / squared - 1) < Fraction(1, 10**11)


@given(several, seeds, scales, st.floats(-1, 0), st.sampled_from(ALL_DTYPES))
@example((4,), 0, 0.0, -1.0, torch.float32)
@example((4,), 0, 1.0, -1.0, torch.float64)
def test_no_entry_is_too_small_to_be_seen(
    shape: tuple[int, ...], seed: int, part: float, other: float, dtype: torch.dtype
) -> None:
    """One entry that differs from a convolution's, by however little: 1e-300 beside 1e300."""
    kernel = kernel_of(shape, seed, dtype, heads=1).clamp(-4, 4) * unit(part, dtype)
    kernel[(0, *(n - 1 for n in shape))] = 0
    mask = kernel_to_mask(kernel, shape)
    mask[0, -1, -1] = unit(other, dtype)
    residual = refused(mask, shape)
    assert float(residual) > 0
    assert_exact(checks.shift_invariance_residual(mask, shape), residual)
    squared = naive.exact_projection(mask[0].tolist(), shape)[1]
    if squared > Fraction(torch.finfo(torch.float64).tiny) ** 2:
        assert abs(Fraction(float(residual)) ** 2 / squared - 1) < Fraction(1, 10**11)
    else:
        assert float(residual) == torch.finfo(torch.float64).tiny


@given(several, seeds, scales, st.sampled_from(ALL_DTYPES))
@example((4,), 0, 1.0, torch.float64)
def test_a_convolution_of_any_scale_is_its_kernel(
    shape: tuple[int, ...], seed: int, part: float, dtype: torch.dtype
) -> None:
    """Read and projected bit for bit, with numbers beside each other that no sum could hold."""
    kernel = kernel_of(shape, seed, dtype).clamp(-4, 4) * unit(part, dtype)
    kernel[0] = torch.finfo(dtype).smallest_normal
    kernel[0, 0] = torch.finfo(dtype).max
    mask = kernel_to_mask(kernel, shape)
    assert_exact(mask_to_kernel(mask, shape), kernel)
    nearest = project(mask, shape)
    assert_exact(nearest.kernel, kernel)
    assert_exact(nearest.residual, torch.zeros(len(kernel)))


@given(several, seeds, scales, st.sampled_from(ALL_DTYPES))
@example((5,), 0, 1.0, torch.float64)
def test_the_mean_is_that_of_exact_arithmetic(
    shape: tuple[int, ...], seed: int, part: float, dtype: torch.dtype
) -> None:
    """Largest numbers of both signs too, whose differences and sums overflow."""
    mask = mask_of(shape, seed, dtype, heads=1).clamp(-4, 4) * unit(part, dtype)
    if part == 1:
        mask = torch.where(mask < 0, -1.0, 1.0).to(dtype) * torch.finfo(dtype).max
    expected = naive.exact_projection(mask[0].tolist(), shape)[0]
    bound = Fraction(2 * torch.finfo(dtype).eps) * Fraction(float(mask.abs().max()))
    actual = project(mask, shape).kernel[0].flatten().tolist()
    assert all(abs(Fraction(a) - e) <= bound for a, e in zip(actual, expected, strict=True))


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1.0, 1e200, 1e300])
def test_the_residual_of_a_fit_has_every_scale(scale: float) -> None:
    """‖K − K'‖₂ / ‖K‖₂ of numbers whose squares are none."""
    kernel = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0]], dtype=torch.float64) * scale
    fitted = torch.tensor([[3.0, 4.0, 0.5], [0.0, 0.0, 0.0]], dtype=torch.float64) * scale
    assert relative_residual(kernel, fitted).tolist() == pytest.approx([0.1, 0.0], rel=1e-14)


def test_relative_error_of_the_largest_numbers() -> None:
    """Their difference is beyond them, and yet twice the one."""
    largest = torch.tensor([torch.finfo(torch.float64).max], dtype=torch.float64)
    assert checks.relative_error(largest, -largest) == 2.0


def test_relative_error_of_complex_numbers() -> None:
    """By moduli: an imaginary part is no less wrong than a real one."""
    expected = torch.tensor([3 + 4j, 1j])
    assert checks.relative_error(expected + 0.5j, expected) == 0.1
