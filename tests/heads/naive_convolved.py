"""Convolved heads as loops over tokens and channels, on Python floats."""

from __future__ import annotations

import itertools
import math
from typing import Any


def tokens(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    return list(itertools.product(*(range(n) for n in shape)))


def entry(kernel: Any, shape: tuple[int, ...], query: tuple[int, ...], key: tuple[int, ...]) -> float:
    """``K[key − query]`` of one head, a nested list."""
    for n, q, k in zip(shape, query, key, strict=True):
        kernel = kernel[k - q + n - 1]
    return kernel


def mixed(kernel: Any, rows: Any, columns: Any, v: Any, shape: tuple[int, ...], prefix: int) -> list[list[float]]:
    """One head of one image: ``[P V_p + R V_g ; C V_p + M V_g]`` of ``v``, ``length × d``."""
    at = tokens(shape)
    out = []
    for query in range(prefix + len(at)):
        line = []
        for channel in range(len(v[0])):
            total = 0.0
            for key in range(prefix + len(at)):
                if query < prefix:
                    weight = rows[query][key]
                elif key < prefix:
                    weight = columns[query - prefix][key]
                else:
                    weight = entry(kernel, shape, at[query - prefix], at[key - prefix])
                total += weight * v[key][channel]
            line.append(total)
        out.append(line)
    return out


def mean_blocks(weights: Any, shape: tuple[int, ...], prefix: int) -> tuple[Any, Any, dict[tuple[int, ...], float]]:
    """Of the weights of one head, image by image: mean rows of the prefix, mean columns, and the mean by offset."""
    at, images = tokens(shape), len(weights)
    length = prefix + len(at)
    rows = [[sum(w[q][k] for w in weights) / images for k in range(length)] for q in range(prefix)]
    columns = [[sum(w[q][k] for w in weights) / images for k in range(prefix)] for q in range(prefix, length)]
    sums: dict[tuple[int, ...], list[float]] = {}
    for w in weights:
        for i, query in enumerate(at):
            for j, key in enumerate(at):
                offset = tuple(k - q for q, k in zip(query, key, strict=True))
                sums.setdefault(offset, []).append(w[prefix + i][prefix + j])
    return rows, columns, {offset: sum(values) / len(values) for offset, values in sums.items()}


def output_errors(weights: Any, convolved: Any, v: Any) -> tuple[float, float]:
    """``‖A V − M V‖ / ‖A V‖`` over all images, and the largest; weights and values of one head, image by image."""
    missed, power = [], []
    for a, m, x in zip(weights, convolved, v, strict=True):
        off = total = 0.0
        for q in range(len(a)):
            for channel in range(len(x[0])):
                out = sum(a[q][k] * x[k][channel] for k in range(len(x)))
                off += (out - m[q][channel]) ** 2
                total += out**2
        missed.append(off)
        power.append(total)
    return math.sqrt(sum(missed) / sum(power)), max(math.sqrt(o / t) for o, t in zip(missed, power, strict=True))
