"""The rule of ``retconv.precision``: what multiplies matrices of tokens follows autocast, all else is as without it."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from retconv import approximate
from retconv.attention import PLACEMENTS, attend
from retconv.checks import relative_error, tolerance
from retconv.grid import Grid
from retconv.models import MASKS, add_masks
from retconv.precision import as_written, autocast_dtype, entering
from retconv.retention import chunkwise, recurrent, retention
from tests.attention.portable import PORTABLE
from tests.compare import assert_close, assert_exact
from tests.public.case import HEADS, SHAPE, SIZE, Case, gaussians, kernel, normal, qkv, retnet
from tests.public.cases import CASES, PRODUCTS

HALVES = (torch.bfloat16, torch.float16)

every_half = pytest.mark.parametrize("half", HALVES, ids=["bfloat16", "float16"])


def faults(check: Any, products: bool) -> dict[str, str]:
    """What a check raises, by case."""
    found = {}
    for name, case in CASES.items():
        if (name in PRODUCTS) == products:
            try:
                check(case)
            except Exception as error:
                found[name] = f"{type(error).__name__}: {error}"
    return found


@every_half
def test_products_of_tokens_follow_autocast(half: torch.dtype, device: torch.device) -> None:
    """Every method, form and backend returns autocast's dtype within its budget; gradients have their own dtypes."""

    def check(case: Case) -> None:
        found = case.results(device, torch.float32, rounded=half, autocast=half)
        assert [x.dtype for x in found] == [half] + [torch.float32] * (len(found) - 1)
        case.compare(found, device, half)

    assert faults(check, products=True) == {}


def test_products_of_float64_stay_float64(device: torch.device) -> None:
    """As in torch's own products. RetNet's layer projects by torch's, which do."""

    def check(case: Case) -> None:
        with_it, without = (case.results(device, torch.float64, autocast=dtype) for dtype in (torch.bfloat16, None))
        for one, other in zip(with_it, without, strict=True):
            assert one.dtype == torch.float64
            assert relative_error(one, other) <= tolerance(torch.float64)

    assert faults(check, products=True) == {}


@every_half
def test_all_else_is_as_without_autocast(half: torch.dtype, device: torch.device) -> None:
    """Masks, kernels and conversions, bit for bit."""

    def check(case: Case) -> None:
        with_it, without = (case.results(device, torch.float32, autocast=dtype) for dtype in (half, None))
        torch.testing.assert_close(with_it, without, rtol=0, atol=0)

    assert faults(check, products=False) == {}


APPROXIMATIONS: dict[str, Callable[[Tensor], Any]] = {
    "truncate": lambda k: approximate.truncate(k, size=3).kernel,
    "separate": lambda k: approximate.separate(k, rank=2).kernel,
    "exponentials": lambda k: approximate.exponentials(k[:, 2], order=2).kernel,
    "fit_gaussian_mixture": lambda k: approximate.fit_gaussian_mixture(k, components=1, starts=1).kernel,
    "fit_decay": lambda k: approximate.fit_decay(k).kernel,
}


@every_half
@pytest.mark.parametrize("name", APPROXIMATIONS)
def test_approximations_are_as_without_autocast(name: str, half: torch.dtype) -> None:
    with torch.autocast("cpu", half):
        inside = APPROXIMATIONS[name](kernel().float())
    assert_exact(inside, APPROXIMATIONS[name](kernel().float()))


@every_half
def test_a_state_goes_on_under_autocast(half: torch.dtype) -> None:
    """A state of a half type is float32, with autocast and without."""
    q, k, v = (x.to(half) for x in qkv())
    first = [x[:, :, :7].float() for x in (q, k, v)], [x[:, :, 7:] for x in (q, k, v)]
    with torch.autocast("cpu", half):
        _, state = chunkwise(*first[0], retnet())
    out, state = recurrent(*first[1], retnet(), state)
    assert state.memory.dtype == torch.float32
    expected = retention(*(x.double() for x in (q, k, v)), retnet(), SIZE)[:, :, 7:]
    assert_close(out, expected)


@every_half
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_weights_that_are_returned_follow_autocast(placement: str, half: torch.dtype, device: torch.device) -> None:
    q, k, v = (x.to(device, torch.float32) for x in qkv())
    with torch.autocast(device.type, half):
        both = attend(q, k, v, gaussians().to(device, torch.float32), SHAPE, return_weights=True, placement=placement)
    assert [x.dtype for x in both] == [half, half]


#: Small models, with a class token, in windows, with talking heads, by cosines, on a grid of windows.
MODELS: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {"patch_size": 8, "embed_dim": 12, "depth": 1, "num_heads": 2},
    "swin_tiny_patch4_window7_224": {"embed_dim": 8, "depths": (2,), "num_heads": (2,), "window_size": 4},
    "swinv2_tiny_window8_256": {"embed_dim": 8, "depths": (2,), "num_heads": (2,), "window_size": 4},
    "cait_xxs24_224": {"patch_size": 8, "embed_dim": 12, "depth": 1, "num_heads": 2},
    "pit_ti_224": {"patch_size": 8, "stride": 4, "base_dims": (6, 6), "depth": (1, 1), "heads": (2, 2)},
    "maxvit_rmlp_pico_rw_256": {"depths": (1,), "embed_dim": (32,), "stem_width": 8},
}


#: Those with a bias on logits, which placements without softmax refuse.
BIASED = {name for name in MODELS if name.startswith(("swin", "maxvit"))}


@every_half
@pytest.mark.parametrize(
    ("name", "placement"),
    [(n, p) for n in MODELS for p, rules in PLACEMENTS.items() if rules.softmax or n not in BIASED],
)
def test_masked_models_train_under_autocast(name: str, placement: str, half: torch.dtype, device: torch.device) -> None:
    """Forward and backward, alike with and without autocast up to its many roundings."""
    torch.manual_seed(0)
    size = 64 if name.startswith("maxvit") else 32
    model = timm.create_model(name, img_size=size, num_classes=3, **MODELS[name]).eval()
    model = add_masks(model, "table", placement=placement).to(device)
    x = normal(1, 2, 3, size, size).to(device, torch.float32)
    with torch.autocast(device.type, half):
        out = model(x)
    assert out.dtype == half
    out.float().square().sum().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert {g.dtype for g in gradients} == {torch.float32}
    assert all(bool(g.isfinite().all()) for g in gradients)
    assert relative_error(out.float(), model(x)) <= 16 * tolerance(half)


@every_half
@pytest.mark.parametrize("name", MASKS)
def test_every_mask_by_name_in_attention(name: str, half: torch.dtype, device: torch.device) -> None:
    """What a mask gives is cast by the placement, and its parameters keep their dtype."""
    torch.manual_seed(0)
    mask, inputs = MASKS[name](Grid(SHAPE), HEADS).to(device), [x.to(device, torch.float32) for x in qkv()]
    with torch.autocast(device.type, half):
        outs = [
            attend(*inputs, mask, SHAPE, backend=b, placement="multiply_logits") for b in PORTABLE["multiply_logits"]
        ]
    assert [out.dtype for out in outs] == [half] * len(outs)
    for parameter in mask.parameters():
        (gradient,) = torch.autograd.grad(outs[0].float().sum(), parameter, retain_graph=True)
        assert gradient.dtype == torch.float32


def test_the_steps_of_the_rule() -> None:
    cpu = torch.device("cpu")
    single, double, whole = torch.ones(1), torch.ones(1, dtype=torch.float64), torch.ones(1, dtype=torch.int64)
    assert autocast_dtype(cpu) is None
    assert autocast_dtype(torch.device("meta")) is None
    assert entering(single) is single
    with torch.autocast("cpu", torch.float16):
        assert autocast_dtype(cpu) == torch.float16
        assert [entering(x).dtype for x in (single, double, whole)] == [torch.float16, torch.float64, torch.int64]
        with as_written(cpu):
            assert (single[None] @ single[None].mT).dtype == torch.float32
