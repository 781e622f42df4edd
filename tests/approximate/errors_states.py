"""Errors of realisations as recurrences; ``test_errors`` raises each."""

import torch

from retconv.approximate import OrderError, balanced_truncation, decay_sum, real_poles, roots_of_unity
from tests.error_table import Error

PAST = torch.tensor([[0.25, 0.5, 1.0, 0.0, 0.0]], dtype=torch.float64)
NOISE = torch.randn(1, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64).triu(-4)
NOISE[:, 5:] = 0

TABLES: dict[str, dict[str, Error]] = {
    "states": {
        "a kernel of a board": (
            lambda: roots_of_unity(torch.ones(1, 3, 3)),
            ValueError,
            r"roots_of_unity: a recurrence along a line needs a kernel \(heads, 2n − 1\), got \(1, 3, 3\)",
        ),
        "a kernel of the future": (
            lambda: real_poles(PAST.flip(1), states=2),
            ValueError,
            r"real_poles: .* causal kernel, 0 for δ > 0, got a weight of 0\.5 there: realise each side by itself",
        ),
        "two-sided decays": (
            lambda: decay_sum(PAST + PAST.flip(1), order=2),
            ValueError,
            r"decay_sum: .* got a weight of 0\.5",
        ),
        "states and tolerance": (
            lambda: balanced_truncation(PAST, states=2, tolerance=0.1),
            ValueError,
            r"either states or tolerance, got states=2 and tolerance=0\.1",
        ),
        "no states": (lambda: balanced_truncation(PAST, states=0), ValueError, "states must be a positive int, got 0"),
        "out of reach": (
            lambda: real_poles(NOISE, tolerance=0.0),
            OrderError,
            r"no number of states up to 5 reaches tolerance 0 for head 0, the best has \d.*: give a larger .*=5",
        ),
        "an advice that is the best": (
            lambda: balanced_truncation(NOISE, tolerance=1e-9),
            OrderError,
            r"no number of states up to 5 reaches .*, the best has 0\..*: give a larger tolerance, or states=[1-4]$",
        ),
        "a response of no token": (
            lambda: roots_of_unity(PAST).response(0),
            ValueError,
            "response: tokens must be a positive int, got 0",
        ),
        "a truth that ends with the grid": (
            lambda: roots_of_unity(PAST).beyond(torch.ones(1, 3)),
            ValueError,
            r"1 heads and more than the 3 tokens of the grid, got shape \(1, 3\)",
        ),
    }
}
