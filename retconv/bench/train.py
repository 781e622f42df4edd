"""``retconv bench train``: images per second of training, by model, mask, precision and replicas."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from retconv.bench.peers_train import HandWritten, Loaded
from retconv.bench.timing import progress, race, ready_made, synchronised
from retconv.data import Dataset
from retconv.models.count import count
from retconv.train import Config, Trainer, load, parse
from retconv.train.parsing import override

PEER = "DataLoader, torchvision v2"
LOOP = "hand-written loop"


def pixels(count: int, device: torch.device) -> Dataset:
    """Random images of CIFAR-10's form: how fast training is does not depend on what they show.

    Of as many as a batch has an epoch is a step, so that each step has its share of what is done once an epoch.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.arange(count) % 10
    half = (0.5, 0.5, 0.5)
    names = tuple(map(str, range(10)))
    return Dataset("cifar10", images, labels, images, labels, names, half, half, True, "random pixels").to(device)


def bench(
    models: list[str], masks: list[str], replicas: list[int], batch: int, rounds: int, device: torch.device
) -> pd.DataFrame:
    """Race a training step of the ``standard`` recipe of one model and of several stacked ones, and the peer's.

    The peer trains the same model, plain, from a ``DataLoader`` in the same process, with torchvision's v2 transforms
    sample by sample.

    Args:
        models: Of ``SMALL_MODELS``.
        masks: ``"none"`` or names of masks.
        replicas: Numbers of replicas; 1 is the reference and always among them.
        batch: Images of each replica in a step.
        rounds: Timed rounds.
        device: Where to train.

    Returns:
        The rows of ``race`` (``speedup`` is that of a step: divided by R it is what a replica gains) with ``model``,
        ``kind`` (the mask), ``precision``, ``replicas``, ``data_share`` (of a step's time, for making its batch) and
        the columns of ``_rates``.
    """
    data = pixels(batch, device)
    tables = []
    for model, mask in progress([(m, k) for m in models for k in masks], "bench train"):
        config = _config({"model.name": model, "model.options.mask": _mask(mask)}, batch)
        trainers = {r: Trainer([config] * r, data) for r in sorted({1, *replicas})}
        peer = Loaded(replace(config, precision=trainers[1].precision), data)
        contenders: dict[str, Callable[[], object]] = {
            f"{r} replica{'s' * (r > 1)}": synchronised(t.step, device) for r, t in trainers.items()
        }
        contenders[PEER] = synchronised(peer.step, device)
        table = race(contenders, rounds, "1 replica")
        table.insert(0, "model", model)
        table.insert(1, "kind", mask)
        table.insert(2, "precision", trainers[1].precision)
        table["replicas"] = [*trainers, 1]
        ours = [partial(_make_batch, trainer, itertools.count()) for trainer in trainers.values()]
        shares = [_data_seconds(synchronised(make, device)) for make in ours]
        shares.append(_data_seconds(synchronised(peer.batch, device)))
        table["data_share"] = [1e3 * s / ms for s, ms in zip(shares, table["ms"], strict=True)]
        tables.append(_rates(table, trainers[1], batch))
    return pd.concat(tables, ignore_index=True)


def bench_shapes(
    shapes: list[str], masks: list[str], precisions: list[str], batch: int, rounds: int, device: torch.device
) -> pd.DataFrame:
    """Race a training step of small ViTs, with crops and mirror images, against a loop written by hand.

    Args:
        shapes: ``"dim/depth/heads"``, of 64 tokens.
        masks: ``"none"`` or names of masks.
        precisions: Of ``float32`` and ``bfloat16``.
        batch: Images of a step.
        rounds: Timed rounds.
        device: Where to train.

    Returns:
        The rows of ``race`` with the loop as the reference, ``model`` (the shape), ``kind`` (the precision), and the
        columns of ``_rates``.
    """
    data = pixels(batch, device)
    tables = []
    for shape, precision in progress([(s, p) for s in shapes for p in precisions], "bench train"):
        trainers = {mask: _small_vit(shape, mask, precision, batch, data) for mask in masks}
        dim, depth, heads = map(int, shape.split("/"))
        loop = HandWritten(data, dim, depth, heads, batch, precision == "bfloat16")
        contenders = {LOOP: synchronised(loop.step, device)}
        contenders |= {mask: synchronised(trainer.step, device) for mask, trainer in trainers.items()}
        table = race(contenders, rounds, LOOP)
        table.insert(0, "model", shape)
        table.insert(1, "kind", precision)
        tables.append(_rates(table.assign(replicas=1), trainers[masks[0]], batch))
    return pd.concat(tables, ignore_index=True)


def bench_beside(shapes: list[str], masks: list[str], batch: int, rounds: int, seconds: float = 6.0) -> pd.DataFrame:
    """Images per second of two runs of one thread side by side, against one alone, in turn, for some seconds each.

    Returns:
        A row for each shape and mask: ``alone`` and ``together`` (images per second, medians over rounds), ``gain``
        (median of the ratios of two in a row) with its quartiles, and ``n`` rounds.
    """
    rows = []
    for shape, mask in progress([(s, m) for s in shapes for m in masks], "bench train"):
        with ProcessPoolExecutor(2, mp_context=ready_made("retconv.bench.train", "torch._dynamo")) as pool:
            ratios, rates = [], []
            for _ in range(rounds + 1):  # the first builds the models
                alone = pool.submit(_alone, shape, mask, batch, seconds).result()
                together = sum(one.result() for one in [pool.submit(_alone, shape, mask, batch, seconds) for _ in "ab"])
                ratios.append(together / alone)
                rates.append((alone, together))
        q1, gain, q3 = np.percentile(ratios[1:], [25, 50, 75])
        alone, together = np.median(rates[1:], axis=0)
        row = {"model": shape, "kind": mask, "alone": alone, "together": together}
        rows.append(row | {"gain": gain, "gain_q1": q1, "gain_q3": q3, "n": rounds})
    return pd.DataFrame(rows)


def _alone(shape: str, mask: str, batch: int, seconds: float) -> float:
    """Images per second of a run of one thread, in a process of its own."""
    torch.set_num_threads(1)
    trainer = _kept_trainer(shape, mask, batch)
    trainer.step()
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        trainer.step()
        steps += 1
    return steps * batch / (time.perf_counter() - start)


@cache
def _kept_trainer(shape: str, mask: str, batch: int) -> Trainer:
    return _small_vit(shape, mask, "float32", batch, pixels(batch, torch.device("cpu")))


def _small_vit(shape: str, mask: str, precision: str, batch: int, data: Dataset) -> Trainer:
    dim, depth, heads = (int(number) for number in shape.split("/"))
    options = {"embed_dim": dim, "depth": depth, "num_heads": heads, "mask": _mask(mask)}
    settings = {"model.options": options, "precision": precision, "augment.policy": "none", "augment.erase": 0.0}
    return Trainer([_config(settings, batch)], data)


def _rates(table: pd.DataFrame, trainer: Trainer, batch: int) -> pd.DataFrame:
    """Add what a race's times mean.

    ``images_per_second`` over all replicas; ``gflops``, 1e9 floating-point operations of forward and backward per
    second: those of the model's matrix products and convolutions by the plain formula, backward twice forward, since
    what a fast form computes again is not work done; ``utilisation``, that against a large matrix product in the same
    precision on the same device.
    """
    seconds = table["ms"] / 1e3
    work = 3 * 2 * batch * count(trainer.replicas.single(0)).macs * table["replicas"]
    return table.assign(
        images_per_second=batch * table["replicas"] / seconds,
        gflops=work / seconds / 1e9,
        utilisation=work / seconds / _peak(trainer.precision, trainer.device),
    )


def _config(settings: dict[str, Any], batch: int) -> Config:
    fixed: dict[str, Any] = {"batch_size": batch, "data.validation": 0.0, "augment.mixup": 0.0, "augment.cutmix": 0.0}
    return parse(override(load("standard").as_dict(), fixed | settings))


def _mask(name: str) -> str | None:
    return None if name == "none" else name


def _make_batch(trainer: Trainer, epochs: Iterator[int]) -> None:
    trainer.batches(next(epochs), 0, trainer.replicas.draws)


def _data_seconds(run: Callable[[], object], times: int = 5) -> float:
    run()
    start = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - start) / times


def _peak(precision: str, device: torch.device) -> float:
    """Floating-point operations per second of a large matrix product."""
    size = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(size, size, device=device, dtype=getattr(torch, precision)) for _ in range(2))
    return 2 * size**3 / min(_data_seconds(synchronised(lambda: a @ b, device), 1) for _ in range(3))
