"""``python -m retconv.bench train``: images per second of training, by model, mask and number of replicas."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import click
import pandas as pd
import torch
from timm.data.mixup import mixup_target
from timm.loss import SoftTargetCrossEntropy
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.transforms import v2

from retconv.bench.cli import out_option, report, rounds_option, threads_option
from retconv.bench.timing import keep_pages, progress, race, synchronised
from retconv.data import Dataset
from retconv.models import SMALL_MODELS
from retconv.models.count import count
from retconv.models.small import OTHERS
from retconv.train import Config, Trainer, load, parse
from retconv.train.build import build_model
from retconv.train.config import OptimConfig
from retconv.train.optimise import make_optimiser
from retconv.train.parse import override
from retconv.train.replicas import Replicas

PEER = "DataLoader, torchvision v2"
#: The paper's small models.
FIVE = ("retconv_vit_tiny", *OTHERS)


def pixels(count: int, device: torch.device) -> Dataset:
    """Random images of CIFAR-10's form: how fast training is does not depend on what they show."""
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
        ``kind`` (the mask), ``replicas``, ``images_per_second`` over all replicas, ``data_share`` (of a step's time,
        for making its batch) and ``utilisation`` (floating-point operations of forward and backward per second,
        against those of a large matrix product in the same precision on the same device). Operations are those of the
        model's matrix products and convolutions by the plain formula, backward twice forward: what a fast form
        computes again is not work done.
    """
    data = pixels(4 * batch, device)
    tables = []
    for model, mask in progress([(m, k) for m in models for k in masks], "bench train"):
        config = _config(model, mask, batch, device)
        trainers = {r: Trainer([config] * r, data) for r in sorted({1, *replicas})}
        peer = Peer(config, data)
        contenders: dict[str, Callable[[], object]] = {
            f"{r} replica{'s' * (r > 1)}": synchronised(t.step, device) for r, t in trainers.items()
        }
        contenders[PEER] = synchronised(peer.step, device)
        table = race(contenders, rounds, "1 replica")
        counts = [*trainers, 1]
        table.insert(0, "model", model)
        table.insert(1, "kind", mask)
        table["replicas"] = counts
        table["images_per_second"] = [1e3 * batch * r / ms for r, ms in zip(counts, table["ms"], strict=True)]
        shares = [_data_seconds(synchronised(partial(_make_batch, t), device)) for t in trainers.values()]
        shares.append(_data_seconds(synchronised(peer.batch, device)))
        table["data_share"] = [1e3 * s / ms for s, ms in zip(shares, table["ms"], strict=True)]
        work = 3 * 2 * batch * count(trainers[1].replicas.single(0)).macs
        peak = _peak(config, device)
        table["utilisation"] = [work * r / (ms / 1e3) / peak for r, ms in zip(counts, table["ms"], strict=True)]
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


class Peer:
    """The same model and optimiser, fed by a plain ``DataLoader`` that transforms sample by sample."""

    def __init__(self, config: Config, data: Dataset) -> None:
        self.device = data.train_images.device
        self.config = config
        self.replicas = Replicas([build_model(config, data)]).to(self.device)
        self.model: nn.Module = self.replicas
        self.optimiser = make_optimiser(OptimConfig(), self.replicas)
        self.loss = SoftTargetCrossEntropy()
        self.transform = v2.Compose(
            [
                v2.RandomCrop(32, padding=4),
                v2.RandomHorizontalFlip(),
                v2.TrivialAugmentWide(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(data.mean, data.std),
                v2.RandomErasing(0.25),
            ]
        )
        rows = TensorDataset(data.train_images.cpu(), data.train_labels.cpu())
        self.loader = DataLoader(rows, config.batch_size, shuffle=True, drop_last=True, collate_fn=self._collate)
        self.batches = self._forever()

    def _collate(self, samples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        images, labels = zip(*samples, strict=True)
        return torch.stack([self.transform(image) for image in images]), torch.stack(labels)

    def _forever(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from self.loader

    def batch(self) -> tuple[Tensor, Tensor]:
        """The next batch, on the device."""
        images, labels = next(self.batches)
        return images.to(self.device), mixup_target(labels.to(self.device), 10, smoothing=0.1)

    def step(self) -> None:
        """One training step."""
        self.model.train()
        images, targets = self.batch()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            logits = self.model(images)
        self.optimiser.zero_grad(set_to_none=True)
        self.loss(logits[0].float(), targets).backward()
        self.optimiser.step()


def _config(model: str, mask: str, batch: int, device: torch.device) -> Config:
    chosen = {
        "model.name": model,
        "model.options.mask": None if mask == "none" else mask,
        "batch_size": batch,
        # Most CPUs have no units for bfloat16.
        "precision": "bfloat16" if device.type == "cuda" else "float32",
        "data.validation": 0.0,
        "augment.mixup": 0.0,
        "augment.cutmix": 0.0,
    }
    return parse(override(load("standard").as_dict(), chosen))


def _make_batch(trainer: Trainer) -> None:
    trainer.batches(0, trainer.done % trainer.steps, trainer.replicas.draws)


def _data_seconds(run: Callable[[], object], times: int = 5) -> float:
    run()
    start = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - start) / times


def _peak(config: Config, device: torch.device) -> float:
    """Floating-point operations per second of a large matrix product in the recipe's precision."""
    size = 8192 if device.type == "cuda" else 1024
    dtype = torch.bfloat16 if config.precision == "bfloat16" else torch.float32
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / min(_data_seconds(synchronised(lambda: a @ b, device)) for _ in range(3))


@click.command("train")
@click.option("--model", "models", multiple=True, type=click.Choice(SMALL_MODELS), default=FIVE, help="Repeatable.")
@click.option("--mask", "masks", multiple=True, default=("none", "gmm"), help="A mask by name, or none; repeatable.")
@click.option("--replicas", multiple=True, type=click.IntRange(1), default=(1, 5), help="Repeatable.")
@click.option("--batch", default=128, help="Images of each replica in a step.")
@click.option("--device", help="Such as cpu or cuda.  [default: a GPU if there is one]")
@rounds_option
@threads_option
@out_option
def command(
    models: tuple[str, ...],
    masks: tuple[str, ...],
    replicas: tuple[int, ...],
    batch: int,
    device: str | None,
    rounds: int,
    threads: int,
    out: Path | None,
) -> None:
    """Training steps of the standard recipe: stacked replicas, masked and plain, and a plain DataLoader as the peer.

    `speedup` is that of a step over the one of 1 replica; five replicas that take twice as long have 0.5. Batches are
    made from random pixels in the memory of the device, by crop, flip, TrivialAugment and erasing.

    \b
    Examples:
      python -m retconv.bench train --batch 8 --replicas 3 --rounds 5        all five on two cores: two minutes
      python -m retconv.bench train --model retconv_pit_tiny --mask gmm --device cuda
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    allocator = keep_pages()
    table = bench(list(models), list(masks), list(replicas), batch, rounds, place)
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else "cpu"
    report(table.assign(device=name, batch=batch), allocator, out)
