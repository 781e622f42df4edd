"""Law 10: narrow negative Gaussians tend to minus the identity, and leave a mask without a logarithm."""

from __future__ import annotations

from collections.abc import Iterator

from sympy import Expr, Limit, Rational, S, Symbol, exp, symbols

from retconv.proofs.proof import Claim, Equation, Proof, Sign, Step
from retconv.proofs.tools import induction, j, n, sigma, u, vanishes

_weight = Symbol("alpha", positive=True)
_axes = Symbol("D", integer=True, positive=True)
_ratio = Symbol("r", positive=True)


def narrow_gaussian() -> Proof:
    """In operator norm a Gaussian of weight −α tends to −α times the identity, on every grid."""

    def argue(claim: Claim) -> Iterator[Step]:
        yield Equation("At offset 0 the kernel is exactly $-\\alpha$.", -_weight * exp(S.Zero), -_weight, "K_0")
        yield Sign(
            r"Elsewhere, with $r = e^{-1/2\sigma^2} < 1$, the Gaussian at distance $d = 1 + j$ is $r^{d^2} \le r^d$, "
            r"since $d^2 - d \ge 0$.",
            ((1 + j) ** 2 - (1 + j)).expand(),
            "nonnegative",
        )
        yield from induction(
            r"$\sum_{d=1}^n r^d$",
            lambda last: _ratio * (1 - _ratio**last) / (1 - _ratio),
            lambda power: _ratio**power,
            first=1,
        )
        yield vanishes("As $r = 1/(1+u) < 1$, the power that is left tends to 0.", (1 / (1 + u)) ** n)
        line = 1 + 2 * _ratio / (1 - _ratio)
        yield Equation(
            r"So a line holds at most $1 + 2r/(1-r)$ in $\ell_1$, $D$ axes the $D$-th power of it, of which offset 0 "
            r"holds 1. By law 12 what is left bounds the operator norm.",
            _weight * (line**_axes - 1),
            claim["distance"],
        )
        yield Equation("As $\\sigma \\to 0$, $r \\to 0$.", Limit(exp(-1 / (2 * sigma**2)), sigma, 0, "+"), S.Zero)
        yield Equation(
            "And with it the distance, here at $r = 0$.", claim["distance"].subs(_ratio, 0), S.Zero, r"\alpha (1^D - 1)"
        )

    return Proof(
        name="narrow_gaussian",
        law=10,
        title="a narrow negative Gaussian tends to minus the identity",
        assumptions=r"\alpha, \sigma > 0,\ M_{qk} = -\alpha e^{-\|k-q\|^2/2\sigma^2},\ r = e^{-1/2\sigma^2}",
        template=r"\|M + \alpha I\|_2 \le $distance \xrightarrow{\sigma \to 0} 0",
        claim={"distance": _weight * (((1 + _ratio) / (1 - _ratio)) ** _axes - 1)},
        argue=argue,
    )


def extroversion() -> Proof:
    """A wide positive and a heavier narrow negative Gaussian: negative self-weight, hence no logarithm."""
    logarithm = Symbol("l", real=True)
    wide, narrow = symbols("sigma_1 sigma_2", positive=True)

    def kernel(first: Expr, second: Expr, squared: Expr) -> Expr:
        return first * exp(-squared / (2 * wide**2)) + second * exp(-squared / (2 * narrow**2))

    def argue(claim: Claim) -> Iterator[Step]:
        yield Equation(
            r"At offset 0 every Gaussian is 1, whatever its width.",
            kernel(Rational(3, 5), -Rational(4, 5), S.Zero),
            claim["self_weight"],
            "K_0",
        )
        yield Sign("The self-weight is negative.", -claim["self_weight"])
        yield Sign("No real logarithm: the exponential of any real number is positive.", exp(logarithm))
        yield Sign(
            r"In general: a negative Gaussian that outweighs the positive one by any $u > 0$ does the same.",
            -kernel(_weight, -_weight - u, S.Zero),
        )

    return Proof(
        name="extroversion",
        law=10,
        title="locality plus extroversion has a negative self-weight, hence no logarithm",
        assumptions=(
            r"K_\delta = \tfrac{3}{5} e^{-\|\delta\|^2/2\sigma_1^2} - \tfrac{4}{5} e^{-\|\delta\|^2/2\sigma_2^2}"
        ),
        template=r"K_0 = $self_weight < 0 < e^l \quad \text{for every real } l",
        claim={"self_weight": -Rational(1, 5)},
        argue=argue,
    )
