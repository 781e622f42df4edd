"""Matrices as sums of few products: up to a constant of each row, and with entries that nobody sees.

Numbers are float64 on the CPU; one head at a time.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

EPS = torch.finfo(torch.float64).eps
#: How many of the blocks without hidden entries bound the number of products from below.
BLOCKS = 24


class Products(NamedTuple):
    """``query @ key.mT``.

    Attributes:
        query: ``(rows, count)``.
        key: ``(columns, count)``.
    """

    query: Tensor
    key: Tensor


def half_ranges(values: Tensor, products: Products, seen: Tensor | None, constants: bool) -> Tensor:
    """The largest error of products over what is seen, after the best constant of each row; rounded up.

    The constant that leaves the least is the middle of a row's errors, and it leaves half of their range. Rounding: a
    dot product of r terms is off by less than ``(r + 1) u Σ |terms|``, u = 2⁻⁵³, the difference by u of both; twice
    that is added to every error before the range is taken.

    Args:
        values: ``(rows, columns)``, finite where seen.
        products: Of as many rows and columns.
        seen: Bool, as values; None if all are.
        constants: Whether rows have a constant.

    Returns:
        One float64 number, never below the true error.
    """
    values = values if seen is None else values.masked_fill(~seen, 0.0)
    error = values - products.query @ products.key.mT
    slack = (values.abs() + products.query.abs() @ products.key.abs().mT) * ((products.query.shape[1] + 4) * EPS)
    return _spread(error - slack, error + slack, seen, constants) * (1 + 4 * EPS)


def _spread(low: Tensor, high: Tensor, seen: Tensor | None, constants: bool) -> Tensor:
    """The largest error of a row after its constant, of errors between two bounds."""
    if seen is not None:
        low, high = low.masked_fill(~seen, math.inf), high.masked_fill(~seen, -math.inf)
    lowest, highest = low.amin(dim=1), high.amax(dim=1)
    each = (highest - lowest) / 2 if constants else torch.maximum(highest, -lowest)
    # A row of which nothing is seen has no error.
    return each.clamp(min=0.0).nan_to_num(nan=math.inf, posinf=math.inf).amax()


def least(values: Tensor, tolerance: float, floor: float) -> int:
    """The fewest products that may come within a tolerance of every entry, by Eckart and Young.

    Products of rank r leave at least the singular values beyond r, ``√(Σ_{i>r} σ_i²)``, in Frobenius norm, which is at
    most ``√(rows · columns)`` times the largest error of an entry. A constant of each row is taken out first by
    centring the rows, which lengthens nothing.

    Args:
        values: ``(rows, columns)``, centred if rows have constants.
        tolerance: Of an entry; 0 counts singular values above the floor.
        floor: What rounding of the entries may make of a singular value.
    """
    singular = torch.linalg.svdvals(values)
    if not tolerance:
        return int((singular > floor).sum())
    tail = singular.square().flip(0).cumsum(0).flip(0).sqrt() - floor
    return int((tail > tolerance * math.sqrt(values.numel())).sum())


def truncated(values: Tensor, count: int) -> Products:
    """The nearest products in Frobenius norm; the weight is shared by both sides."""
    left, singular, right = torch.linalg.svd(values, full_matrices=False)
    root = singular[:count].sqrt()
    return Products(left[:, :count] * root, right[:count].mT * root)


def fewest_truncated(
    values: Tensor, target: Tensor, seen: Tensor | None, constants: bool, tolerance: float, start: int = 0
) -> Products:
    """The first of the truncated decompositions of ``values`` that comes within a tolerance of what is seen of target.

    All of them, if none does.

    Args:
        values: ``(rows, columns)``, of which the decomposition is.
        target: What is to be met, as values.
        seen: Bool, as values; None if all are.
        constants: Whether rows have a constant.
        tolerance: Largest error of an entry.
        start: How many products there are at least.
    """
    whole = truncated(values, min(values.shape))
    error = target if seen is None else target.masked_fill(~seen, 0.0)
    error = error - whole.query[:, :start] @ whole.key[:, :start].mT
    for count in range(start, whole.query.shape[1] + 1):
        if count > start:
            error = error - whole.query[:, count - 1, None] * whole.key[:, count - 1]
        if float(_spread(error, error, seen, constants)) <= tolerance:
            part = Products(whole.query[:, :count], whole.key[:, :count])
            if float(half_ranges(target, part, seen, constants)) <= tolerance:
                return part
    return whole


class Chain(NamedTuple):
    """What is seen, as a staircase: rows in the order of how much they see, each all that those before it see.

    Attributes:
        rows: Order of the rows.
        columns: Order of the columns: row i sees the first ``sees[i]``.
        sees: How many columns each row sees, in that order.
    """

    rows: Tensor
    columns: Tensor
    sees: Tensor


def chain(seen: Tensor) -> Chain | None:
    """The staircase of bool ``(rows, columns)``, or None if it is none."""
    rows = seen.sum(dim=1).argsort(stable=True)
    columns = seen.sum(dim=0).argsort(descending=True, stable=True)
    sees = seen.sum(dim=1)[rows]
    expected = torch.arange(seen.shape[1]) < sees[:, None]
    return Chain(rows, columns, sees) if torch.equal(seen[rows][:, columns], expected) else None


def completed(values: Tensor, steps: Chain, constants: bool, tolerance: float, floor: float) -> Products:
    """The fewest products that are what is seen of a staircase; what is hidden becomes what makes them few.

    Column after column: those rows that see column j see all columns before it, so whether it is a combination of them
    there does not depend on what stands where nobody looks. If it is, its hidden part is made the same combination; if
    not, it is one product more. The number of products is therefore ``Σ_j (rank of the rows that see j, columns up to
    j, minus that without j)``, the least of all completions (Woerdeman 1987). Constants of rows are taken out by
    subtracting the first column, which every row sees that sees anything.

    Args:
        values: ``(rows, columns)``, finite where seen.
        steps: Their staircase.
        constants: Whether rows have a constant.
        tolerance: Error of an entry up to which a column counts as a combination.
        floor: Error that is rounding.
    """
    ordered = values[steps.rows][:, steps.columns]
    hidden = torch.arange(values.shape[1]) >= steps.sees[:, None]
    ordered = ordered.masked_fill(hidden, 0.0)
    if constants:
        ordered = (ordered - ordered[:, :1]).masked_fill(hidden, 0.0)
    query, peaks = ordered.new_zeros(len(ordered), 0), ordered.new_zeros(0)
    columns: list[Tensor] = []
    for j in range(ordered.shape[1]):
        first = int((steps.sees <= j).sum())
        column, weights = ordered[first:, j], ordered.new_zeros(query.shape[1])
        if first == len(ordered):
            columns.append(weights)
            continue
        if query.shape[1]:
            solved = torch.linalg.lstsq(query[first:], column[:, None], rcond=len(ordered) * EPS, driver="gelsd")
            weights = solved.solution[:, 0]
        rest = column - query[first:] @ weights
        # Columns were rounded as this one is, and a combination adds that up.
        peak, noise = rest.abs().amax()[None], floor * (1 + float((weights / peaks).abs().sum()))
        if float(peak) > (tolerance or noise):
            new = torch.cat([ordered.new_zeros(first), rest / peak])
            query, peaks = torch.cat([query, new[:, None]], dim=1), torch.cat([peaks, peak])
            weights = torch.cat([weights, peak])
        columns.append(weights)
    key = ordered.new_zeros(len(columns), query.shape[1])
    for j, weights in enumerate(columns):
        key[j, : len(weights)] = weights
    return Products(query[steps.rows.argsort()], key[steps.columns.argsort()])


def least_of_blocks(values: Tensor, steps: Chain, constants: bool, tolerance: float, floor: float) -> int:
    """The most that ``least`` says of the blocks of a staircase of which nothing is hidden."""
    ordered = values[steps.rows][:, steps.columns]
    starts = torch.linspace(0, len(ordered) - 1, min(BLOCKS, len(ordered))).long().unique()
    bound = 0
    for start in starts.tolist():
        block = ordered[start:, : int(steps.sees[start])]
        if block.numel():
            block = block - block.mean(dim=1, keepdim=True) if constants else block
            bound = max(bound, least(block, tolerance, floor))
    return bound
