"""Stratified choices: every beginning of the order is the Sainte-Laguë apportionment of its length."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from retconv.data import load
from retconv.data.dataset import stratified_order
from tests.data.naive import is_sainte_lague

sizes = st.lists(st.integers(1, 12), min_size=1, max_size=6)
seeds = st.integers(0, 2**32 - 1)


def labels_of(counts: list[int], seed: int) -> torch.Tensor:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]


@given(counts=sizes, seed=seeds)
def test_order_is_a_permutation_whose_every_beginning_is_stratified(counts: list[int], seed: int) -> None:
    labels = labels_of(counts, seed)
    order = stratified_order(labels, seed)
    assert sorted(order.tolist()) == list(range(len(labels)))
    for k in range(len(labels) + 1):
        taken = torch.bincount(labels[order[:k]], minlength=len(counts)).tolist()
        assert is_sainte_lague(taken, counts), (k, taken)


@given(seed=seeds)
def test_classes_of_equal_size_differ_by_one_at_most(seed: int) -> None:
    labels = labels_of([9] * 5, seed)
    order = stratified_order(labels, seed)
    for k in range(46):
        taken = torch.bincount(labels[order[:k]], minlength=5)
        assert int(taken.max() - taken.min()) <= 1


def test_absent_labels_are_no_classes() -> None:
    labels = torch.tensor([4, 1, 4, 1, 4, 1])
    assert sorted(labels[stratified_order(labels, 0)[:2]].tolist()) == [1, 4]


def test_every_sample_is_equally_likely_to_be_chosen() -> None:
    """Of 6 samples of one class 2 are taken: each in a third of 3,000 seeds, within 5 standard deviations."""
    labels = torch.zeros(6, dtype=torch.int64)
    counts = torch.zeros(6)
    for seed in range(3000):
        counts[stratified_order(labels, seed)[:2]] += 1
    assert float((counts - 1000).abs().max()) <= 5 * (3000 * 2 / 9) ** 0.5


def test_split_divides_the_training_set_by_seed() -> None:
    data = load("digits")
    train, validation = data.split(0.1, seed=3)
    assert len(validation) == 144
    assert torch.equal(torch.cat([train, validation]).sort().values, torch.arange(1437))
    share = torch.bincount(data.train_labels[validation]) / torch.bincount(data.train_labels)
    assert float((share - 0.1).abs().max()) <= 0.005
    assert torch.equal(validation, data.split(144, seed=3)[1])
    assert not torch.equal(validation, data.split(144, seed=4)[1])


def test_subsets_of_one_seed_are_nested() -> None:
    data = load("digits")
    small, large = data.subset(50, seed=1), data.subset(0.5, seed=1)
    rows = {bytes(image.numpy().tobytes()) for image in large.train_images}
    assert all(image.numpy().tobytes() in rows for image in small.train_images)
    assert torch.bincount(small.train_labels).tolist() == [5] * 10
    assert len(large.train_images) == 718
    assert (small.mean, small.std) == (data.mean, data.std)
    assert small.test_images is data.test_images
