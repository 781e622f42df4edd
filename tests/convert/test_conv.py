"""Kernels as ``torch.nn`` convolutions, and kernels that move between grids."""

from collections.abc import Callable
from contextlib import suppress

import pytest
import torch
from torch import Tensor, nn

from retconv.convert import conv_to_kernel, crop, extend, kernel_to_conv, resize
from retconv.grid import Grid
from tests import naive
from tests.compare import assert_close, assert_exact
from tests.convert.cases import as_image, check_conv
from tests.strategies import DTYPES, every_grid, kernel_of, signal_of

CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


@pytest.mark.parametrize("dtype", DTYPES)
@every_grid
def test_conv_does_what_the_mask_does(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """``conv(x) = M x`` with padding n − 1 and no flip, d channels sharing each head's kernel."""
    check_conv(shape, seed, dtype)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bfloat16])
@every_grid
def test_kernel_to_conv_to_kernel_is_the_identity(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """Bit for bit, in the kernel's dtype."""
    kernel = kernel_of(shape, seed, dtype)
    conv = kernel_to_conv(kernel, shape)
    assert isinstance(conv, CONVS[len(shape)])
    assert_exact(conv_to_kernel(conv, shape), kernel)


def test_channels_of_a_head_are_consecutive() -> None:
    kernel = kernel_of((2, 2), 0)
    conv = kernel_to_conv(kernel, (2, 2), channels_per_head=3)
    assert_exact(conv_to_kernel(conv, (2, 2)), kernel[[0, 0, 0, 1, 1, 1]])


def test_conv_weight_is_a_trainable_copy() -> None:
    kernel = kernel_of((3,), 0)
    conv = kernel_to_conv(kernel, 3)
    before = kernel.clone()
    with torch.no_grad():
        conv.weight.zero_()
    assert conv.weight.requires_grad
    assert conv.bias is None
    assert_exact(kernel, before)


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("shape", [(7,), (5, 4), (3, 4, 3)])
def test_kernel_of_a_dilated_conv(shape: tuple[int, ...], dilation: int) -> None:
    """A depthwise convolution of any odd side and dilation does what the mask of its kernel does on the grid."""
    torch.manual_seed(0)
    channels = 4
    conv = CONVS[len(shape)](
        channels, channels, 3, padding=dilation, dilation=dilation, groups=channels, bias=False, dtype=torch.float64
    )
    kernel = conv_to_kernel(conv, shape)
    x = signal_of(shape, 1, heads=channels, channels=1)
    expected = [naive.correlate(kernel[c].flatten().tolist(), shape, x[c].tolist()) for c in range(channels)]
    assert_close(conv(as_image(x, shape)), as_image(torch.tensor(expected, dtype=torch.float64), shape))


def test_padding_same_is_understood() -> None:
    conv = nn.Conv2d(2, 2, (3, 5), padding="same", groups=2, bias=False)
    assert_exact(conv_to_kernel(conv, (2, 3)), conv.weight[:, 0])


def test_kernel_of_a_conv_is_differentiable() -> None:
    conv = nn.Conv1d(2, 2, 3, padding=1, groups=2, bias=False)
    conv_to_kernel(conv, 4).sum().backward()
    assert conv.weight.grad is not None
    assert bool((conv.weight.grad == 1).all())


GOOD = {"kernel_size": 3, "padding": 1, "groups": 2, "bias": False}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 1}, r"groups=1 of 2 → 2 channels \(depthwise needed\)"),
        ({"stride": 2}, r"stride=\(2,\) \(1 needed\)"),
        ({"kernel_size": 4}, r"even kernel_size=\(4,\) \(odd needed\)"),
        ({"padding": 0}, r"padding=\(0,\) \(zero padding of \(1,\) needed\)"),
        ({"padding_mode": "circular"}, r"padding=\(1,\), padding_mode='circular' \(zero padding of \(1,\) needed"),
        ({"bias": True}, r"a bias \(none has a mask\)"),
        ({"stride": 3, "bias": True}, r"stride=\(3,\) \(1 needed\); a bias"),
    ],
)
def test_a_conv_that_is_no_mask_is_refused(options: dict[str, object], message: str) -> None:
    """The error names everything that is wrong."""
    with pytest.raises(ValueError, match=message):
        conv_to_kernel(nn.Conv1d(2, 2, **(GOOD | options)), 5)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bfloat16])
@every_grid
def test_crop_keeps_the_offsets_of_the_smaller_grid(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    """Offset 0 stays in the centre; entries are copies."""
    larger = tuple(n + 2 for n in shape)
    kernel = kernel_of(larger, seed, dtype)
    expected = [
        naive.kernel(lambda d, own=own: own[naive.entry(d, larger)], shape) for own in kernel.flatten(1).tolist()
    ]
    assert_exact(crop(kernel, shape).flatten(1), expected)


@every_grid
def test_extend_adds_zeros(shape: tuple[int, ...], seed: int) -> None:
    """Offsets that only the larger grid has are 0, and cropping undoes it."""
    kernel, larger = kernel_of(shape, seed), tuple(n + 2 for n in shape)
    extended = extend(kernel, larger)
    assert extended.shape[1:] == Grid(larger).kernel_shape
    assert_exact(crop(extended, shape), kernel)
    assert int((extended != 0).sum()) == kernel.numel()


def test_resize_crops_one_axis_and_extends_the_other() -> None:
    kernel = kernel_of((5, 2), 0)
    assert_exact(resize(kernel, (3, 4)), extend(crop(kernel, (3, 2)), (3, 4)))


@pytest.mark.parametrize("change", [crop, extend, resize])
@every_grid
def test_a_kernel_of_the_right_size_stays(
    shape: tuple[int, ...], seed: int, change: Callable[[Tensor, tuple[int, ...]], Tensor]
) -> None:
    kernel = kernel_of(shape, seed)
    assert_exact(change(kernel, shape), kernel)


@pytest.mark.parametrize("change", [crop, extend, resize])
@pytest.mark.parametrize("shape", [(3, 2), (2, 2), (4, 2)])
def test_what_is_resized_is_a_copy(change: Callable[[Tensor, tuple[int, ...]], Tensor], shape: tuple[int, ...]) -> None:
    """To write to it leaves the kernel as it was, whichever way its size changed."""
    kernel = kernel_of((3, 2), 0)
    before = kernel.clone()
    with suppress(ValueError):  # one does not enlarge, another does not crop
        change(kernel, shape).zero_()
    assert_exact(kernel, before)


@pytest.mark.parametrize(("change", "shape"), [(crop, (2, 1)), (extend, (4, 3)), (resize, (1, 4))])
def test_gradients_of_resizing(change: Callable[[Tensor, tuple[int, ...]], Tensor], shape: tuple[int, ...]) -> None:
    assert torch.autograd.gradcheck(lambda k: change(k, shape), (kernel_of((3, 2), 0).requires_grad_(),))
