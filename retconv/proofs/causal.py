"""Law 6: RetNet's causal decay is a one-pole recursive filter."""

from __future__ import annotations

from collections.abc import Iterator

from sympy import Expr, IndexedBase, Piecewise, S, Sum, Symbol

from retconv.proofs.proof import Claim, Equation, Proof, Step
from retconv.proofs.tools import gamma, i, induction, j, k, n, peel, u, vanishes

_WHERE = r"0 < \gamma < 1"
_x = IndexedBase("x")


def decay(query: Expr, key: Expr) -> Expr:
    """``D[n, m] = γ^(n−m)`` for n ≥ m, else 0."""
    return Piecewise((gamma ** (query - key), key <= query), (S.Zero, True))


def causal_transfer() -> Proof:
    """The transfer function is ``1 / (1 − γ z⁻¹)``."""
    z = Symbol("z", nonzero=True)

    def argue(claim: Claim) -> Iterator[Step]:
        yield from induction(
            r"Partial sums $\sum_{k=0}^n \gamma^k z^{-k}$",
            lambda last: claim["H"] * (1 - (gamma / z) ** (last + 1)),
            lambda power: (gamma / z) ** power,
        )
        yield vanishes(
            r"The remainder is $-H(z) (\gamma/z)^{n+1}$, and $|\gamma/z| = 1/(1+u)$ with $u > 0$: it tends to 0.",
            (1 / (1 + u)) ** (n + 1),
        )

    return Proof(
        name="causal_transfer",
        law=6,
        title="causal decay has one pole",
        assumptions=_WHERE + r",\ |z| > \gamma",
        template=r"\sum_{k=0}^\infty \gamma^k z^{-k} = $H",
        claim={"H": 1 / (1 - gamma / z)},
        argue=argue,
    )


def causal_inverse() -> Proof:
    """The inverse of the causal mask is lower bidiagonal."""

    def argue(claim: Claim) -> Iterator[Step]:
        def row(query: Expr, key: Expr) -> Expr:
            return claim["diagonal"] * decay(query, key) + claim["below"] * decay(query - 1, key)

        first = claim["diagonal"]
        of, beside = "$(D^{-1}D)_{qk} = (D^{-1})_{qq} D_{qk}", "(D^{-1})_{q,q-1} D_{q-1,k}$"
        yield Equation(
            f"The first row, {of}$, on the diagonal.", first * decay(S.Zero, S.Zero), S.One, r"(D^{-1}D)_{00}"
        )
        yield Equation(
            "Right of the diagonal, $k = 1 + j$.", first * decay(S.Zero, 1 + j), S.Zero, r"(D^{-1}D)_{0,1+j}"
        )
        yield Equation(f"Any other row, {of} + {beside}, on the diagonal.", row(1 + i, 1 + i), S.One, r"(D^{-1}D)_{qq}")
        yield Equation("Right of the diagonal.", row(1 + i, 2 + i + j), S.Zero, r"(D^{-1}D)_{q,q+1+j}")
        yield Equation("Left of the diagonal.", row(k + 1 + j, k), S.Zero, r"(D^{-1}D)_{k+1+j,k}")

    return Proof(
        name="causal_inverse",
        law=6,
        title="causal decay has a bidiagonal inverse",
        assumptions=_WHERE + r",\ D_{qk} = \gamma^{q-k} \text{ for } k \le q, \text{ else } 0,\ \text{any size}",
        template=r"(D^{-1})_{qq} = $diagonal,\quad (D^{-1})_{q,q-1} = $below,\quad 0 \text{ elsewhere}",
        claim={"diagonal": S.One, "below": -gamma},
        argue=argue,
    )


def causal_recurrence() -> Proof:
    """The product with the causal mask is a first-order recurrence."""
    before, now = Symbol("y_{n-1}"), Symbol("x_n")

    def output(token: Expr) -> Sum:
        return Sum(gamma ** (token - j) * _x[j], (j, 0, token))

    def argue(claim: Claim) -> Iterator[Step]:
        yield Equation(
            "Base case: the state before the first token is 0.",
            output(S.Zero),
            claim["update"].subs({before: S.Zero, now: _x[0]}),
        )
        yield Equation(
            "Step: split the last term off the sum; term by term, the rest is $\\gamma$ times the sum before.",
            peel(output(n + 1)),
            claim["update"].subs({before: output(n), now: _x[n + 1]}),
        )

    return Proof(
        name="causal_recurrence",
        law=6,
        title="causal decay is a state recurrence",
        assumptions=_WHERE + r",\ y_n = \sum_{j=0}^n \gamma^{n-j} x_j,\ y_{-1} = 0",
        template=r"y_n = $update",
        claim={"update": gamma * before + now},
        argue=argue,
    )
