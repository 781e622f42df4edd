"""Symbols with their assumptions, and the patterns that several proofs share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sympy import Expr, Limit, S, Sum, Symbol, oo, symbols

from retconv.proofs.proof import Equation, Step

#: 0 < γ < 1. SymPy knows that γ > 0; where γ < 1 matters too, ``in_unit`` writes γ = 1 / (1 + u) with u > 0.
gamma = Symbol("gamma", positive=True)
u = Symbol("u", positive=True)

theta, omega = symbols("theta omega", real=True)

#: Width of a Gaussian in tokens, the package's √(σ² + ε).
sigma = Symbol("sigma", positive=True)

#: Tokens, offsets and lengths, all integers.
a, b, m = symbols("a b m", integer=True)
i, j, k, n, r = symbols("i j k n r", integer=True, nonnegative=True)


def in_unit(expression: Expr) -> Expr:
    """Write γ = 1 / (1 + u): u > 0 says all of 0 < γ < 1, so that SymPy can decide signs and limits."""
    return expression.subs(gamma, 1 / (1 + u))


def induction(
    what: str, closed: Callable[[Expr], Expr], term: Callable[[Expr], Expr], first: int = 0
) -> Iterator[Step]:
    """Show ``Σ_{k=first}^n term(k) = closed(n)`` for every n by induction.

    Args:
        what: Name of the sum, for the reader.
        closed: The claimed value of the sum up to its argument.
        term: The summand.
        first: Where the sum starts.
    """
    start = S(first)
    yield Equation(f"{what}, base case $n = {first}$.", closed(start), term(start))
    yield Equation(
        f"{what}, step from $n$ to $n + 1$: the closed form grows by the next term.",
        closed(n + 1) - closed(n),
        term(n + 1),
    )


def vanishes(reason: str, expression: Expr) -> Equation:
    """``expression → 0`` as n → ∞."""
    return Equation(reason, Limit(expression, n, oo), S.Zero)


def peel(total: Sum) -> Expr:
    """Split the last term off a sum: ``Σ_{j≤n} f(j) = Σ_{j≤n−1} f(j) + f(n)``."""
    ((index, lower, upper),) = total.limits
    return Sum(total.function, (index, lower, upper - 1)) + total.function.subs(index, upper)


def split(total: Sum, first: Expr) -> Expr:
    """Split a sum at a term: ``Σ_{t≤n} f(t) = Σ_{t<first} f(t) + Σ_{j≤n−first} f(first + j)``."""
    ((index, lower, upper),) = total.limits
    own = total.function.subs(index, first + j)
    return Sum(total.function, (index, lower, first - 1)) + Sum(own, (j, 0, upper - first))
