"""Law 11: whether a mask is positive, and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from retconv.analysis.reading import is_symmetric, resolve
from retconv.analysis.spectrum.lanczos import eigenvalue_range
from retconv.analysis.spectrum.values import beyond_dense, symmetric_eigenvalues
from retconv.grid import Grid, GridLike
from retconv.masks import DecayMask, Forms, GaussianMixtureMask, MaskLike

#: Accuracy of the extreme eigenvalues of a large mask, relative to its largest row sum.
_ACCURACY = 1e-5


@dataclass(frozen=True)
class Definiteness:
    """Whether ``xᵀ M x`` keeps one sign, for one head.

    Attributes:
        verdict: ``"positive definite"``, ``"positive semidefinite"``, ``"indefinite"``, ``"negative definite"``,
            ``"negative semidefinite"``, ``"zero"`` or ``"not symmetric"``. Semidefinite also stands for an
            eigenvalue that is not told from 0.
        reason: One sentence that a reader can check.
        lowest: The smallest eigenvalue; NaN where it was not needed, or the mask is not symmetric.
        highest: The largest eigenvalue, likewise.

    Example:
        >>> (head,) = retconv.analysis.spectrum.definiteness(retconv.DecayMask(heads=1), (4, 4))
        >>> head.verdict
        'positive definite'
    """

    verdict: str
    reason: str
    lowest: float = float("nan")
    highest: float = float("nan")


def definiteness(mask: MaskLike, grid: GridLike) -> list[Definiteness]:
    """Law 11: is each head's mask positive definite, and for what reason?

    A positive semidefinite mask keeps attention scores that are a Gram matrix one (Schur's product theorem); a signed
    mixture need not. The reason is the strongest that applies: two tokens that already show both signs; the form of
    the mask (all α positive; a decay); else its eigenvalues.

    Args:
        mask: In any form.
        grid: The grid; prefix tokens are left out.

    Returns:
        One verdict for each head.

    Example:
        >>> [head.verdict for head in definiteness(retconv.DecayMask(heads=2), (4, 4))]
        ['positive definite', 'positive definite']
    """
    subject = resolve(mask, grid)
    dtype = Forms.of(mask, grid).values.dtype
    # What a formula says of the plane need not hold of distances on a torus (law 23).
    forms = _forms(mask, subject) if Grid.of(grid).is_open else [None] * subject.heads
    symmetric = is_symmetric(subject).tolist()
    return [_head(subject, head, forms[head], symmetric[head], dtype) for head in range(subject.heads)]


def _head(subject: Forms, head: int, form: str | None, symmetric: bool, dtype: torch.dtype) -> Definiteness:
    values = subject.values[head]
    if not symmetric:
        other = values.flip(tuple(range(values.ndim))) if subject.kernel is not None else values.mT
        largest = float((values - other).abs().max())
        return Definiteness("not symmetric", f"a weight and that of the opposite offset differ by up to {largest:.3g}")
    if not bool(values.any()):
        return Definiteness("zero", "every weight is 0", 0.0, 0.0)
    low, high = _range(subject, head)
    if subject.kernel is not None and (witness := _two_tokens(values)) is not None:
        return Definiteness("indefinite", witness, low, high)
    if form is not None:
        verdict, _, reason = form.partition(": ")
        nearest, sign = (low, 1) if verdict.startswith("positive") else (high, -1)
        if sign * nearest <= 0:
            reason += (
                f", though as rounded in {str(dtype).removeprefix('torch.')} it has an eigenvalue of {nearest:.2g}"
            )
        return Definiteness(verdict, reason, low, high)
    return _by_eigenvalues(subject, head, low, high, torch.finfo(dtype).eps if dtype.is_floating_point else 0.0)


def _range(subject: Forms, head: int) -> tuple[float, float]:
    if beyond_dense(subject):
        return float("nan"), float("nan")
    values = symmetric_eigenvalues(subject.part(slice(head, head + 1)))[0]
    return float(values[0]), float(values[-1])


def _two_tokens(kernel: Tensor) -> str | None:
    """The 2×2 minor of two tokens at offset δ is K[0]² − K[δ]²: negative if a weight outweighs the self-weight."""
    flat = kernel.flatten()
    center = flat.numel() // 2
    own, largest = float(flat[center]), int(flat.abs().argmax())
    if abs(float(flat[largest])) <= abs(own):
        return None
    index = np.unravel_index(largest, kernel.shape)
    offset = tuple(int(i) - side // 2 for i, side in zip(index, kernel.shape, strict=True))
    where = tuple(map(abs, offset)) if sum(d != 0 for d in offset) == 1 else offset
    return (
        f"the self-weight {own:.4g} is outweighed by {float(flat[largest]):.4g} at offset {where}: two such tokens "
        "alone have eigenvalues of both signs"
    )


def _by_eigenvalues(subject: Forms, head: int, low: float, high: float, eps: float) -> Definiteness:
    """``eps`` is that of the dtype in which entries were rounded."""
    if low == low:
        margin = (subject.grid.size * torch.finfo(torch.float64).eps + eps) * max(abs(low), abs(high))
    else:
        low, high, bound = eigenvalue_range(subject, head, _ACCURACY)
        margin = (2 * _ACCURACY + eps) * bound
    if low < -margin and high > margin:
        return Definiteness("indefinite", f"its eigenvalues run from {low:.4g} to {high:.4g}", low, high)
    sign, nearest = ("positive", low) if high > margin else ("negative", high)
    if abs(nearest) <= margin:
        reason = (
            f"the eigenvalue nearest to 0 is {nearest:.2g}, within {margin:.1g} of 0, which is all that is known of it"
        )
        return Definiteness(f"{sign} semidefinite", reason, low, high)
    return Definiteness(f"{sign} definite", f"the eigenvalue nearest to 0 is {nearest:.4g}", low, high)


def _forms(mask: MaskLike, subject: Forms) -> list[str | None]:
    """What the formula of a mask says at once, as ``verdict: reason`` for each head."""
    if isinstance(mask, DecayMask):
        metric = "its symbol is positive at every frequency (law 7)"
        if mask.metric == "euclidean":
            metric = "γ^‖δ‖ has a positive Fourier transform in any dimension, hence a positive symbol"
        return [f"positive definite: a decay: {metric}"] * subject.heads
    if isinstance(mask, GaussianMixtureMask):
        return [_mixture(alpha) for alpha in mask.weights.detach()]
    return [None] * subject.heads


def _mixture(alpha: Tensor) -> str | None:
    for sign, same in (("positive", alpha >= 0), ("negative", alpha <= 0)):
        if bool(same.all()) and bool((alpha != 0).any()):
            return f"{sign} definite: every α is {sign}, and the symbol of each Gaussian is positive (law 11)"
    return None
