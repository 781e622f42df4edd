"""Law 21: a Gaussian of each query as channels of plain attention."""

from __future__ import annotations

from collections.abc import Iterator

from sympy import Rational, S, symbols

from retconv.proofs.proof import Claim, Equation, Proof, Step

_FORMS = ("x", "y", "xx", "yy", "xy")


def shifted_gaussian() -> Proof:
    """A shifted Gaussian of each query, in two dimensions, is five channels."""
    x, y, first, second = symbols("x y m_1 m_2", real=True)
    a, b, c = symbols("A_11 A_12 A_22", real=True)
    monomials = dict(zip(_FORMS, (x, y, x**2, y**2, x * y), strict=True))

    def argue(claim: Claim) -> Iterator[Step]:
        form = a * (x - first) ** 2 + 2 * b * (x - first) * (y - second) + c * (y - second) ** 2
        product = sum((claim[name] * monomial for name, monomial in monomials.items()), S.Zero)
        yield Equation(
            r"With $m = p_q + \mu_q$ and $p_k = (x, y)$, five products of a number of the query and one of the key, "
            "and a term of the row, are the Gaussian's exponent.",
            product + claim["row"],
            -Rational(1, 2) * form,
        )
        for name in (*_FORMS, "row"):
            yield Equation(
                "The key does not enter what is the query's.",
                claim[name].diff(x) ** 2 + claim[name].diff(y) ** 2,
                S.Zero,
            )
        yield Equation(
            r"Where $A$ is diagonal the last is 0: four are left.", claim["xy"].subs(b, 0), S.Zero, "A_{12} = 0"
        )

    return Proof(
        name="shifted_gaussian",
        law=21,
        title="a shifted Gaussian of each query, in two dimensions, is plain attention with five channels more",
        assumptions=r"A = \Sigma_q^{-1} \in \mathbb{R}^{2 \times 2}",
        template=(
            r"-\tfrac12 (p_k - m)^\top A\, (p_k - m) = \bigl($x\bigr) x + \bigl($y\bigr) y + \bigl($xx\bigr) x^2 + "
            r"\bigl($yy\bigr) y^2 + \bigl($xy\bigr) x y + \Bigl($row\Bigr)"
        ),
        claim={
            "x": a * first + b * second,
            "y": b * first + c * second,
            "xx": -a / 2,
            "yy": -c / 2,
            "xy": -b,
            "row": -(a * first**2 + 2 * b * first * second + c * second**2) / 2,
        },
        argue=argue,
    )
