"""Errors of the approximations; ``test_errors`` raises each."""

import torch

from retconv import kernels
from retconv.approximate import (
    OrderError,
    decay_effective_size,
    effective_size,
    exponentials,
    fit_decay,
    fit_gaussian_mixture,
    gaussian_effective_size,
    semiseparable_rank,
    separate,
    truncate,
)
from retconv.masks import DecayMask
from tests.error_table import Error

LINE, BOARD = torch.ones(2, 5), torch.ones(2, 5, 3)
NOISE = torch.randn(1, 399, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
nan, inf = float("nan"), float("inf")

TABLES: dict[str, dict[str, Error]] = {
    "approximate": {
        "kernel without heads": (
            lambda: truncate(torch.ones(5), size=3),
            ValueError,
            r"\(5,\): add the head axis",
        ),
        "no heads": (lambda: separate(BOARD[:0], rank=1), ValueError, "separate: kernel has no heads"),
        "a list": (lambda: fit_decay([[1.0, 2.0, 1.0]]), TypeError, "kernel must be a torch.Tensor, got list"),  # type: ignore[arg-type]
        "rank of a module": (
            lambda: semiseparable_rank(DecayMask(1), 0.1),  # type: ignore[arg-type]
            TypeError,
            "mask must be a torch.Tensor, got DecayMask",
        ),
        "too wide a Gaussian": (
            lambda: gaussian_effective_size(5e18, 0.05),
            ValueError,
            "sigma must have a size that an int64 holds.*got 5e.18",
        ),
        "even side": (lambda: effective_size(torch.ones(1, 4), 0.1), ValueError, r"odd sides, got shape \(1, 4\)"),
        "four axes": (lambda: fit_decay(torch.ones(1, 3, 3, 3, 3)), ValueError, "one to three odd sides"),
        "integers": (lambda: truncate(LINE.int(), size=3), ValueError, r"real floating dtype, got torch\.int32"),
        "complex": (lambda: exponentials(LINE.cfloat(), order=1), ValueError, r"got torch\.complex64"),
        "infinite": (lambda: truncate(LINE * -inf, size=3), ValueError, "must be finite, got 10 entries"),
        "tolerance of 1": (lambda: effective_size(LINE, 1.0), ValueError, r"must lie in \[0, 1\), got 1"),
        "negative tolerance": (lambda: truncate(LINE, tolerance=-0.1), ValueError, r"\[0, 1\), got -0\.1"),
        "tolerance NaN": (lambda: exponentials(LINE, tolerance=nan), ValueError, r"\[0, 1\), got nan"),
        "size and tolerance": (
            lambda: truncate(LINE, size=3, tolerance=0.1),
            ValueError,
            r"either size or tolerance, got size=3 and tolerance=0\.1",
        ),
        "neither": (lambda: exponentials(LINE), ValueError, "order=None and tolerance=None"),
        "even size": (lambda: truncate(LINE, size=4), ValueError, "size must be odd, .* got 4"),
        "size for three heads": (lambda: truncate(LINE, size=torch.tensor([1, 3, 5])), ValueError, "each of 2 heads"),
        "negative size": (lambda: truncate(LINE, size=-3), ValueError, "size must be positive, got -3"),
        "order of 0": (lambda: exponentials(LINE, order=0), ValueError, "order must be a positive int, got 0"),
        "components 1.5": (
            lambda: fit_gaussian_mixture(BOARD, 1.5),  # type: ignore[arg-type]
            ValueError,
            r"components must be a positive int, got 1\.5",
        ),
        "no starts": (lambda: fit_gaussian_mixture(BOARD, 2, starts=0), ValueError, "starts must be a positive int"),
        "exponentials of a board": (
            lambda: exponentials(BOARD, order=2),
            ValueError,
            r"5, 3\): separate it first",
        ),
        "order ruled out": (
            lambda: exponentials(NOISE, tolerance=1e-3),
            OrderError,
            r"no order up to 32 reaches tolerance 0\.001 for head 0, Hankel singular values rule them out: .* order=32",
        ),
        "order not found": (
            lambda: exponentials(NOISE[:, :5], tolerance=0.0),
            OrderError,
            r"no order up to 2 reaches tolerance 0 for head 0, the last has \d.*e-1\d: give a larger tolerance",
        ),
        "exponentials of axes": (
            lambda: exponentials(kernels.Separable((LINE[:, None], LINE[:, None])), order=1).exponentials,
            ValueError,
            r"has 2 axes: use axes\[d\]",
        ),
        "rank of 0": (lambda: separate(BOARD, rank=0), ValueError, "rank must be a positive int, got 0"),
        "rank below rounding": (
            lambda: separate(torch.rand(1, 5, 5, generator=torch.Generator().manual_seed(0)), tolerance=1e-12),
            ValueError,
            r"tolerance 1e-12 is below the rounding of torch\.float32, .* float64",
        ),
        "tolerance of a rank": (
            lambda: semiseparable_rank(torch.ones(1, 3, 3), 1.5),
            ValueError,
            r"fraction of ‖M‖₂ and must lie in \[0, 1\), got 1\.5",
        ),
        "oblong mask": (lambda: semiseparable_rank(BOARD, 0.1), ValueError, r"float32 of shape \(2, 5, 3\)"),
        "infinite mask": (lambda: semiseparable_rank(torch.ones(1, 3, 3) / 0, 0.1), ValueError, "only after exp"),
        "unknown metric": (
            lambda: fit_decay(BOARD, "chebyshev"),  # type: ignore[arg-type]
            ValueError,
            "fit_decay: unknown metric 'chebyshev': choose from manhattan, ",
        ),
        "causal decay of a board": (
            lambda: fit_decay(BOARD, "causal"),
            ValueError,
            "'causal' is for lines, got",
        ),
        "gamma of 1": (lambda: decay_effective_size(1.0, 0.1), ValueError, r"gamma must lie in \(0, 1\), got 1"),
        "closed form at 0": (lambda: decay_effective_size(0.9, 0.0), ValueError, "no finite window"),
        "causal in two axes": (
            lambda: decay_effective_size(0.9, 0.1, axes=2, causal=True),
            ValueError,
            "causal decay has one axis, got 2",
        ),
        "closed form of 4 axes": (lambda: gaussian_effective_size(2.0, 0.1, axes=4), ValueError, "2 or 3 axes, got 4"),
        "tolerance beyond sigma": (
            lambda: gaussian_effective_size(2.0, 0.5),
            ValueError,
            r"at most 0\.3173, got 0\.5: measure with effective_size",
        ),
    }
}
