"""Extreme eigenvalues by ARPACK's Lanczos iteration on the fast operator: the mask is never formed."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from retconv.ambient import threads
from retconv.analysis.reading import product
from retconv.masks import Forms

#: Lanczos vectors that are kept between restarts: enough that flat symbols converge in about 2,000 products.
VECTORS = 40
#: Relative residual at which an eigenvector is accepted; 0 is the machine's. A narrow Gaussian's largest values are
#: within 1e-5 of each other: at 1e-9, vectors whose values are 2e-8 below the largest were accepted.
ACCURACY = 0.0


def largest_eigenvalues(subject: Forms, head: int, k: int) -> np.ndarray:
    """The k eigenvalues of largest magnitude of one head's symmetric mask, float64 in no particular order."""
    alone, unit = _alone(subject, head)
    return unit * _lanczos(partial(product, alone), subject.grid.size, subject.values.device, k, ACCURACY)


def eigenvalue_range(subject: Forms, head: int, accuracy: float) -> tuple[float, float, float]:
    """The smallest and largest eigenvalue of one head's symmetric mask.

    With ``c ≥ ‖M‖`` both ``2c ± M`` have eigenvalues from c to 3c, and their largest are sought: so the accuracy is
    relative to c, a mask whose smallest eigenvalue is 0 is no harder than another, and none of them is 0.

    Args:
        subject: The mask.
        head: Its head.
        accuracy: Of the residuals, relative to c.

    Returns:
        The smallest eigenvalue, from above; the largest, from below; and c, the largest ℓ1 norm of a row.
    """
    alone, unit = _alone(subject, head)
    rows = alone.values[0].abs()
    bound = float(rows.sum() if subject.kernel is not None else rows.sum(dim=1).max())
    ends = []
    for sign in (-1.0, 1.0):

        def shifted(x: Tensor, sign: float = sign) -> Tensor:
            return 2 * bound * x + sign * product(alone, x)

        ends.append(float(_lanczos(shifted, subject.grid.size, subject.values.device, 1, accuracy * 2 / 3)[0]))
    return unit * (2 * bound - ends[0]), unit * (ends[1] - 2 * bound), unit * bound


def largest_singular_values(subject: Forms, head: int, k: int) -> np.ndarray:
    """The k largest singular values of one head's mask: square roots of eigenvalues of MᵀM.

    Squaring costs small singular values their accuracy, not the largest ones.
    """
    alone, unit = _alone(subject, head)
    back = alone.transposed()
    squares = _lanczos(
        lambda x: product(back, product(alone, x)), subject.grid.size, subject.values.device, k, ACCURACY
    )
    return unit * np.sqrt(np.maximum(squares, 0.0))


def _alone(subject: Forms, head: int) -> tuple[Forms, float]:
    """One head's mask in a unit of its own, a power of two, and that: ARPACK takes values below 4e-11 for rounding."""
    values = subject.values[head : head + 1]
    unit = 2.0 ** (math.frexp(float(values.abs().max()))[1] - 1)
    name = "entries" if subject.kernel is None else "kernel"
    return Forms(subject.grid, 1, {name: values / unit}), unit


def _lanczos(
    product: Callable[[Tensor], Tensor], size: int, device: torch.device, k: int, relative: float
) -> np.ndarray:
    # 0.2 s of import that a mask small enough for a dense decomposition does not need.
    from scipy.sparse.linalg import LinearOperator, eigsh

    def apply(x: np.ndarray) -> Any:
        columns = torch.from_numpy(np.ascontiguousarray(x)).reshape(1, size, -1)
        return product(columns.to(device)).reshape(x.shape).cpu().numpy()

    matrix = LinearOperator((size, size), matvec=apply, matmat=apply, dtype=np.float64)
    # A fixed start that has a part along every eigenvector, odd ones too, and gives the same digits every time.
    start = np.random.default_rng(0).standard_normal(size)
    if not apply(start).any():  # a mask of zeros, on which ARPACK finds no vector to go on with
        return np.zeros(k)
    vectors = min(size - 1, max(VECTORS, 2 * k + 1))
    # One column at a time is too little work to share out: threads would spend their time waiting for each other.
    with threads(1):
        return eigsh(matrix, k, which="LM", v0=start, ncv=vectors, tol=relative, return_eigenvectors=False)
