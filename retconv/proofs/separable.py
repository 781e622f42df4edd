"""Laws 8 and 9: which kernels are outer products over the axes, and of how many."""

from __future__ import annotations

from collections.abc import Iterator

from sympy import Abs, Expr, IndexedBase, S, Sum, Symbol, exp, log, sqrt

from retconv.proofs.proof import Claim, Equation, Proof, Sign, Step
from retconv.proofs.tools import a, b, gamma, n, peel, sigma

_c = Symbol("c", integer=True, positive=True)


def manhattan_separates() -> Proof:
    """Manhattan decay on D axes is the product of D two-sided decays."""
    so_far = Symbol("s", integer=True, nonnegative=True)

    def argue(claim: Claim) -> Iterator[Step]:
        yield Equation("One axis: the factor is the kernel.", gamma ** Abs(a), claim["factor"], "f(a)")
        yield Equation(
            r"From $D$ to $D + 1$ axes, $s = |\delta_1| + \dots + |\delta_D|$ being the distance so far: the new axis "
            r"contributes its factor.",
            gamma ** (so_far + Abs(a)),
            gamma**so_far * claim["factor"],
        )
        yield Equation(
            r"So $M_{(q_1,q_2),(k_1,k_2)} = T_{q_1 k_1} T_{q_2 k_2}$, which is the Kronecker product $M = T_1 \otimes "
            r"T_2$ of two-sided decays.",
            gamma ** (Abs(a) + Abs(b)),
            claim["factor"] * claim["factor"].subs(a, b),
        )

    return Proof(
        name="manhattan_separates",
        law=8,
        title="Manhattan decay is an outer product of two-sided decays",
        assumptions=r"0 < \gamma < 1,\ \delta \in \mathbb{Z}^D,\ a = \delta_d",
        template=r"\gamma^{|\delta_1| + \dots + |\delta_D|} = \prod_{d=1}^{D} f(\delta_d),\quad f(a) = $factor",
        claim={"factor": gamma ** Abs(a)},
        argue=argue,
    )


def euclidean_does_not_separate() -> Proof:
    """Euclidean decay on two axes has a nonzero 2×2 minor, which an outer product cannot have."""
    rate = Symbol("lambda", positive=True)

    def kernel(down: int, right: int) -> Expr:
        return exp(-rate * sqrt(down**2 + right**2))

    def argue(claim: Claim) -> Iterator[Step]:
        yield Equation(
            r"With $\gamma = e^{-\lambda}$, an outer product has $K_{00} K_{11} = K_{01} K_{10}$; here the logarithm "
            r"of the ratio of the two sides is",
            log(kernel(0, 0)) + log(kernel(1, 1)) - log(kernel(0, 1)) - log(kernel(1, 0)),
            claim["ratio"],
        )
        yield Sign(r"It is positive for every $\gamma < 1$, so the minor is not 0.", claim["ratio"])

    return Proof(
        name="euclidean_does_not_separate",
        law=8,
        title="Euclidean decay is no outer product on any board of 2 by 2 tokens or more",
        assumptions=r"\gamma = e^{-\lambda},\ \lambda > 0,\ K_{ab} = \gamma^{\sqrt{a^2 + b^2}}",
        template=r"\log \frac{K_{00} K_{11}}{K_{01} K_{10}} = $ratio > 0",
        claim={"ratio": (2 - sqrt(2)) * rate},
        argue=argue,
    )


def gaussian_separates() -> Proof:
    """A Gaussian on D axes is the product of D Gaussians."""
    so_far = Symbol("s", integer=True, nonnegative=True)

    def argue(claim: Claim) -> Iterator[Step]:
        yield Equation("One axis: the factor is the kernel.", exp(-(a**2) / (2 * sigma**2)), claim["factor"], "g(a)")
        yield Equation(
            r"From $D$ to $D + 1$ axes, $s = \delta_1^2 + \dots + \delta_D^2$ being the squared distance so far.",
            exp(-(so_far + a**2) / (2 * sigma**2)),
            exp(-so_far / (2 * sigma**2)) * claim["factor"],
        )

    return Proof(
        name="gaussian_separates",
        law=9,
        title="each Gaussian is an outer product of Gaussians",
        assumptions=r"\sigma > 0,\ \delta \in \mathbb{Z}^D,\ a = \delta_d",
        template=r"e^{-\|\delta\|^2 / 2\sigma^2} = \prod_{d=1}^{D} g(\delta_d),\quad g(a) = $factor",
        claim={"factor": exp(-(a**2) / (2 * sigma**2))},
        argue=argue,
    )


def mixture_rank() -> Proof:
    """A mixture of C Gaussians has Kronecker rank at most C."""
    weight, width = IndexedBase("alpha"), IndexedBase("sigma")

    def mixture(components: Expr) -> Sum:
        return Sum(weight[_c] * exp(-(a**2 + b**2) / (2 * width[_c] ** 2)), (_c, 1, components))

    def argue(claim: Claim) -> Iterator[Step]:
        yield Equation("No Gaussian: the zero mask, of rank 0.", mixture(S.Zero), S.Zero)
        yield Equation(
            "From $C$ to $C + 1$ Gaussians the kernel grows by one outer product of a function of $a$ and one of $b$.",
            peel(mixture(n + 1)),
            mixture(n) + (claim["down"] * claim["right"]).subs(_c, n + 1),
        )
        yield Equation(
            r"The first factor does not depend on $b$, the second not on $a$. So the mask is $\sum_c \alpha_c G_c "
            r"\otimes G_c$; rearranged as a matrix of $(q_1, k_1)$ by $(q_2, k_2)$ it is a product through $C$ "
            "columns, whose rank is at most $C$.",
            claim["down"].diff(b) ** 2 + claim["right"].diff(a) ** 2,
            S.Zero,
        )

    return Proof(
        name="mixture_rank",
        law=9,
        title="a mixture has Kronecker rank at most its number of Gaussians",
        assumptions=r"\alpha_c \in \mathbb{R},\ \sigma_c \ne 0,\ (a, b) = k - q",
        template=(
            r"\sum_{c=1}^{C} \alpha_c e^{-(a^2 + b^2)/2\sigma_c^2} = "
            r"\sum_{c=1}^{C} \Bigl($down\Bigr) \Bigl($right\Bigr)"
        ),
        claim={
            "down": weight[_c] * exp(-(a**2) / (2 * width[_c] ** 2)),
            "right": exp(-(b**2) / (2 * width[_c] ** 2)),
        },
        argue=argue,
    )
