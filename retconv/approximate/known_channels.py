"""Extra channels that are known by a formula."""

from __future__ import annotations

import torch

from retconv.attention import ExtraChannels
from retconv.attention.channels import factors, serves
from retconv.kernels import Exponentials
from retconv.masks import Forms


def closed_channels(forms: Forms, adds: bool, causal: bool) -> ExtraChannels | None:
    """The channels of a mask, or of its logarithm, in closed form.

    Args:
        forms: The mask.
        adds: Whether its logarithm is added; else scores are multiplied by it.
        causal: Whether later keys of a line are hidden, and nothing else.

    Returns:
        Channels that carry gradients. None if no formula is known, or its terms are no numbers: powers overflow, and so
        does the logarithm of a Gaussian of weight 0.
    """
    extra = None
    if adds and serves(forms):
        extra = factors(forms)
    elif not adds and causal and forms.exponentials is not None and not forms.grid.prefix:
        extra = _of_exponentials(forms.exponentials, forms.grid.size)
    return extra if extra is not None and bool(extra.query.isfinite().all() & extra.key.isfinite().all()) else None


def _of_exponentials(kernel: Exponentials, n: int) -> ExtraChannels:
    """``Re(w λ^(q−k)) = Re(w λ^(q−c)) Re λ^(c−k) − Im(w λ^(q−c)) Im λ^(c−k)``, c the middle of the line."""
    weights, poles = (x.to(torch.complex128)[:, None] for x in (kernel.past_weights, kernel.past_poles))
    power = (torch.arange(n, device=poles.device) - n // 2)[:, None]
    ahead, behind = weights * poles**power, poles**-power
    query, key = torch.cat([ahead.real, -ahead.imag], dim=-1), torch.cat([behind.real, behind.imag], dim=-1)
    both = (poles.imag != 0).flatten(0, 1).any(dim=0)  # a real pole has one channel
    used = torch.cat([torch.ones_like(both), both])
    return ExtraChannels(query[..., used], key[..., used])
