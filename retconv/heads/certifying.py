"""What convolving a head costs, on given images: the error of its output, and what its prefix tokens take and give."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from retconv.analysis.effective import Effective, EffectiveKernel
from retconv.checks import TOLERANCES
from retconv.grid import Grid
from retconv.heads.feeding import Images, batches
from retconv.heads.replacing import ConvolvedHeads
from retconv.kernels.parameters import compute_dtype
from retconv.models.surgery import masked_modules

#: How many images are looked at together.
_AT_ONCE = 32


class Passes:
    """Images of which several passes are made, where the model's parameters are and in their dtype.

    Args:
        images: The images.
        model: The model.

    Raises:
        TypeError: If images can be read only once, or a batch holds no tensor.
        ValueError: If there is no image, a batch is not of images of one size, or a pass differs from the first.
    """

    def __init__(self, images: Images, model: nn.Module) -> None:
        if not isinstance(images, Tensor) and iter(images) is images:
            raise TypeError(
                "images are read several times, an iterator can be read once: give a tensor, a list or a loader"
            )
        self.images = images
        self.weight = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
        self._sums: list[float] = []

    def __iter__(self) -> Iterator[Tensor]:
        """A pass, a few images at a time."""
        sums: list[float] = []
        for x in batches(self.images, lambda: _AT_ONCE):
            # One pass is compared with another image by image: a loader that shuffles would pair different ones.
            now, place = x.flatten(1).sum(dim=1, dtype=compute_dtype(x.device)).tolist(), len(sums)
            self._compare(now, self._sums[place : place + len(now)])
            sums += now
            yield x.to(self.weight.device, self.weight.dtype)
        self._compare([], self._sums[len(sums) :])
        self._sums = sums

    def _compare(self, now: list[float], before: list[float]) -> None:
        if self._sums and now != before:
            raise ValueError(
                "images must be the same in every pass, in the same order: give a loader that neither shuffles nor "
                "augments at random"
            )


def logits_of(output: Any) -> Tensor:
    """What a model says: the tensor that it returns, the ``logits`` of what it returns, or the first of a tuple."""
    logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    return output[0] if logits is None else logits


class Means:
    """Mean weights of one attention module: its effective kernels, and its prefix tokens' rows and columns."""

    def __init__(self, grid: Grid) -> None:
        self.grid, self.count = grid, 0
        self.kernel = EffectiveKernel(grid)
        self._rows: Tensor | None = None
        self._columns: Tensor | None = None

    def __call__(self, weights: Tensor) -> None:
        """Observe the weights ``(batch, heads, length, length)`` of a call."""
        self.kernel.update(weights)
        self.count += weights.shape[0]
        p = self.grid.prefix
        if p:
            wide = compute_dtype(weights.device)
            rows = weights[:, :, :p].sum(dim=0, dtype=wide)
            columns = weights[:, :, p:, :p].sum(dim=0, dtype=wide)
            self._rows = rows if self._rows is None else self._rows + rows
            self._columns = columns if self._columns is None else self._columns + columns

    def effective(self) -> Effective:
        """The effective kernels of the grid's tokens."""
        return self.kernel.result()

    def border(self) -> tuple[Tensor | None, Tensor | None]:
        """Mean rows ``(heads, prefix, length)`` and columns ``(heads, N, prefix)``; None without prefix tokens."""
        if self._rows is None or self._columns is None:
            return None, None
        return self._rows / self.count, self._columns / self.count


class Certifier:
    """Lets a module attend as it does, and compares each head's output with that of its convolution.

    It hangs in the module as ``convolved`` for as long as it measures.
    """

    def __init__(self, candidate: ConvolvedHeads, plain: bool) -> None:
        self.candidate = candidate
        kernel = candidate.table()
        self.before = ConvolvedHeads((), candidate.total, candidate.grid, kernel[:0], plain=plain)
        self.images = 1
        #: What is compared: outputs, or weights where a module forms its own softmax and its values are not seen.
        self.of = "output"
        self._missed: list[Tensor] = []
        self._power: list[Tensor] = []

    def attend(self, module: Any, *call: Any) -> Tensor:
        """The answer of the module as it was."""
        out = self.before.attend(module, *call)
        self._compare(self.candidate.mix(call[2], module.place.grid(out.shape[2])), out)
        return out

    def project(self, module: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """The linear maps as they were."""
        return self.before.project(module, x, weight, bias)

    def weigh(self, weights: Tensor, grid: Grid) -> Tensor:
        """The weights as they were."""
        self.of = "weights"
        self._compare(self.candidate.dense(grid), weights)
        return weights

    def result(self) -> tuple[Tensor, Tensor]:
        """``‖A V − M V‖_F / ‖A V‖_F`` over all images, and the largest of an image; float64 ``(heads,)`` each."""
        missed, power = torch.cat(self._missed), torch.cat(self._power)
        return _ratio(missed.sum(dim=0), power.sum(dim=0)), _ratio(missed, power).amax(dim=0)

    def _compare(self, convolved: Tensor, out: Tensor) -> None:
        wide = compute_dtype(out.device)
        out = out.to(wide)
        missed, power = ((x * x).sum(dim=(2, 3)) for x in (out - convolved.to(wide), out))
        # Windows of an image follow one another.
        windows = out.shape[0] // self.images if out.shape[0] % self.images == 0 else 1
        self._missed.append(missed.unflatten(0, (-1, windows)).sum(dim=1).cpu())
        self._power.append(power.unflatten(0, (-1, windows)).sum(dim=1).cpu())


def relative(actual: Tensor, expected: Tensor) -> tuple[float, float]:
    """``‖actual − expected‖_F / ‖expected‖_F`` of ``(images, …)``, and the largest of an image."""
    actual, expected = actual.double().flatten(1), expected.double().flatten(1)
    missed, power = (actual - expected).square().sum(dim=1), expected.square().sum(dim=1)
    return float(_ratio(missed.sum(), power.sum())), float(_ratio(missed, power).max())


def _ratio(missed: Tensor, power: Tensor) -> Tensor:
    """The root of a quotient; of 0 by 0 it is 0."""
    return torch.where(missed == 0, 0.0, missed / power).sqrt()


def skip_unread(model: nn.Module, images: Tensor) -> None:
    """Compute no queries and keys in layers whose heads are all convolved, if the layer's answer shows no difference.

    Whether the last third of a joint map makes the values is told by trial, layer by layer. The model's answer would
    not tell of a layer that hardly reaches it.
    """
    every = [(module, getattr(module, "convolved", None)) for _, module in masked_modules(model)]
    whole: dict[nn.Module, Any] = {module: c for module, c in every if c is not None and len(c.heads) == c.total}
    expected = _answers(model, images, whole)
    for module, answer in expected.items():
        whole[module].skips = True
        error, _ = relative(_answers(model, images, [module])[module], answer)
        whole[module].skips = error <= TOLERANCES.get(answer.dtype, 0.0)


def _answers(model: nn.Module, images: Tensor, modules: Iterable[nn.Module]) -> dict[nn.Module, Tensor]:
    """What modules of a model give, ``(1, entries)`` of all calls together; without those that are not called."""
    calls: dict[nn.Module, list[Tensor]] = {module: [] for module in modules}

    def keep(module: nn.Module, _: Any, output: Any) -> None:
        calls[module].append(logits_of(output).flatten())

    with ExitStack() as stack:
        for module in calls:
            stack.callback(module.register_forward_hook(keep).remove)
        model(images)
    return {module: torch.cat(outputs)[None] for module, outputs in calls.items() if outputs}


def race(before: nn.Module, after: nn.Module, images: Tensor, rounds: int) -> tuple[float, float, float]:
    """Seconds of a forward pass of two models, and how many times as fast the second is: medians of interleaved rounds.

    Each takes the first turn in every other round, after one pass that does not count.
    """
    models = (before, after)
    for model in models:
        _seconds(model, images)
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            times[which].append(_seconds(models[which], images))
    ratio = statistics.median(b / a for b, a in zip(*times, strict=True))
    return statistics.median(times[0]), statistics.median(times[1]), ratio


def _seconds(model: nn.Module, images: Tensor) -> float:
    start = time.perf_counter()
    # To read a number waits for the device.
    logits_of(model(images)).sum().item()
    return time.perf_counter() - start
