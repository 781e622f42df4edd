"""A step: parameters packed into matrices, one tally, the same weights compiled or not."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import timm
import torch

from retconv.checks import relative_error
from retconv.train import Replicas, Trainer, load
from retconv.train.build import compiles_on, precision_on, unfuse_short_attention
from retconv.train.config import ModelConfig, OptimConfig
from retconv.train.packed import Pack
from tests.compare import assert_close, assert_exact
from tests.train.small import few_digits, tiny

SMALL = {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2, "drop_path_rate": 0.3}


def config(mask: str | None = "gmm", **options):
    return tiny(model=ModelConfig("retconv_vit_tiny", SMALL | {"mask": mask}), **options)


def test_a_pack_holds_its_parameters_and_their_gradients() -> None:
    """Sizes that are out of alignment come last, rows end in zeros, and the columns are the parameters bit for bit."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"odd": (3,), "matrix": (4, 8), "number": (), "other": (16,)}
    stacked = {name: torch.randn(2, *shape, generator=generator) for name, shape in shapes.items()}
    pack = Pack.of(stacked)
    assert list(pack.shapes) == ["matrix", "other", "odd", "number"]
    assert pack.matrix.shape == (2, 64)
    assert not pack.matrix[:, 52:].any()
    views = pack.columns(pack.matrix)
    sum((view * stacked[name]).sum() for name, view in views.items()).backward()
    gradients = pack.columns(pack.matrix.grad)
    for name, value in stacked.items():
        assert_exact(views[name].detach(), value)
        assert_exact(gradients[name], value)


@pytest.mark.parametrize("change", [copy.deepcopy, lambda r: r.double().float(), lambda r: r])
def test_the_model_shows_what_the_packs_hold(change) -> None:
    """Writing to either is writing to both, also in a copy and after a cast."""
    models = [timm.create_model("retconv_vit_tiny", num_classes=3, mask="gmm", **SMALL) for _ in range(2)]
    replicas = change(Replicas(models))
    replicas.model.load_state_dict({name: value + 1 for name, value in replicas.model.state_dict().items()})
    for pack in replicas.packs:
        for name, part in pack.columns(pack.matrix.detach()).items():
            assert_exact(part, replicas.model.get_parameter(name).detach())
            assert_exact(part[1], models[1].get_parameter(name).detach() + 1)
    x = torch.randn(2, 3, 32, 32)
    before = replicas(x)
    with torch.no_grad():
        replicas.packs[0].matrix.mul_(0.5)
    assert not torch.equal(replicas(x), before)


def test_the_masks_of_all_layers_are_computed_in_one_call(monkeypatch) -> None:
    calls = []
    kernel = type(timm.create_model("retconv_vit_tiny", mask="gmm", **SMALL).blocks[0].attn.mask).kernel
    owner = "retconv.masks.gaussian.GaussianMixtureMask.kernel"
    monkeypatch.setattr(owner, lambda self, grid: calls.append(self.heads) or kernel(self, grid))
    trainer = Trainer([replace(config(), seed=s) for s in (0, 1, 2)], few_digits())
    calls.clear()
    trainer.step()
    assert calls == [3 * 2 * 2]  # replicas, layers, heads


def test_a_tally_names_the_first_step_that_is_not_finite() -> None:
    trainer = Trainer([replace(config(), seed=s) for s in (0, 1)], few_digits())
    for done in range(4):
        if done == 2:
            trainer.replicas.packs[0].matrix.data[1].fill_(float("nan"))
        trainer.step()
    assert trainer.tally.bad.tolist() == [-1, 3]
    assert int(trainer.tally.done) == 4


@pytest.mark.parametrize(("seeds", "depth"), [((0,), 1), ((0, 1), 2)])
def test_the_compiled_step_gives_the_weights_of_the_eager_step(seeds: tuple[int, ...], depth: int) -> None:
    """Five steps of plain descent, in which rounding grows slowly; in float32, to ten times its tolerance."""
    model = ModelConfig("retconv_vit_tiny", SMALL | {"mask": "gmm", "depth": depth})
    eager, compiled = (
        Trainer([tiny(model=model, optim=OptimConfig("sgd", lr=0.1), seed=s, compile=on) for s in seeds], few_digits())
        for on in (False, True)
    )
    for trainer in (eager, compiled):
        for _ in range(5):
            trainer.step()
        trainer.evaluate(*trainer.validation)
    for ours, theirs in zip(compiled.replicas.packs, eager.replicas.packs, strict=True):
        assert relative_error(ours.matrix.detach(), theirs.matrix.detach()) <= 1e-4
    for ours, theirs in zip(compiled.evaluate(*compiled.validation), eager.evaluate(*eager.validation), strict=True):
        assert_close(ours, theirs, torch.float32)


def test_precision_auto_is_the_faster_one(monkeypatch) -> None:
    cpu = torch.device("cpu")
    for units, wanted in ({"amx_bf16"}, "bfloat16"), ({"avx512_bf16"}, "bfloat16"), ({"amx_fp16"}, "float32"):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda units=units: dict.fromkeys(units, True))
        assert precision_on(cpu, "auto") == wanted
        assert precision_on(cpu, "bfloat16") == "bfloat16"


def test_compile_null_is_on_a_gpu_alone() -> None:
    assert load("standard").compile is None
    for asked, here, there in ((None, False, True), (False, False, False), (True, True, True)):
        assert compiles_on(torch.device("cpu"), asked) is here
        assert compiles_on(torch.device("cuda"), asked) is there
    assert not Trainer([config(None, compile=None)], few_digits()).compiles


def test_short_attention_of_half_types_is_two_products() -> None:
    """Torch's fused function is slow there; masks take their place in its call, which stays."""
    plain, masked = (timm.create_model("retconv_vit_tiny", img_size=8, **SMALL, mask=m) for m in (None, "gmm"))
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for model, fused in ((plain, False), (masked, True)):
        before = model.eval()(images)
        unfuse_short_attention(model)
        assert {m.fused_attn for m in model.modules() if hasattr(m, "fused_attn")} == {fused}
        assert_close(model(images).detach(), before.detach(), torch.float32)
        assert not any(m._forward_hooks for m in model.modules() if fused is False)


def test_only_half_types_on_a_cpu_leave_the_fused_function() -> None:
    for half, fused in (("bfloat16", False), ("float32", True)):
        trainer = Trainer([config(None, precision=half)], few_digits())
        trainer.step()
        assert {m.fused_attn for m in trainer.replicas.modules() if hasattr(m, "fused_attn")} == {fused}
