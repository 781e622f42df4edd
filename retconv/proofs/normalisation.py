"""Law 15, continued: each of RetNet's normalisations is the same in every form of retention."""

from __future__ import annotations

from collections.abc import Iterator

from sympy import Expr, IndexedBase, S, Sum, Symbol, sqrt, symbols

from retconv.proofs.proof import Claim, Equation, Proof, Sign, Step
from retconv.proofs.retention import pole, state
from retconv.proofs.tools import gamma, j, k, n, peel


def row_normalisation() -> Proof:
    """Dividing each row of the mask by the root of its sum is a running scale of the state."""
    before, now = Symbol("S_{n-1}"), Symbol("w_n")
    length = Symbol("a_{n-1}", positive=True)

    def argue(claim: Claim) -> Iterator[Step]:
        def row(last: Expr) -> Expr:
            return claim["row"].subs(n, last)

        yield Equation(r"Row sums $a_n = \sum_{m \le n} \gamma^{n-m}$, base case.", row(S.Zero), S.One, "a_0")
        yield Equation("Step: one row more decays the sum and adds 1.", row(n + 1), gamma * row(n) + 1)
        new = gamma * length + 1
        yield Sign("They stay positive.", new)
        yield Equation(
            r"The scaled state $S_n / \sqrt{a_n}$ with $S_n = \gamma S_{n-1} + w_n$ and $a_n = \gamma a_{n-1} + 1$, "
            "written by the scaled state before it.",
            (gamma * before + now) / sqrt(new),
            claim["keep"] * before / sqrt(length) + claim["add"] * now,
        )

    new = gamma * length + 1
    return Proof(
        name="row_normalisation",
        law=15,
        title="the mask divided by the root of its row sums, as a recurrence",
        assumptions=r"0 < \gamma < 1,\ \tilde D_{nm} = D_{nm} / \sqrt{a_n}",
        template=(
            r"a_n = \sum_{m=0}^{n} D_{nm} = $row,\quad \tilde S_n = \frac{S_n}{\sqrt{a_n}} = "
            r"$keep \tilde S_{n-1} + $add w_n"
        ),
        claim={
            "row": (1 - gamma ** (n + 1)) / (1 - gamma),
            "keep": gamma * sqrt(length) / sqrt(new),
            "add": 1 / sqrt(new),
        },
        argue=argue,
    )


def score_normalisation() -> Proof:
    """The sum of a row of scores is retention of the value 1, so every form can divide by it."""
    query, key, value = IndexedBase("q"), IndexedBase("k"), IndexedBase("v")
    token, divisor = Symbol("t", integer=True, nonnegative=True), Symbol("z", positive=True)
    outer = IndexedBase("w")

    def argue(claim: Claim) -> Iterator[Step]:
        scores = Sum(query[n] * key[token] * pole ** (n - token), (token, 0, n))
        yield Equation(
            r"The row sum $\sum_t R_{nt}$ of $R = QK^\top \odot D$, one channel of $q$ and $k$, is the query times the "
            r"state of $w_t = k_t \cdot 1$.",
            scores,
            claim["sum"].subs(Symbol("S_n"), state(n).subs(outer, key)),
        )
        yield Equation(
            "That state obeys the same recurrence: retention with one more value channel that is 1.",
            peel(state(n + 1).subs(outer, key)),
            pole * state(n).subs(outer, key) + key[n + 1],
        )
        yield Equation(
            r"Dividing the row by $\max(|\sum_t R_{nt}|, 1) = z$ is the same before and after the sum over tokens.",
            Sum(query[n] * key[token] * pole ** (n - token) / divisor * value[token], (token, 0, n)),
            Sum(query[n] * key[token] * pole ** (n - token) * value[token], (token, 0, n)) / divisor,
        )

    return Proof(
        name="score_normalisation",
        law=15,
        title="scores divided by their absolute row sums, in every form",
        assumptions=r"\lambda = \gamma e^{i\theta},\ S_n = \sum_{t=0}^{n} \lambda^{n-t} k_t",
        template=r"\sum_{t=0}^{n} q_n k_t \lambda^{n-t} = $sum",
        claim={"sum": query[n] * Symbol("S_n")},
        argue=argue,
    )


def group_norm() -> Proof:
    """Group normalisation with ε → 0 forgets any positive scale of a row."""
    x = IndexedBase("x")
    scale, variance = symbols("c V", positive=True)
    mean, count = Symbol("mu", real=True), Symbol("C", integer=True, positive=True)
    channels = (k, 1, count)

    def argue(claim: Claim) -> Iterator[Step]:
        yield Equation(
            "The mean over channels is linear.",
            Sum(scale * x[k], channels) / count,
            scale * Sum(x[k], channels) / count,
        )
        yield Equation(
            "The variance is quadratic.",
            Sum((scale * x[k] - scale * mean) ** 2, channels) / count,
            scale**2 * Sum((x[k] - mean) ** 2, channels) / count,
        )
        yield Equation(
            r"So $(cx - c\mu)/\sqrt{c^2 V}$ is $(x - \mu)/\sqrt V$: what scales a row by $c > 0$, as the three "
            "normalisations do, is undone.",
            (scale * x[j] - scale * mean) / sqrt(scale**2 * variance),
            claim["normed"],
        )

    return Proof(
        name="group_norm",
        law=15,
        title="group normalisation undoes every positive scale of a row",
        assumptions=r"c > 0,\ \mu, V > 0 \text{ mean and variance of } x,\ \varepsilon = 0",
        template=r"\mathrm{norm}(c\, x)_j = $normed = \mathrm{norm}(x)_j",
        claim={"normed": (x[j] - mean) / sqrt(variance)},
        argue=argue,
    )
