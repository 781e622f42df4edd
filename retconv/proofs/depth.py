"""Law 19: Gaussian masks compose by adding their variances."""

from __future__ import annotations

from collections.abc import Iterator

from sympy import Derivative, Expr, Function, IndexedBase, Integral, S, Sum, Symbol, exp, log, oo, pi, sqrt, symbols

from retconv.proofs.poisson import TRANSFORM
from retconv.proofs.proof import Claim, Equation, Proof, Sign, Step
from retconv.proofs.tools import n, omega, peel, sigma, theta

_layer = Symbol("l", integer=True, positive=True)


def gaussian_depth() -> Proof:
    """Away from the border a stack of Gaussian masks is one Gaussian of the summed variance."""
    x, y = symbols("x y", real=True)
    so_far, new = symbols(r"sigma_L \sigma_{L+1}", positive=True)

    def normal(place: Expr, variance: Expr) -> Expr:
        return exp(-(place**2) / (2 * variance)) / sqrt(2 * pi * variance)

    def argue(claim: Claim) -> Iterator[Step]:
        yield Equation("One layer.", normal(x, sigma**2), normal(x, claim["variance"].subs({so_far: sigma, new: 0})))
        yield Equation(
            "From $L$ to $L + 1$ layers: the convolution of two normalised Gaussians.",
            Integral(normal(x, so_far**2) * normal(y - x, new**2), (x, -oo, oo)),
            normal(y, claim["variance"]),
        )
        yield Equation(
            "In frequency their transforms multiply.",
            (TRANSFORM / sqrt(2 * pi) / sigma).subs(sigma, so_far)
            * (TRANSFORM / sqrt(2 * pi) / sigma).subs(sigma, new),
            exp(-claim["variance"] * omega**2 / 2),
        )

    return Proof(
        name="gaussian_depth",
        law=19,
        title="stacked Gaussian masks are one Gaussian of the summed variance",
        assumptions=r"\sigma_l > 0,\ \text{no border},\ \sigma_L^2 \text{ the variance of } L \text{ layers}",
        template=r"\mathcal{N}_{\sigma_L} * \mathcal{N}_{\sigma_{L+1}} = \mathcal{N}_{\sqrt{V}},\quad V = $variance",
        claim={"variance": so_far**2 + new**2},
        argue=argue,
    )


def variance_adds() -> Proof:
    """The variance of composed kernels adds exactly, Gaussian or not, sampled or not."""
    first, second = Function("f"), Function("g")
    width = IndexedBase("sigma")

    def variance(symbol: Expr) -> Expr:
        return -Derivative(log(symbol), (theta, 2))

    def total(layers: Expr) -> Sum:
        return Sum(width[_layer] ** 2, (_layer, 1, layers))

    def argue(claim: Claim) -> Iterator[Step]:
        yield Equation(
            r"Convolution of kernels multiplies their symbols $f$ and $g$; the second derivative of $-\log$ of a "
            "symbol at frequency 0 is the kernel's variance, and it adds.",
            variance(first(theta) * second(theta)),
            variance(first(theta)) + variance(second(theta)),
        )
        yield Equation("No layer: no spread.", total(S.Zero), S.Zero)
        yield Equation(
            "From $L$ to $L + 1$ layers the variance grows by that of the new layer.",
            peel(total(n + 1)),
            total(n) + claim["layer"].subs(_layer, n + 1),
        )
        yield Equation(
            r"Equal layers: the effective receptive field $\sigma_{\mathrm{eff}}$ grows with the root of depth, its "
            r"square by $\sigma^2$ with each layer.",
            claim["equal"].subs(n, n + 1) ** 2 - claim["equal"] ** 2,
            sigma**2,
        )
        yield Equation("It starts at 0.", claim["equal"].subs(n, 0), S.Zero)
        yield Sign("And of the two roots it is a width, not its negative.", claim["equal"], "nonnegative")

    return Proof(
        name="variance_adds",
        law=19,
        title="the variances of composed kernels add exactly",
        assumptions=r"\sigma_l^2 \text{ the variance of layer } l \text{'s normalised kernel}",
        template=(
            r"\sigma_{\mathrm{eff}}^2 = \sum_{l=1}^{L} $layer,\quad "
            r"\sigma_{\mathrm{eff}} = $equal \text{ for } n \text{ equal layers}"
        ),
        claim={"layer": width[_layer] ** 2, "equal": sigma * sqrt(n)},
        argue=argue,
    )
