"""Law 12: how much of a kernel lies beyond a radius, in closed form, and the effective size that follows."""

from __future__ import annotations

from collections.abc import Iterator

from sympy import Expr, Integral, S, Symbol, diff, erfc, erfcinv, exp, log, oo, pi, sqrt

from retconv.proofs.poisson import TRANSFORM
from retconv.proofs.proof import Claim, Equation, Proof, Sign, Step
from retconv.proofs.tools import gamma, in_unit, n, omega, r, sigma, theta, vanishes
from retconv.proofs.two_sided import SYMBOL

_epsilon = Symbol("epsilon", positive=True)
_radius = Symbol("r", integer=True, nonnegative=True)
_SIZE = r"k(\epsilon) = 2 \max(0, \lceil $radius \rceil) + 1"


def _decay_steps(claim: Claim, copies: int) -> Iterator[Step]:
    """Tail and total of γ^d with one or two entries at each distance d > 0."""

    def within(last: Expr) -> Expr:
        return claim["total"] - claim["tail"].subs(_radius, last)

    yield Equation("Mass within radius $n$ is total minus tail. Base case: offset 0.", within(S.Zero), S.One, "K_0")
    yield Equation("Step from $n$ to $n + 1$.", within(n + 1) - within(n), copies * gamma ** (n + 1))
    yield vanishes("The tail tends to 0, so the total is the whole.", in_unit(claim["tail"].subs(_radius, n)))
    relative = claim["tail"] / claim["total"]
    yield Equation(
        r"At the real radius claimed, the relative tail $\rho(r)$ is $\epsilon$.",
        relative.subs(_radius, claim["radius"]),
        _epsilon,
        r"\rho(r)",
    )
    yield Equation(
        r"It falls by $\gamma$ with each step of the radius.", relative.subs(_radius, r + 1), gamma * relative
    )
    yield Sign(
        r"$\gamma < 1$, so the next integer radius is the smallest whose tail is at most $\epsilon$.",
        in_unit(1 - gamma),
    )


def causal_tail() -> Proof:
    """Tail, total and effective size of causal decay."""
    return Proof(
        name="causal_tail",
        law=12,
        title="effective size of causal decay",
        assumptions=r"0 < \gamma < 1,\ 0 < \epsilon < 1",
        template=r"\|K\|_1 = $total,\quad \sum_{d > r} |K| = $tail,\quad " + _SIZE,
        claim={
            "total": 1 / (1 - gamma),
            "tail": gamma ** (_radius + 1) / (1 - gamma),
            "radius": log(_epsilon) / log(gamma) - 1,
        },
        argue=lambda claim: _decay_steps(claim, copies=1),
    )


def two_sided_tail() -> Proof:
    """Tail, total and effective size of two-sided decay; its norm bounds are equal."""

    def argue(claim: Claim) -> Iterator[Step]:
        yield from _decay_steps(claim, copies=2)
        yield Equation(
            r"At frequency 0 the symbol is the sum of the kernel: $\|\hat K\|_\infty = \|K\|_1$, nothing is lost "
            "between the two bounds.",
            SYMBOL.subs(theta, 0),
            claim["total"],
        )

    return Proof(
        name="two_sided_tail",
        law=12,
        title="effective size of two-sided decay",
        assumptions=r"0 < \gamma < 1,\ 0 < \epsilon < 1",
        template=r"\|K\|_1 = $total,\quad \sum_{|\delta| > r} |K| = $tail,\quad " + _SIZE,
        claim={
            "total": (1 + gamma) / (1 - gamma),
            "tail": 2 * gamma ** (_radius + 1) / (1 - gamma),
            "radius": log(_epsilon * (1 + gamma) / 2) / log(gamma) - 1,
        },
        argue=argue,
    )


def gaussian_tail() -> Proof:
    """The relative tail of a Gaussian is at most erfc(r / σ√2)."""
    x, start = Symbol("x", positive=True), Symbol("r", positive=True)
    bell = exp(-(x**2) / (2 * sigma**2))

    def argue(claim: Claim) -> Iterator[Step]:
        tail = 2 * Integral(bell, (x, start, oo))
        yield Sign(
            "The Gaussian falls with distance, so the terms beyond $r$ sum to at most the integral from $r$ on.",
            -diff(bell, x),
        )
        yield Equation(
            r"By Poisson summation the total is $\sum_m \hat g(2\pi m)$, of which all terms are positive; the one of "
            r"$m = 0$ is",
            TRANSFORM.subs(omega, 0),
            sigma * sqrt(2 * pi),
            r"\hat g(0)",
        )
        yield Equation(
            "So the relative tail is at most the ratio of the two.", tail / (sigma * sqrt(2 * pi)), claim["bound"]
        )
        yield Equation(
            r"It is $\epsilon$ at the radius claimed, and falls with $r$.",
            claim["bound"].subs(start, claim["radius"]),
            _epsilon,
        )
        yield Sign("Its slope is negative.", -diff(claim["bound"], start))

    return Proof(
        name="gaussian_tail",
        law=12,
        title="effective size of a Gaussian, from above",
        assumptions=r"\sigma > 0,\ 0 < \epsilon < 1",
        template=(
            r"\sum_{|\delta| > r} g(\delta) \Big/ \sum_\delta g(\delta) \le $bound,\quad "
            r"k(\epsilon) \le 2 \lceil $radius \rceil + 1"
        ),
        claim={"bound": erfc(start / (sqrt(2) * sigma)), "radius": sqrt(2) * sigma * erfcinv(_epsilon)},
        argue=argue,
    )
