"""Published schedules by name: how fast each head forgets, as gammas of decays or as slopes of linear biases."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from retconv.names import unknown


def retnet(heads: int) -> Tensor:
    """``γ_h = 1 − 2^(−5−h)``, h = 0 … H − 1: Sun et al. 2023 (arXiv 2307.08621), eq. (8), and torchscale's code."""
    return 1 - torch.exp2(-5.0 - torch.arange(heads, dtype=torch.float64))


def retnet_linspace(heads: int) -> Tensor:
    """``γ = 1 − exp(linspace(log 1/32, log 1/512, H))``: the setting of RetNet's language models (section 3.1)."""
    return 1 - torch.linspace(math.log(1 / 32), math.log(1 / 512), heads, dtype=torch.float64).exp()


def rmt(heads: int, initial: float = 2.0, span: float = 4.0) -> Tensor:
    """``γ_h = 1 − 2^(−i − r·h/H)`` with i = ``initial`` and r = ``span``: RMT's code (arXiv 2309.11523)."""
    return 1 - torch.exp2(-initial - span * torch.arange(heads, dtype=torch.float64) / heads)


#: The schedules by name.
SCHEDULES: dict[str, Callable[..., Tensor]] = {"retnet": retnet, "retnet_linspace": retnet_linspace, "rmt": rmt}


def gammas(schedule: str, heads: int, **options: float) -> Tensor:
    """Evaluate a published gamma schedule.

    Args:
        schedule: ``"retnet"``, ``"retnet_linspace"`` or ``"rmt"``.
        heads: Number of heads H.
        **options: ``initial`` and ``span`` of ``"rmt"``.

    Returns:
        float64 ``(heads,)``, each in (0, 1).

    Raises:
        ValueError: If the name is unknown, heads is not positive, or a gamma falls outside (0, 1).

    Example:
        >>> gammas("retnet", 3)
        tensor([0.9688, 0.9844, 0.9922], dtype=torch.float64)
    """
    if schedule not in SCHEDULES:
        raise ValueError(unknown("gamma schedule", schedule, SCHEDULES))
    if heads < 1:
        raise ValueError(f"heads must be at least 1, got {heads}")
    gamma = SCHEDULES[schedule](heads, **options)
    if not gamma.is_meta and not bool(((gamma > 0) & (gamma < 1)).all()):
        raise ValueError(
            f"schedule {schedule!r} with {heads} heads and {options} leaves (0, 1): "
            f"{gamma.min():.6g} … {gamma.max():.6g}"
        )
    return gamma


def alibi_slopes(heads: int) -> Tensor:
    """``2^(−8h/H)``, h = 1 … H, where H is a power of two; else those of the power below, then every other of the next.

    Press et al. 2022 (arXiv 2108.12409), section 3, and ``get_slopes`` of its code, which says how slopes interleave.
    """
    below = 2 ** (heads.bit_length() - 1)
    return torch.cat([geometric_slopes(below), geometric_slopes(2 * below)[::2][: heads - below]])


def geometric_slopes(heads: int) -> Tensor:
    """``2^(−8h/H)``, h = 1 … H, for any H: ALiBi's section 3; its code follows it at powers of two."""
    return torch.exp2(-8.0 * torch.arange(1, heads + 1, dtype=torch.float64) / heads)


#: The schedules of slopes by name.
SLOPES: dict[str, Callable[[int], Tensor]] = {"alibi": alibi_slopes, "alibi_formula": geometric_slopes}


def slopes(schedule: str, heads: int) -> Tensor:
    """Evaluate a published schedule of slopes, such as ``alibi(offset, slope)`` takes.

    Args:
        schedule: ``"alibi"``, as in ALiBi's code: interleaved where heads is no power of two; or ``"alibi_formula"``,
            the formula ``2^(−8h/H)`` for every H.
        heads: Number of heads H.

    Returns:
        float64 ``(heads,)``, logits per token, each in (0, 1).

    Raises:
        ValueError: If the name is unknown or heads is not positive.

    Example:
        >>> slopes("alibi", 3).tolist()
        [0.0625, 0.00390625, 0.25]
    """
    if schedule not in SLOPES:
        raise ValueError(unknown("slope schedule", schedule, SLOPES))
    if heads < 1:
        raise ValueError(f"heads must be at least 1, got {heads}")
    return SLOPES[schedule](heads)
