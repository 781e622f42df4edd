"""One training step of all replicas: forward, loss, backward and optimiser as one region."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from retconv.train.config import Config
from retconv.train.optimise import clip_each, follows_rate_tensor
from retconv.train.replicas import Replicas

#: After so many steps the next one is captured as a CUDA graph: in them libraries choose their methods and allocate.
STEPS_TO_CAPTURE = 3


@dataclass
class Tally:
    """What a step adds up on the device, for each replica, until it is looked at.

    Attributes:
        loss: Sum of the losses of the steps, float64 ``(R,)``.
        correct: Number of images whose largest logit is at their largest target, int64 ``(R,)``.
        bad: First step whose loss is not finite, −1 if none, int64 ``(R,)``.
        done: Steps taken, int64, no axis.
    """

    loss: Tensor
    correct: Tensor
    bad: Tensor
    done: Tensor

    @classmethod
    def of(cls, replicas: int, device: torch.device) -> Tally:
        """Zeros."""
        count = torch.zeros(replicas, dtype=torch.int64, device=device)
        return cls(count.double(), count.clone(), count - 1, torch.zeros((), dtype=torch.int64, device=device))

    def reset(self, done: int) -> None:
        """Begin an epoch, after some steps; in place, as a captured step adds to these very tensors."""
        self.loss.zero_()
        self.correct.zero_()
        self.bad.fill_(-1)
        self.done.fill_(done)

    @torch.no_grad()
    def add(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Add a step, without looking at it."""
        self.done += 1
        self.loss += loss
        self.correct += (logits.argmax(-1) == targets.argmax(-1)).sum(dim=1)
        self.bad.copy_(torch.where((self.bad < 0) & ~loss.isfinite(), self.done, self.bad))


class Step:
    """A training step, without waiting for the device.

    On CUDA the region is captured as a graph after a few steps and from then on is one launch; where capturing fails,
    a warning says why and steps go on as before. With ``config.compile`` forward, loss and backward are compiled.

    Args:
        replicas: The models.
        optimiser: Over their packs.
        config: Precision, compiling and clipping.
        world: Number of processes, whose gradients are averaged.
        ema: Where the moving average of the models is kept, if anywhere.

    Attributes:
        tally: What steps add up.
        evaluate: ``logits_of`` the replicas, compiled like the step.
    """

    def __init__(
        self,
        replicas: Replicas,
        optimiser: torch.optim.Optimizer,
        config: Config,
        world: int,
        ema: Replicas | None = None,
    ) -> None:
        self.replicas, self.optimiser, self.world, self.ema = replicas, optimiser, world, ema
        self.decay = config.ema
        self.device = replicas.packs[0].matrix.device
        self._half = config.precision == "bfloat16"
        self.clip = config.optim.clip
        self.tally = Tally.of(replicas.count, self.device)
        self._losses = torch.compile(self.losses, dynamic=False) if config.compile else self.losses
        self.evaluate: Callable[[Tensor], Tensor] = partial(self.logits_of, replicas)
        if config.compile:
            self.evaluate = torch.compile(self.evaluate, dynamic=False)
        self._capturable = self.device.type == "cuda" and world == 1 and follows_rate_tensor(config.optim.name)
        self._taken = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: tuple[Tensor, ...] = ()

    def logits_of(self, replicas: Replicas, images: Tensor, draws: Tensor | None = None) -> Tensor:
        """Logits of every replica in the run's precision, float32 ``(R, batch, classes)``."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._half):
            return replicas(images, draws).float()

    def losses(self, images: Tensor, targets: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy of every replica, ``(R,)``, and its logits."""
        logits = self.logits_of(self.replicas, images, draws)
        return -(targets * F.log_softmax(logits, dim=-1)).sum(dim=-1).mean(dim=-1), logits.detach()

    def __call__(self, images: Tensor, targets: Tensor, draws: Tensor) -> None:
        """Take one step on a batch, as ``Batches`` makes it."""
        if self._graph is not None:
            for static, tensor in zip(self._inputs, (images, targets, draws), strict=True):
                static.copy_(tensor)
            self._graph.replay()
            return
        if self._capturable and self._taken >= STEPS_TO_CAPTURE:
            self._capture(images, targets, draws)
            if self._graph is not None:
                return
        self._run(images, targets, draws)
        self._taken += 1

    @property
    def captured(self) -> bool:
        """Whether steps are launches of a CUDA graph."""
        return self._graph is not None

    def _run(self, images: Tensor, targets: Tensor, draws: Tensor) -> None:
        self.replicas.train()
        matrices = [pack.matrix for pack in self.replicas.packs]
        for matrix in matrices:
            matrix.grad = None
        loss, logits = self._losses(images, targets, draws)
        loss.sum().backward()
        if self.world > 1:
            for matrix in matrices:
                assert matrix.grad is not None
                distributed.all_reduce(matrix.grad.div_(self.world))
        if self.clip:
            clip_each(matrices, self.clip)
        self.optimiser.step()
        if self.ema is not None:
            for average, matrix in zip(self.ema.packs, matrices, strict=True):
                average.matrix.detach().lerp_(matrix.detach(), 1 - self.decay)
        self.tally.add(loss, logits, targets)

    def _capture(self, images: Tensor, targets: Tensor, draws: Tensor) -> None:
        """Capture the region, and take a step by its first replay."""
        self._inputs = tuple(x.clone() for x in (images, targets, draws))
        graph = torch.cuda.CUDAGraph()
        try:
            # A thread that meanwhile prepares the next epoch must not spoil the capture.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._run(*self._inputs)
        except RuntimeError as error:
            self._capturable = False
            reason = str(error).partition("\n")[0]
            warnings.warn(f"a training step is launched op by op, not captured as a CUDA graph: {reason}", stacklevel=2)
            return
        self._graph = graph
        graph.replay()
