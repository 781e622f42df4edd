"""Stacked state cut into shares, one for each replica, with few copies from the device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten


def shares(stacked: Any, count: int) -> list[Any]:
    """Cut nested dictionaries of stacked tensors ``(R, …)`` into those of each replica ``(…)``, on the CPU.

    Tensors of one dtype leave their device together, as one copy, and each replica's are views of one storage of its
    own: a state has hundreds of small tensors, and each copy by itself would wait for the device.

    Args:
        stacked: Nested dictionaries; tensors with R as their first axis.
        count: R.

    Returns:
        R nested dictionaries of the same form.
    """
    leaves, form = tree_flatten(stacked)
    kinds: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for place, leaf in enumerate(leaves):
        kinds.setdefault((leaf.device, leaf.dtype), []).append(place)
    cut: list[list[Tensor]] = [list(leaves) for _ in range(count)]
    for places in kinds.values():
        flat = torch.cat([leaves[place].detach().reshape(count, -1) for place in places], dim=1).cpu()
        sizes = [leaves[place][0].numel() for place in places]
        for mine, row in zip(cut, flat, strict=True):
            # A row is cloned because a file holds the whole storage of what is saved in it.
            for place, part in zip(places, row.clone().split(sizes), strict=True):
                mine[place] = part.view(leaves[place].shape[1:])
    return [tree_unflatten(mine, form) for mine in cut]


def stack(shares: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The shares of all replicas stacked again, by name."""
    return {name: torch.stack([share[name] for share in shares]) for name in shares[0]}
