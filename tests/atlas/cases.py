"""What a published mask's loop needs: its numbers, drawn anew from the seeds, and the grids on which it is defined."""

from __future__ import annotations

import math
from typing import Any

import torch

LINES = ((1,), (2,), (7,), (24,))
PLANES = ((1, 1), (1, 7), (3, 5))
ANY = (*PLANES, (2, 3, 4))
#: Where it is not every line or plane of the entry's own number of axes.
SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {
    "neighbourhood": ((3, 3), (3, 5), (3, 3, 4)),
    "dilated_neighbourhood": ((6, 6), (6, 7)),
    **dict.fromkeys(("axial_rope", "look_here_180", "look_here_90", "look_here_45"), PLANES),
    **dict.fromkeys(("gpsa", "quadratic", "alibi_2d"), (*PLANES, (2, 3))),
}
#: Those that have entries and no kernel, with the largest residual of a head on the grid of the verdict (law 3).
NO_KERNEL = {
    "retnet_normalised": 0.2777,
    "elm": 0.9702,
    "fire": 0.0938,
    "neighbourhood": 0.3662,
    "dilated_neighbourhood": 0.3997,
    "swin_windows": 0.6156,
    "swin_shifted_windows": 0.7110,
    "block_causal": 0.1845,
    "long_net": 0.8007,
    "fnet": 0.9742,
    "poolformer": 0.0980,
}


def shapes(name: str, axes: int) -> tuple[tuple[int, ...], ...]:
    return SHAPES.get(name, LINES if axes == 1 else ANY)


def drawn(seed: int, *size: int) -> Any:
    """Standard normal numbers of a seed, as lists."""
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()


def times(factor: float, numbers: Any) -> Any:
    return [times(factor, n) for n in numbers] if isinstance(numbers, list) else factor * numbers


def slopes_of_twelve() -> list[float]:
    return [2.0**-h for h in range(1, 9)] + [2 ** (-(2 * h - 1) / 2) for h in range(1, 5)]


def numbers(name: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """The numbers of a mask by name: published ones, or those of the seeds that the atlas has."""
    offsets, axes = math.prod(2 * n - 1 for n in shape), len(shape)
    rmt = {"gamma": [1 - 2 ** (-2 - 4 * h / 2) for h in range(2)]}
    retnet = {"gamma": [1 - 2.0 ** (-5 - h) for h in range(2)]}
    tables: dict[str, Any] = {
        "retnet": lambda: retnet,
        "retnet_normalised": lambda: retnet,
        "vir": lambda: {"gamma": [1 - 1 / 32, 1 - 1 / 512]},
        "xpos": lambda: {
            "zeta": [((2 * j + 0.4 * 64) / (1.4 * 64)) ** (1 / 512) for j in (0, 16)],
            "theta": [10000 ** (-2 * j / 64) for j in (0, 16)],
        },
        "rwkv": lambda: {"decay": [0.05, 0.5], "bonus": [0.3, -0.2]},
        "lion_d": lambda: {"gamma": [0.5, 1 / (1 + math.exp(-4))]},
        **dict.fromkeys(("two_sided", "manhattan", "manhattan_bias", "euclidean"), lambda: rmt),
        "elm": lambda: {"matrix": drawn(23, 2, math.prod(shape), math.prod(shape))},
        "gmm": lambda: {
            "sigma": [[10 + 10 * s for s in row] for row in drawn(21, 2, 5)],
            "alpha": times(2, drawn(22, 2, 5)),
        },
        "gaussian": lambda: {"sigma": [[2.0], [5.0]], "alpha": [[1.0], [1.0]]},
        **dict.fromkeys(("t5", "t5_causal"), lambda: {"rows": drawn(24, 32, 2)}),
        "swin": lambda: {"rows": times(0.02, drawn(25, offsets, 2))},
        "swin_v2": lambda: {
            "hidden": drawn(26, 512, axes),
            "shift": drawn(27, 512),
            "out": times(512**-0.5, drawn(28, 2, 512)),
        },
        "beit": lambda: {"rows": drawn(29, offsets + 3, 2)},
        **dict.fromkeys(("alibi", "alibi_2d"), lambda: {"slope": slopes_of_twelve()}),
        "kerple_log": lambda: {"r1": [0.4, 1.6], "r2": [0.9, 0.2]},
        "kerple_power": lambda: {"r1": [0.1, 0.8], "r2": [1.5, 0.4]},
        "sandwich": lambda: {"scale": [2.0, 4.0, 6.0, 8.0]},
        "fire": lambda: {
            "hidden": drawn(11, 32),
            "shift": drawn(12, 32),
            "out": times(32**-0.5, drawn(13, 2, 32)),
            "bias": drawn(14, 2),
        },
        "gaussian_bias": lambda: {"amplitude": [1.0, -1.0], "sigma": [4.4, 6.8]},
        "gpsa": lambda: {"alpha": [1.0] * 9, "center": [[a, b] for a in (-1, 0, 1) for b in (-1, 0, 1)]},
        "quadratic": lambda: {"alpha": [1.0, 0.25], "center": times(2, drawn(15, 2, axes))},
        "tnn": lambda: {"table": drawn(31, 2, offsets), "decay": [0.99, 0.9]},
        "lkca": lambda: {"table": drawn(32, 2, offsets)},
        "circulant": lambda: {"scores": drawn(33, 2, math.prod(shape))},
        "mega": lambda: {
            "alpha": drawn(34, 2, 2, 16)[0],
            "delta": drawn(34, 2, 2, 16)[1],
            "beta": drawn(35, 2, 16),
            "eta": drawn(36, 2, 16),
        },
        "s4d": lambda: {"read": drawn(37, 2, 16, 2)},
    }
    return tables[name]() if name in tables else {}
