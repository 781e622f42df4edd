"""Attention between two grids by a double loop over queries and keys, on Python floats."""

import math
from collections.abc import Sequence

Rows = Sequence[Sequence[float]]


def attention(placement: str, q: Rows, k: Rows, v: Rows, m: Rows, scale: float, bias: Rows) -> list[list[float]]:
    """Of one head, ``m`` being the mask, or its logarithm where that acts; a row without keys is 0."""
    out = []
    for i, query in enumerate(q):
        row = []
        for j, key in enumerate(k):
            score = scale * math.fsum(a * b for a, b in zip(query, key, strict=True))
            if placement == "multiply_logits":
                row.append(m[i][j] * score + bias[i][j])
            elif placement == "bias_logits":
                row.append(score + m[i][j] + bias[i][j])
            elif placement == "multiply_weights":
                row.append(score + bias[i][j])
            else:
                row.append(m[i][j] * (score if placement == "retention" else 1.0))
        if placement in ("multiply_logits", "bias_logits", "multiply_weights"):
            top = max(row)
            terms = [math.exp(z - top) if top > -math.inf else 0.0 for z in row]
            total = math.fsum(terms) or 1.0
            row = [t / total * (m[i][j] if placement == "multiply_weights" else 1.0) for j, t in enumerate(terms)]
        out.append([math.fsum(row[j] * v[j][c] for j in range(len(v))) for c in range(len(v[0]))])
    return out
