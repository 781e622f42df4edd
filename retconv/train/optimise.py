"""Optimiser and schedule from timm's factories, with weight decay where it belongs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn

from retconv.masks import Mask
from retconv.train.config import OptimConfig, ScheduleConfig
from retconv.train.packed import Pack
from retconv.train.replicas import Replicas

#: What an optimiser keeps of a matrix that is one number for all replicas.
_SHARED = ("step",)


def undecayed(model: nn.Module, config: OptimConfig) -> set[str]:
    """Names of the parameters of a single model without weight decay, as ``optim`` asks for it.

    By default all vectors (norms, biases, scales) and masks: decay pulls towards 0. A Gaussian with σ = 0 and α = 0 is
    no mask at all, so decay on a mask is a prior against it; norms and biases have no scale that decay could
    regularise. Names that the model itself lists with ``no_weight_decay``, such as timm's position embeddings, are left
    out too.
    """
    if config.decay_all:
        return set()
    masks = {f"{n}.{p}" for n, m in model.named_modules() if isinstance(m, Mask) for p, _ in m.named_parameters()}
    vectors = {name for name, p in model.named_parameters() if p.ndim <= 1 or name.endswith(".bias")}
    listed: set[str] = getattr(model, "no_weight_decay", set)()
    exempt = vectors | {name for name, _ in model.named_parameters() if name in listed}
    return exempt - masks if config.decay_masks else exempt | masks


def make_optimiser(config: OptimConfig, replicas: Replicas) -> torch.optim.Optimizer:
    """Timm's optimiser over the packs, without weight decay on those that are apart.

    On CUDA the learning rates of optimisers that can follow one there are tensors (``follows_rate_tensor``), and their
    steps can be captured.
    """
    groups = [
        {"params": [pack.matrix], "weight_decay": 0.0 if pack.apart else config.weight_decay} for pack in replicas.packs
    ]
    on_cuda = replicas.packs[0].matrix.is_cuda
    fused: dict[str, Any] = {"fused": True, "capturable": on_cuda} if follows_rate_tensor(config.name) else {}
    return create_optimizer_v2(groups, opt=config.name, lr=config.lr, weight_decay=0.0, **fused)


def follows_rate_tensor(name: str) -> bool:
    """Whether an optimiser by name is one fused operation that reads its learning rate and counts steps on the device.

    Only such a step can be captured as a CUDA graph.
    """
    return name in ("adam", "adamw")


def make_schedule(config: ScheduleConfig, optimiser: torch.optim.Optimizer, steps_per_epoch: int) -> Scheduler:
    """Timm's cosine with linear warm-up by step: a function of the step alone, which resuming therefore only sets."""
    scheduler, _ = create_scheduler_v2(
        optimiser,
        sched="cosine",
        num_epochs=config.epochs,
        warmup_epochs=config.warmup_epochs,
        warmup_lr=config.warmup_lr,
        min_lr=config.min_lr,
        warmup_prefix=False,
        step_on_epochs=False,
        updates_per_epoch=steps_per_epoch,
    )
    assert scheduler is not None
    return scheduler


class Rates:
    """The schedule's learning rates, set before each step; on CUDA in tensors that a captured step reads.

    Args:
        schedule: Of ``make_schedule``.
        optimiser: Its optimiser.
    """

    def __init__(self, schedule: Scheduler, optimiser: torch.optim.Optimizer) -> None:
        self.schedule, self.groups = schedule, optimiser.param_groups
        place = self.groups[0]["params"][0].device
        follows = place.type == "cuda" and bool(self.groups[0].get("fused"))
        self.tensors = [torch.zeros((), device=place) for _ in self.groups] if follows else []

    def set(self, done: int) -> None:
        """Set the rates of the step after ``done`` ones."""
        self.schedule.step_update(done)
        for group, tensor in zip(self.groups, self.tensors, strict=False):
            group["lr"] = tensor.fill_(group["lr"])

    @property
    def now(self) -> float:
        """The rate of the next step."""
        return float(self.groups[0]["lr"])


@torch.no_grad()
def clip_each(matrices: Sequence[Tensor], limit: float) -> None:
    """Scale each replica's gradient, a row of every matrix, to a norm of at most ``limit``, each by its own norm."""
    gradients = [m.grad for m in matrices if m.grad is not None]
    norms = torch.stack([torch.linalg.vector_norm(g, dim=1) for g in gradients]).norm(dim=0)  # shape: (R,)
    scale = (limit / (norms + math.ulp(1.0))).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale[:, None])


def optimiser_state(optimiser: torch.optim.Optimizer, replicas: Replicas) -> dict[str, dict[str, Tensor]]:
    """The optimiser's state by parameter name, ``(R, …)`` each: what all replicas share, such as ``step``, repeated."""
    state: dict[str, dict[str, Tensor]] = {}
    for pack in replicas.packs:
        for key, value in optimiser.state.get(pack.matrix, {}).items():
            shared = dict.fromkeys(pack.shapes, value.expand(replicas.count)) if key in _SHARED else None
            for name, part in (shared or pack.columns(value)).items():
                state.setdefault(name, {})[key] = part
    return state


def load_optimiser_state(
    optimiser: torch.optim.Optimizer, replicas: Replicas, states: list[dict[str, dict[str, Tensor]]]
) -> None:
    """Set the optimiser's state from that of each replica."""
    for pack, group in zip(replicas.packs, optimiser.param_groups, strict=True):
        first = states[0].get(next(iter(pack.shapes)), {})
        for key, value in first.items():
            if key in _SHARED:
                place = pack.matrix.device if group.get("fused") or group.get("capturable") else "cpu"
                restored = value.to(place, copy=True)
            else:
                stacked = {name: torch.stack([share[name][key] for share in states]) for name in pack.shapes}
                restored = Pack.of(stacked).matrix.detach().to(pack.matrix)
            state = optimiser.state[pack.matrix]
            # A captured step goes on with the very tensors that it was captured with.
            state[key] = state[key].copy_(restored) if key in state else restored
