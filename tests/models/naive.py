"""Attention modules of vision transformers as loops over tokens, channels and heads, on Python floats."""

from __future__ import annotations

import math
from typing import Any

Rows = list[list[float]]


def linear(x: list[float], weight: Rows, bias: list[float] | None) -> list[float]:
    return [
        sum(w * v for w, v in zip(row, x, strict=True)) + (bias[i] if bias is not None else 0.0)
        for i, row in enumerate(weight)
    ]


def softmax(logits: list[float]) -> list[float]:
    top = max(logits)
    terms = [math.exp(value - top) for value in logits]
    return [term / sum(terms) for term in terms]


def unit(x: list[float]) -> list[float]:
    norm = math.sqrt(sum(v * v for v in x))
    return [v / max(norm, 1e-12) for v in x]


def mask_entry(kernel: Any, shape: tuple[int, int], prefix: int, query: int, key: int) -> float:
    """``K[key − query]`` at the index offset + n − 1; 1 where either token is a prefix token."""
    if query < prefix or key < prefix:
        return 1.0
    (qy, qx), (ky, kx) = (divmod(token - prefix, shape[1]) for token in (query, key))
    return kernel[ky - qy + shape[0] - 1][kx - qx + shape[1] - 1]


def swin_bias(table: Any, shape: tuple[int, int], head: int, query: int, key: int) -> float:
    """Swin's table is indexed by query − key: row ``(Δy + n_1 − 1)(2 n_2 − 1) + Δx + n_2 − 1``, one column per head."""
    (qy, qx), (ky, kx) = (divmod(token, shape[1]) for token in (query, key))
    return table[(qy - ky + shape[0] - 1) * (2 * shape[1] - 1) + qx - kx + shape[1] - 1][head]


def attention(
    x: Rows,
    qkv: tuple[Rows, list[float] | None],
    proj: tuple[Rows, list[float] | None],
    kernel: Any,
    shape: tuple[int, int],
    prefix: int = 0,
    bias: Any = None,
    cosine: list[float] | None = None,
    talk: tuple[Rows, list[float], Rows, list[float]] | None = None,
) -> Rows:
    """One sequence through ``proj(softmax(M ⊙ S + bias) V)``.

    ``bias(head, query, key)`` is added last. ``cosine`` holds a temperature for each head, in place of 1/√d and the dot
    product. ``talk`` mixes heads: scores before the mask, weights after the softmax.
    """
    heads, tokens = len(kernel), len(x)
    projected = [linear(row, *qkv) for row in x]
    d = len(projected[0]) // (3 * heads)
    q, k, v = (
        [[row[(part * heads + h) * d : (part * heads + h + 1) * d] for row in projected] for h in range(heads)]
        for part in range(3)
    )
    if cosine is not None:
        q, k = ([[unit(token) for token in head] for head in part] for part in (q, k))
    out: Rows = []
    for i in range(tokens):
        scores = []
        for h in range(heads):
            scale = d**-0.5 if cosine is None else cosine[h]
            scores.append([scale * sum(a * b for a, b in zip(q[h][i], k[h][j], strict=True)) for j in range(tokens)])
        if talk is not None:
            scores = _mix(scores, talk[0], talk[1])
        weights = []
        for h in range(heads):
            logits = []
            for j in range(tokens):
                value = scores[h][j] * mask_entry(kernel[h], shape, prefix, i, j)
                logits.append(value + (bias(h, i, j) if bias is not None else 0.0))
            weights.append(softmax(logits))
        if talk is not None:
            weights = _mix(weights, talk[2], talk[3])
        mixed = [sum(weights[h][j] * v[h][j][c] for j in range(tokens)) for h in range(heads) for c in range(d)]
        out.append(linear(mixed, *proj))
    return out


def _mix(values: Rows, weight: Rows, bias: list[float]) -> Rows:
    columns = [linear([row[j] for row in values], weight, bias) for j in range(len(values[0]))]
    return [[column[h] for column in columns] for h in range(len(values))]
