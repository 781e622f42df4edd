"""Law 7: two-sided decay γ^|δ|, its symbol, its inverse and the range of its eigenvalues."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from sympy import Abs, Expr, I, S, cos, exp, sin

from retconv.proofs.proof import Claim, Equation, Proof, Sign, Step
from retconv.proofs.tools import gamma, i, in_unit, j, n, theta, vanishes

_WHERE = r"0 < \gamma < 1"
SYMBOL = (1 - gamma**2) / (1 - 2 * gamma * cos(theta) + gamma**2)


def two_sided_symbol() -> Proof:
    """The symbol is the Poisson kernel."""
    pole = gamma * exp(I * theta)
    mirror = gamma * exp(-I * theta)

    def rest(last: Expr) -> Expr:
        return pole ** (last + 1) / (1 - pole) + mirror ** (last + 1) / (1 - mirror)

    def argue(claim: Claim) -> Iterator[Step]:
        yield Equation(
            r"Partial sums over $|\delta| \le n$ are $f(\theta) - R_n$ with $R_n = \frac{z^{n+1}}{1-z} + "
            r"\frac{\bar z^{n+1}}{1-\bar z}$, $z = \gamma e^{i\theta}$. Base case $n = 0$.",
            claim["symbol"] - rest(S.Zero),
            S.One,
        )
        yield Equation(
            "Step from $n$ to $n + 1$: the closed form grows by the next two terms.",
            rest(n) - rest(n + 1),
            pole ** (n + 1) + mirror ** (n + 1),
        )
        yield vanishes(
            r"$|z^{n+1}| = \gamma^{n+1} \to 0$ while $|1 - z| \ge 1 - \gamma > 0$, so $R_n \to 0$.",
            in_unit(gamma ** (n + 1)),
        )

    return Proof(
        name="two_sided_symbol",
        law=7,
        title="two-sided decay has the Poisson kernel as its symbol",
        assumptions=_WHERE + r",\ \theta \in \mathbb{R}",
        template=r"\sum_{\delta=-\infty}^{\infty} \gamma^{|\delta|} e^{i\delta\theta} = $symbol",
        claim={"symbol": SYMBOL},
        argue=argue,
    )


def two_sided_inverse() -> Proof:
    """The inverse of the two-sided mask is tridiagonal."""

    def mask(query: Expr, key: Expr) -> Expr:
        return gamma ** Abs(query - key)

    def argue(claim: Claim) -> Iterator[Step]:
        def first(key: Expr) -> Expr:
            return claim["corner"] * mask(S.Zero, key) + claim["beside"] * mask(S.One, key)

        def last(key: Expr) -> Expr:
            return claim["corner"] * mask(n + 1, key) + claim["beside"] * mask(n, key)

        def inner(query: Expr, key: Expr) -> Expr:
            beside = mask(query - 1, key) + mask(query + 1, key)
            return claim["inner"] * mask(query, key) + claim["beside"] * beside

        yield Equation("First row, on the diagonal.", first(S.Zero), S.One, r"(T^{-1}T)_{00}")
        yield Equation("First row, elsewhere.", first(1 + j), S.Zero, r"(T^{-1}T)_{0,1+j}")
        yield Equation("Last row of $N = n + 2$ tokens, on the diagonal.", last(n + 1), S.One, r"(T^{-1}T)_{n+1,n+1}")
        yield Equation("Last row, elsewhere.", last(n - j), S.Zero, r"(T^{-1}T)_{n+1,n-j}")
        yield Equation("Inner row $q$, on the diagonal.", inner(i, i), S.One, r"(T^{-1}T)_{qq}")
        yield Equation("Inner row, right of the diagonal.", inner(i, i + 1 + j), S.Zero, r"(T^{-1}T)_{q,q+1+j}")
        yield Equation("Inner row, left of the diagonal.", inner(i + 1 + j, i), S.Zero, r"(T^{-1}T)_{k+1+j,k}")

    return Proof(
        name="two_sided_inverse",
        law=7,
        title="two-sided decay has a tridiagonal inverse",
        assumptions=_WHERE + r",\ T_{qk} = \gamma^{|q-k|} \text{ on } N \ge 2 \text{ tokens}",
        template=(
            r"(T^{-1})_{qq} = $inner \text{ in inner rows},\ $corner \text{ in the first and the last},\quad "
            r"(T^{-1})_{q,q\pm1} = $beside,\quad 0 \text{ elsewhere}"
        ),
        claim={
            "inner": (1 + gamma**2) / (1 - gamma**2),
            "corner": 1 / (1 - gamma**2),
            "beside": -gamma / (1 - gamma**2),
        },
        argue=argue,
    )


def two_sided_range() -> Proof:
    """The symbol's range is the closed interval between (1−γ)/(1+γ) and (1+γ)/(1−γ)."""
    sine, cosine = sin(theta / 2) ** 2, cos(theta / 2) ** 2
    above = 4 * gamma * (1 + gamma) * sine / ((1 - gamma) * ((1 - gamma) ** 2 + 4 * gamma * sine))
    below = 4 * gamma * (1 - gamma) * cosine / ((1 + gamma) * ((1 - gamma) ** 2 + 4 * gamma * sine))

    def argue(claim: Claim) -> Iterator[Step]:
        yield Equation("The gap below the upper bound.", claim["upper"] - SYMBOL, above)
        yield Sign("It is nowhere negative ($\\gamma = 1/(1+u)$).", in_unit(above), "nonnegative")
        yield Equation(
            "It is 0 at frequency 0: the bound is the maximum.", above.subs(theta, 0), S.Zero, r"\lambda_+ - f(0)"
        )
        yield Equation("The gap above the lower bound.", SYMBOL - claim["lower"], below)
        yield Sign("It is nowhere negative.", in_unit(below), "nonnegative")
        yield Equation(
            r"It is 0 at frequency $\pi$: the bound is the minimum.",
            below.subs(theta, S.Pi),
            S.Zero,
            r"f(\pi) - \lambda_-",
        )

    return _bounds(
        name="two_sided_range",
        title="the symbol of two-sided decay lies between its values at the Nyquist frequency and at 0",
        template=r"$lower \le f(\theta) \le $upper,\quad \text{both attained}",
        argue=argue,
    )


def two_sided_eigenvalues() -> Proof:
    """On every finite line the eigenvalues lie strictly inside the symbol's range."""
    inner, corner, beside = 1 + gamma**2, S.One, -gamma

    def argue(claim: Claim) -> Iterator[Step]:
        # (1 − γ²) T⁻¹ − c I, entry by entry, is a sum of squares that vanishes at x = 0 only.
        low, high = (1 - gamma**2) / claim["upper"], (1 - gamma**2) / claim["lower"]
        ends = gamma * (1 - gamma)
        yield Equation(
            r"With $A = (1 - \gamma^2) T^{-1}$ and $c = (1-\gamma^2)/\lambda_+$, $x^\top\!(A - cI)x = "
            r"\gamma \sum_q (x_q - x_{q+1})^2 + \gamma(1-\gamma)(x_1^2 + x_N^2)$. Diagonal of inner rows.",
            inner - low,
            2 * gamma,
            "(A - cI)_{qq}",
        )
        yield Equation("Diagonal of the first and the last row.", corner - low, gamma + ends, "(A - cI)_{11}")
        yield Equation(
            "Beside the diagonal: half the coefficient of $x_q x_{q+1}$.", beside, -2 * gamma / 2, "(A - cI)_{q,q+1}"
        )
        yield Sign(
            r"Both weights are positive, so the form is 0 only for equal $x_q$ with $x_1 = 0$: $A > cI$, that is, "
            r"every eigenvalue of $T$ is below $\lambda_+$.",
            in_unit(ends),
        )
        ends = gamma * (1 + gamma)
        yield Equation(
            r"With $c = (1-\gamma^2)/\lambda_-$, $x^\top\!(cI - A)x = \gamma \sum_q (x_q + x_{q+1})^2 + "
            r"\gamma(1+\gamma)(x_1^2 + x_N^2)$. Diagonal of inner rows.",
            high - inner,
            2 * gamma,
            "(cI - A)_{qq}",
        )
        yield Equation("Diagonal of the first and the last row.", high - corner, gamma + ends, "(cI - A)_{11}")
        yield Equation("Beside the diagonal.", -beside, 2 * gamma / 2, "(cI - A)_{q,q+1}")
        yield Sign(r"Both weights are positive, so every eigenvalue of $T$ is above $\lambda_-$.", ends)

    return _bounds(
        name="two_sided_eigenvalues",
        title="two-sided decay has its eigenvalues strictly inside the symbol's range",
        template=r"\lambda_- = $lower < \lambda(T) < $upper = \lambda_+ \quad \text{for every } N \ge 2",
        argue=argue,
    )


def _bounds(name: str, title: str, template: str, argue: Callable[[Claim], Iterable[Step]]) -> Proof:
    claim = {"lower": (1 - gamma) / (1 + gamma), "upper": (1 + gamma) / (1 - gamma)}
    return Proof(name, 7, title, _WHERE, template, claim, argue)
