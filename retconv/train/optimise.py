"""Optimiser and schedule from timm's factories, with weight decay where it belongs."""

from __future__ import annotations

import math
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn

from retconv.masks import Mask
from retconv.train.config import OptimConfig, ScheduleConfig
from retconv.train.replicas import Replicas

#: What an optimiser keeps of a parameter that is one number for all replicas.
_SHARED = ("step",)


def undecayed(replicas: Replicas, masks_too: bool = True) -> set[str]:
    """Names of the parameters without weight decay: all vectors (norms, biases, scales), and those of masks if so said.

    Decay pulls towards 0. A Gaussian with σ = 0 and α = 0 is no mask at all, so decay on a mask is a prior against it;
    norms and biases have no scale that decay could regularise. Names that the model itself lists with
    ``no_weight_decay``, such as timm's position embeddings, are left out too.
    """
    model = replicas.model
    masks = {f"{n}.{p}" for n, m in model.named_modules() if isinstance(m, Mask) for p, _ in m.named_parameters()}
    vectors = {name for name, p in model.named_parameters() if p.ndim <= 2 or name.endswith(".bias")}  # one is R
    listed: set[str] = getattr(model, "no_weight_decay", set)()
    exempt = vectors | {name for name, _ in model.named_parameters() if name in listed}
    return exempt | masks if masks_too else exempt - masks


def make_optimiser(config: OptimConfig, replicas: Replicas) -> torch.optim.Optimizer:
    """Timm's optimiser over the stacked parameters, in one group with weight decay and one without."""
    named = [(name, p) for name, p in replicas.model.named_parameters() if p.requires_grad]
    exempt = set() if config.decay_all else undecayed(replicas, masks_too=not config.decay_masks)
    groups = [
        {"params": [p for name, p in named if name not in exempt], "weight_decay": config.weight_decay},
        {"params": [p for name, p in named if name in exempt], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return create_optimizer_v2(groups, opt=config.name, lr=config.lr, weight_decay=0.0)


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


@torch.no_grad()
def clip_each(parameters: list[nn.Parameter], limit: float) -> None:
    """Scale each replica's gradient to a norm of at most ``limit``, each by its own norm."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    squares = torch.stack([g.reshape(len(g), -1).square().sum(dim=1) for g in gradients]).sum(dim=0)  # shape: (R,)
    scale = (limit / (squares.sqrt() + math.ulp(1.0))).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale.view(-1, *[1] * (gradient.ndim - 1)))


def optimiser_state(optimiser: torch.optim.Optimizer, replicas: Replicas) -> dict[str, dict[str, Tensor]]:
    """The optimiser's state by parameter name, ``(R, …)`` each: what all replicas share, such as ``step``, repeated."""
    state = {}
    for name, p in replicas.model.named_parameters():
        kept = optimiser.state.get(p, {})
        state[name] = {key: value.expand(replicas.count) if key in _SHARED else value for key, value in kept.items()}
    return state


def load_optimiser_state(
    optimiser: torch.optim.Optimizer, replicas: Replicas, saved: list[dict[str, dict[str, Tensor]]]
) -> None:
    """Set the optimiser's state from that of each replica."""
    on_device = {p: _counts_there(group) for group in optimiser.param_groups for p in group["params"]}
    for name, p in replicas.model.named_parameters():
        for key, value in saved[0][name].items():
            if key in _SHARED:
                restored = value.to(p.device) if on_device[p] else value.clone()
            else:
                restored = torch.stack([part[name][key] for part in saved]).to(p.device)
            optimiser.state[p][key] = restored


def _counts_there(group: dict[str, Any]) -> bool:
    """Whether a group of parameters counts its steps on their device."""
    return bool(group.get("capturable") or group.get("fused"))
