"""Law 16: any 1-D kernel is nearly a RetNet, a sum of decays with complex poles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from retconv.ambient import host
from retconv.approximate.boundary import check_choice, check_count, check_table
from retconv.approximate.certificate import Approximation, certify, double
from retconv.approximate.hankel import hankel_values
from retconv.approximate.sequence import Sum, fit_sequence
from retconv.approximate.variable_projection import Array
from retconv.kernels import Exponentials, Separable

#: Largest order that a tolerance may ask for.
MAX_ORDER = 32
#: Two sides of a factor are one where they differ by this many roundings of float64: singular vectors do.
SYMMETRY = 1e3


class OrderError(ValueError):
    """No order that is tried reaches a tolerance."""


@dataclass(frozen=True, repr=False)
class ExponentialApproximation(Approximation):
    """A kernel as sums of complex exponentials, each run by a recursion in O(N).

    Attributes:
        axes: For each axis of the grid the exponentials of its factors: row ``h · rank + r`` is f_{r,d} of head h.
            A kernel on a line has one axis and rank 1. Always complex128, on the kernel's device: near the unit circle
            single precision does not resolve a pole.
        order: Exponentials used by each head, the most over axes and terms; int64 ``(heads,)`` on the CPU.

    Example:
        >>> kernel = retconv.DecayMask(heads=1, gamma=0.5).kernel(retconv.Grid(16))
        >>> retconv.approximate.exponentials(kernel, tolerance=1e-6).order.tolist()
        [1]
    """

    axes: tuple[Exponentials, ...]
    order: Tensor

    @property
    def exponentials(self) -> Exponentials:
        """The exponentials of a kernel on a line, ``(heads, order)``.

        Raises:
            ValueError: If the kernel has several axes.
        """
        if len(self.axes) > 1:
            raise ValueError(f"the kernel has {len(self.axes)} axes: use axes[d], the exponentials along axis d")
        return self.axes[0]


@host()
def exponentials(
    kernel: Tensor | Separable, *, order: int | None = None, tolerance: float | None = None
) -> ExponentialApproximation:
    """Approximate a kernel on a line, or each factor of a separated one, by complex exponentials.

    ``K[δ] ≈ Re Σ_r w_r λ_r^|δ|`` with ``|λ_r| < 1`` on each side of offset 0. As the kernel is real, a complex λ stands
    for itself and its conjugate: it is one RetNet head with xPos rotation, and ``order`` counts such heads, that is
    real poles and conjugate pairs. Poles start from a Hankel singular value decomposition (balanced truncation, Kung
    1978) and are refined by least squares, the weights being solved for (variable projection). A symmetric kernel has
    the same poles and weights on both sides, a causal one has none for δ > 0; otherwise the sides are fitted apart.
    Any kernel of n tokens is exact, up to rounding, at order ⌈n/2⌉; smooth ones are near it long before.

    Of a ``Separable`` every factor is approximated; the certificate is that of the product against the given factors'
    kernel. Certificates add up: those of ``separate`` and of this bound the distance from the kernel before both.

    Args:
        kernel: ``(heads, 2n − 1)``, real, or a kernel as a sum of outer products.
        order: Exponentials on each side.
        tolerance: Instead of an order, the largest relative certificate: each head gets the first order, counted from
            the least that Hankel singular values allow, that reaches it.

    Returns:
        The kernel that the exponentials give, its certificate, and the exponentials. Heads of lower order are filled up
        with terms of weight 0.

    Raises:
        ValueError: If not exactly one of order and tolerance is given, either is out of range, or the kernel is not a
            real finite table on a line.
        OrderError: If no order up to 32, or ⌈n/2⌉, reaches the tolerance; the message names the last's error.

    Example:
        >>> line = torch.arange(-63, 64)[:, None]
        >>> fit = exponentials(retconv.kernels.gaussian(line, torch.tensor(5.0).double()), order=4)
        >>> bool(fit.relative < 1e-3), fit.exponentials.past_poles.shape
        (True, torch.Size([1, 4]))
    """
    check_choice("exponentials", "order", order, tolerance)
    table = kernel.kernel() if isinstance(kernel, Separable) else kernel
    check_table(table, "exponentials")
    if not isinstance(kernel, Separable) and table.ndim != 2:
        raise ValueError(
            f"exponentials: a kernel on a line has shape (heads, 2n − 1), got {tuple(table.shape)}: separate it first, "
            "exponentials(separate(kernel, tolerance=…).factors, …)"
        )
    factors = kernel.factors if isinstance(kernel, Separable) else (kernel[:, None],)
    # The weights' own rounding then costs the fourth root of eps at most; of half types too, retention is in float32.
    cutoff = torch.finfo(torch.promote_types(table.dtype, torch.float32)).eps ** 0.75
    heads = [[_lines(factor[h]) for factor in factors] for h in range(len(table))]
    if order is not None:
        check_count("exponentials", "order", order)
        fits = [_fit(head, _pasts(head, order, cutoff), order, cutoff) for head in heads]
    else:
        fits = [_search(head, table[h], tolerance or 0.0, h, cutoff) for h, head in enumerate(heads)]
    axes = tuple(_pack([fit[d] for fit in fits], table.device) for d in range(len(factors)))
    return ExponentialApproximation(
        **certify(table, _kernel(axes, table)),
        axes=axes,
        order=torch.tensor([max(line.order for axis in fit for line in axis) for fit in fits]),
    )


@dataclass(frozen=True)
class _Line:
    """A factor cut at offset 0.

    Attributes:
        past: Values at distances 0, 1, …
        future: Values at distances 1, 2, …; None if they are those of the past.
    """

    past: Array
    future: Array | None


@dataclass(frozen=True)
class _Fitted:
    """Both sides of a factor as sums of exponentials."""

    past: Sum
    future: Sum

    @property
    def order(self) -> int:
        """Terms of the longer side."""
        return max(len(self.past.poles), len(self.future.poles))


def _lines(factor: Tensor) -> list[_Line]:
    """The rows of ``(rank, 2n − 1)``; a row symmetric up to rounding is replaced by its symmetric part."""
    # They are computed in float64 and rounded once: a thousand roundings of float32 would be sides that differ.
    rounding = max(SYMMETRY * torch.finfo(torch.float64).eps, 2 * torch.finfo(factor.dtype).eps)
    lines = []
    for row in double(factor).numpy():
        center = len(row) // 2
        past, future = row[center::-1], row[center + 1 :]
        # A side that is 0 stays so, however little the other holds beside offset 0.
        alike = past[1:].any() == future.any()
        symmetric = alike and np.abs(past[1:] - future).max(initial=0.0) <= rounding * np.abs(row).max()
        mean = np.concatenate([past[:1], (past[1:] + future) / 2])
        lines.append(_Line(mean, None) if symmetric else _Line(past, future))
    return lines


def _pasts(axes: list[list[_Line]], order: int, cutoff: float) -> list[list[Sum]]:
    """The past of every line of one head with at most ``order`` terms."""
    return [[fit_sequence(line.past, 0, order, cutoff) for line in lines] for lines in axes]


def _fit(axes: list[list[_Line]], pasts: list[list[Sum]], order: int, cutoff: float) -> list[list[_Fitted]]:
    """Both sides of every line of one head, of which the past is fitted."""
    return [
        [
            _Fitted(past, past if line.future is None else fit_sequence(line.future, 1, order, cutoff))
            for line, past in zip(lines, sums, strict=True)
        ]
        for lines, sums in zip(axes, pasts, strict=True)
    ]


def _search(axes: list[list[_Line]], table: Tensor, tolerance: float, head: int, cutoff: float) -> list[list[_Fitted]]:
    """The first order that reaches the tolerance, from the least that is possible."""
    # Half as many exponentials as tokens are exact.
    last = min(MAX_ORDER, max((side // 2 + 2) // 2 for side in table.shape))
    first = _least_order(axes, table, tolerance)
    relative = float("inf")
    for order in range(first, last + 1):
        pasts = _pasts(axes, order, cutoff)
        # An error that the offsets of the past alone have is not made up for: the future need not be fitted.
        if order < last and _past_error(pasts, table) * (1 - 1e-9) > tolerance:
            continue
        fitted = _fit(axes, pasts, order, cutoff)
        kernel = _kernel(tuple(_pack([lines], table.device) for lines in fitted), table[None])
        relative = float(certify(table[None], kernel)["relative"])
        # Packed with other heads, sums run in another order: a rounding error must not lift them over the tolerance.
        if relative <= tolerance * (1 - 1e-9):
            return fitted
    reason = "Hankel singular values rule them out" if first > last else f"the last has {relative:.3g}"
    raise OrderError(
        f"exponentials: no order up to {last} reaches tolerance {tolerance:g} for head {head}, {reason}: give a larger "
        f"tolerance, or order={last} for the nearest"
    )


def _past_error(pasts: list[list[Sum]], table: Tensor) -> float:
    """What the relative certificate is at least, whatever the future: that of the offsets with no entry above 0."""
    nothing = Sum(np.zeros(0, np.complex128), np.zeros(0, np.complex128))
    axes = tuple(_pack([[_Fitted(past, nothing) for past in sums]], table.device) for sums in pasts)
    past, kernel = tuple(slice(side // 2 + 1) for side in table.shape), table.clone()
    kernel[past] = _kernel(axes, table[None])[0][past]
    return float(certify(table[None], kernel[None])["relative"])


def _least_order(axes: list[list[_Line]], table: Tensor, tolerance: float) -> int:
    """Orders below this one are ruled out by the Hankel singular values; known for a kernel on a line."""
    if len(axes) > 1 or len(axes[0]) > 1:
        return 1
    (line,) = axes[0]
    sides = (line.past, line.past[1:] if line.future is None else line.future)
    # An order of R stands for up to 2R poles of each side.
    errors = sum(hankel_values(side, 2 * MAX_ORDER + 1)[2::2] for side in sides if side.size)
    allowed = tolerance * float(double(table).abs().sum())
    return 1 + int(np.argmax(np.append(errors, 0.0) <= allowed))


def _pack(heads: list[list[_Fitted]], device: torch.device) -> Exponentials:
    """Rows ``h · rank + r``, filled up with terms of weight 0; causal if no row has a future."""
    rows = [line for lines in heads for line in lines]
    sides = [[row.past for row in rows], [row.future for row in rows]]
    past, future = ([_table(side, name, device) for name in ("weights", "poles")] for side in sides)
    return Exponentials(*past) if not any(len(row.future.poles) for row in rows) else Exponentials(*past, *future)


def _table(sums: list[Sum], name: str, device: torch.device) -> Tensor:
    # A filling pole of 0 would be 0⁰ at distance 0, which torch takes for NaN.
    filling = 0.0 if name == "weights" else 0.5
    table = np.full((len(sums), max(1, max(len(s.poles) for s in sums))), filling, np.complex128)
    for row, entries in zip(table, sums, strict=True):
        row[: len(entries.poles)] = getattr(entries, name)
    return torch.tensor(table, device=device)


def _kernel(axes: tuple[Exponentials, ...], table: Tensor) -> Tensor:
    """The kernel of packed exponentials, in the table's shape and dtype."""
    factors = [e.kernel(side // 2 + 1) for e, side in zip(axes, table.shape[1:], strict=True)]
    return Separable(tuple(f.reshape(len(table), -1, f.shape[1]) for f in factors)).kernel().to(table.dtype)
