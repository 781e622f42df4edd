"""Law 24: what a recurrence by roots of unity does beyond the taps on which it is exact."""

from __future__ import annotations

from collections.abc import Iterator

from sympy import I, IndexedBase, S, Sum, exp, pi

from retconv.proofs.proof import Claim, Equation, Proof, Sign, Step
from retconv.proofs.retention import pole
from retconv.proofs.tools import induction, j, m, n, peel

_h = IndexedBase("h")


def roots_of_unity() -> Proof:
    """A sum of powers of all roots of unity but 1 has a period, over which it sums to 0."""
    root = exp(2 * pi * I * (1 + j) / (n + 2))

    def argue(claim: Claim) -> Iterator[Step]:
        yield from induction(
            r"Partial sums $\sum_{m=0}^n \lambda^m$ of any $\lambda \ne 1$",
            lambda last: (1 - pole ** (last + 1)) / (1 - pole),
            lambda power: pole**power,
        )
        yield Equation(
            r"Each root has $\lambda^T = 1$, so that every power returns after the period.",
            root ** claim["period"],
            S.One,
            r"\lambda^T",
        )
        yield Sign("The period leads forwards.", claim["period"])
        yield Equation(
            r"Hence over a period the powers of each $\lambda \ne 1$ sum to 0, and so do their combinations $h_m$: the "
            "last is minus the others.",
            peel(Sum(_h[m], (m, 0, n + 1))).subs(_h[n + 1], claim["last"]),
            S.Zero,
            r"\sum_{m=0}^{n+1} h_m",
        )

    return Proof(
        name="roots_of_unity",
        law=24,
        title="ETSC's recurrence is periodic, and its period sums to 0",
        assumptions=r"h_m = \sum_{j=0}^{n} w_j \lambda_j^m,\ \lambda_j = e^{2\pi i (1+j)/(n+2)}, \text{ exact at } 0 "
        r"\dots n",
        template=r"h_{n+1} = $last,\quad h_{m+T} = h_m \text{ for } T = $period",
        claim={"last": -Sum(_h[m], (m, 0, n)), "period": n + 2},
        argue=argue,
    )
