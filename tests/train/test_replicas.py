"""Replicas: R runs as one stacked model are R runs, each with its own seed and none feeling the others."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from retconv.checks import relative_error, tolerance
from retconv.train import Config, Replicas, Trainer, TrainError, train
from retconv.train.batches import Batches
from retconv.train.config import ModelConfig, OptimConfig
from retconv.train.given import GivenDropPath
from retconv.train.optimise import clip_each, undecayed
from tests.compare import assert_close, assert_exact
from tests.train.small import few_digits, tiny

SMALL = {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2, "drop_path_rate": 0.3, "mask": "gmm"}
MASKED = tiny(model=ModelConfig("retconv_vit_tiny", SMALL))
SEEDS = (3, 0, 7)
#: The paper's families, thinned out; every one must survive being stacked.
FAMILIES = {
    "retconv_vit_tiny": {"embed_dim": 24, "depth": 2, "num_heads": 2},
    "retconv_swin_tiny": {"embed_dim": 12, "depths": (1, 2), "num_heads": (1, 2)},
    "retconv_cait_tiny": {"embed_dim": 24, "depth": 2, "num_heads": 2},
    "retconv_pit_tiny": {"depth": (1, 1, 1)},
    "retconv_t2t_tiny": {"embed_dim": 16, "depth": 1, "num_heads": 2},
}


def seeded(*seeds: int, config: Config = MASKED) -> list[Config]:
    return [replace(config, seed=seed) for seed in seeds]


def models(name: str, **options) -> list[nn.Module]:
    found = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        found.append(timm.create_model(name, num_classes=5, mask="gmm", **FAMILIES[name] | options))
    return found


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_each_replica_is_its_model_and_has_its_gradient(name: str, dtype: torch.dtype) -> None:
    """Logits and the gradient in every parameter, at the dtype's tolerance."""
    singles = [model.to(dtype) for model in models(name)]
    stacked = Replicas(singles)
    x = torch.randn(3, 2, 3, 32, 32, dtype=dtype, generator=torch.Generator().manual_seed(0))
    y = stacked(x)
    y.square().sum().backward()
    gradients = {name: g for pack in stacked.packs for name, g in pack.columns(pack.matrix.grad).items()}
    for i, model in enumerate(singles):
        expected = model(x[i])
        expected.square().sum().backward()
        assert_close(y[i], expected)
        # One scale for all gradients of a model: those that are 0 but for rounding, of keys' biases, have none.
        ours, theirs = (
            torch.cat([g.flatten() for g in part])
            for part in (
                [gradients[n][i] for n, p in model.named_parameters() if p.requires_grad],
                [p.grad for p in model.parameters() if p.requires_grad],
            )
        )
        assert_close(ours, theirs)


def test_shared_images_are_each_replicas_own() -> None:
    stacked = Replicas(models("retconv_vit_tiny")).eval()
    x = torch.randn(2, 3, 32, 32)
    assert_close(stacked(x), stacked(x.expand(3, -1, -1, -1, -1)).detach())


def test_a_replica_can_be_taken_out_as_a_model() -> None:
    singles = models("retconv_vit_tiny")
    stacked = Replicas(singles)
    for i, model in enumerate(singles):
        taken = stacked.single(i)
        assert taken.state_dict().keys() == model.state_dict().keys()
        for name, value in model.state_dict().items():
            assert_exact(taken.state_dict()[name], value)


@pytest.mark.parametrize("seed", SEEDS)
def test_start_and_batches_are_those_of_the_run_alone_bit_for_bit(seed: int) -> None:
    """Whoever the companions are: start, order, augmentation, mixing and drop path follow from the own seed."""
    options = replace(MASKED.augment, crop=1, policy="trivialaugment", erase=0.5, flip=True, repeats=2)
    together = Trainer(seeded(*SEEDS, config=replace(MASKED, augment=options)), few_digits())
    alone = Trainer(seeded(seed, config=replace(MASKED, augment=options)), few_digits())
    i = SEEDS.index(seed)
    for name, value in alone.replicas.state_dict().items():
        assert_exact(together.replicas.state_dict()[name][i], value[0])
    for epoch, step in ((0, 0), (0, 5), (3, 2)):
        for ours, theirs in zip(together.batches(epoch, step, 2), alone.batches(epoch, step, 2), strict=True):
            assert_exact(ours[i], theirs[0])


def test_seeds_differ_in_everything() -> None:
    options = replace(MASKED.augment, crop=1, mix_probability=1.0)
    trainer = Trainer(seeded(0, 1, config=replace(MASKED, augment=options)), few_digits())
    order = trainer.batches.order(0)
    assert not torch.equal(order[0], order[1])
    assert not torch.equal(order, trainer.batches.order(1))
    for part in (*trainer.batches(0, 0, 2), trainer.replicas.model.patch_embed.proj.weight):
        assert not torch.equal(part[0], part[1])


class Exact(Batches):
    """Batches in float64, in which rounding cannot grow into a difference."""

    def __call__(self, epoch: int, step: int, draws: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        images, targets, uniform = super().__call__(epoch, step, draws)
        return images.double(), targets.double(), uniform.double()


def trained(configs: list[Config], steps: int) -> Replicas:
    trainer = Trainer(configs, few_digits())
    trainer.replicas.double()
    trainer.batches = Exact(configs, replace(few_digits()))
    for _ in range(steps):
        trainer.step()
    return trainer.replicas


@pytest.mark.parametrize("optimiser", ["adamw", "nadamw", "sgd"])
def test_training_among_replicas_is_training_alone(optimiser: str) -> None:
    """Eight steps with drop path, mixing, decay and clipping by each one's own norm: float64's tolerance."""
    config = replace(MASKED, optim=OptimConfig(name=optimiser, lr=1e-3, clip=0.5))
    together = trained(seeded(*SEEDS, config=config), 8)
    for i, seed in enumerate(SEEDS):
        alone = trained(seeded(seed, config=config), 8)
        for name, value in alone.model.named_parameters():
            error = relative_error(together.model.get_parameter(name)[i], value[0])
            assert error <= tolerance(torch.float64), (name, error)


def test_companions_do_not_matter_to_a_replica() -> None:
    """Not their number, nor their order."""
    three, two = trained(seeded(3, 0, 7), 3), trained(seeded(5, 7), 3)
    for name, value in two.model.named_parameters():
        assert relative_error(three.model.get_parameter(name)[2], value[1]) <= tolerance(torch.float64)


def test_masks_of_one_form_may_be_replicas_and_others_are_refused() -> None:
    options = {"num_classes": 5, **FAMILIES["retconv_vit_tiny"]}

    def model(**more) -> nn.Module:
        return timm.create_model("retconv_vit_tiny", **options, **more)

    local = model(mask="gmm", mask_options={"start": "local"})
    assert Replicas([model(mask="gmm"), local]).count == 2
    with pytest.raises(ValueError, match=r"one functional form, but blocks\.0\.attn.*train them one after the other"):
        Replicas([model(mask="gmm"), model(mask="elm")])
    with pytest.raises(ValueError, match=r"placement is 'multiply_logits' in one and 'multiply_weights' in another"):
        Replicas([model(mask="gmm"), model(mask="gmm", placement="multiply_weights")])
    with pytest.raises(ValueError, match=r"metric is 'manhattan' in one and 'euclidean' in another"):
        Replicas([model(mask="manhattan"), model(mask="euclidean")])


def test_drop_path_leaves_out_what_is_drawn_below_p() -> None:
    path = GivenDropPath(0.25)
    path.scale = torch.tensor([0.0, 4 / 3, 4 / 3])
    x = torch.ones(3, 2)
    assert_close(path(x), [[0.0, 0.0], [4 / 3, 4 / 3], [4 / 3, 4 / 3]])
    assert_exact(path.eval()(x), x)


def test_each_drop_path_gets_its_own_draws() -> None:
    """A dropped sample leaves a layer as it came: with every branch dropped, layers do nothing."""
    model = timm.create_model("retconv_vit_tiny", drop_path_rate=0.5, num_classes=5, **FAMILIES["retconv_vit_tiny"])
    stacked = Replicas([model, copy.deepcopy(model)])
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    # The first layer's rate is 0: it has no drop path.
    assert stacked.draws == 2
    kept, dropped = torch.ones(2, 2), torch.zeros(2, 2)
    y = stacked(x, torch.stack([kept, dropped]))
    model.blocks[1].ls1, model.blocks[1].ls2 = Times(2.0), Times(2.0)
    for block in model.blocks:
        block.drop_path1, block.drop_path2 = nn.Identity(), nn.Identity()
    assert_close(y[0], model(x).detach())
    model.blocks[1] = nn.Identity()
    assert_close(y[1], model(x).detach())


class Times(nn.Module):
    """Multiplies."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def test_gradients_are_clipped_by_each_replicas_own_norm() -> None:
    weights, others = torch.zeros(2, 3, requires_grad=True), torch.zeros(2, 1, requires_grad=True)
    weights.grad, others.grad = torch.tensor([[3.0, 0, 0], [0.3, 0, 0]]), torch.tensor([[4.0], [0.4]])
    clip_each([weights, others], 1.0)
    assert_close(weights.grad, [[0.6, 0, 0], [0.3, 0, 0]])
    assert_close(others.grad, [[0.8], [0.4]])


def test_weight_decay_spares_masks_norms_biases_and_positions() -> None:
    trainer = Trainer(seeded(0, 1), few_digits())
    model = trainer.replicas.single(0)
    names = {name for name, _ in model.named_parameters()}
    masks = {name for name in names if ".mask." in name}
    exempt = {n for n in names if n in masks or "norm" in n or n.endswith("bias") or n == "pos_embed"}
    assert undecayed(model, OptimConfig()) == exempt
    assert undecayed(model, OptimConfig(decay_masks=True)) == exempt - masks
    assert undecayed(model, OptimConfig(decay_all=True)) == set()
    packs, groups = trainer.replicas.packs, trainer.optimiser.param_groups
    assert {name for pack in packs if pack.apart for name in pack.shapes} == exempt
    assert {name for pack in packs for name in pack.shapes} == names
    decay = MASKED.optim.weight_decay
    for pack, group in zip(packs, groups, strict=True):
        assert group["params"] == [pack.matrix]
        assert group["weight_decay"] == (0.0 if pack.apart else decay)


def test_results_are_stored_by_seed_and_resume_in_other_company(tmp_path: Path) -> None:
    """Two replicas are interrupted; one goes on alone, then both are asked for, with a third."""
    calls = []

    def stop(trainer: Trainer) -> None:
        calls.append(trainer.done)
        if trainer.done == 3:
            raise TrainError("stop")

    options = {"data": few_digits(), "device": "cpu", "progress": False}
    with pytest.raises(TrainError, match="stop"):
        train(seeded(0, 1), tmp_path, checkpoint_every=2, on_step=stop, **options)
    (first,) = train(seeded(0), tmp_path, **options)
    assert first.provenance()[-1]["from_step"] == 2
    runs = train(seeded(0, 1, 2), tmp_path, **options)
    assert [run.config.seed for run in runs] == [0, 1, 2]
    assert [[s["from_step"] for s in run.provenance()] for run in runs] == [[0, 2], [0, 2], [0]]
    assert all([row["epoch"] for row in run.metrics()] == [1, 2] for run in runs)
    assert all(list(run.kernels()) == [0, 1, 2] for run in runs)
    assert all(kernel.shape == (2, 3, 3) for run in runs for kernel in run.kernels()[2].values())
    weights = [run.weights()["head.weight"] for run in runs]
    assert not any(torch.equal(a, b) for a, b in itertools.pairwise(weights))


def test_the_test_result_is_that_of_the_stored_weights(tmp_path: Path) -> None:
    run, _ = train(seeded(0, 1), tmp_path, data=few_digits(), device="cpu", progress=False)
    model = timm.create_model(MASKED.model.name, img_size=8, num_classes=10, **SMALL).eval()
    model.load_state_dict(run.weights())
    data = few_digits()
    with torch.no_grad():
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (data.mean, data.std))
        logits = model((data.test_images / 255 - mean) / std)
    assert run.result()["test_accuracy"] == pytest.approx(float((logits.argmax(1) == data.test_labels).double().mean()))
    assert run.result()["test_loss"] == pytest.approx(float(F.cross_entropy(logits, data.test_labels)), rel=1e-5)
