"""Casting a module changes the dtype of its masks, and no constant of theirs."""

import copy

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor, nn

from retconv.approximate import fit_decay
from retconv.grid import Grid
from retconv.kernels import gammas
from retconv.masks import DecayMask, Mask, RetNetMask
from retconv.models import MASKS
from retconv.retention import MultiScaleRetention
from tests import naive
from tests.compare import assert_close, assert_exact

GRID = Grid(6)
CASTS = {
    "bfloat16": nn.Module.bfloat16,
    "half": nn.Module.half,
    "float": nn.Module.float,
    "double": nn.Module.double,
    "to(bfloat16)": lambda m: m.to(torch.bfloat16),
    "to(device, float16)": lambda m: m.to("cpu", torch.float16),
    "to(another's)": lambda m: m.to(torch.empty(0, dtype=torch.float64)),
}
FIXED: dict[str, Mask] = {
    "retnet": RetNetMask(8),
    "retnet, normalised": RetNetMask(8, normalize=True),
    "retnet, slow": RetNetMask(2, gamma=1 - 1e-6),
    "two-sided": DecayMask(3, "two_sided"),
    "manhattan": DecayMask(3, gamma=0.7),
    "euclidean": DecayMask(3, "euclidean", gamma="retnet"),
}


def constants(module: nn.Module) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


@given(st.lists(st.sampled_from([*CASTS]), min_size=1, max_size=4), st.sampled_from([*FIXED, *MASKS]))
@example(["bfloat16", "float"], "retnet")
@example(["half"], "retnet, slow")
def test_no_cast_rounds_a_constant(casts: list[str], name: str) -> None:
    """Every mask of the package, through any casts: the buffers keep their digits, and what is made has the dtype."""
    mask = copy.deepcopy(FIXED[name]) if name in FIXED else MASKS[name](GRID, 3)
    before, keys = constants(mask), list(mask.state_dict())
    for cast in casts:
        CASTS[cast](mask)
    expected = CASTS[casts[-1]](nn.Linear(1, 1)).weight.dtype
    assert mask(GRID).dtype == expected
    assert list(mask.state_dict()) == keys
    for key, value in constants(mask).items():
        assert torch.finfo(value.dtype).bits >= torch.finfo(before[key].dtype).bits
        assert_exact(value.double(), before[key].double())


@given(st.lists(st.sampled_from([*CASTS]), min_size=1, max_size=3), st.sampled_from([*FIXED]))
def test_a_cast_mask_is_the_mask_cast(casts: list[str], name: str) -> None:
    """Entries are those of float64, rounded once, whatever casts came before."""
    mask = copy.deepcopy(FIXED[name])
    exact = copy.deepcopy(mask).double()(GRID)
    for cast in casts:
        CASTS[cast](mask)
    assert_exact(mask(GRID), exact.to(mask(GRID).dtype))


def test_the_published_decays_in_bfloat16() -> None:
    """1 − γ = 2^(−5−h), by its literal numbers; a rounded ``log_rate`` moved it by percents."""
    mask = RetNetMask(8).bfloat16()
    published = [1 / 32, 1 / 64, 1 / 128, 1 / 256, 1 / 512, 1 / 1024, 1 / 2048, 1 / 4096]
    assert (1 - mask.gamma).tolist() == pytest.approx(published, rel=1e-5)
    rows = [naive.mask(lambda q, k, p=p: naive.causal_decay(naive.difference(q, k), 1 - p), (64,)) for p in published]
    assert_close(mask(64), rows)


def test_a_fixed_mask_within_a_model_keeps_its_constants() -> None:
    """Parents cast their children by the same way."""
    layer = MultiScaleRetention(16, 4).bfloat16()
    assert layer.q_proj.weight.dtype == torch.bfloat16
    assert (1 - layer.mask.gamma).tolist() == pytest.approx((1 - gammas("retnet", 4)).tolist(), rel=1e-5)
    assert layer.mask(8).dtype == torch.bfloat16


def test_the_mask_of_a_fit_keeps_what_was_found() -> None:
    """A kernel in bfloat16 gives a γ of more digits than its dtype has."""
    kernel = DecayMask(1, gamma=0.999).kernel(9).bfloat16()
    fit = fit_decay(kernel)
    assert float(1 - fit.mask.gamma) == pytest.approx(float(1 - fit.gamma), rel=1e-5)
    assert fit.mask.kernel(9).dtype == torch.bfloat16


def test_learnt_parameters_are_cast_as_torch_casts() -> None:
    """A parameter is no constant: its dtype is the module's."""
    mask = RetNetMask(3, learnable=True).bfloat16()
    assert {p.dtype for p in mask.parameters()} == {torch.bfloat16} == {mask(4).dtype}


@pytest.mark.parametrize("name", MASKS)
def test_masks_are_made_and_told_without_values(name: str) -> None:
    """On the device ``meta``, as large models are made first: nothing is looked at that is not there."""
    with torch.device("meta"):
        mask = MASKS[name](GRID, 3)
    for one in (mask, MASKS[name](GRID, 3).to("meta")):
        assert ("meta" in repr(one)) == (repr(one) != repr(MASKS[name](GRID, 3)))
        assert all(p.is_meta for p in one.parameters())


@pytest.mark.parametrize("name", FIXED)
def test_a_moved_mask_keeps_its_dtype(name: str) -> None:
    """To another device alone, and to one without values."""
    mask = copy.deepcopy(FIXED[name]).bfloat16().to("meta")
    assert (mask(GRID).dtype, mask(GRID).device.type) == (torch.bfloat16, "meta")
    back = mask.to_empty(device="cpu")
    for buffer in back.buffers():  # whatever memory held: what is not stored must not be read
        buffer.fill_(torch.nan if buffer.is_floating_point() else 7)
    back.load_state_dict(FIXED[name].state_dict())
    assert_exact(back(GRID), copy.deepcopy(FIXED[name]).bfloat16()(GRID))
