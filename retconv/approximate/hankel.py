"""Poles of a sequence from its Hankel matrix: which recursions come near it, and how near any can.

``h[m] = Σ_r w_r λ_r^m`` is the impulse response of a recursion with poles λ_r, and its Hankel matrix,
``H[i, j] = h[i + j]``, has one unit of rank for each pole. Keeping the p largest singular values, and reading the poles
off the shift of the kept vectors, is Kung's method (1978), the balanced truncation of the sequence.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retconv.approximate.variable_projection import Array

#: Hankel matrices up to this side are formed; longer ones are only multiplied with, by FFT.
DENSE_SIDE = 512
#: Extra directions and power steps of the randomised eigenvectors of a long Hankel matrix.
OVERSAMPLE, POWER_STEPS = 8, 3


def hankel_values(sequence: Array, count: int) -> Array:
    """The largest singular values of the square Hankel matrix of a sequence, descending: what poles cannot do.

    A sequence h' of p poles has a Hankel matrix of rank p, and a Hankel matrix has at most the ℓ1 norm of its sequence,
    so that ``‖h − h'‖₁ ≥ ‖H − H'‖₂ ≥ s_{p+1}(H)`` whatever the poles are.

    Args:
        sequence: h, ``(n,)``; the matrix has side ⌈n/2⌉.
        count: How many values; 0 stands for those beyond the side.
    """
    side = (len(sequence) + 1) // 2
    values = np.abs(_dominant(sequence[: 2 * side - 1], side, min(count, side))[0])
    return np.pad(values, (0, count - len(values)))


def hankel_poles(sequence: Array, order: int) -> list[NDArray[np.complex128]]:
    """Sets of at most ``order`` poles that suit a sequence, one of each conjugate pair (imaginary part ≥ 0).

    Both readings of a finite sequence are tried: its square Hankel matrix, exact if h is a sum of few exponentials, and
    that of h followed by zeros, whose poles are inside the unit circle, better if h has died away. In each, every
    dimension p up to twice the order (all poles in pairs) offers a set. The last set is a circle of equally spaced
    pairs whatever h is: n/2 of them, almost a Fourier basis, represent any sequence of n numbers exactly.

    Args:
        sequence: h, ``(n,)``.
        order: How many poles at most, a conjugate pair counting once.
    """
    n = len(sequence)
    side = (n + 1) // 2
    sets = []
    for extended, coefficients, rows in ((False, sequence[: 2 * side - 1], side), (True, sequence, n)):
        # The shift of p vectors is determined by p rows and one more.
        most = min(2 * order, rows if extended else max(rows - 1, 1))
        vectors = _dominant(coefficients, rows, most)[1]
        for p in range(1, most + 1):
            basis = vectors[:, :p]
            shift: NDArray[np.floating]
            if extended or rows == 1:
                shift = basis[:-1].T @ basis[1:]
            else:
                shift = np.linalg.lstsq(basis[:-1], basis[1:], rcond=None)[0]
            poles = np.linalg.eigvals(shift).astype(np.complex128)
            upper = poles[poles.imag >= 0]
            if len(upper) <= order:
                sets.append(upper)
    angles = np.pi * (np.arange(order) + 0.5) / order
    return [*sets, np.exp(-1 / n + 1j * angles)]


def _dominant(coefficients: Array, side: int, count: int) -> tuple[Array, Array]:
    """Eigenvalues largest in modulus of the symmetric ``H[i, j] = c[i + j]`` (0 beyond c), and their vectors."""
    c = np.pad(coefficients, (0, 2 * side - 1 - len(coefficients)))
    if side <= DENSE_SIDE:
        values, vectors = np.linalg.eigh(c[np.add.outer(np.arange(side), np.arange(side))])
    else:
        length = 2 ** int(np.ceil(np.log2(len(c))))
        transform = np.fft.rfft(c, length)[:, None]

        def multiply(x: Array) -> Array:
            # y_i = Σ_j c[i + j] x_j is a correlation, hence the conjugate.
            return np.fft.irfft(transform * np.fft.rfft(x, length, axis=0).conj(), length, axis=0)[:side]

        basis: Array = np.random.default_rng(0).standard_normal((side, min(count + OVERSAMPLE, side)))
        for _ in range(1 + POWER_STEPS):
            basis = np.linalg.qr(multiply(basis))[0].astype(np.float64)
        values, vectors = np.linalg.eigh(basis.T @ multiply(basis))
        vectors = basis @ vectors
    order = np.argsort(-np.abs(values), kind="stable")[:count]
    return values[order], vectors[:, order]
