"""Training steps and public operations on fake CUDA, as JSON on the last line of the output."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch

from retconv.attention import PLACEMENTS, backends
from retconv.attention.inputs import Call
from retconv.bench.train import pixels
from retconv.masks import Forms
from retconv.models.named import MASKS
from retconv.train import Config, Trainer, load, parse
from retconv.train.parsing import override
from retconv.train.step import STEPS_TO_CAPTURE
from tests.public.case import Case
from tests.public.cases import CASES, PRODUCTS
from tests.public.fakecuda import FakeCuda

CUDA = torch.device("cuda")
#: The paper's model, thinned out: what differs between masks depends neither on its size nor on how images are changed.
THIN = {"model.options.depth": 1, "model.options.embed_dim": 16, "model.options.num_heads": 2}
THIN |= {"model.options.patch_size": 8, "batch_size": 8}
THIN |= {"augment.policy": "none", "augment.erase": 0.0, "augment.mixup": 0.0, "augment.cutmix": 0.0}


def config(thin: bool, **options: Any) -> Config:
    """The ``standard`` recipe, or a thin one, with options of the model."""
    chosen: dict[str, Any] = {f"model.options.{name}": value for name, value in options.items()}
    # No compiler sees through fake tensors: it looks at each frame and leaves it as it is, which takes time.
    chosen |= {"data.validation": 0.25, "compile": False} | (THIN if thin else {})
    return parse(override(load("standard").as_dict(), chosen))


def step(fake: FakeCuda, run: Config, replicas: int, places: bool) -> dict[str, Any]:
    """What a step does after the first, without the optimiser's part.

    Args:
        fake: On which.
        run: The configuration of replica 0.
        replicas: How many.
        places: Whether the backward pass is told by the lines of its forward, which takes time.
    """
    with fake, torch.autograd.set_detect_anomaly(places, check_nan=False):
        data = pixels(4 * run.batch_size, torch.device("cpu")).to(CUDA)
        trainer = Trainer([replace(run, seed=seed) for seed in range(replicas)], data)
        trainer.step()
        fake.reset()
        trainer.step()
    own = Counter({key: n for key, n in fake.launches.items() if key[1] != "optimiser"})
    return {
        "launches": own.total(),
        "bytes": sum(n for key, n in fake.moved.items() if key[1] != "optimiser"),
        "waits": dict(fake.waits),
        "most": [f"{n} {operation} {place}" for (operation, place), n in own.most_common(40 if places else 0)],
    }


@contextmanager
def capturing(*args: Any, **options: Any) -> Iterator[None]:
    """In place of ``torch.cuda.graph``: whoever asks is told that operations are captured."""
    stream = SimpleNamespace(is_capturing=lambda: True)
    with (
        mock.patch.object(torch.cuda, "is_current_stream_capturing", stream.is_capturing),
        mock.patch.object(torch.accelerator, "current_accelerator", return_value=CUDA),
        mock.patch.object(torch.accelerator, "current_stream", return_value=stream),
    ):
        yield


def captured(fake: FakeCuda, run: Config, replicas: int) -> dict[str, Any]:
    """Whether a step is captured in the end, and what the host waits for while it is."""
    graph = SimpleNamespace(replay=lambda: None)
    with fake, mock.patch("torch.cuda.graph", capturing), mock.patch("torch.cuda.CUDAGraph", return_value=graph):
        trainer = Trainer([replace(run, seed=seed) for seed in range(replicas)], pixels(4 * run.batch_size, CUDA))
        for _ in range(STEPS_TO_CAPTURE):
            trainer.step()
        fake.reset()
        trainer.step()
    return {"captured": trainer.captured, "waits": dict(fake.waits)}


def attempt(function: Any, *args: Any) -> Any:
    """The result, or what was raised as text."""
    try:
        return function(*args)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def chosen(fake: FakeCuda) -> dict[str, str]:
    """What auto takes for a kernel in each placement, and where a call is not for a kernel of Triton's."""
    with fake:
        q = torch.ones(2, 2, 15, 16).to(CUDA)
        table, entries = torch.ones(2, 5, 9).to(CUDA), torch.ones(2, 15, 15).to(CUDA)

        def choose(placement: str = "multiply_logits", mask: Any = table, x: Any = q, **options: Any) -> str:
            call = Call(PLACEMENTS[placement], x, x, x, Forms.of(mask, (3, 5)), 1.0, None, 0.0)
            return backends.choose(replace(call, **options))

        return {placement: choose(placement) for placement in PLACEMENTS} | {
            "a bias": choose(bias=torch.ones(15, 15).to(CUDA)),
            "dropout": choose(dropout_p=0.1),
            "no kernel": choose(mask=entries),
            "float64": choose(x=q.double()),
            "wide heads": choose(x=torch.ones(2, 2, 15, 256).to(CUDA)),
        }


def planted(fake: FakeCuda) -> dict[str, Any]:
    """What is found of faults that are there, and counts that are known."""
    with fake:
        a, here = torch.ones(64, 64).to(CUDA), torch.ones(64)
        fake.reset()
        (a @ a + a).T[0]
        counted = {"launches": fake.launches.total(), "bytes": fake.moved.total(), "waits": dict(fake.waits)}
        found = {"counted": counted, "two devices": attempt(lambda: a + here)}
        found["generator"] = attempt(lambda: torch.rand(3, device=CUDA, generator=torch.Generator()))
        waits: dict[str, Any] = {
            "item": lambda: a[0, 0].item(),
            "tolist": lambda: a.tolist(),
            "to cpu": lambda: a.cpu(),
            "from cpu": lambda: here.to(CUDA),
            "nonzero": lambda: a[a > 0],
            "equal": lambda: torch.equal(a, a),
            "not waiting": lambda: here.to(CUDA, non_blocking=True).sum(),
            "not counting": lambda: a.__setitem__(a > 0, 0.0),
        }
        for name, run in waits.items():
            fake.reset()
            attempt(run)
            found[name] = sum(fake.waits.values())
    return found


def again(fake: FakeCuda, case: Case) -> dict[str, Any] | str:
    """What a case waits for that was called before, and what it returns, under autocast."""
    with fake:
        fake.reset()
        results = attempt(lambda: case.results(CUDA, torch.float32, autocast=torch.bfloat16))
    if isinstance(results, str):
        return results
    # What moves its inputs to the device is no part of it.
    waits = {place: n for place, n in fake.waits.items() if not place.endswith("elsewhere")}
    return {"waits": waits, "dtypes": [str(result.dtype) for result in results]}


def main(places: bool) -> None:
    """Print everything."""
    fake = FakeCuda()
    found: dict[str, dict[str, Any]] = {
        "planted": planted(fake),
        "chosen": chosen(fake),
        "steps": {},
        "thin": {},
        "captured": {},
        "operations": {},
        "again": {},
    }
    for replicas, mask in ((1, None), (1, "gmm"), (5, "gmm")):
        run = config(thin=False, mask=mask)
        found["steps"][f"{replicas} {mask or 'plain'}"] = attempt(step, fake, run, replicas, places)
    for replicas in (1, 2):
        for name in ("adam", "adamw"):
            thin = config(thin=True, mask="gmm")
            run = replace(thin, ema=0.9, optim=replace(thin.optim, name=name, clip=1.0))
            found["captured"][f"{replicas} {name}"] = attempt(captured, fake, run, replicas)
    kinds: list[dict[str, Any]] = [{"mask": mask} for mask in (None, *MASKS) if mask != "manhattan"]
    kinds += [{"mask": "manhattan", "placement": placement} for placement in PLACEMENTS]
    kinds += [{"mask": "gmm", "placement": "bias_logits", "mask_options": {"positive": True, "components": 1}}]
    for options in kinds:
        for replicas in (1, 2):
            label = " ".join([str(replicas), *(str(value) for value in options.values())])
            found["thin"][label] = attempt(step, fake, config(thin=True, **options), replicas, places)
    for name, case in CASES.items():
        if not case.by_value:
            with fake:
                results = attempt(case.results, CUDA, torch.float32)
            fault = results if isinstance(results, str) else None
            if fault is None and any(result.device != torch.device("cuda:0") for result in results):
                fault = f"results are on {[str(result.device) for result in results]}"
            found["operations"][name] = fault
            if name in PRODUCTS or name.startswith("mask "):
                found["again"][name] = again(fake, case)
    print(json.dumps(found), flush=True)
    # A pretended device has threads that nothing ends: taking the interpreter down with them aborts now and then.
    os._exit(0)


if __name__ == "__main__":
    main("--places" in sys.argv)
