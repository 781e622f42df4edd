"""Under another default device and dtype of torch's, which a program may set, all is as it is without."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from retconv import DecayMask, GaussianMixtureMask, Grid, RetNetMask, approximate, operator
from retconv.analysis import describe
from retconv.analysis.locality import mass_within
from retconv.checks import assert_equivalent, dot_test
from retconv.convert import kernel_to_mask
from retconv.data import load
from retconv.grid import forget_kept
from retconv.measure import measure
from retconv.models import add_masks, check_masks, masks_of
from retconv.train import train
from tests.compare import assert_exact
from tests.models.cases import FAMILIES, images, plain
from tests.public.case import HEADS, SHAPE
from tests.public.cases import CASES
from tests.train.small import few_digits, tiny

CPU = torch.device("cpu")
KERNEL = GaussianMixtureMask(HEADS).kernel(Grid(SHAPE)).detach().double()
LINE = DecayMask(HEADS, gamma=0.8).kernel(Grid(9)).detach().double()
CAUSAL = RetNetMask(HEADS).kernel(Grid(9)).detach().double()


@pytest.fixture
def elsewhere() -> Iterator[None]:
    """New tensors are on a device that holds no numbers, so that whatever reads one fails."""
    forget_kept()
    with torch.device("meta"):
        yield
    forget_kept()


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", [name for name in CASES if name != "rotation"])
def test_operations_stay_where_their_inputs_are(name: str) -> None:
    """All but a rotation, whose angles the caller makes."""
    case = CASES[name]
    given = [copy.deepcopy(x) for x in case.given]
    expected = case.run(*given).detach()
    forget_kept()
    with torch.device("meta"):
        out = case.run(*given).detach()
    forget_kept()
    assert out.device == CPU
    assert_exact(out, expected)


def numbers(result: Any) -> list[Tensor]:
    """What a result holds that is a tensor."""
    found = result if isinstance(result, tuple | list) else vars(result).values()
    return [x for x in found if isinstance(x, Tensor)]


RESULTS: dict[str, Callable[[], Any]] = {
    "balanced_truncation": lambda: approximate.balanced_truncation(CAUSAL, states=2),
    "channels": lambda: approximate.channels(KERNEL, SHAPE),
    "decay_effective_size": lambda: [approximate.decay_effective_size(torch.tensor([0.5, 0.9], device="cpu"), 0.05)],
    "decay_sum": lambda: approximate.decay_sum(CAUSAL, order=2),
    "effective_size": lambda: [approximate.effective_size(KERNEL, 0.1)],
    "exponentials": lambda: approximate.exponentials(LINE, order=2),
    "fit_decay": lambda: approximate.fit_decay(KERNEL),
    "fit_gaussian_mixture": lambda: approximate.fit_gaussian_mixture(KERNEL, components=1),
    "gaussian_effective_size": lambda: [approximate.gaussian_effective_size(1.5, 0.05)],
    "real_poles": lambda: approximate.real_poles(CAUSAL, states=2),
    "roots_of_unity": lambda: approximate.roots_of_unity(CAUSAL),
    "semiseparable_rank": lambda: approximate.semiseparable_rank(kernel_to_mask(LINE, 9), 1e-9),
    "separate": lambda: approximate.separate(KERNEL, rank=1),
    "truncate": lambda: approximate.truncate(KERNEL, size=3),
    "describe": lambda: describe(KERNEL, SHAPE),
    "mass_within": lambda: [mass_within(KERNEL, SHAPE, 1.5)],
}


@pytest.mark.parametrize("name", RESULTS)
def test_analyses_are_the_same(name: str) -> None:
    expected = numbers(RESULTS[name]())
    forget_kept()
    with torch.device("meta"):
        found = numbers(RESULTS[name]())
    forget_kept()
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.device == CPU
        assert_exact(one.detach(), other.detach())


@pytest.mark.usefixtures("elsewhere")
def test_public_checks_are_silent() -> None:
    mask = kernel_to_mask(KERNEL, SHAPE)
    assert_equivalent(mask, KERNEL, SHAPE)
    dot_test(operator(KERNEL, SHAPE))


@pytest.mark.parametrize("family", FAMILIES)
def test_masks_go_into_models_where_they_are(family: str) -> None:
    """And a random start is that of the seed."""
    model, x = plain(family), images(family)
    torch.manual_seed(5)
    expected = add_masks(copy.deepcopy(model), "gmm")(x)
    torch.manual_seed(5)
    with torch.device("meta"):
        masked = add_masks(model, "gmm")
    assert {p.device for mask in masks_of(masked).values() for p in mask.parameters()} == {CPU}
    assert_exact(masked(x), expected)


@pytest.mark.parametrize("family", ["ViT", "Swin"])
def test_masked_models_are_checked(family: str) -> None:
    model: nn.Module = add_masks(plain(family), "gmm")
    expected = str(check_masks(model))
    with torch.device("meta"):
        assert str(check_masks(model)) == expected


def test_training_and_measuring_are_the_same(tmp_path: Path) -> None:
    """In float32 on the device of the data, whatever is set."""
    config = replace(tiny(), model=replace(tiny().model, name="retconv_vit_tiny", options=OPTIONS))
    data = few_digits()

    def run(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        (done,) = train(config, folder, data=data, device="cpu", progress=False)
        return done.weights(), measure(done, data)["tables"]

    weights, tables = run(tmp_path / "plain")
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            others, again = run(tmp_path / "set")
    finally:
        torch.set_default_dtype(torch.float32)
    assert again == tables
    for name, weight in weights.items():
        assert_exact(others[name], weight)


OPTIONS = {"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2, "mask": "gmm"}


@pytest.mark.usefixtures("elsewhere")
def test_data_are_read_to_the_cpu() -> None:
    digits = load("digits")
    assert digits.train_images.device == CPU
    assert len(digits.split(0.1, 0)[1]) == round(0.1 * len(digits.train_labels))
