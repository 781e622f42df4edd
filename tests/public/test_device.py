"""Laws, gradients, precision, errors and training, on the CPU and under ``pytest -m cuda`` on a GPU.

Nothing here needs more than torch, timm and pytest.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from retconv import convert
from retconv.attention import bias_logits
from retconv.bench.train import pixels
from retconv.checks import assert_equivalent, dot_test, relative_error, shift_invariance_residual, tolerance
from retconv.grid import Grid
from retconv.kernels import gaussian
from retconv.masks import Forms
from retconv.models.named import MASKS
from retconv.operators import operator
from retconv.retention import retention
from retconv.retention.functional import methods
from retconv.train import Config, DivergedError, Trainer, parse, step, train
from retconv.train.step import STEPS_TO_CAPTURE
from tests.compare import assert_close, assert_exact
from tests.public.case import HEADS, SHAPE, SIZE, decay, gaussians, kernel, normal, qkv, retnet
from tests.public.cases import CASES

FAMILIES = ("mask", "operator", "retention", "layer", *("multiply_logits", "bias_logits", "multiply_weights"))
F32 = torch.float32
TINY = {"patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "drop_path_rate": 0.2}


def family(name: str) -> str:
    word = name.split()[0]
    return word if word in FAMILIES else "others"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("part", [*FAMILIES, "others"])
def test_operations_are_those_of_float64_on_the_cpu(part: str, dtype: torch.dtype, device: torch.device) -> None:
    """Outputs and gradients, from the same inputs and within the dtype's budget."""
    faults = {}
    for name, case in CASES.items():
        if family(name) == part:
            try:
                case.check(device, dtype)
            except Exception as error:
                faults[name] = f"{type(error).__name__}: {error}"
    assert faults == {}


@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5), (2, 3, 4)])
def test_laws_1_to_3(shape: tuple[int, ...], device: torch.device) -> None:
    """Every method is the mask, its rows are windows of the kernel, and the projector finds the kernel again."""
    grid = Grid(shape)
    table = kernel(shape).to(device, torch.float32)
    mask = convert.kernel_to_mask(table, shape)
    assert_equivalent(mask, table, shape)
    assert_exact(convert.windows(table, shape).reshape(HEADS, grid.size, -1), mask)
    assert_exact(convert.mask_to_kernel(mask, shape), table)
    assert float(shift_invariance_residual(mask, shape).max()) <= tolerance(torch.float32)
    for method in operator(table, shape).methods:
        dot_test(operator(table, shape, method), dtype=torch.float32)


def test_law_14_retention_is_convolution(device: torch.device) -> None:
    q, k, v = (x.to(device, torch.float32) for x in qkv())
    table = kernel().to(device, torch.float32)
    outer = torch.einsum("bhnd,bhne->bdehn", k, v).flatten(0, 2).unflatten(2, SHAPE)
    states = F.conv2d(outer, table[:, None], padding=[n - 1 for n in SHAPE], groups=HEADS)
    states = states.flatten(2).unflatten(0, (len(q), k.shape[-1], v.shape[-1]))
    expected = torch.einsum("bhnd,bdehn->bhne", q, states)
    assert_close(retention(q, k, v, table, SHAPE, scale=1.0).cpu(), expected.cpu())


@pytest.mark.parametrize("name", ["retnet", "two_sided", "manhattan", "gmm"])
def test_law_15_forms_agree(name: str, device: torch.device) -> None:
    made = {"retnet": retnet(), "two_sided": decay("two_sided"), "manhattan": decay(), "gmm": gaussians()}[name]
    mask, shape = made.to(device, torch.float32), (150,) if name in ("retnet", "two_sided") else (10, 15)
    inputs = [x.to(device, torch.float32) for x in qkv(150)]
    expected = retention(*inputs, mask, shape, method="parallel")
    for method in methods(Forms.of(mask, Grid(shape))):
        assert relative_error(retention(*inputs, mask, shape, method=method), expected) <= tolerance(torch.float32)


def test_errors_name_values_of_the_device(device: torch.device) -> None:
    """What is refused is read from the device and shown."""
    bad = torch.tensor([1.0, float("nan")], device=device)
    with pytest.raises(ValueError, match="sigma must be finite, got nan"):
        gaussian(Grid(SHAPE).offsets(device), bad)
    with pytest.raises(convert.NotAConvolutionError, match="relative residual"):
        convert.mask_to_kernel(normal(0, HEADS, SIZE, SIZE).to(device), SHAPE)
    negative = -kernel().to(device)
    with pytest.raises(ValueError, match="negative"):
        bias_logits(*(x.to(device) for x in qkv()), negative, SHAPE)
    with pytest.raises(ValueError, match="one floating dtype"):
        retention(*(x.to(device, d) for x, d in zip(qkv(), (F32, F32, torch.float64), strict=True)), negative, SHAPE)


def config(**options: object) -> Config:
    """A transformer of two blocks in float32, with crop, flip, erasing, mixing and drop path."""
    model = {"name": "retconv_vit_tiny", "options": TINY | {"mask": "gmm"} | options}
    return parse(
        {
            "batch_size": 16,
            "data": {"name": "cifar10", "validation": 0.25},
            "model": model,
            "augment": {"crop": 4, "erase": 0.25, "mixup": 0.8, "cutmix": 1.0},
            "optim": {"clip": 1.0},
            "schedule": {"epochs": 2, "warmup_epochs": 1},
        }
    )


def trained(configs: list[Config], device: torch.device, steps: int = 3) -> Trainer:
    trainer = Trainer(configs, pixels(128, device))
    for _ in range(steps):
        trainer.step()
    trainer.require_finite(None)
    return trainer


def loss(trainer: Trainer) -> torch.Tensor:
    """Of each replica, the mean of its steps."""
    return torch.tensor([state["sums"]["loss"] for state in trainer.states()]) / trainer.done


@pytest.mark.parametrize("mask", MASKS)
def test_steps_are_those_of_the_cpu(mask: str, device: torch.device) -> None:
    """With every mask, on the same images."""
    run = config(mask=mask)
    assert_close(loss(trained([run], device)).float(), loss(trained([run], torch.device("cpu"))))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("placement", ["multiply_logits", "bias_logits"])
def test_replicas_are_runs_alone(placement: str, precision: str, device: torch.device) -> None:
    """Also with a learnt bias, of which not every fused attention knows the gradient for a stack."""
    learnt = config(mask="manhattan", mask_options={"learnable": True}, placement=placement)
    runs = [replace(learnt, seed=seed, precision=precision) for seed in (0, 1, 2)]
    alone = torch.cat([loss(trained([run], device)) for run in runs])
    dtype = getattr(torch, precision)
    assert_close(loss(trained(runs, device)).to(dtype), alone.to(dtype))


@pytest.mark.parametrize("replicas", [1, 3])
def test_captured_steps_are_steps(replicas: int, device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA a graph after the first ones, also once the state was set anew, with a moving average and clipping."""
    runs = [replace(config(), ema=0.9, seed=seed) for seed in range(replicas)]
    found = []
    for after in (STEPS_TO_CAPTURE, 10**9):
        monkeypatch.setattr(step, "STEPS_TO_CAPTURE", after)
        trainer = trained(runs, device, steps=STEPS_TO_CAPTURE + 2)
        assert trainer.captured == (device.type == "cuda" and after == STEPS_TO_CAPTURE)
        trainer.load_states(trainer.states())
        trainer.step()
        found.append(trainer.states())
    for ours, theirs in zip(*found, strict=True):
        for part in ("model", "ema"):
            for name, value in ours[part].items():
                assert_close(value, theirs[part][name], torch.float32)


def test_bfloat16_is_near_float32(device: torch.device) -> None:
    run = config()
    half = loss(trained([replace(run, precision="bfloat16")], device)).to(torch.bfloat16)
    assert_close(half, loss(trained([run], device)))


def test_an_interrupted_run_goes_on(device: torch.device, tmp_path: Path) -> None:
    """From its checkpoint to the numbers of the run that was left alone."""
    data, run = pixels(128, device), config()

    def stop(trainer: Trainer) -> None:
        if trainer.done == 8:
            raise KeyboardInterrupt

    go = partial(train, run, data=data, device=device, checkpoint_every=5, progress=False)
    with pytest.raises(KeyboardInterrupt):
        go(root=tmp_path / "cut", on_step=stop)
    (cut,), (whole,) = go(root=tmp_path / "cut"), go(root=tmp_path / "whole")
    assert cut.provenance()[-1]["from_step"] == 5
    assert float(cut.result()["test_loss"]) == pytest.approx(float(whole.result()["test_loss"]), rel=1e-5)


def test_a_run_that_diverges_says_so(device: torch.device) -> None:
    run = config(mask=None)
    with pytest.raises(DivergedError, match=r"not finite at step \d+"):
        trained([replace(run, optim=replace(run.optim, lr=1e30, clip=0.0))], device, steps=8)


@pytest.mark.cuda
@pytest.mark.parametrize("replicas", [1, 3])
def test_a_compiled_step_is_the_eager_step(replicas: int) -> None:
    """On a GPU alone: on the CPU the tests of compiling say so."""
    gpu, run = torch.device("cuda"), config()
    runs = [replace(run, seed=seed) for seed in range(replicas)]
    compiled = loss(trained([replace(r, compile=True) for r in runs], gpu))
    assert_close(compiled.float(), loss(trained(runs, gpu)))
