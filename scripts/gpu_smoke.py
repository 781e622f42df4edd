"""Every path of a device once, at toy size: whether it runs, not what it gives. One line each, JSON on the last one."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from retconv.attention import PLACEMENTS
from retconv.bench.train import pixels
from retconv.model_names import FIVE
from retconv.models.named import MASKS
from retconv.train import Trainer, load, parse, train
from retconv.train.parsing import override
from retconv.train.step import STEPS_TO_CAPTURE
from tests.public.cases import CASES

THIN: dict[str, Any] = {"depth": 1, "embed_dim": 16, "num_heads": 2, "patch_size": 8}


def _trainer(device: torch.device, replicas: int = 1, compile: bool = False, name: str = FIVE[0], **options: Any):
    """A trainer of the standard recipe, thinned out where the model is the ViT."""
    options |= THIN if name == FIVE[0] else {}
    settings = {f"model.options.{key}": value for key, value in options.items()}
    settings |= {"model.name": name, "batch_size": 8, "data.validation": 0.25, "compile": compile, "schedule.epochs": 1}
    settings["schedule.warmup_epochs"] = 0
    config = parse(override(load("standard").as_dict(), settings))
    return Trainer([replace(config, seed=seed) for seed in range(replicas)], pixels(32, device))


def _step(*args: Any, **options: Any) -> None:
    """Steps up to a captured one, what is looked at after them, and one after the state is set."""
    trainer = _trainer(*args, **options)
    for _ in range(STEPS_TO_CAPTURE + 1):
        trainer.step()
    trainer.require_finite(None)
    trainer.evaluate(*trainer.validation)
    trainer.load_states(trainer.states())
    trainer.step()
    if trainer.device.type == "cuda" and not trainer.captured:
        raise RuntimeError("the step was not captured as a CUDA graph")


def _resume(device: torch.device, replicas: int) -> None:
    """A run that is cut off and goes on to its test result."""
    start = _trainer(device, replicas, mask="gmm")

    def stop(trainer: Trainer) -> None:
        raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as folder:
        run = partial(train, start.configs, folder, data=start.data, device=device, checkpoint_every=1, progress=False)
        with suppress(KeyboardInterrupt):
            run(on_step=stop)
        assert all(folder.finished for folder in run())


def _paths(device: torch.device, toy: bool) -> Iterator[tuple[str, Any]]:
    """The paths by name, those that a study needs first, those that compile last."""
    yield "train 1 gmm", partial(_step, device, mask="gmm")
    yield "train 5 gmm", partial(_step, device, 5, mask="gmm")
    yield "resume 1", partial(_resume, device, 1)
    yield "resume 5", partial(_resume, device, 5)
    yield from ((name, partial(case.results, device, torch.float32)) for name, case in CASES.items())
    if toy:
        return
    for mask in (None, *MASKS):
        for replicas in (1, 5):
            yield f"train {replicas} {mask}", partial(_step, device, replicas, mask=mask)
    for placement in PLACEMENTS:
        yield f"train 5 manhattan {placement}", partial(_step, device, 5, mask="manhattan", placement=placement)
    for name in FIVE[1:]:
        yield f"train 1 {name}", partial(_step, device, name=name, mask="gmm")
    for replicas, mask in ((1, "gmm"), (5, "gmm"), (1, None), (5, None)):
        yield f"compiled {replicas} {mask}", partial(_step, device, replicas, True, mask=mask)
    for name in FIVE[1:]:
        yield f"compiled 1 {name}", partial(_step, device, 1, True, name, mask="gmm")


def main() -> None:
    """Run them all; exit code 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--toy", action="store_true")
    args = parser.parse_args()
    faults, count = {}, 0
    for name, run in _paths(torch.device(args.device), args.toy):
        start, count = time.perf_counter(), count + 1
        try:
            run()
            result = "ok"
        except Exception as error:
            result = faults[name] = f"{type(error).__name__}: {error}"
        print(f"{time.perf_counter() - start:7.2f} s  {name}: {result}", flush=True)
    print(json.dumps({"paths": count, "faults": faults}))
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
