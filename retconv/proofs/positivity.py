"""Law 11: masks of positive Gaussians are Gram matrices, and stay so under the Hadamard product with one."""

from __future__ import annotations

from collections.abc import Iterator

from sympy import Expr, IndexedBase, Integral, Rational, S, Sum, Symbol, exp, oo, pi, sqrt, symbols

from retconv.proofs.proof import Claim, Equation, Proof, Sign, Step
from retconv.proofs.tools import k, n, sigma

_p, _q, _t = symbols("p q t", real=True)


def _feature(place: Expr) -> Expr:
    return exp(-((place - _t) ** 2) / sigma**2)


def gaussian_gram() -> Proof:
    """A Gaussian of the offset is an inner product of bumps at query and key."""

    def argue(claim: Claim) -> Iterator[Step]:
        yield Equation(
            r"The inner product of the bumps $\varphi_p(t) = e^{-(p-t)^2/\sigma^2}$ and $\varphi_q$.",
            claim["norm"] * Integral(_feature(_p) * _feature(_q), (_t, -oo, oo)),
            exp(-((_p - _q) ** 2) / (2 * sigma**2)),
        )
        yield Sign(
            r"The factor is positive, so $x^\top M x = c \int \bigl(\sum_q x_q \varphi_q(t)\bigr)^2 dt \ge 0$ on every "
            r"grid; on several axes the bumps multiply (law 9), and positive weights $\alpha_c$ add such forms.",
            claim["norm"],
        )

    return Proof(
        name="gaussian_gram",
        law=11,
        title="positive Gaussians give positive semidefinite masks",
        assumptions=r"\sigma > 0,\ p, q \in \mathbb{R}",
        template=r"e^{-(p-q)^2/2\sigma^2} = $norm \int_{\mathbb{R}} e^{-(p-t)^2/\sigma^2} e^{-(q-t)^2/\sigma^2} dt",
        claim={"norm": sqrt(2 / pi) / sigma},
        argue=argue,
    )


def schur_product() -> Proof:
    """The Hadamard product of two Gram matrices is the Gram matrix of the products of their features."""
    x, first, second = IndexedBase("x"), IndexedBase("f"), IndexedBase("g")
    place = Symbol("q", integer=True, nonnegative=True)
    pairs = ((place, 0, n), (k, 0, n))

    def argue(claim: Claim) -> Iterator[Step]:
        square = claim["feature"] * claim["feature"].subs(place, k)
        yield Equation(
            r"The form of $M \odot A$ with $M_{qk} = \sum_t f_{q,t} f_{k,t}$ and $A_{qk} = \sum_r g_{q,r} g_{k,r}$, "
            "for each pair of features $t$ and $r$, is a square: a double sum of products of a function of $q$ "
            "with the same function of $k$.",
            Sum(x[place] * first[place] * first[k] * second[place] * second[k] * x[k], *pairs),
            Sum(square, *pairs),
        )
        yield Equation(
            r"The square is that of a sum over the grid of $N = n + 1$ tokens: its function of $q$ does not see $k$.",
            claim["feature"].diff(k),
            S.Zero,
        )

    return Proof(
        name="schur_product",
        law=11,
        title="the Hadamard product of positive semidefinite masks is positive semidefinite",
        assumptions=r"x, f, g \text{ real},\ M = \sum_t f_t f_t^\top,\ A = \sum_r g_r g_r^\top",
        template=r"x^\top (M \odot A)\, x = \sum_{t,r} \Bigl(\sum_{q} $feature\Bigr)^2 \ge 0",
        claim={"feature": x[place] * first[place] * second[place]},
        argue=argue,
    )


def signed_mixture() -> Proof:
    """A signed mixture need not be positive semidefinite: the form of one token is its self-weight."""
    wide, narrow = symbols("sigma_1 sigma_2", positive=True)

    def argue(claim: Claim) -> Iterator[Step]:
        form = Rational(3, 5) * exp(-S.Zero / (2 * wide**2)) - Rational(4, 5) * exp(-S.Zero / (2 * narrow**2))
        yield Equation(
            r"The form at the unit vector of any token is the self-weight.", form, claim["form"], r"e_q^\top M e_q"
        )
        yield Sign("It is negative: the mask is not positive semidefinite, on any grid.", -claim["form"])

    return Proof(
        name="signed_mixture",
        law=11,
        title="a signed mixture need not be positive semidefinite",
        assumptions=(
            r"K_\delta = \tfrac{3}{5} e^{-\|\delta\|^2/2\sigma_1^2} - \tfrac{4}{5} e^{-\|\delta\|^2/2\sigma_2^2}"
        ),
        template=r"e_q^\top M e_q = $form < 0",
        claim={"form": -Rational(1, 5)},
        argue=argue,
    )
