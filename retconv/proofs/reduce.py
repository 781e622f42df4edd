"""Reduction of an expression to exactly 0, by exact rewriting: no number is ever evaluated in floating point."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache

from sympy import (
    Add,
    Derivative,
    Dummy,
    Expr,
    Integral,
    Limit,
    S,
    Sum,
    cancel,
    cos,
    erf,
    erfc,
    exp,
    expand,
    expand_power_base,
    powsimp,
    simplify,
    sin,
    together,
)

#: Ways to write an expression, cheapest first; each is an identity, so 0 by one of them is 0.
_WAYS: tuple[Callable[[Expr], Expr], ...] = (
    expand,
    lambda e: powsimp(expand_power_base(expand(e))),
    lambda e: cancel(together(expand(e))),
    simplify,
    lambda e: expand(e.rewrite(erfc, erf)),
    lambda e: simplify(expand(e.rewrite([sin, cos], exp))),
)


@cache
def reduce(expression: Expr) -> Expr:
    """Rewrite an expression until it is 0.

    Derivatives, integrals and limits are evaluated in closed form, and sums over the same range are merged into the sum
    of their reduced summands: two sums of symbolic length are equal if they are so term by term.

    Returns:
        Exactly 0 where that is found, else the shortest form seen of what is left.
    """
    expression = _merge_sums(expression.replace(lambda e: isinstance(e, Derivative | Integral | Limit), closed))
    form = expression
    for way in _WAYS:
        if form == 0 or form.has(Sum):
            return form
        form = min(form, way(expression), key=lambda e: e.count_ops())
    return form


@cache
def closed(expression: Expr) -> Expr:
    """A derivative, integral or limit in closed form: seconds, and claims that differ share it."""
    return expression.doit()


def _merge_sums(expression: Expr) -> Expr:
    """Combine the finite sums of a linear combination, term by term; sums of known length are written out."""
    sums = {total: Dummy() for total in _outermost_sums(expression)}
    rest = expand(expression.xreplace(sums)) if sums else expression
    summands: dict[tuple, Expr] = defaultdict(lambda: S.Zero)
    for total, stand_in in sums.items():
        coefficient = rest.coeff(stand_in)
        if (rest - coefficient * stand_in).expand().has(stand_in):
            return expression  # a product of sums is none
        rest = (rest - coefficient * stand_in).expand()
        if all((upper - lower).is_number for _, lower, upper in total.limits):
            rest += coefficient * total.doit()
        else:
            summands[total.limits] += coefficient * total.function
    reduced = ((limits, reduce(summand)) for limits, summand in summands.items())
    return Add(rest, *(Sum(summand, *limits) for limits, summand in reduced if summand != 0))


def _outermost_sums(expression: Expr) -> Iterator[Sum]:
    if isinstance(expression, Sum):
        yield expression
    else:
        for part in expression.args:
            yield from _outermost_sums(part)
