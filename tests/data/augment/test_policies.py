"""What policies draw: torchvision's choices, magnitudes and probabilities, from one generator on the host."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from retconv.data.augment import POLICIES, AutoAugment, Erasing, RandAugment, TrivialAugment
from retconv.data.augment.operations import NAMES
from retconv.data.augment.policies import SIGNED

N = 40_000
LEARNED = {policy.value: policy for policy in v2.AutoAugmentPolicy}
#: Binomial shares may be off by 5 standard deviations: 1 test in 2 million fails by chance, and the seed is fixed.
SIGMAS = 5.0


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def assert_share(drawn: Tensor, probability: float) -> None:
    share, n = float(drawn.double().mean()), drawn.numel()
    assert abs(share - probability) <= SIGMAS * math.sqrt(max(probability * (1 - probability), 1 / n) / n)


def magnitudes_by_operation(operations: Tensor, magnitudes: Tensor) -> dict[str, set[float]]:
    pairs = torch.stack([operations.flatten().double(), magnitudes.flatten()], dim=1).unique(dim=0)
    found: dict[str, set[float]] = {}
    for operation, magnitude in pairs.tolist():
        found.setdefault(NAMES[int(operation)], set()).add(magnitude)
    return found


def space_of(transform: type, bins: int, height: int, width: int) -> dict[str, tuple[list[float], bool]]:
    """Magnitudes of torchvision's table, and whether they are signed."""
    space = {}
    for name, (function, signed) in transform._AUGMENTATION_SPACE.items():
        values = function(bins, height, width)
        space[name] = ([0.0] if values is None else [float(value) for value in values], signed)
    return space


@pytest.mark.parametrize("size", [(32, 32), (20, 48)], ids=str)
def test_trivial_augment_draws_every_magnitude_of_the_wide_space(size: tuple[int, int]) -> None:
    operations, magnitudes = TrivialAugment().draw(N, *size, seeded())
    assert operations.shape == magnitudes.shape == (N, 1)
    found = magnitudes_by_operation(operations, magnitudes)
    space = space_of(v2.TrivialAugmentWide, 31, *size)
    assert found.keys() == space.keys()
    for name, (values, signed) in space.items():
        assert found[name] == set(values) | ({-value for value in values} if signed else set()), name
        assert_share(operations == NAMES.index(name), 1 / len(space))


def test_rand_augment_draws_one_strength() -> None:
    operations, magnitudes = RandAugment(depth=3, strength=9).draw(N, 20, 48, seeded())
    assert operations.shape == (N, 3)
    found = magnitudes_by_operation(operations, magnitudes)
    for name, (values, signed) in space_of(v2.RandAugment, 31, 20, 48).items():
        value = values[9] if len(values) > 1 else 0.0
        assert found[name] == ({value, -value} if signed else {value}), name
        assert_share(operations == NAMES.index(name), 1 / 14)


@pytest.mark.parametrize("learned_on", LEARNED)
def test_auto_augment_draws_the_learned_pairs(learned_on: str) -> None:
    """Each pair of operations, applied or not, as often as torchvision's list says."""
    operations, magnitudes = AutoAugment(learned_on).draw(N, 20, 48, seeded())
    space = space_of(v2.AutoAugment, 10, 20, 48)
    expected: dict[tuple[str, float, str, float], float] = {}
    pairs = v2.AutoAugment(LEARNED[learned_on])._policies
    for pair in pairs:
        for first in (True, False):
            for second in (True, False):
                share, key = 1 / len(pairs), []
                for applied, (name, probability, strength) in zip((first, second), pair, strict=True):
                    share *= probability if applied else 1 - probability
                    value = space[name][0][strength] if applied and strength is not None else 0.0
                    key += [name if applied else "Identity", value]
                expected[tuple(key)] = expected.get(tuple(key), 0.0) + share  # type: ignore[index, arg-type]
    signed = torch.tensor([name in SIGNED for name in NAMES])[operations]
    unsigned = torch.where(signed, magnitudes.abs(), magnitudes)
    columns = torch.stack([operations[:, 0].double(), unsigned[:, 0], operations[:, 1].double(), unsigned[:, 1]], dim=1)
    rows, counts = columns.unique(dim=0, return_counts=True)
    found = {
        (NAMES[int(a)], m, NAMES[int(b)], n): c / N
        for (a, m, b, n), c in zip(rows.tolist(), counts.tolist(), strict=True)
    }
    assert found.keys() <= {key for key, share in expected.items() if share > 0}
    for key, share in expected.items():
        assert abs(found.get(key, 0.0) - share) <= SIGMAS * math.sqrt(share * (1 - share) / N), key
    assert_share(magnitudes[signed & (magnitudes != 0)] < 0, 0.5)


def test_signed_operations_are_those_of_torchvision() -> None:
    assert set(SIGNED) == {name for name, (_, signed) in v2.AutoAugment._AUGMENTATION_SPACE.items() if signed}


@pytest.mark.parametrize("name", POLICIES)
def test_draws_follow_the_generator(name: str) -> None:
    """Equal states give equal draws, and drawing moves the state on."""
    generator = seeded(3)
    first, second = (POLICIES[name].draw(50, 32, 32, generator) for _ in range(2))
    again = POLICIES[name].draw(50, 32, 32, seeded(3))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], second[0])


def test_rectangles_lie_inside_with_area_and_ratio_of_their_ranges() -> None:
    h, w = 32, 48
    boxes = Erasing(0.25, scale=(0.1, 0.4)).draw(N, h, w, seeded())
    erased = boxes[boxes[:, 2] > 0].double()
    assert_share(boxes[:, 2] > 0, 0.25)
    top, left, height, width = erased.unbind(1)
    assert bool(((top >= 0) & (left >= 0) & (top + height <= h) & (left + width <= w)).all())
    assert bool(((height < h) & (width < w)).all())
    # Rounding moves each side by half a pixel at most.
    assert bool(
        ((height - 0.5) * (width - 0.5) <= 0.4 * h * w).all() & ((height + 0.5) * (width + 0.5) >= 0.1 * h * w).all()
    )
    assert bool(((height - 0.5) / (width + 0.5) <= 1 / 0.3).all() & ((height + 0.5) / (width - 0.5) >= 0.3).all())
    assert top.unique().numel() > 20
    assert float(left.max()) + 1 == w - float(width[left.argmax()]) + 1


def test_rectangles_are_distributed_as_in_torchvision() -> None:
    """Mean sides and positions of 4,000 of torchvision's, within 5 standard errors."""
    scale, ratio = (0.02, 0.33), (0.3, 3.3)
    ours = Erasing(1.0, scale, ratio).draw(N, 20, 20, seeded()).double()
    torch.manual_seed(0)
    transform = v2.RandomErasing(1.0, scale, ratio)
    params = [transform.make_params([torch.zeros(3, 20, 20)]) for _ in range(4000)]
    theirs = torch.tensor([[p[key] for key in "ijhw"] for p in params if p["v"] is not None]).double()
    error = (ours.var(0) / len(ours) + theirs.var(0) / len(theirs)).sqrt()
    assert bool(((ours.mean(0) - theirs.mean(0)).abs() <= SIGMAS * error).all())


def test_an_image_in_which_nothing_fits_stays_whole() -> None:
    assert not Erasing(1.0, scale=(1.0, 1.0), ratio=(1.0, 1.0)).draw(100, 8, 8, seeded()).any()
