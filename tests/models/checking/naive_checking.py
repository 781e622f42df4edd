"""What the experiments measure, as loops on Python floats."""

from __future__ import annotations

import statistics


def movement(before: list[list[list[list[float]]]], after: list[list[list[list[float]]]]) -> list[list[float]]:
    """``Σ_h (median_k |d_k − median d|)²`` of ``(windows, heads, N, keys)``, with the lower of two middle numbers."""
    rows = []
    for w, window in enumerate(before):
        tokens = []
        for i in range(len(window[0])):
            total = 0.0
            for h, head in enumerate(window):
                change = [after[w][h][i][k] - value for k, value in enumerate(head[i])]
                middle = statistics.median_low(change)
                total += statistics.median_low([abs(c - middle) for c in change]) ** 2
            tokens.append(total)
        rows.append(tokens)
    return rows


def diagonal_mask(tokens: int, rest: float) -> list[list[float]]:
    return [[1.0 if q == k else rest for k in range(tokens)] for q in range(tokens)]


def centre_only(image: list[list[list[float]]], weight: list[list[list[list[float]]]]) -> list[list[list[float]]]:
    """A convolution of stride 1 of which only the middle number acts: ``(out, height, width)``."""
    out = []
    for one in weight:
        rows = []
        for y in range(len(image[0])):
            row = []
            for x in range(len(image[0][0])):
                taps = zip(one, image, strict=True)
                row.append(sum(tap[len(tap) // 2][len(tap[0]) // 2] * plane[y][x] for tap, plane in taps))
            rows.append(row)
        out.append(rows)
    return out


def covers(
    box: tuple[tuple[int, int], ...], token: tuple[int, ...], shape: tuple[int, ...], sides: tuple[int, ...]
) -> bool:
    """Whether every pixel of a box lies in the cell of the token, cells being of equal size."""
    for (first, end), i, n, s in zip(box, token, shape, sides, strict=True):
        for pixel in range(first, end):
            if not i * s <= pixel * n < (i + 1) * s:
                return False
    return True
