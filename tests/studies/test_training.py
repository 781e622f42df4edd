"""What studies need of training: parts of the data, weight decay on masks, a temperature, a hidden diagonal."""

from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch
from torch.nn import functional as F

from retconv.grid import Grid
from retconv.masks import ElementwiseMask, GaussianMixtureMask, OffDiagonalMask
from retconv.models.temperature import HeadTemperature
from retconv.train import Trainer, parse, train
from retconv.train.batches import Batches
from retconv.train.build import kernels, mask_kernel
from tests import naive
from tests.strategies import DTYPES, SHAPES
from tests.train.small import BASE, few_digits, tiny

OPTIONS = {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}
MASKED = parse(BASE | {"model": {"name": "retconv_vit_tiny", "options": OPTIONS | {"mask": "gmm"}}})


def part(fraction: float, seed: int = 0) -> Batches:
    config = tiny()
    return Batches([replace(config, seed=seed, data=replace(config.data, fraction=fraction))], few_digits())


def chosen(batches: Batches) -> set[bytes]:
    return {bytes(image.numpy().tobytes()) for image in batches.images}


def test_parts_of_the_data_are_nested_and_the_same_for_every_seed() -> None:
    smaller, larger, whole = chosen(part(0.1)), chosen(part(0.3)), chosen(part(1.0))
    assert smaller < larger < whole
    assert (len(part(0.1).labels), len(part(0.3).labels), len(part(1.0).labels)) == (16, 48, 160)
    assert chosen(part(0.1, seed=3)) == smaller


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_parts_of_the_data_hold_every_class_in_proportion(fraction: float) -> None:
    """To within one image: the apportionment of Sainte-Laguë."""
    every = torch.bincount(part(1.0).labels, minlength=10)
    some = torch.bincount(part(fraction).labels, minlength=10)
    assert bool(((some - fraction * every).abs() <= 1).all())


def test_a_part_is_shown_in_as_many_steps_as_the_whole() -> None:
    """Each image of it as often as the others, to within one."""
    batches, whole = part(0.1), part(1.0)
    assert batches.steps == whole.steps
    order = batches.order(0)[0]
    assert len(order) == len(whole.order(0)[0]) == 160
    assert torch.bincount(order).unique().tolist() == [10]
    assert not torch.equal(order[:16], order[16:32])


def test_a_younger_option_leaves_stored_runs_their_name() -> None:
    """The names that these two runs had before there were parts of the data and decay of masks alone."""
    config = tiny()
    assert config.id == parse(BASE | {"optim": {"decay_masks": False}}).id
    assert config.id != replace(config, data=replace(config.data, fraction=0.5)).id
    assert parse({}).id == "2104003b12f4d543"


def test_temperature_scales_the_scores_of_each_head() -> None:
    q, k, v = torch.randn(3, 2, 4, 5, 8, generator=torch.Generator().manual_seed(0)).unbind()
    layer = HeadTemperature(4)
    torch.nn.init.uniform_(layer.scale, 0.5, 2.0)
    ours = F.scaled_dot_product_attention(layer(q), k, v)
    for head, tau in enumerate(layer.scale.tolist()):
        by_hand = torch.softmax(tau * (q[:, head] @ k[:, head].mT) / 8**0.5, dim=-1) @ v[:, head]
        torch.testing.assert_close(ours[:, head], by_hand, rtol=1e-5, atol=1e-6)


def test_temperature_starts_as_the_plain_model_and_has_a_number_a_head() -> None:
    torch.manual_seed(0)
    plain = timm.create_model("retconv_vit_tiny", num_classes=10, **OPTIONS).eval()
    warm = timm.create_model("retconv_vit_tiny", num_classes=10, temperature=True, **OPTIONS).eval()
    missing, unexpected = warm.load_state_dict(plain.state_dict(), strict=False)
    assert missing == ["blocks.0.attn.q_norm.scale", "blocks.1.attn.q_norm.scale"]
    assert unexpected == []
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(plain(x), warm(x))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_off_diagonal_mask_is_0_at_its_own_token_and_1_elsewhere(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    """Bit-exact, by a double loop; neutral at prefix tokens, and on every grid."""
    mask = OffDiagonalMask(2).to(dtype)
    wanted = torch.tensor(naive.mask(lambda q, k: float(q != k), shape), dtype=dtype)
    assert torch.equal(mask(shape), wanted.expand(2, -1, -1))
    assert torch.equal(mask(Grid(shape, prefix=1))[:, 1:, 1:], mask(shape))
    assert bool((mask(Grid(shape, prefix=1))[:, 0] == 1).all())
    assert mask.kernel(shape).dtype == dtype


def test_a_hidden_diagonal_gives_no_token_weight_on_itself() -> None:
    options = OPTIONS | {"mask": "off_diagonal", "placement": "bias_logits", "temperature": True}
    model = timm.create_model("retconv_vit_tiny", num_classes=10, **options).eval()
    seen: list[torch.Tensor] = []
    for block in model.blocks:
        block.attn.observer = seen.append
    model(torch.randn(2, 3, 32, 32))
    for weights in seen:
        assert bool((weights.diagonal(dim1=-2, dim2=-1) == 0).all())
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    assert len(seen) == 2


@pytest.mark.parametrize("alpha", [(0.5, -0.8), (-0.5, -0.8)])
def test_a_positive_mixture_weighs_by_magnitude(alpha: tuple[float, float]) -> None:
    """The sign of α is as irrelevant as that of σ, and the mask always has a logarithm."""
    mask = GaussianMixtureMask(1, 2, positive=True)
    mask.load_state_dict({"sigma": torch.tensor([[1.0, 3.0]]), "alpha": torch.tensor([alpha])})
    signed = GaussianMixtureMask.from_parameters(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.5, 0.8]]))
    assert torch.equal(mask.kernel((3, 5)), signed.kernel((3, 5)))
    assert bool((mask.kernel((3, 5)) > 0).all())
    assert "positive=True" in repr(mask)
    assert "positive" not in repr(signed)


def test_one_positive_gaussian_as_a_bias_in_stacked_replicas_equals_runs_alone() -> None:
    """Its fast form looks at σ, which a stacked model cannot: the plain form must take its place."""
    options = OPTIONS | {"mask": "gmm", "mask_options": {"components": 1, "positive": True}, "placement": "bias_logits"}
    configs = [replace(MASKED, seed=s, model=replace(MASKED.model, options=options)) for s in (0, 1)]
    together, alone = Trainer(configs, few_digits()), [Trainer([c], few_digits()) for c in configs]
    for trainer in (together, *alone):
        trainer.step()
    for i, one in enumerate(alone):
        torch.testing.assert_close(together.tally.loss[i], one.tally.loss[0], rtol=1e-5, atol=0)


def test_residuals_of_free_masks_are_stored_by_epoch(tmp_path) -> None:
    """Law 3's residual of an element-wise mask after each epoch; masks that are convolutions have none."""
    for mask, stored in (("elm", {"residual.blocks.0.attn", "residual.blocks.1.attn"}), ("gmm", set())):
        config = replace(MASKED, model=replace(MASKED.model, options=OPTIONS | {"mask": mask}))
        (run,) = train(config, tmp_path, data=few_digits(), device="cpu", progress=False)
        for row in run.metrics():
            assert {key for key in row if key.startswith("residual")} == stored
            assert all(0 < row[key] <= 1 for key in stored)
        if mask == "elm":
            entries = run.weights()["blocks.0.attn.mask.weight"][0]
            assert run.metrics()[-1]["residual.blocks.0.attn"] == pytest.approx(by_loops(entries.tolist(), 2), rel=1e-5)


@pytest.mark.parametrize("start", ["zeros", "ones"])
def test_a_free_mask_that_is_a_convolution_leaves_nothing_out(start: str) -> None:
    """Of zeros too, whose residual would be 0/0: it is there, and 0, for every element-wise mask."""
    options = OPTIONS | {"mask": "elm", "mask_options": {"start": start}}
    replicas = Trainer([replace(MASKED, model=replace(MASKED.model, options=options))], few_digits()).replicas
    found, residuals = kernels(replicas, 0)
    assert residuals == {"blocks.0.attn": 0.0, "blocks.1.attn": 0.0}
    assert all(bool((kernel == (start == "ones")).all()) for kernel in found.values())


@pytest.mark.parametrize("prefix", [0, 1])
def test_a_masks_residual_is_over_all_heads_together(prefix: int) -> None:
    """One head of zeros beside one that is no convolution; prefix tokens take no part."""
    mask = ElementwiseMask((2, 2), 2, per_head=True)
    with torch.no_grad():
        mask.weight[1] = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    kernel, residual = mask_kernel(mask, Grid((2, 2), prefix=prefix))
    assert residual == pytest.approx(by_loops(mask.weight[1].tolist(), 2), rel=1e-6)
    assert kernel.shape == (2, 3, 3)
    assert not kernel[0].any()
    assert not kernel.requires_grad


def by_loops(mask: list[list[float]], side: int) -> float:
    """‖M − PM‖ / ‖M‖ by averaging over pairs of equal offset, on Python floats."""
    place = [(i // side, i % side) for i in range(side**2)]
    groups: dict[tuple[int, int], list[float]] = {}
    for q, row in zip(place, mask, strict=True):
        for k, value in zip(place, row, strict=True):
            groups.setdefault((k[0] - q[0], k[1] - q[1]), []).append(value)
    missed = sum((v - sum(g) / len(g)) ** 2 for g in groups.values() for v in g)
    return (missed / sum(v * v for row in mask for v in row)) ** 0.5
