"""Errors of the foundations, part by part; ``test_errors`` raises each."""

import torch

from retconv import checks, kernels
from retconv.convert import NotAConvolutionError
from retconv.grid import Grid
from retconv.masks import DecayMask, ElementwiseMask, GaussianMixtureMask, KernelTableMask, Mask, RetNetMask
from retconv.memory import DenseLimitError, dense_limit
from retconv.operators import operator
from tests.error_table import Error

LINE, PLANE = Grid(4).offsets(), Grid((3, 4)).offsets()
nan, inf = float("nan"), float("inf")


def ones(*shape: int) -> torch.Tensor:
    return torch.ones(*shape)


def within_limit() -> None:
    with dense_limit(0):
        pass


def above_limit() -> None:
    with dense_limit(99):
        Grid(5).require_dense()


GRID: dict[str, Error] = {
    "no axis": (lambda: Grid(()), ValueError, r"1, 2 or 3 axes, got 0 in shape \(\)"),
    "four axes": (lambda: Grid((1, 2, 3, 4)), ValueError, r"1, 2 or 3 axes, got 4 in shape \(1, 2, 3, 4\)"),
    "axis of 0": (lambda: Grid((3, 0)), ValueError, r"positive int, got shape \(3, 0\)"),
    "axis of -2": (lambda: Grid(-2), ValueError, r"positive int, got shape \(-2,\)"),
    "float axis": (lambda: Grid((3.0,)), ValueError, r"positive int, got shape \(3.0,\)"),  # type: ignore[arg-type]
    "boolean axis": (lambda: Grid((True, 3)), ValueError, r"positive int, got shape \(True, 3\)"),
    "negative prefix": (lambda: Grid(3, prefix=-1), ValueError, "prefix must be an int of at least 0, got -1"),
    "float prefix": (lambda: Grid(3, prefix=1.0), ValueError, r"prefix .* got 1\.0"),  # type: ignore[arg-type]
    "text": (lambda: Grid.parse("14by14"), ValueError, r"expected a form like '14x14' or '14x14\+1', got '14by14'"),
    "text of 0": (lambda: Grid.parse("0x3"), ValueError, "got '0x3'"),
    "limit of 0": (within_limit, ValueError, "positive number of bytes, got 0"),
    "dense object": (above_limit, DenseLimitError, r"\(1, 5, 5\).*retconv\.operator.*dense_limit\(100\)"),
}

KERNELS: dict[str, Error] = {
    "gamma of 0": (lambda: kernels.manhattan_decay(PLANE, 0.0), ValueError, r"gamma must lie in \(0, 1\], got 0"),
    "gamma above 1": (lambda: kernels.causal_decay(LINE, 1.5), ValueError, r"gamma must lie in \(0, 1\], got 1\.5"),
    "many bad gammas": (
        lambda: kernels.euclidean_decay(PLANE, torch.tensor([2.0, 0.5, 3, 4, 5, 6])),
        ValueError,
        r"got 2, 3, 4, 5 and 1 more",
    ),
    "gamma is NaN": (lambda: kernels.two_sided_decay(LINE, nan), ValueError, "gamma must be finite, got nan"),
    "gamma is a matrix": (
        lambda: kernels.manhattan_decay(PLANE, ones(2, 3)),
        ValueError,
        r"gamma must be a number or of shape \(heads,\), got shape \(2, 3\)",
    ),
    "causal plane": (lambda: kernels.causal_decay(PLANE, 0.5), ValueError, "2 axes: use manhattan_decay or euclidean"),
    "two-sided plane": (lambda: kernels.two_sided_decay(PLANE, 0.5), ValueError, "two_sided_decay .* 2 axes"),
    "sigma is infinite": (lambda: kernels.gaussian(PLANE, inf), ValueError, "sigma must be finite, got inf"),
    "alpha is NaN": (lambda: kernels.gaussian_mixture(PLANE, 1.0, nan), ValueError, "alpha must be finite, got nan"),
    "sigma without components": (
        lambda: kernels.gaussian_mixture(PLANE, ones(3), 1.0),
        ValueError,
        r"sigma must be a number or of shape \(heads, …\), got shape \(3,\)",
    ),
    "components disagree": (
        lambda: kernels.gaussian_mixture(PLANE, ones(2, 3), ones(2, 4)),
        ValueError,
        r"same number of components, got \(2, 3\) and \(2, 4\)",
    ),
    "heads disagree": (
        lambda: kernels.gaussian_mixture(PLANE, ones(2, 3), ones(4, 3)),
        ValueError,
        r"disagree on the number of heads: \[\(2, 3\), \(4, 3\)\]",
    ),
    "offsets of four axes": (lambda: kernels.alibi(ones(5, 4), 1.0), ValueError, r"length 1, 2 or 3.*shape \(5, 4\)"),
    "locality below 0": (lambda: kernels.gpsa(PLANE, -1.0), ValueError, "alpha must be at least 0, got -1"),
    "centre of 3 axes": (lambda: kernels.gpsa(PLANE, 1.0, ones(1, 3)), ValueError, r"\(heads, 2\), got \(1, 3\)"),
    "slope below 0": (lambda: kernels.alibi(PLANE, -0.5), ValueError, r"slope must be at least 0, got -0\.5"),
    "scale of 0": (lambda: kernels.kerple_log(PLANE, 0.0, 1.0), ValueError, "scale must be positive, got 0"),
    "rate below 0": (lambda: kernels.kerple_log(PLANE, 1.0, -3.0), ValueError, "rate must be positive, got -3"),
    "exponent above 2": (lambda: kernels.kerple_power(PLANE, 1.0, 2.5), ValueError, r"exponent .* \(0, 2\], got 2\.5"),
    "exponent of 0": (lambda: kernels.kerple_power(PLANE, 1.0, 0.0), ValueError, "exponent must be positive, got 0"),
    "table of other axes": (
        lambda: kernels.relative_table(PLANE, ones(2, 5)),
        ValueError,
        r"2 odd sides, got shape \(2, 5\)",
    ),
    "even table": (lambda: kernels.relative_table(LINE, ones(2, 4)), ValueError, r"1 odd sides, got shape \(2, 4\)"),
    "Swin table": (
        lambda: kernels.swin_table(ones(48, 3), (4, 4)),
        ValueError,
        r"\(49, heads\) for window \(4, 4\), got shape \(48, 3\)",
    ),
    "radius below 0": (lambda: kernels.window(PLANE, -1), ValueError, "radius must be at least 0, got -1"),
    "unknown schedule": (
        lambda: kernels.gammas("rwkv", 2),
        ValueError,
        "unknown gamma schedule 'rwkv': choose from retnet, ",
    ),
    "schedule of no heads": (lambda: kernels.gammas("rmt", 0), ValueError, "heads must be at least 1, got 0"),
    "schedule out of range": (lambda: kernels.gammas("retnet", 60), ValueError, r"60 heads .* leaves \(0, 1\)"),
    "factors of no rank": (
        lambda: kernels.Separable((ones(1, 0, 3),)),
        ValueError,
        r"one per axis, rank ≥ 1, got \[\(1, 0, 3\)\]",
    ),
    "factors disagree": (
        lambda: kernels.Separable((ones(2, 1, 5), ones(3, 1, 5))),
        ValueError,
        r"one per axis, rank ≥ 1, got \[\(2, 1, 5\), \(3, 1, 5\)\]",
    ),
}

MASKS: dict[str, Error] = {
    "no heads": (lambda: DecayMask(0, gamma=0.5), ValueError, "heads must be at least 1, got 0"),
    "no number of heads": (
        lambda: DecayMask("manhattan"),
        TypeError,
        "heads must be a number, got 'manhattan': see the arguments of DecayMask",
    ),
    "no kernel defined": (lambda: Mask(1).kernel(3), NotImplementedError, r"Mask must define kernel\(grid\)"),
    "gamma of 1": (lambda: RetNetMask(2, gamma=1.0), ValueError, r"gamma must lie in \(0, 1\), got 1"),
    "gamma of 0": (lambda: DecayMask(2, gamma=0.0), ValueError, r"gamma must lie in \(0, 1\), got 0"),
    "gammas and heads": (lambda: DecayMask(2, gamma=ones(3) / 2), ValueError, r"of shape \(2,\), got shape \(3,\)"),
    "gamma schedule": (lambda: RetNetMask(2, gamma="slow"), ValueError, "unknown gamma schedule 'slow'"),
    "RetNet on a plane": (lambda: RetNetMask(2)((3, 4)), ValueError, r"Grid\(\(3, 4\)\): use DecayMask.*Grid\(12\)"),
    "normalised kernel": (
        lambda: RetNetMask(2, normalize=True).kernel(3),
        NotAConvolutionError,
        r"normalize=False, or retconv\.project",
    ),
    "metric": (lambda: DecayMask(2, "cosine"), ValueError, "unknown metric 'cosine': choose from two_sided, manhattan"),  # type: ignore[arg-type]
    "two-sided on a plane": (
        lambda: DecayMask(2, "two_sided")((3, 3)),
        ValueError,
        r"1-D grids, got Grid\(\(3, 3\)\): use metric='manhattan'",
    ),
    "factors of two sides on a plane": (lambda: DecayMask(2, "two_sided").separable((3, 3)), ValueError, "1-D grids"),
    "decay of two sides on a plane": (lambda: DecayMask(2, "two_sided").decay((3, 3)), ValueError, "1-D grids, got Gr"),
    "two-sided at offsets of a plane": (
        lambda: DecayMask(2, "two_sided").log_at(PLANE),
        ValueError,
        "1-D grids, got offsets with 2 axes: use metric='manhattan'",
    ),
    "components": (lambda: GaussianMixtureMask(2, 0), ValueError, "components must be at least 1, got 0"),
    "start of a mixture": (
        lambda: GaussianMixtureMask(2, start="wide"),  # type: ignore[arg-type]
        ValueError,
        "unknown start 'wide': choose from reference, local",
    ),
    "sigma and alpha": (
        lambda: GaussianMixtureMask.from_parameters(ones(2, 3), ones(2, 1)),
        ValueError,
        r"one shape, got \(2, 3\) and \(2, 1\)",
    ),
    "start of a free mask": (
        lambda: KernelTableMask(3, 2, start="twos"),  # type: ignore[arg-type]
        ValueError,
        "unknown start 'twos': choose from zeros, ones",
    ),
    "ELM elsewhere": (
        lambda: ElementwiseMask(4, 2)((2, 2)),
        ValueError,
        r"cannot move to Grid\(\(2, 2\)\).*KernelTable",
    ),
    "even kernel": (
        lambda: KernelTableMask.from_kernel(ones(1, 4)),
        ValueError,
        r"\(heads, odd, …\), got shape \(1, 4\)",
    ),
}

OPERATORS: dict[str, Error] = {
    "prefix": (
        lambda: operator(ones(1, 5), Grid(3, prefix=1)),
        ValueError,
        r"got Grid\(\(3,\), prefix=1\): use grid\.without_prefix\(\) and leave the first 1 token",
    ),
    "unknown method": (
        lambda: operator(ones(1, 5), 3, "magic"),
        ValueError,
        "unknown method 'magic': choose from auto, dense, ",
    ),
    "toeplitz on a line": (
        lambda: operator(ones(1, 5), 3, "toeplitz"),
        ValueError,
        r"'toeplitz' does not apply to this kernel on Grid\(\(3,\)\): choose one of dense, direct, fft$",
    ),
    "free kernel, separable": (lambda: operator(ones(1, 5), 3, "separable"), ValueError, "'separable' does not apply"),
    "mixture, recursive": (
        lambda: operator(GaussianMixtureMask(2), (3, 3), "recursive"),
        ValueError,
        "'recursive' does not apply .* choose one of dense, direct, fft, toeplitz, separable$",
    ),
    "kernel of another grid": (lambda: operator(ones(1, 5), 4), ValueError, r"kernel must be \(heads, 7\)"),
    "mask without kernel": (
        lambda: operator(RetNetMask(1, normalize=True), 4),
        NotAConvolutionError,
        r"retconv\.project",
    ),
    "integer signal": (lambda: operator(ones(1, 5), 3) @ ones(3, 2).long(), ValueError, r"torch\.int64: call x\.float"),
    "short signal": (lambda: operator(ones(1, 5), 3) @ ones(1, 2, 4), ValueError, r"\(…, 1, 3, d\).*\(1, 2, 4\)$"),
    "signal with prefix": (lambda: operator(ones(1, 5), 3) @ ones(1, 4, 2), ValueError, "leave out prefix tokens"),
    "vector": (lambda: operator(ones(1, 5), 3) @ ones(3), ValueError, r"x must be \(…, 1, 3, d\).*shape \(3,\)"),
    "heads": (lambda: operator(ones(2, 5), 3) @ ones(4, 3, 1), ValueError, r"x has 4 heads .* operator has 2"),
}

CHECKS: dict[str, Error] = {
    "dtype": (lambda: checks.tolerance(torch.int64), ValueError, "no tolerance for torch.int64: the table has torch.f"),
    "shapes": (lambda: checks.relative_error(ones(2), ones(3)), ValueError, r"shapes differ: \(2,\) and \(3,\)"),
    "mask of another grid": (lambda: checks.shift_invariance_residual(ones(1, 4, 4), 3), ValueError, "mask must be"),
}

TABLES = {
    "grid": GRID,
    "kernels": KERNELS,
    "masks": MASKS,
    "operators": OPERATORS,
    "checks": CHECKS,
}
