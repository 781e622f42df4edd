"""Law 15: retention in parallel, recurrent and chunkwise form is one function."""

from __future__ import annotations

from collections.abc import Iterator

from sympy import Expr, I, IndexedBase, S, Sum, Symbol, exp

from retconv.proofs.proof import Claim, Equation, Proof, Step
from retconv.proofs.tools import gamma, i, j, m, n, peel, split, theta

#: λ = γ e^{iθ}: any nonzero complex number.
pole = Symbol("lambda", nonzero=True)
_length = Symbol("B", integer=True, positive=True)
_chunk = Symbol("c", integer=True, nonnegative=True)
#: One entry of k_jᵀ v_j; the state is a matrix, and each of its entries recurs by itself.
_outer = IndexedBase("w")
_token = Symbol("t", integer=True, nonnegative=True)
_WHERE = r"\lambda = \gamma e^{i\theta},\ w_j = (k_j^\top v_j)_{ab} \text{ for each entry } a, b"


def state(last: Expr) -> Sum:
    """``S_n = Σ_{j≤n} λ^(n−j) w_j``: what the parallel form contracts with q_n."""
    return Sum(pole ** (last - _token) * _outer[_token], (_token, 0, last))


def recurrent() -> Proof:
    """The parallel sum obeys RetNet's recurrence."""
    before, now = Symbol("S_{n-1}"), Symbol("w_n")

    def argue(claim: Claim) -> Iterator[Step]:
        yield Equation(
            "Base case: the state before the first token is 0.",
            state(S.Zero),
            claim["update"].subs({before: S.Zero, now: _outer[0]}),
        )
        yield Equation(
            r"Step: split the last token off the sum; term by term, the rest is $\lambda$ times the state before.",
            peel(state(n + 1)),
            claim["update"].subs({before: state(n), now: _outer[n + 1]}),
        )

    return Proof(
        name="recurrent",
        law=15,
        title="parallel retention is the recurrence",
        assumptions=_WHERE,
        template=r"S_n = \sum_{t=0}^{n} \lambda^{n-t} w_t = $update,\quad o_n = q_n S_n",
        claim={"update": pole * before + now},
        argue=argue,
    )


def chunkwise() -> Proof:
    """Splitting the sum at chunk borders changes nothing, inside a chunk and from chunk to chunk."""
    first = _chunk * _length
    carried = state(first - 1)
    own = _outer[first + j]

    def argue(claim: Claim) -> Iterator[Step]:
        yield Equation(
            "Base case: the first chunk, $c = 0$, is carried an empty sum, 0.", carried.subs(_chunk, 0), S.Zero
        )
        yield Equation(
            r"Token $i$ of chunk $c$ is token $cB + i$ of the sequence. Split its state at the chunk's first token: "
            r"the terms before it are the carried state $R_c = S_{cB-1}$, decayed.",
            split(state(first + i), first),
            Sum(claim["inner"] * own, (j, 0, i)) + claim["cross"] * carried,
        )
        yield Equation(
            r"Step from $c$ to $c + 1$: the state carried on is that of the chunk's last token, $R_{c+1} = "
            "S_{cB+B-1}$, split in the same way.",
            split(state(first + _length - 1), first),
            Sum(claim["new"] * own, (j, 0, _length - 1)) + claim["carry"] * carried,
        )

    return Proof(
        name="chunkwise",
        law=15,
        title="parallel retention is chunkwise retention",
        assumptions=_WHERE + r",\ B \ge 1,\ 0 \le i < B,\ R_0 = 0",
        template=(
            r"S_{cB+i} = \sum_{j=0}^{i} $inner w_{cB+j} + $cross R_c,\quad "
            r"R_{c+1} = \sum_{j=0}^{B-1} $new w_{cB+j} + $carry R_c"
        ),
        claim={
            "inner": pole ** (i - j),
            "cross": pole ** (i + 1),
            "new": pole ** (_length - 1 - j),
            "carry": pole**_length,
        },
        argue=argue,
    )


def rotation() -> Proof:
    """XPos rotation of queries and keys is a complex pole."""
    query, key = IndexedBase("q"), IndexedBase("k")

    def argue(claim: Claim) -> Iterator[Step]:
        yield Equation(
            "Queries turn forwards, keys backwards, by an angle proportional to their place; the phases combine with "
            "the decay to a power of the offset alone.",
            query[n] * exp(I * n * theta) * key[m] * exp(-I * m * theta) * gamma ** (n - m),
            query[n] * key[m] * claim["weight"],
        )
        yield Equation(
            "One step further back is one factor more: a pole.",
            claim["weight"].subs(n, n + 1),
            gamma * exp(I * theta) * claim["weight"],
        )
        yield Equation("A token weighs itself by 1.", claim["weight"].subs(m, n), S.One, r"(\gamma e^{i\theta})^0")

    return Proof(
        name="rotation",
        law=15,
        title="xPos rotation with decay is one complex pole",
        assumptions=r"0 < \gamma < 1,\ \theta \in \mathbb{R},\ q_n, k_m \in \mathbb{C},\ n \ge m",
        template=r"(q_n e^{in\theta})(k_m e^{-im\theta}) \gamma^{n-m} = q_n k_m $weight",
        claim={"weight": (gamma * exp(I * theta)) ** (n - m)},
        argue=argue,
    )
