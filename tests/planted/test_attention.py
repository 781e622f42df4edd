"""Planted masks in attention: what softmax leaves free, and pairs of tokens that only some masks can tell apart."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from retconv.grid import Grid
from retconv.planted.attention import Free, MaskedAttention, content, information, seen
from retconv.planted.bias import ARMS, HEADS, Arm, learn, observe, plant, start
from retconv.planted.pairs import ARMS as MASKS
from retconv.planted.pairs import CEILING, FEATURES, KINDS, TASKS, PairFinder, images, layouts, signs
from tests.naive import difference, positions
from tests.planted import naive as naive_planted

GRID = Grid((2, 3))
RIGHT = [arm for arm in ARMS if arm.planted == arm.learnt]


def by_name(name: str) -> Arm:
    (arm,) = (arm for arm in ARMS if arm.name == name)
    return arm


def moved(model: MaskedAttention, free: Free, by: float = 1.5) -> MaskedAttention:
    """Change what is free, and nothing else."""
    (mask,) = model.mask.parameters()
    with torch.no_grad():
        if free == "rows":
            mask += by * torch.arange(GRID.size)[:, None]
        elif free == "constant":
            mask += by
        elif free == "scale":
            mask *= by
            model.queries /= by
    return model


@pytest.mark.parametrize("arm", RIGHT, ids=lambda arm: arm.name)
def test_planted_attention_is_its_formula(arm: Arm) -> None:
    model = plant(arm, GRID)
    given = content(GRID, HEADS, 1, torch.Generator().manual_seed(0))
    out, entries = model(given)[0], model.entries()
    for head in range(HEADS):
        queries, keys = (given.tokens[0, 0] @ w[head] for w in (model.queries, model.keys))
        scores = (queries @ keys.mT / queries.shape[-1] ** 0.5).tolist()
        fixed = [[float(arm.planted == "multiply_logits")] * GRID.size] * GRID.size
        learnt = entries[head].tolist()
        if arm.planted == "bias_logits":
            bias, factor = learnt, [[1.0] * GRID.size] * GRID.size
        else:
            bias, factor = [[0.0] * len(row) for row in fixed], learnt
        expected = naive_planted.biased_attention(scores, bias, factor, given.values[0, head].tolist())
        np.testing.assert_allclose(out[head].detach().numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("arm", RIGHT, ids=lambda arm: arm.name)
def test_softmax_leaves_free_what_the_formula_says(arm: Arm) -> None:
    """Law: outputs are the same, and so is what is seen of the mask, though the mask is another one."""
    given = content(GRID, HEADS, 2, torch.Generator().manual_seed(0))
    before, after = plant(arm, GRID), moved(plant(arm, GRID), arm.free)
    torch.testing.assert_close(after(given), before(given), rtol=1e-10, atol=1e-12)
    truth = before.entries()
    torch.testing.assert_close(seen(after.entries(), truth, arm.free), seen(truth, truth, arm.free))
    assert torch.equal(after.entries(), truth) == (arm.free == "nothing")


@pytest.mark.parametrize(
    ("name", "free"), [("bias, table", "scale"), ("mask, table", "constant"), ("mask, table, queries given", "scale")]
)
def test_what_is_free_in_one_placement_shows_in_the_other(name: str, free: Free) -> None:
    given = content(GRID, HEADS, 2, torch.Generator().manual_seed(0))
    before, after = plant(by_name(name), GRID), plant(by_name(name), GRID)
    (mask,) = after.mask.parameters()
    with torch.no_grad():
        mask.mul_(1.5) if free == "scale" else mask.add_(1.5)
    assert float((after(given) - before(given)).detach().abs().max()) > 1e-2


def test_of_a_table_that_is_no_constant_shows() -> None:
    """A constant for each row is free of an element-wise bias, but of no table: all rows share the offset 0."""
    arm = by_name("bias, table")
    given = content(GRID, HEADS, 2, torch.Generator().manual_seed(0))
    before, after = plant(arm, GRID), plant(arm, GRID)
    with torch.no_grad():
        after.mask.weight[:, GRID.center[0], GRID.center[1]] += 1.0
    assert float((after(given) - before(given)).detach().abs().max()) > 1e-2


@pytest.mark.parametrize("name", ["bias, table", "bias, element-wise"])
def test_a_free_constant_stays_where_it_started(name: str) -> None:
    arm = by_name(name)
    planted = plant(arm, GRID)
    model = start(arm, planted, seed=0)
    learn(model, *observe(planted, 64, seed=0))
    (found,), (truth,) = model.mask.parameters(), planted.mask.parameters()
    axes = (-1,) if arm.free == "rows" else (-2, -1)
    assert float(found.detach().mean(axes).abs().max()) < 1e-10
    assert float(truth.detach().mean(axes).abs().max()) > 0.3
    assert float(found.detach().abs().max()) > 0.3


def test_information_of_a_decay_is_that_of_its_derivative() -> None:
    """One number a head and known queries: F is the squared derivative of the outputs, here by differences."""
    arm = Arm("decay", "decay", "bias_logits", "nothing", "bias_logits", learn_queries=False)
    model = plant(arm, GRID)
    given = content(GRID, HEADS, 40, torch.Generator().manual_seed(0))
    found = information(model, given, "nothing")
    (rate,), step = model.mask.parameters(), 1e-5
    total, squares = 0.0, 0.0
    for head in range(HEADS):
        pair = []
        for sign in (1, -1):
            with torch.no_grad():
                rate[head] += sign * step
                pair.append((model(given), model.entries()))
                rate[head] -= sign * step
        slope, bias = ((a - b) / (2 * step) for a, b in zip(*pair, strict=True))
        variance = float(bias.square().sum() / (slope.square().sum() / 40))
        total, squares = total + variance, squares + variance**2
    assert found.unseen == 0
    assert found.squared == pytest.approx(total, rel=1e-6)
    assert found.degrees == pytest.approx(total**2 / squares, rel=1e-6)


def test_pairs_are_disjoint_at_their_distances_and_copies() -> None:
    grid, stream = Grid((4, 5)), torch.Generator().manual_seed(0)
    where = positions(grid.shape)
    places = layouts(grid, 20, stream, pairs=2)
    for layout in places.tolist():
        tokens = [token for kind in layout for pair in kind for token in pair]
        assert len(set(tokens)) == len(tokens) == 12
        for kind, (low, high) in zip(layout, KINDS, strict=True):
            assert all(low <= sum(map(abs, difference(where[a], where[b]))) <= high for a, b in kind)
    x, label = images("both", places[:1], grid.size, (30,), stream)
    for tokens, y in zip(x.tolist(), label.tolist(), strict=True):
        found = []
        for kind in places[0].tolist():
            ratio = {round(v / u, 6) for a, b in kind for u, v in zip(tokens[a], tokens[b], strict=True)}
            assert ratio in ({1.0}, {-1.0})
            found.append(ratio.pop())
        assert y == (found[0] > 0 and found[2] > 0)


def test_signs_come_as_often_as_they_should() -> None:
    stream = torch.Generator().manual_seed(0)
    for task in TASKS:
        sign, label = signs(task, (6000,), stream)
        counts = {(a, c): 0 for a, c in itertools.product((-1, 1), repeat=2)}
        for (near, _, far), y in zip(sign.tolist(), label.tolist(), strict=True):
            counts[int(near), int(far)] += 1
            assert y == {"near": near > 0, "far": far > 0, "both": near > 0 and far > 0}[task]
        for case, count in counts.items():
            share = 1 / 4 if task != "both" else 1 / 2 if case == (1, 1) else 1 / 6
            assert count / 6000 == pytest.approx(share, abs=0.025)


@pytest.mark.parametrize("task", TASKS)
def test_ceilings_are_the_best_of_all_thresholds(task: str) -> None:
    """Over weights of near, middle and far pairs: equal without a mask, falling with decay, any with a table."""
    grid = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
    every = {w: naive_planted.best_threshold(w, task) for w in itertools.product(grid, repeat=3) if any(w)}
    assert every[1.0, 1.0, 1.0] == pytest.approx(CEILING["plain", task])
    falling = max(value for (near, middle, far), value in every.items() if near >= middle >= far)
    assert falling == pytest.approx(CEILING["decay", task]) == pytest.approx(CEILING["gmm_positive", task])
    assert max(every.values()) == pytest.approx(100)


def test_without_a_mask_a_head_is_blind_to_places() -> None:
    grid, stream = Grid((3, 4)), torch.Generator().manual_seed(0)
    x = torch.randn(5, 2, grid.size, FEATURES, generator=stream)
    shuffled = x[:, :, torch.randperm(grid.size, generator=stream)]
    for arm in MASKS:
        model = PairFinder(arm, grid, 2, torch.Generator().manual_seed(1))
        if arm in ("table", "elm"):  # they start without a mask
            torch.nn.init.normal_(model.mask.weight, generator=stream)
        same = torch.allclose(model(x), model(shuffled), rtol=1e-4, atol=1e-4)
        assert same == (arm == "plain"), arm


@pytest.mark.parametrize("arm", MASKS)
def test_seeds_share_nothing(arm: str) -> None:
    grid, stream = Grid((3, 4)), torch.Generator().manual_seed(0)
    model = PairFinder(arm, grid, 3, torch.Generator().manual_seed(1))
    x = torch.randn(4, 3, grid.size, FEATURES, generator=stream)
    model(x)[:, 1].sum().backward()
    for name, parameter in model.named_parameters():
        each = parameter.grad.movedim(1, 0) if name == "content" else parameter.grad
        assert float(each[1].abs().max()) > 0, name
        assert float(each[0].abs().max()) == float(each[2].abs().max()) == 0, name
