"""How far a recurrence magnifies roundings: exponentials whose weights cancel are large where their sum is not."""

from __future__ import annotations

import torch

from retconv.checks import tolerance
from retconv.kernels import Exponentials
from retconv.watching import is_readable, unwatched

#: A recurrence of which rounding may take more than this part of the largest output is refused.
LARGEST_LOSS = 1e-3
#: Distances at which a kernel is looked at for its largest weight, as far as there are tokens.
_DISTANCES = (0, 1, 2, 3, 4, 6, *(2**i * j // 2 for i in range(3, 17) for j in (2, 3)))
#: A stream is judged by its first tokens at least so far: of the very first alone weights may sum to 0.
STREAM = 512


def magnification(line: Exponentials, tokens: int) -> float:
    """``Σ_r |w_r| / max |K|`` of the worst head and side: states are so much larger than what they sum to.

    It is 1 of weights of one sign, and where values are not to be looked at. Beyond the tokens a fit may grow.
    """
    if line.order < 2 or not is_readable(line.past_weights) or not is_readable(line.past_poles):
        return 1.0
    worst = 1.0
    with torch.no_grad(), unwatched():
        at = torch.tensor([distance for distance in _DISTANCES if distance < tokens])
        for weights, poles in ((line.past_weights, line.past_poles), (line.future_weights, line.future_poles)):
            if weights is None or poles is None or not len(weights):
                continue
            w, p = weights.detach().to(torch.complex128), poles.detach().to(torch.complex128)
            # At distance 0 without a power: of a pole of 0 torch has none.
            values = torch.cat([w[..., None], w[..., None] * p[..., None] ** at[1:]], dim=-1).real.sum(dim=1)
            share = values.abs().amax(dim=-1) / w.abs().sum(dim=-1)
            worst = max(worst, float((1 / share).nan_to_num(nan=1.0).max()))
    return worst


def keeps_tolerance(line: Exponentials, dtype: torch.dtype, tokens: int) -> bool:
    """Whether a recurrence in a dtype keeps its tolerance of the largest output."""
    return magnification(line, tokens) * torch.finfo(dtype).eps <= tolerance(dtype)


def require_stable(line: Exponentials, dtype: torch.dtype, tokens: int, name: str) -> None:
    """Raise a ``ValueError`` if rounding in a dtype would take too much of what a recurrence gives."""
    times = magnification(line, tokens)
    if times * torch.finfo(dtype).eps > LARGEST_LOSS:
        raise ValueError(
            f"{name}: weights of the exponentials cancel, and a recurrence magnifies rounding in {dtype} {times:.2g} "
            "times: give q, k and v in float64, a fit of fewer states, or retention(…, method='fft')"
        )
