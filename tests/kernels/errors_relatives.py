"""Errors of position biases, buckets, windows and masks of position."""

import torch

from retconv import kernels
from retconv.cross import Cross
from retconv.grid import Grid
from retconv.masks import WindowMask
from tests.error_table import Error

LINE, PLANE = Grid(4).offsets(), Grid((3, 4)).offsets()


def ones(*shape: int) -> torch.Tensor:
    return torch.ones(*shape)


WAVES: dict[str, Error] = {
    "xpos beyond a line": (lambda: kernels.xpos(PLANE, 0.5, 0.1), ValueError, "xpos is defined on 1-D .* 2 axes: use"),
    "zeta": (lambda: kernels.xpos(LINE, 1.5, 0.1), ValueError, r"zeta must lie in \(0, 1\], got 1.5"),
    "angles": (
        lambda: kernels.rotary(PLANE, ones(2, 3)),
        ValueError,
        r"angles must be \(heads, pairs, 2\), got shape \(2, 3\)",
    ),
    "scale": (lambda: kernels.sandwich(LINE, 0.0), ValueError, "scale must be positive, got 0"),
    "features": (lambda: kernels.sandwich(LINE, 1.0, features=3), ValueError, "features must be even .*, got 3"),
    "length": (lambda: kernels.cosformer(LINE, -1.0), ValueError, "length must be positive, got -1"),
}

BUCKETS: dict[str, Error] = {
    "beyond a line": (lambda: kernels.t5_bucket(PLANE), ValueError, "t5_bucket is defined on 1-D grids, .* 2 axes"),
    "between tokens": (lambda: kernels.t5_bucket(LINE - 0.5), ValueError, "offset must be whole tokens, got -3.5"),
    "odd": (lambda: kernels.t5_bucket(LINE, 5), ValueError, "buckets=5 .* at least 4 buckets, an even number"),
    "too few": (lambda: kernels.t5_bucket(LINE, 1, causal=True), ValueError, "buckets=1 .* at least 2 buckets, and"),
    "reach": (lambda: kernels.t5_bucket(LINE, 32, 8), ValueError, "reach=8 do not fit: .* reach above half"),
    "table": (lambda: kernels.t5(LINE, ones(4)), ValueError, r"table must be \(buckets, heads\), got shape \(4,\)"),
}

VISION: dict[str, Error] = {
    "beit of a swin table": (
        lambda: kernels.beit_table(ones(35, 2), (3, 4)),
        ValueError,
        r"must be \(38, heads\) for Grid\(\(3, 4\)\), 35 offsets and 3 rows .* shape \(35, 2\): .* for swin_table",
    ),
    "swin v2": (
        lambda: kernels.swin_v2(PLANE, ones(5, 2), ones(4), ones(2, 5), (3, 4)),
        ValueError,
        r"\(units, 2\), \(units,\) and \(heads, units\), .* got \[\(5, 2\), \(4,\), \(2, 5\)\] and window \(3, 4\)",
    ),
    "sigma": (lambda: kernels.gaussian_bias(PLANE, 1.0, 0.0), ValueError, "sigma must not be 0, got 0"),
    "planes": (
        lambda: kernels.field_of_view(PLANE, 0.5, ones(2, 2)),
        ValueError,
        r"planes must be \(heads, planes, 2\), got shape \(2, 2\)",
    ),
    "heads of planes": (
        lambda: kernels.field_of_view(PLANE, ones(2), ones(3, 1, 2)),
        ValueError,
        "parameters disagree on the number of heads",
    ),
    "euclidean slope": (lambda: kernels.euclidean_alibi(PLANE, -0.5), ValueError, "slope must be at least 0, got -0.5"),
}

WINDOWS: dict[str, Error] = {
    "dilation": (lambda: kernels.window(PLANE, 1, dilation=0), ValueError, "dilation must be at least 1, got 0"),
    "dilated between tokens": (lambda: kernels.window(LINE + 0.5, 1, 2), ValueError, "offset must be whole .* -2.5"),
    "a dilated mask between tokens": (
        lambda: WindowMask(1, 1, 2).at(Cross(4, 2).offset_table()),
        ValueError,
        "offset must be whole tokens, got -2.5, -1.5, -0.5, 0.5 and 2 more",
    ),
    "strides between tokens": (lambda: kernels.strided_window(LINE / 2, 2), ValueError, "offset must be whole tokens"),
    "a table between tokens": (
        lambda: kernels.relative_table(Cross(4, 2).offset_table(), ones(1, 7)),
        ValueError,
        "offset must be whole tokens, got -2.5, -1.5, -0.5, 0.5 and 2 more",
    ),
    "beyond a line": (lambda: kernels.causal_window(PLANE, 2), ValueError, "causal_window is .* 2 axes: use window"),
    "length": (lambda: kernels.causal_window(LINE, 0), ValueError, "length must be at least 1, got 0"),
    "stride": (lambda: kernels.strided_window(LINE, 0), ValueError, "stride must be at least 1, got 0"),
}

SLOPES: dict[str, Error] = {
    "unknown": (
        lambda: kernels.slopes("alib", 4),
        ValueError,
        "unknown slope schedule 'alib': did you mean 'alibi'",
    ),
    "no heads": (lambda: kernels.slopes("alibi", 0), ValueError, "heads must be at least 1, got 0"),
}

POSITIONS: dict[str, Error] = {
    "block causal on a plane": (
        lambda: kernels.block_causal((3, 4), 2),
        ValueError,
        r"block_causal is defined on 1-D grids, got Grid\(\(3, 4\)\): use the line Grid\(12\)",
    ),
    "small grid": (
        lambda: kernels.neighbourhood((3, 7), 3, 2),
        ValueError,
        r"side · dilation ≤ every axis, got side=3, dilation=2 on Grid\(\(3, 7\)\)",
    ),
    "shift": (
        lambda: kernels.same_window((3, 4), (2, 2), 2),
        ValueError,
        r"each of 2 axes, got sides \(2, 2\) and shift \(2, 2\)",
    ),
    "block": (lambda: kernels.block_causal(4, 0), ValueError, "block must be at least 1, got 0"),
    "segment": (
        lambda: kernels.dilated_segments(4, 2, 0, 1),
        ValueError,
        "must be at least 1, got heads=2, segment=0, dilation=1",
    ),
    "fire weights": (
        lambda: kernels.fire(4, 0.1, 2.0, ones(3), ones(3), ones(2, 4), ones(2)),
        ValueError,
        r"got \[\(3,\), \(3,\), \(2, 4\), \(2,\)\]",
    ),
    "fire threshold": (
        lambda: kernels.fire(4, 0.1, 0.0, ones(3), ones(3), ones(2, 3), ones(2)),
        ValueError,
        "threshold must be positive, got 0",
    ),
}

TABLES = {
    "waves": WAVES,
    "buckets": BUCKETS,
    "vision": VISION,
    "windows": WINDOWS,
    "slopes": SLOPES,
    "positions": POSITIONS,
}
