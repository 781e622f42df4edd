"""``retconv bench models``: a step of each small vision transformer, masked, against the same model plain."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import retconv.models  # noqa: F401  # enters the small models into timm's registry
from retconv.bench.timing import progress, race

PLAIN = "plain"
DTYPES = {"fp32": None, "bf16": torch.bfloat16}


def bench(
    names: list[str],
    masks: list[str],
    modes: list[str],
    dtypes: list[str],
    passes: list[str],
    batch: int,
    rounds: int,
    device: str,
    placement: str = "multiply_logits",
) -> pd.DataFrame:
    """Race each model with each mask against itself without.

    Args:
        names: Models of timm's registry that take a ``mask``.
        masks: Names of masks.
        modes: Of ``"eager"`` and ``"compiled"``.
        dtypes: Of ``"fp32"`` and ``"bf16"`` (autocast).
        passes: ``"train"``, a whole step of AdamW with cross-entropy, and ``"forward"``, evaluation without gradients.
        batch: Images in a batch.
        rounds: Timed rounds.
        device: Where to run.
        placement: Where the mask acts.

    Returns:
        The rows of ``race`` with ``model``, ``mode``, ``dtype``, ``kind`` (the pass), ``device``, and ``cost``, the
        time relative to the plain model as the median of ratios within rounds, with its quartiles.
    """
    settings = [(n, m, d, p) for n in names for m in modes for d in dtypes for p in passes]
    tables = []
    for name, mode, dtype, kind in progress(settings, "bench models"):
        # Each setting compiles anew: beyond a few variants of one function torch would fall back to eager unseen.
        torch.compiler.reset()
        contenders: dict[str, Callable[[], object]] = {}
        for mask in (None, *masks):
            torch.manual_seed(0)
            model = timm.create_model(name, mask=mask, placement=placement).to(device)
            run = torch.compile(model, fullgraph=True) if mode == "compiled" else model
            images = torch.randn(batch, 3, 32, 32, device=device)
            make = _train if kind == "train" else _forward
            contenders[mask or PLAIN] = make(model, run, images, DTYPES[dtype])
        table = race(contenders, rounds, PLAIN)
        for column, value in (("model", name), ("mode", mode), ("dtype", dtype), ("kind", kind), ("device", device)):
            table.insert(0, column, value)
        table["cost"] = 1 / table["speedup"]
        table["cost_q1"], table["cost_q3"] = 1 / table["speedup_q3"], 1 / table["speedup_q1"]
        tables.append(table.drop(columns=["speedup", "speedup_q1", "speedup_q3"]))
    return pd.concat(tables, ignore_index=True)


def _train(model: nn.Module, run: Any, images: Tensor, dtype: torch.dtype | None) -> Callable[[], object]:
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=1e-3, weight_decay=0.05)
    labels = torch.randint(100, (len(images),), device=images.device)
    return partial(_step, run, optimizer, images, labels, dtype)


def _step(
    run: Any, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor, dtype: torch.dtype | None
) -> None:
    with torch.autocast(images.device.type, dtype, enabled=dtype is not None):
        loss = F.cross_entropy(run(images), labels)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    _finish(images.device)


def _forward(model: nn.Module, run: Any, images: Tensor, dtype: torch.dtype | None) -> Callable[[], object]:
    model.eval()
    return partial(_evaluate, run, images, dtype)


def _evaluate(run: Any, images: Tensor, dtype: torch.dtype | None) -> None:
    with torch.no_grad(), torch.autocast(images.device.type, dtype, enabled=dtype is not None):
        run(images)
    _finish(images.device)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
