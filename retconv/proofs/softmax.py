"""Laws 18 and 20: what a mask is inside a softmax."""

from __future__ import annotations

from collections.abc import Iterator

from sympy import IndexedBase, Mul, S, Sum, Symbol, exp, log, symbols

from retconv.proofs.proof import Claim, Equation, Proof, Step
from retconv.proofs.tools import j, n, sigma


def log_form() -> Proof:
    """Adding log M to the scores is multiplying the weights by M and normalising the rows again."""
    score, weight = Symbol("s_k", real=True), Symbol("m_k", positive=True)
    scores, weights = IndexedBase("s"), IndexedBase("m", positive=True)
    partition, mass = symbols("Z Y", positive=True)
    keys = (j, 0, n)

    def argue(claim: Claim) -> Iterator[Step]:
        numerator = claim["numerator"]
        yield Equation(
            r"The logarithm of $m_k > 0$ leaves the exponential.", exp(score + log(weight), evaluate=False), numerator
        )
        own = numerator.subs({score: scores[j], weight: weights[j]})
        yield Equation(
            r"With $Z = \sum_j e^{s_j}$ the row sum of $\mathrm{softmax}(S) \odot M$ is $1/Z$ times that of the "
            r"numerators, $Y = \sum_j m_j e^{s_j}$.",
            Sum(weights[j] * exp(scores[j]) / partition, keys),
            Sum(own, keys) / partition,
        )
        share, row = weight * exp(score) / partition, mass / partition
        yield Equation("So $Z$ cancels in the normalised row.", Mul(share, 1 / row, evaluate=False), numerator / mass)

    return Proof(
        name="log_form",
        law=18,
        title="a logarithmic bias is a row-normalised multiplication of the weights",
        assumptions=r"m_k > 0,\ s_k \in \mathbb{R},\ \text{any number of keys}",
        template=(
            r"\mathrm{softmax}(S + \log M)_{qk} = \frac{$numerator}{\sum_j m_j e^{s_j}} = "
            r"\frac{(\mathrm{softmax}(S) \odot M)_{qk}}{\sum_j (\mathrm{softmax}(S) \odot M)_{qj}}"
        ),
        claim={"numerator": weight * exp(score)},
        argue=argue,
    )


def quadratic_encoding() -> Proof:
    """A Gaussian bias is D + 1 channels more in plain attention."""
    query, key, score, constant = symbols("p_q p_k s C", real=True)
    other_query, other_key = symbols("p_q' p_k'", real=True)
    so_far = Symbol("t", real=True)

    def argue(claim: Claim) -> Iterator[Step]:
        extra = claim["channel"] + claim["last"]
        bias = -((key - query) ** 2) / (2 * sigma**2)
        yield Equation(
            r"One axis: the channels add the Gaussian's exponent and a term that the key does not enter.",
            extra,
            bias + claim["row"],
        )
        channel = claim["channel"]
        moved = channel.subs(query, other_query)
        yield Equation(
            "A channel is a number of the query times a number of the key: as a matrix of queries and keys it has rank "
            "1, so that every determinant of two rows and two columns is 0.",
            channel * moved.subs(key, other_key),
            channel.subs(key, other_key) * moved,
        )
        yield Equation("The last channel is the key's alone: the query has 1 in it.", claim["last"].diff(query), S.Zero)
        yield Equation("The last term is constant in a row.", claim["row"].diff(key), S.Zero)
        yield Equation(
            "Another axis adds one more channel product, and its square to the last channel.",
            so_far + extra,
            (so_far + bias) + claim["row"],
        )
        yield Equation(
            "Softmax does not see what is constant in a row.",
            exp(score + constant) / (exp(constant) * Symbol("Z", positive=True)),
            exp(score) / Symbol("Z", positive=True),
        )

    return Proof(
        name="quadratic_encoding",
        law=20,
        title="a Gaussian bias is plain attention with D + 1 channels more",
        assumptions=r"\sigma > 0,\ p_q, p_k \text{ places of query and key along an axis}",
        template=r"$channel + \Bigl($last\Bigr) = -\frac{(p_k - p_q)^2}{2\sigma^2} + $row",
        claim={
            "channel": query * key / sigma**2,
            "last": -(key**2) / (2 * sigma**2),
            "row": query**2 / (2 * sigma**2),
        },
        argue=argue,
    )
