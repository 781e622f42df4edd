"""Masked models under what is done to models: sharding, checkpointing, export, quantisation, extraction, tracing."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import timm
import torch
import torch.distributed as dist
import torch.nn.functional as F
from timm.utils import AttentionExtract
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrize
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint

import retconv
from retconv.checks import relative_error
from retconv.models import add_masks, masks_of
from retconv.models.surgery import masked_modules
from tests.compare import assert_close, assert_exact
from tests.models.by_hand import CHANNELS, SIDE, Model
from tests.models.cases import images, plain
from tests.models.interop import hugging_face

#: What stands in every layer: a mask with parameters of two axes, of one, of many, of none, and with a buffer.
LEARNT = ["gmm", "kerple_log", "table"]
PAGE = Path(retconv.__file__).parents[1] / "docs" / "interop.md"


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """A group of one process, on the CPU."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def masked(mask: str = "gmm", family: str = "ViT", **options: Any) -> nn.Module:
    torch.manual_seed(5)
    return add_masks(plain(family), mask, **options).eval()


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """Of the masks, by a backward pass."""
    model(images("ViT")).square().sum().backward()
    found = {name: p.grad for name, p in model.named_parameters() if ".mask." in name and p.grad is not None}
    return {name: getattr(g, "full_tensor", lambda g=g: g)() for name, g in found.items()}


@pytest.mark.parametrize("mask", [*LEARNT, "manhattan", "window"])
def test_fully_shard_by_layer(mask: str, group: None) -> None:
    """FSDP2, each block by itself and then the rest: output and gradients of the masks are those of one device."""
    before, model, x = masked(mask), masked(mask), images("ViT")
    mesh = init_device_mesh("cpu", (1,))
    for block in model.blocks:  # type: ignore[union-attr]
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    assert_exact(model(x), before(x))
    expected = gradients(before)
    for name, gradient in gradients(model).items():
        assert_exact(gradient, expected[name])
    assert bool(expected) == (mask in LEARNT)


def test_fully_shard_of_a_mask_that_layers_share(group: None) -> None:
    """It is one layer's: with the layers sharded apart it is refused, with the model as a whole it is right."""
    before, apart, whole, x = (*(masked(share="model") for _ in range(3)), images("ViT"))
    mesh = init_device_mesh("cpu", (1,))
    for block in apart.blocks:  # type: ignore[union-attr]
        fully_shard(block, mesh=mesh)
    with pytest.raises(ValueError, match="shard the model as a whole"):
        fully_shard(apart, mesh=mesh)(x)
    fully_shard(whole, mesh=mesh)
    assert_exact(whole(x), before(x))
    assert_exact(gradients(whole)["blocks.0.attn.mask.sigma"], gradients(before)["blocks.0.attn.mask.sigma"])


@pytest.mark.parametrize("share", ["head", "model"])
def test_distributed_data_parallel(share: Any, group: None) -> None:
    """Every parameter of a mask takes part, so that no process waits for a gradient that never comes."""
    before, model = masked(share=share), masked(share=share)
    found = gradients(DistributedDataParallel(model))
    expected = gradients(before)
    assert {name.removeprefix("module.") for name in found} == set(expected)
    for name, gradient in found.items():
        assert_exact(gradient, expected[name.removeprefix("module.")])


@pytest.mark.parametrize("whole", [False, True])
def test_checkpointing_under_compile(whole: bool) -> None:
    """Blocks run again in backward; in one graph if torch may leave out there what a mask does beside."""
    before, model = masked().train(), masked().train()
    model.set_grad_checkpointing(True)  # type: ignore[operator]
    torch.compiler.reset()
    with torch._dynamo.config.patch(skip_fwd_side_effects_in_bwd_under_checkpoint=whole):
        found = gradients(torch.compile(model, backend="aot_eager", fullgraph=whole))  # type: ignore[arg-type]
    for name, gradient in gradients(before).items():
        assert_close(found[f"_orig_mod.{name}"], gradient)


def test_checkpointing_of_transformers() -> None:
    """Its layers run again in backward too."""
    x, found = images("ViT"), []
    for checkpointing in (False, True):
        torch.manual_seed(5)
        model = add_masks(hugging_face(), "gmm").train()
        if checkpointing:
            model.gradient_checkpointing_enable()  # type: ignore[operator]
        model(x).logits.square().sum().backward()
        found.append([p.grad for mask in masks_of(model).values() for p in mask.parameters()])
    for one, other in zip(*found, strict=True):
        assert_exact(one, other)


class Checkpointed(nn.Module):
    """Attention that checkpoints itself, and the call by which it attends."""

    def __init__(self, fused: bool, reentrant: bool) -> None:
        super().__init__()
        self.qkv, self.fused, self.reentrant = nn.Linear(CHANNELS, 3 * CHANNELS), fused, reentrant

    def attend(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        fused = F.scaled_dot_product_attention
        out = fused(q, k, v) if self.fused else (q @ k.mT / 2).softmax(dim=-1) @ v
        return out.transpose(1, 2).flatten(2)

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.attend, x, use_reentrant=self.reentrant)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_checkpointing_within_attention(fused: bool, reentrant: bool) -> None:
    """Only ``forward`` has the mask, and backward runs what is in it again: refused in training, else it runs."""
    model = add_masks(Model(Checkpointed(fused, reentrant)), "gmm")
    x = torch.rand(2, 3, SIDE, SIDE)
    with torch.no_grad():
        out = model(x)
        assert not torch.equal(out, model.attn.attend(model.embed(x).flatten(2).mT))
    with pytest.raises(ValueError, match="'attn' attends within a checkpoint of its own"):
        model(x)


@pytest.mark.parametrize("mask", [*LEARNT, "alibi", "gpsa", "swin_table", "window"])
def test_export(mask: str) -> None:
    model, x = masked(mask), images("ViT")
    assert_close(torch.export.export(model, (x,)).module()(x), model(x))


def test_onnx(tmp_path: Path) -> None:
    """What onnxruntime computes, of a mask that is exported as the formula that it is."""
    model, x = masked("kerple_log", placement="bias_logits"), images("ViT")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (x,), tmp_path / "model.onnx", dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (out,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert_close(torch.from_numpy(out), model(x))


def test_dynamic_quantisation() -> None:
    """Linear layers to 8 bits: masks stay as they are, and the output moves no more than without masks."""
    x = images("ViT")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pairs = [(m, torch.ao.quantization.quantize_dynamic(m, {nn.Linear})) for m in (plain("ViT"), masked())]
    errors = [relative_error(quantised(x), model(x)) for model, quantised in pairs]
    assert errors[1] < 2 * errors[0] < 0.5
    for mask, other in zip(masks_of(pairs[1][0]).values(), masks_of(pairs[1][1]).values(), strict=True):
        assert_exact(other(4), mask(4))


@pytest.mark.parametrize("family", ["ViT", "CaiT", "Swin"])
def test_attention_extract(family: str) -> None:
    """By hooks timm's extractor sees the weights of the masked attention: an observer's, in CaiT with heads mixed."""
    model, x, seen = masked(family=family), images(family), {}
    for name, module in masked_modules(model):
        module.observer = lambda weights, name=name: seen.__setitem__(name, weights)
    model(x)
    expected = dict(seen)
    for _, module in masked_modules(model):
        module.observer = None
    maps = AttentionExtract(model, method="hook")(x)
    assert set(expected) <= {name.removesuffix(".attn_drop") for name in maps}
    for name, weights in expected.items():
        mix = getattr(model.get_submodule(name), "proj_w", nn.Identity())
        assert_close(maps[f"{name}.attn_drop"], mix(weights.movedim(1, -1)).movedim(-1, 1))


def test_graphs_of_torch_fx() -> None:
    """Masked attention is one node: features come out by name, and the extractor says that it finds no softmax."""
    model, x = masked(), images("ViT")
    outputs: dict[str, Tensor] = {}
    for name, module in masked_modules(model):
        module.register_forward_hook(lambda module, args, out, name=name: outputs.__setitem__(name, out))
    model(x)
    expected = dict(outputs)
    maps = AttentionExtract(model, names=["blocks.*.attn"])(x)
    assert set(maps) == set(expected)
    for name, out in expected.items():
        assert_exact(maps[name], out)
    with pytest.raises(RuntimeError, match=r"No node names found matching \['\*attn\.softmax'\]"):
        AttentionExtract(model)


def test_output_attentions() -> None:
    """Of transformers, with its eager attention: the weights of the masked attention, row by row."""
    model = hugging_face(attn_implementation="eager").eval()
    seen: list[Tensor] = []
    for _, module in masked_modules(add_masks(model, "gmm")):
        module.observer = seen.append
    attentions = model(images("ViT"), output_attentions=True).attentions
    assert len(attentions) == len(seen) == 2
    for one, weights in zip(attentions, seen, strict=True):
        assert_exact(one, weights)
        assert_close(one.sum(dim=-1), torch.ones(2, 2, 17))


def test_torch_jit() -> None:
    """Refused by name where it traces; torch's own compiler of scripts knows no masks, and says so."""
    with pytest.raises(ValueError, match=r"use torch\.export or torch\.compile"):
        torch.jit.trace(masked(), images("ViT"))
    with pytest.raises((ValueError, RuntimeError)):
        torch.jit.script(masked())


class Magnitude(nn.Module):
    """A parametrisation."""

    def forward(self, x: Tensor) -> Tensor:
        return x.abs()


def test_a_parametrised_and_a_compiled_mask() -> None:
    """A mask wrapped in place, or by torch.compile, is the mask that it wraps."""
    model, x = masked(), images("ViT")
    expected = model(x)
    for _, module in masked_modules(model):
        module.mask = torch.compile(module.mask, backend="eager")  # type: ignore[assignment,misc]
    assert_exact(model(x), expected)
    other = masked()
    for mask in masks_of(other).values():
        mask.alpha.data.abs_()
    expected = other(x)
    for mask in masks_of(other).values():
        parametrize.register_parametrization(mask, "alpha", Magnitude())
    assert_exact(other(x), expected)
    assert set(gradients(other)) == {
        f"blocks.{i}.attn.mask.{name}" for i in range(2) for name in ("sigma", "parametrizations.alpha.original")
    }


def test_averages_and_copies() -> None:
    """An average of weights, by torch and by timm, has masks of its own."""
    model, x = masked(), images("ViT")
    for average in (AveragedModel(model), timm.utils.ModelEmaV3(model)):
        assert_exact(average(x), model(x))
        theirs = next(iter(masks_of(average).values()))
        assert theirs is not next(iter(masks_of(model).values()))


def test_the_page_names_every_test_and_no_other() -> None:
    """``docs/interop.md``: each row of its table has the test that shows it."""
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(
        r"^\|.*\[`(test_\w+)\.py::(test_\w+)`\]\(\.\./tests/models/(test_\w+)\.py\) \|$", text, re.MULTILINE
    )
    here = Path(__file__).parent
    for file, name, linked in rows:
        assert file == linked
        assert f"def {name}(" in (here / f"{file}.py").read_text(encoding="utf-8")
    mine = set(re.findall(r"^def (test_\w+)\(", Path(__file__).read_text(encoding="utf-8"), re.MULTILINE))
    shown_here = {name for file, name, _ in rows if file == "test_interop"}
    assert mine - {"test_the_page_names_every_test_and_no_other"} == shown_here
    assert len(rows) == len(re.findall(r"^\| [^|-]", text, re.MULTILINE)) - 1
