"""``retconv bench steps``: what a training step costs, compiled or not, masked or plain, alone or stacked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from retconv.bench.train import pixels
from retconv.bench.turns import Outcome, race_ready
from retconv.models.count import count
from retconv.train import Trainer, load, parse
from retconv.train.parsing import override
from retconv.train.step import STEPS_TO_CAPTURE

#: Steps in an epoch, so that each has its share of what is done once an epoch.
STEPS = 64
#: Operations of a profile, those that take longest first.
PROFILED = 12
MASKS: dict[str, dict[str, Any]] = {
    "none": {"mask": None},
    "gmm": {"mask": "gmm"},
    "table": {"mask": "table"},
    "elm": {"mask": "elm"},
    "manhattan": {"mask": "manhattan", "mask_options": {"learnable": True}},
    "manhattan_bias": {"mask": "manhattan", "mask_options": {"learnable": True}, "placement": "bias_logits"},
}


@dataclass(frozen=True)
class Case:
    """A training step of the ``standard`` recipe.

    Attributes:
        model: Name in timm's registry.
        mask: Of ``MASKS``.
        replicas: Runs in one stack.
        mode: ``"eager"`` or ``"compiled"``.
        batch: Images of each replica.
    """

    model: str
    mask: str
    replicas: int
    mode: str
    batch: int

    def __str__(self) -> str:
        return f"{self.model.removeprefix('retconv_')} {self.mask} {self.replicas} {self.mode}"


class _Steps:
    """A trainer whose steps are timed: whole ones, and on a GPU those of the captured graph alone."""

    def __init__(self, case: Case, device: torch.device) -> None:
        self.case = case
        options = MASKS[case.mask] | ({} if "swin" in case.model else {"pooling": "avg"})
        settings = {"model.name": case.model, "batch_size": case.batch, "compile": case.mode == "compiled"}
        settings |= {f"model.options.{name}": value for name, value in options.items()} | {"data.validation": 0.0}
        config = parse(override(load("standard").as_dict(), settings))
        configs = [replace(config, seed=seed) for seed in range(case.replicas)]
        self.trainer = Trainer(configs, pixels(STEPS * case.batch, device))
        for _ in range(STEPS_TO_CAPTURE + 1):
            self.trainer.step()

    def runs(self) -> Mapping[str, Callable[[], object]]:
        graph = self.trainer._step._graph
        return {"step": self.trainer.step} | ({"graph": graph.replay} if graph is not None else {})

    def facts(self) -> Mapping[str, Any]:
        device = self.trainer.device
        model = self.trainer.replicas.single(0)
        work = 3 * 2 * self.case.batch * self.case.replicas * count(model).macs
        facts: dict[str, Any] = {"captured": self.trainer.captured, "work": work}
        if device.type == "cuda":
            facts["memory_gb"] = torch.cuda.max_memory_allocated(device) / 1e9
            facts["profile"] = self._profile()
        return facts

    def _profile(self) -> str:
        """Milliseconds of a step by kernel, the longest first, as lines."""
        steps = 3
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            for _ in range(steps):
                self.trainer.step()
            torch.cuda.synchronize()
        kernels = sorted(profile.key_averages(), key=lambda e: -e.self_device_time_total)
        total = sum(e.self_device_time_total for e in kernels) / steps / 1e3
        lines = [f"{total:7.3f} ms in {sum(e.count for e in kernels) // steps} kernels"]
        for one in kernels[:PROFILED]:
            lines.append(f"{one.self_device_time_total / steps / 1e3:7.3f} ms {one.count // steps:4d} × {one.key[:90]}")
        return "\n".join(lines)


def bench(cases: list[Case], rounds: int, device: torch.device, limit: float, lock: Path | None = None) -> pd.DataFrame:
    """Race training steps, each in a process of its own.

    Args:
        cases: The steps.
        rounds: Turns of each.
        device: Where to train.
        limit: Seconds until all have to be ready.
        lock: As in ``race_ready``.

    Returns:
        A row for each case: ``ms`` of a step (median over rounds, with ``ms_min`` and ``ms_max``) and ``graph_ms`` of
        its captured graph alone, without the batch and what is launched by hand; ``plain``, the time relative to the
        same model without a mask; ``alone``, relative to one replica; ``images_per_second``; ``tflops``, 1e12
        floating-point operations per second by the plain formula; ``memory_gb``, the most that was held; ``profile``,
        the longest kernels; ``fault``, why it was not timed.
    """
    outcomes = race_ready({str(case): partial(_Steps, case, device) for case in cases}, rounds, device, limit, lock)
    table = pd.DataFrame([_row(case, outcomes[str(case)]) for case in cases])
    for column, other in (("plain", {"mask": "none"}), ("alone", {"replicas": 1})):
        against = [str(replace(case, **other)) for case in cases]
        table[column] = [
            _ratio(outcomes[str(case)], outcomes.get(name)) for case, name in zip(cases, against, strict=True)
        ]
    return table


def _row(case: Case, outcome: Outcome) -> dict[str, Any]:
    ms = 1e3 * np.array(outcome.seconds.get("step", [np.nan]))
    facts = dict(outcome.facts)
    work, seconds = facts.pop("work", np.nan), float(np.median(ms)) / 1e3
    return asdict(case) | {
        "ms": np.median(ms),
        "ms_min": ms.min(),
        "ms_max": ms.max(),
        "graph_ms": 1e3 * np.median(outcome.seconds.get("graph", [np.nan])),
        "images_per_second": case.batch * case.replicas / seconds,
        "tflops": work / seconds / 1e12,
        "ready": outcome.ready,
        **facts,
        "fault": outcome.fault,
        "n": len(ms),
    }


def _ratio(one: Outcome, other: Outcome | None) -> float:
    """Median of the ratios of two steps within rounds."""
    if other is None or not one.seconds or not other.seconds:
        return float("nan")
    both = zip(one.seconds["step"], other.seconds["step"], strict=False)  # one may have died in a later round
    return float(np.median([ours / theirs for ours, theirs in both]))


def cases(models: tuple[str, ...], masks: tuple[str, ...], stacks: tuple[str, ...], batch: int) -> list[Case]:
    """Every model with every mask in every stack, such as ``"5"`` or ``"5/eager"``."""
    pairs = [stack.partition("/")[::2] for stack in stacks]
    return [Case(m, k, int(r), mode or "compiled", batch) for m in models for k in masks for r, mode in pairs]
