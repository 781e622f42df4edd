"""Convolving heads of a model: exact where attention is a convolution, certified where it is not, and undone."""

from __future__ import annotations

import copy
import pickle
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from timm.layers import Attention, LayerScale
from torch import Tensor, nn

from retconv.analysis.effective import effective_kernel
from retconv.heads import Convolution, convolve, load_convolutions, remove_convolutions
from retconv.models import add_masks, masks_of
from retconv.models.surgery import masked_modules
from tests.compare import assert_close, assert_exact
from tests.heads import naive_convolved as naive
from tests.heads.planted_convolved import planted, wanted
from tests.models.cases import FAMILIES, images, plain

ALL = 1e9
FIRST = "blocks.0.attn"


def convolved(family: str = "ViT", **options: Any) -> tuple[nn.Module, Tensor, Convolution]:
    model, x = plain(family), images(family, 3)
    options = {"heads": {FIRST: [1]}, "rounds": 0} | options
    return model, x, convolve(model, images=x, **options)


@pytest.mark.parametrize("family", ["ViT", "ViT without class token", "ViT of an oblong", "registers", "Swin"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_planted_convolutions_are_replaced_exactly(family: str, dtype: torch.dtype) -> None:
    """Kernels are read off the images, and are those that were planted."""
    model, x = planted(family).to(dtype), images(family).to(dtype)
    expected = model(x).detach()
    # A shifted window hides keys by its place: such attention is no convolution.
    names = [name for name, _ in masked_modules(model) if family != "Swin" or name.endswith("0.attn")]
    heads = {name: range(module.place.heads) for name, module in masked_modules(model) if name in names}
    report = convolve(model, images=x, heads=heads, rounds=0)
    assert_close(model(x), expected)
    bound = 1e-5 if dtype == torch.float32 else 1e-12
    assert max(float(report.worst[name].max()) for name in names) <= bound
    assert report.logits <= bound
    assert report.agreement == 1
    for name, module in masked_modules(model):
        if name in names:
            grid = module.place.grid()
            assert_close(module.convolved.table(), wanted(grid, module.place.heads), torch.float32)


def observed(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Weights and values of the first attention."""
    module = next(masked_modules(model))[1]
    weights: list[Tensor] = []
    values: list[Tensor] = []
    module.observer = weights.append
    handle = module.qkv.register_forward_hook(lambda m, i, out: values.append(out))
    model(x)
    handle.remove()
    module.observer = None
    v = values[0].unflatten(-1, (3, module.place.heads, -1))[:, :, 2].transpose(1, 2)
    return weights[0].detach().double(), v.detach().double()


@pytest.mark.parametrize("family", ["ViT", "registers", "ViT without class token"])
def test_kernels_borders_and_errors_by_loops(family: str) -> None:
    """In float64: means of rows, columns and offsets, then both errors of each head, in the model as it was."""
    model, x = plain(family).double(), images(family).double()
    add_masks(model, "gmm", start="local")
    weights, v = observed(model, x)
    report = convolve(model, images=x, heads={FIRST: [0, 1]}, rounds=0)
    module = next(masked_modules(model))[1]
    heads, grid = module.convolved, module.place.grid()
    for h in range(2):
        table = heads.table()[h].detach()
        rows, columns, offsets = naive.mean_blocks(weights[:, h].tolist(), grid.shape, grid.prefix)
        if grid.prefix:
            assert_close(heads.rows[h], rows)
            assert_close(heads.columns[h], columns)
        for offset, value in offsets.items():
            at = tuple(d + n - 1 for d, n in zip(offset, grid.shape, strict=True))
            assert abs(float(table[at]) - value) <= 1e-12
        outs = [naive.mixed(table.tolist(), rows, columns, image[h].tolist(), grid.shape, grid.prefix) for image in v]
        error, worst = naive.output_errors(weights[:, h].tolist(), outs, v[:, h].tolist())
        assert abs(float(report.error[FIRST][h]) - error) <= 1e-12
        assert abs(float(report.worst[FIRST][h]) - worst) <= 1e-12


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_convolved_and_is_bit_for_bit_what_it_was(family: str) -> None:
    model, x = plain(family).train(), images(family, 3)
    with torch.no_grad():
        expected, keys = model.eval()(x), list(model.state_dict())
    model.train()
    report = convolve(model, images=x, tolerance=ALL, rounds=0)
    assert model.training
    with torch.no_grad():
        now = model.eval()(x)
    assert report.of == dict.fromkeys(report.of, "weights" if family in ("CaiT", "Swin v2") else "output")
    assert all(len(report.heads[name]) == len(error) for name, error in report.error.items())
    assert abs(report.logits - float((now - expected).norm() / expected.norm())) <= 1e-4
    assert report.logits > 1e-4
    assert report.remove() is model
    with torch.no_grad():
        assert_exact(model(x), expected)
    assert list(model.state_dict()) == keys
    assert not masks_of(model)
    assert not [hook for module in model.modules() for hook in module._forward_hooks.values()]


def test_a_masked_model_keeps_its_masks() -> None:
    model, x = add_masks(plain("ViT"), "gmm"), images("ViT", 3)
    expected = model(x).detach()
    convolve(model, images=x, heads={FIRST: [0]}, rounds=0)
    assert len(masks_of(model)) == 2
    remove_convolutions(model)
    assert len(masks_of(model)) == 2
    assert_exact(model(x), expected)


def test_tolerance_takes_the_heads_within_it() -> None:
    _, _, everything = convolved(heads=None, tolerance=ALL)
    errors = {(name, h): float(e) for name, error in everything.error.items() for h, e in enumerate(error)}
    middle = sorted(errors.values())[1]
    model, x, report = convolved(heads=None, tolerance=middle)
    assert {(name, h) for name, heads in report.heads.items() for h in heads} == {
        head for head, error in errors.items() if error <= middle
    }
    for name, module in masked_modules(model):
        assert module.convolved.heads == report.heads.get(name, ())
    lines = str(report).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"{next(iter(report.heads))} head")
    assert f"of {len(x)} images" in lines[-1]


def test_attention_may_be_found_elsewhere() -> None:
    _, _, report = convolved(heads=None, tolerance=ALL, where="blocks.1.*")
    assert report.heads == {"blocks.1.attn": (0, 1)}


def test_copies_pickles_and_checkpoints() -> None:
    model, x, _ = convolved("registers")
    expected = model(x).detach()
    assert_exact(copy.deepcopy(model)(x).detach(), expected)
    assert_exact(pickle.loads(pickle.dumps(model))(x).detach(), expected)
    state = model.state_dict()
    assert {f"{FIRST}.convolved.{name}" for name in ("kernel.weight", "rows", "columns", "numbers")} <= set(state)
    other = plain("registers")
    convolve(other, images=2 * x, heads={FIRST: [1]}, rounds=0)
    other.load_state_dict(state)
    assert_exact(other(x).detach(), expected)
    lacking = {key: value for key, value in state.items() if not key.startswith(f"{FIRST}.convolved.")}
    with pytest.raises(RuntimeError, match=rf"Missing key.*{FIRST}\.convolved\.kernel\.weight"):
        other.load_state_dict(lacking)
    # One of the plain model says nothing of them.
    other.load_state_dict(plain("registers").state_dict())
    assert_exact(other(x).detach(), expected)
    remove_convolutions(other)
    convolve(other, images=x, heads={FIRST: [0]}, rounds=0)
    with pytest.raises(RuntimeError, match=r"is of convolved heads \[1\], this model convolves \[0\]: convolve\(model"):
        other.load_state_dict(state)


@pytest.mark.parametrize("family", ["registers", "Swin"])
@pytest.mark.parametrize("masked", [False, True])
def test_a_checkpoint_alone_brings_its_convolved_heads(family: str, masked: bool) -> None:
    """Into a model that has none, without images to measure on."""
    models = [add_masks(plain(family), "table") if masked else plain(family) for _ in range(2)]
    x = images(family)
    name = next(name for name, module in models[0].named_modules() if hasattr(module, "qkv"))
    convolve(models[0], images=x, heads={name: [1]}, rounds=0)
    for parameter in models[0].parameters():
        parameter.data.mul_(1.01)
    expected = models[0](x).detach()
    assert load_convolutions(models[1], models[0].state_dict()) is models[1]
    assert_exact(models[1](x).detach(), expected)
    remove_convolutions(models[1])
    assert bool(masks_of(models[1])) is masked


def test_fine_tuning_changes_the_kernel_and_lowers_a_loss() -> None:
    model, x, _ = convolved(heads={FIRST: [0], "blocks.1.attn": [0, 1]})
    model.requires_grad_(False)
    modules = [module.convolved for _, module in masked_modules(model)]
    parameters = [p.requires_grad_() for heads in modules for p in heads.parameters()]
    assert len(parameters) == 6
    with torch.no_grad():
        target, start = plain("ViT")(x), modules[0].table().clone()
    optimiser, losses = torch.optim.Adam(parameters, lr=1e-3), []
    for _ in range(4):
        loss = (model(x) - target).square().mean()
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]
    assert bool((modules[0].table() != start).any())


def test_kernels_may_be_given() -> None:
    """As tensors, as what the analysis gives, or on what looks like a look: then no layer is convolved but theirs."""
    model, x, report = convolved("ViT without class token")
    error = report.error[FIRST]
    report.remove()
    add_masks(model, "table")
    weights, _ = observed(model, x)
    grid = next(masked_modules(model))[1].place.grid()
    effective = effective_kernel(weights, grid)
    remove_convolutions(model)
    for look in (
        {FIRST: effective.kernel},
        {FIRST: effective},
        SimpleNamespace(layers={FIRST: SimpleNamespace(effective=effective)}),
    ):
        report = convolve(model, look, x, tolerance=ALL, rounds=0)
        assert report.heads == {FIRST: (0, 1)}
        assert_close(report.error[FIRST], error, torch.float32)
        report.remove()


class Reordered(Attention):
    """Values first."""

    def forward(self, x: Tensor, **unused: Any) -> Tensor:
        v, k, q = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("through", [1.0, 1e-9])
@pytest.mark.parametrize("kind", [Attention, Reordered])
def test_queries_and_keys_that_nobody_reads_are_not_computed(kind: type[Attention], through: float) -> None:
    """Where the last third of a joint map makes the values, as a trial tells, whatever a layer scale lets through."""
    model, x = plain("ViT"), images("ViT")
    for block in model.blocks:
        block.attn.__class__, block.ls1 = kind, LayerScale(block.attn.qkv.in_features, through, dtype=x.dtype)
    convolve(model, images=x, heads={FIRST: [0, 1], "blocks.1.attn": [0]}, rounds=0)
    joint, partly = (block.attn.convolved for block in model.blocks)
    assert joint.skips is (kind is Attention)
    assert not partly.skips
    skipping, joint.skips = model(x).detach(), False
    assert_close(skipping, model(x).detach())


def test_windows_belong_to_their_image() -> None:
    """The worst image of a batch of two is the worse of both alone, with the same kernels."""
    model, x = plain("Swin"), images("Swin")
    name = "layers.0.blocks.0.attn"
    kernel = torch.full((2, 7, 7), 1 / 16)
    worst = [convolve(model, {name: kernel}, part, tolerance=ALL, rounds=0) for part in (x,)]
    remove_convolutions(model)
    for part in (x[:1], x[1:]):
        worst.append(convolve(model, {name: kernel}, part, tolerance=ALL, rounds=0))
        remove_convolutions(model)
    both, *each = (report.worst[name] for report in worst)
    assert_close(both, torch.maximum(*each), torch.float32)
    assert_close(each[0], worst[1].error[name], torch.float32)


def test_outputs_that_hold_logits_and_times() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vit = plain("ViT")

        def forward(self, x: Tensor) -> Any:
            return SimpleNamespace(logits=self.vit(x))

    report = convolve(Wrapped(), images=images("ViT"), heads={f"vit.{FIRST}": [0]}, rounds=2)
    assert report.seconds is not None
    assert report.speed is not None
    assert report.speed > 0
    assert "times as fast" in str(report)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types(dtype: torch.dtype) -> None:
    model, x, _ = convolved()
    expected = model(x).detach()
    half = model.to(dtype)
    assert float((half(x.to(dtype)).detach().float() - expected).norm() / expected.norm()) < 0.05
    model, x, _ = convolved()
    with torch.autocast("cpu", dtype):
        assert float((model(x).float() - expected).detach().norm() / expected.norm()) < 0.05
