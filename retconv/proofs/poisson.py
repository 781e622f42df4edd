"""Law 9: the symbol of a Gaussian, and of a mixture on any number of axes, by Poisson summation."""

from __future__ import annotations

from collections.abc import Iterator

from sympy import Expr, I, Integral, S, Symbol, exp, oo, pi, sqrt, symbols

from retconv.proofs.proof import Claim, Equation, Proof, Step
from retconv.proofs.tools import a, m, omega, sigma, theta

_x = Symbol("x", real=True)
#: ĝ(ω), the Fourier integral of a Gaussian.
TRANSFORM = sigma * sqrt(2 * pi) * exp(-(sigma**2) * omega**2 / 2)


def gaussian_symbol() -> Proof:
    """The symbol of a Gaussian is the sum of the shifted copies of its Fourier integral."""

    def argue(claim: Claim) -> Iterator[Step]:
        transform = claim["transform"]
        yield Equation(
            r"The Fourier integral $\hat g(\omega)$ of the Gaussian.",
            Integral(exp(-(_x**2) / (2 * sigma**2) + I * omega * _x), (_x, -oo, oo)),
            transform,
        )
        yield Equation(
            r"The sum of copies $P(\theta) = \sum_m \hat g(\theta + 2\pi m)$ is continuous and $2\pi$-periodic. In its "
            r"Fourier coefficients $\frac{1}{2\pi}\int_{-\pi}^{\pi} P(\theta) e^{-ia\theta} d\theta$ each copy may be "
            "shifted back, since $a$ and $m$ are integers.",
            exp(-I * a * (theta + 2 * pi * m)),
            exp(-I * a * theta),
        )
        yield Equation(
            r"So the copies join to one integral over the line, which is the kernel at offset $a$. A continuous "
            r"function with summable Fourier coefficients is the sum of its Fourier series: $P$ is the symbol.",
            Integral(transform * exp(-I * a * omega), (omega, -oo, oo)) / (2 * pi),
            exp(-(a**2) / (2 * sigma**2)),
        )

    return Proof(
        name="gaussian_symbol",
        law=9,
        title="the symbol of a Gaussian, by Poisson summation",
        assumptions=r"\sigma > 0,\ \theta \in \mathbb{R}",
        template=(
            r"\sum_{\delta=-\infty}^{\infty} e^{-\delta^2/2\sigma^2} e^{i\delta\theta} = "
            r"\sum_{m=-\infty}^{\infty} \hat g(\theta + 2\pi m),\quad \hat g(\omega) = $transform"
        ),
        claim={"transform": TRANSFORM},
        argue=argue,
    )


def mixture_symbol() -> Proof:
    """On D axes each Gaussian's symbol is a product over the axes, and a mixture's is their weighted sum."""
    weight, phase = symbols("alpha phi", real=True)
    so_far = Symbol("s", nonnegative=True)

    def wave(squared: Expr, angle: Expr) -> Expr:
        return weight * exp(-squared / (2 * sigma**2) + I * angle)

    def argue(claim: Claim) -> Iterator[Step]:
        yield Equation(
            "No axis yet: the weight alone.",
            wave(S.Zero, S.Zero),
            weight,
        )
        yield Equation(
            r"From $D$ to $D + 1$ axes, $s = \sum_d \delta_d^2$ and $\varphi = \sum_d \delta_d \theta_d$ so far: the "
            r"summand gains a factor that depends on the new axis alone, so the sum over $\delta \in \mathbb{Z}^{D+1}$ "
            r"is the sum over $\mathbb{Z}^D$ times $\sum_a g(a) e^{ia\theta} = \hat s(\theta)$.",
            wave(so_far + a**2, phase + a * theta),
            wave(so_far, phase) * claim["factor"],
        )
        yield Equation(
            r"One axis has the symbol $\hat s$ of the Gaussian, whose Fourier integral is $\hat g$.",
            Integral(claim["factor"].subs(a, _x), (_x, -oo, oo)),
            TRANSFORM.subs(omega, theta),
        )

    return Proof(
        name="mixture_symbol",
        law=9,
        title="the symbol of a mixture on D axes is a sum of products of symbols",
        assumptions=r"\alpha_c \in \mathbb{R},\ \sigma_c > 0,\ \hat s_c \text{ the symbol of Gaussian } c",
        template=(
            r"\sum_{\delta \in \mathbb{Z}^D} K_\delta e^{i \delta \cdot \theta} = "
            r"\sum_c \alpha_c \prod_{d=1}^{D} \hat s_c(\theta_d),\quad \hat s(\theta) = \sum_{a \in \mathbb{Z}} $factor"
        ),
        claim={"factor": exp(-(a**2) / (2 * sigma**2) + I * a * theta)},
        argue=argue,
    )
