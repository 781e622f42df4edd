"""The second construction of attention with a mask: a double loop over queries and keys, on Python floats.

Like ``tests.naive``, it imports neither retconv, torch nor numpy.
"""

import math
from collections.abc import Sequence

from tests import naive

Rows = list[list[float]]


def mask(kernel: Sequence[float], shape: Sequence[int], prefix: int) -> Rows:
    """``M[q][k] = K[k − q]`` between grid tokens, 1 where a prefix token takes part."""
    length = prefix + math.prod(shape)
    rows = []
    for q in range(length):
        row = []
        for k in range(length):
            if q < prefix or k < prefix:
                row.append(1.0)
            else:
                offset = naive.difference(naive.coordinate(q - prefix, shape), naive.coordinate(k - prefix, shape))
                row.append(kernel[naive.entry(offset, shape)])
        rows.append(row)
    return rows


def softmax(row: Sequence[float]) -> list[float]:
    """``exp(z_k) / Σ exp(z_j)``, the largest taken out first."""
    top = max(row)
    terms = [math.exp(z - top) for z in row]
    return [t / math.fsum(terms) for t in terms]


def weights(placement: str, q: Rows, k: Rows, m: Rows, scale: float, bias: Rows | None) -> Rows:
    """What multiplies V, for one element of the batch and one head."""
    length = len(m)
    result = []
    for i in range(length):
        s = [scale * math.fsum(a * b for a, b in zip(q[i], k[j], strict=True)) for j in range(length)]
        b = bias[i] if bias is not None else [0.0] * length
        if placement == "multiply_logits":
            row = softmax([m[i][j] * s[j] + b[j] for j in range(length)])
        elif placement == "bias_logits":
            row = softmax([s[j] + (math.log(m[i][j]) if m[i][j] else -math.inf) + b[j] for j in range(length)])
        elif placement == "multiply_weights":
            row = [m[i][j] * w for j, w in enumerate(softmax([s[j] + b[j] for j in range(length)]))]
        elif placement == "retention":
            row = [m[i][j] * s[j] for j in range(length)]
        else:
            assert placement == "convolution"
            row = m[i]
        result.append(row)
    return result


def output(w: Rows, v: Rows) -> Rows:
    """``W V``."""
    return [[math.fsum(w[i][j] * v[j][c] for j in range(len(v))) for c in range(len(v[0]))] for i in range(len(w))]
