"""Every published mask by its formula: of query, key, head, shape and its numbers, on Python floats."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Sequence
from typing import Any

from tests import naive
from tests.kernels import naive_relatives as relatives

Position = tuple[int, ...]
#: Entry of a mask, or of its logarithm: ``(query, key, head, shape, numbers)``.
Formula = Callable[[Position, Position, int, Sequence[int], Any], float]


def offset(q: Position, k: Position) -> Position:
    return tuple(b - a for a, b in zip(q, k, strict=True))


def raster(p: Position, shape: Sequence[int]) -> int:
    """Place of a token in the sequence, by counting the tokens before it."""
    place = 0
    for i, n in zip(p, shape, strict=True):
        place = place * n + i
    return place


def of_offset(form: Callable[..., float], *names: str) -> Formula:
    """A kernel's formula with the head's numbers, by name, after the offset."""
    return lambda q, k, h, shape, p: form(offset(q, k), *(p[name][h] for name in names))


def past(form: Formula) -> Formula:
    """A bias with the keys after the query hidden."""
    return lambda q, k, h, shape, p: form(q, k, h, shape, p) if k[0] <= q[0] else -math.inf


def hidden(form: Formula) -> Formula:
    """The logarithm of ones and zeros."""
    return lambda q, k, h, shape, p: 0.0 if form(q, k, h, shape, p) else -math.inf


def decay_bias(q: Position, k: Position, h: int, shape: Sequence[int], p: Any) -> float:
    return sum(abs(d) for d in offset(q, k)) * math.log(p["gamma"][h])


def normalised(q: Position, k: Position, h: int, shape: Sequence[int], p: Any) -> float:
    return naive.normalized_retnet(q, k, p["gamma"][h])


def vir(q: Position, k: Position, h: int, shape: Sequence[int], p: Any) -> float:
    back = raster(q, shape) - raster(k, shape)
    return p["gamma"][h] ** back if back >= 0 else 0.0


def rwkv(q: Position, k: Position, h: int, shape: Sequence[int], p: Any) -> float:
    """The current token has the bonus; t − 1 − i steps of decay before."""
    if k[0] > q[0]:
        return -math.inf
    return p["bonus"][h] if k == q else -(q[0] - 1 - k[0]) * p["decay"][h]


def table_at(q: Position, k: Position, shape: Sequence[int], table: Sequence[float]) -> float:
    """The entry of key − query in a kernel's flat list."""
    return table[naive.entry(offset(q, k), shape)]


def free(q: Position, k: Position, h: int, shape: Sequence[int], p: Any) -> float:
    return p["matrix"][h][raster(q, shape)][raster(k, shape)]


def kernel(q: Position, k: Position, h: int, shape: Sequence[int], p: Any) -> float:
    return table_at(q, k, shape, p["table"][h])


def tnn(q: Position, k: Position, h: int, shape: Sequence[int], p: Any) -> float:
    return p["decay"][h] ** abs(k[0] - q[0]) * kernel(q, k, h, shape, p)


def swin(q: Position, k: Position, h: int, shape: Sequence[int], p: Any) -> float:
    """A row of the checkpoint's table, by query − key."""
    return p["rows"][naive.entry(offset(k, q), shape)][h]


def t5(causal: bool) -> Formula:
    return lambda q, k, h, shape, p: p["rows"][relatives.t5_bucket(offset(q, k), 32, 128, causal)][h]


def swin_v2(q: Position, k: Position, h: int, shape: Sequence[int], p: Any) -> float:
    return relatives.swin_v2(offset(q, k), p["hidden"], p["shift"], p["out"][h], shape)


def fire(q: Position, k: Position, h: int, shape: Sequence[int], p: Any) -> float:
    return relatives.fire(q, k, 0.1, 16.0, p["hidden"], p["shift"], p["out"][h], p["bias"][h])


def circulant(q: Position, k: Position, h: int, shape: Sequence[int], p: Any) -> float:
    """A softmax of the numbers, read around the torus."""
    total = math.fsum(math.exp(s) for s in p["scores"][h])
    return relatives.on_torus(q, k, shape, [math.exp(s) / total for s in p["scores"][h]])


def cosformer(q: Position, k: Position, h: int, shape: Sequence[int], p: Any) -> float:
    return relatives.cosformer(offset(q, k), shape[0])


def rope(q: Position, k: Position, h: int, shape: Sequence[int], p: Any) -> float:
    return relatives.rotary(offset(q, k), [[10000 ** (-j / 32)] for j in range(32)])


def axial_rope(q: Position, k: Position, h: int, shape: Sequence[int], p: Any) -> float:
    theta = [100 ** (-j / 16) for j in range(16)]
    return relatives.rotary(offset(q, k), [[t, 0.0] for t in theta] + [[0.0, t] for t in theta])


def mega(q: Position, k: Position, h: int, shape: Sequence[int], p: Any) -> float:
    """The moving average, run from an impulse at the key to the query."""
    if k[0] > q[0]:
        return 0.0
    total = 0.0
    for j in range(16):
        alpha, delta = (1 / (1 + math.exp(-p[name][h][j])) for name in ("alpha", "delta"))
        state = alpha * p["beta"][h][j]
        for _ in range(k[0], q[0]):
            state = (1 - alpha * delta) * state
        total += p["eta"][h][j] / 4 * state
    return total


def s4d(q: Position, k: Position, h: int, shape: Sequence[int], p: Any) -> float:
    """The state after an impulse that is held for one step, run from the key to the query."""
    if k[0] > q[0]:
        return 0.0
    step, total = (0.01, 0.1)[h], 0.0
    for n in range(16):
        rate = complex(-0.5, math.pi * n)
        state = (cmath.exp(rate * step) - 1) / rate
        for _ in range(k[0], q[0]):
            state *= cmath.exp(rate * step)
        real, imaginary = p["read"][h][n]
        total += 2 * (complex(real, imaginary) / math.sqrt(2) * state).real
    return total


def fnet(q: Position, k: Position, h: int, shape: Sequence[int], p: Any) -> float:
    return cmath.exp(-2j * math.pi * (q[0] * k[0] % shape[0]) / shape[0]).real


def poolformer(q: Position, k: Position, h: int, shape: Sequence[int], p: Any) -> float:
    """The mean over the neighbours that there are, less the token itself."""
    count = sum(all(abs(a - b) <= 1 for a, b in zip(q, other, strict=True)) for other in naive.positions(shape))
    near = all(abs(a - b) <= 1 for a, b in zip(q, k, strict=True))
    return near / count - (q == k)


def gaussians(q: Position, k: Position, h: int, shape: Sequence[int], p: Any) -> float:
    return naive.gaussian_mixture(offset(q, k), p["sigma"][h], p["alpha"][h])


def look_here(fields: Sequence[Callable[[float, float], bool]]) -> Formula:
    """By what a head sees of rows and columns, from the query."""

    def form(q: Position, k: Position, h: int, shape: Sequence[int], p: Any) -> float:
        return -0.5 * math.dist(q, k) if fields[h](*offset(q, k)) else -math.inf

    return form


HALVES = (lambda y, x: y <= 0, lambda y, x: y >= 0, lambda y, x: x <= 0, lambda y, x: x >= 0)
QUARTERS = (
    lambda y, x: y <= 0 and x <= 0,
    lambda y, x: y <= 0 and x >= 0,
    lambda y, x: y >= 0 and x <= 0,
    lambda y, x: y >= 0 and x >= 0,
)
EIGHTHS = (
    lambda y, x: y <= -abs(x) and x <= 0,
    lambda y, x: y >= abs(x) and x <= 0,
    lambda y, x: x <= -abs(y) and y <= 0,
    lambda y, x: x >= abs(y) and y <= 0,
)
FORMULAS: dict[str, Formula] = {
    "retnet": of_offset(naive.causal_decay, "gamma"),
    "retnet_normalised": normalised,
    "vir": vir,
    "xpos": of_offset(relatives.xpos, "zeta", "theta"),
    "rwkv": rwkv,
    "two_sided": of_offset(naive.manhattan_decay, "gamma"),
    "lion_d": of_offset(naive.manhattan_decay, "gamma"),
    "manhattan": of_offset(naive.manhattan_decay, "gamma"),
    "manhattan_bias": decay_bias,
    "euclidean": of_offset(naive.euclidean_decay, "gamma"),
    "elm": free,
    "gmm": gaussians,
    "gaussian": gaussians,
    "t5": t5(False),
    "t5_causal": past(t5(True)),
    "swin": swin,
    "swin_v2": swin_v2,
    "beit": swin,
    "alibi": past(of_offset(naive.alibi, "slope")),
    "alibi_2d": of_offset(relatives.euclidean_alibi, "slope"),
    "look_here_180": look_here(HALVES),
    "look_here_90": look_here(QUARTERS),
    "look_here_45": look_here(EIGHTHS),
    "kerple_log": past(of_offset(naive.kerple_log, "r1", "r2")),
    "kerple_power": past(of_offset(naive.kerple_power, "r1", "r2")),
    "sandwich": past(of_offset(relatives.sandwich, "scale")),
    "fire": past(fire),
    "gaussian_bias": of_offset(relatives.gaussian_bias, "amplitude", "sigma"),
    "gpsa": of_offset(naive.gpsa, "alpha", "center"),
    "quadratic": of_offset(naive.gpsa, "alpha", "center"),
    "window": hidden(lambda q, k, h, s, p: relatives.window(offset(q, k), 2, 1)),
    "dilated_window": hidden(lambda q, k, h, s, p: relatives.window(offset(q, k), 8, 2)),
    "causal_window": hidden(lambda q, k, h, s, p: relatives.causal_window(offset(q, k), 16)),
    "strided_window": hidden(lambda q, k, h, s, p: relatives.strided_window(offset(q, k), 8)),
    "neighbourhood": hidden(lambda q, k, h, s, p: relatives.neighbourhood(q, k, s, 3, 1)),
    "dilated_neighbourhood": hidden(lambda q, k, h, s, p: relatives.neighbourhood(q, k, s, 3, 2)),
    "swin_windows": hidden(lambda q, k, h, s, p: relatives.same_window(q, k, (4,) * len(s), (0,) * len(s))),
    "swin_shifted_windows": hidden(lambda q, k, h, s, p: relatives.same_window(q, k, (4,) * len(s), (2,) * len(s))),
    "block_causal": hidden(lambda q, k, h, s, p: relatives.block_causal(q, k, 8)),
    "long_net": hidden(lambda q, k, h, s, p: relatives.dilated_segments(q, k, h, 16, 2)),
    "tnn": tnn,
    "lkca": kernel,
    "circulant": circulant,
    "cosformer": cosformer,
    "rope": rope,
    "axial_rope": axial_rope,
    "mega": mega,
    "s4d": s4d,
    "fnet": fnet,
    "poolformer": poolformer,
}
