"""Four published ways to turn a causal kernel of n taps into a linear recurrence, side by side (law 24).

=========================  ==================  ==============================  =======================================
function                   poles               inside the grid                 beyond it
=========================  ==================  ==============================  =======================================
``roots_of_unity``         the (n + 1)-th      exact, with n states            period n + 1, and −ΣK at distance n
                           roots except 1
``balanced_truncation``    from the Hankel     as many states as its singular  near 0, the continuation that it fits
                           matrix of K, 0, 0…  values ask for
``real_poles``             fixed, in (0, 1)    least squares, with weights     anything: the weights' cancellation ends
                           that cancel
``decay_sum``              searched            least squares, few states       decays; near K where K decays
=========================  ==================  ==============================  =======================================
"""

from __future__ import annotations

from functools import partial

import numpy as np
from torch import Tensor

from retconv.ambient import host
from retconv.approximate.exponential_sums import exponentials
from retconv.approximate.realisation import Realisation, by_states, one_of_each_pair, realised, taps
from retconv.approximate.sequence import Complex, Sum
from retconv.approximate.variable_projection import Array

#: Rates −log λ of the fixed poles: from this over n, a decay that the grid hardly sees, to this, two tokens' memory.
SLOWEST, FASTEST = 0.25, 4.0
#: Relative singular values of the fixed decays up to this are left out; NumPy's pinv, which the reference uses, has it.
CUTOFF = 1e-15
#: Beyond this condition number the modes of a balanced recurrence are no basis; those of delays are above 1e10.
_DEPENDENT = 1e10


@host()
def roots_of_unity(kernel: Tensor) -> Realisation:
    """ETSC: exact on n tokens by the (n + 1)-th roots of unity except 1.

    The n taps are continued by the one number with which they sum to 0, ``K'[n] = −Σ_{m<n} K[−m]``, and the discrete
    Fourier transform of these n + 1 has no constant term: ``K'[m] = Σ_{k=1}^{n} w_k exp(2πi k m / (n + 1))`` with
    ``w_k = Σ_{m=0}^{n} K'[m] exp(−2πi k m / (n + 1)) / (n + 1)``. All poles are on the unit circle: nothing is ever
    forgotten, and K' repeats with period n + 1 (law 24).

    Args:
        kernel: ``(heads, 2n − 1)``, real, 0 for δ > 0.

    Returns:
        The kernel up to rounding, with n states a head.

    Raises:
        ValueError: If the kernel is no real finite table on a line, or not causal.

    Source:
        Qin and Zhong 2023, Accelerating Toeplitz Neural Network with Constant-time Inference Complexity (arXiv
        2311.08756), and its code, which stores all n poles; of a real kernel one of each conjugate pair is enough.

    Example:
        >>> line = torch.arange(-3, 4)[:, None]
        >>> fit = roots_of_unity(retconv.kernels.causal_decay(line, torch.tensor(0.5).double()))
        >>> fit.response(6)[0, 3:].round(decimals=9).tolist()  # γ³, then −Σ γ^m, then from the start
        [0.125, -1.875, 1.0]
    """
    return realised(kernel, [_unit_circle(head) for head in taps(kernel, "roots_of_unity")])


def _unit_circle(head: Array) -> Sum:
    size = len(head)
    weights: Complex = np.fft.fft(np.append(head, -np.sum(head))) / (size + 1)
    k = np.arange(1, size // 2 + 1 + size % 2)
    poles = np.exp(2j * np.pi * k / (size + 1))
    # −1 to the last bit, and no modulus above 1 by rounding.
    poles = np.where(2 * k == size + 1, -1.0, poles / np.maximum(np.abs(poles), 1.0))
    poles = np.where(np.hypot(poles.real, poles.imag) > 1, poles * (1 - np.finfo(np.float64).eps), poles)
    return one_of_each_pair(poles, weights[k])


@host()
def balanced_truncation(kernel: Tensor, *, states: int | None = None, tolerance: float | None = None) -> Realisation:
    """Balanced truncation, from the Hankel operator's largest singular values: an alternative in Laughing Hyena.

    The taps followed by zeros have the Hankel matrix ``H[i, j] = K[−(i + j)]``, n × n and symmetric, with eigenvalues
    ``±s_r`` and vectors ``u_r``. With the p largest, the balanced realisation ``K'[m] = c Aᵐ b`` has
    ``A = S^(−½) Uᵀ U↑ S^(½)`` (U↑ is U a row up), ``b = S^(½) u₀ᵀ`` with the eigenvalue's sign and ``c = u₀ S^(½)``.
    It is stable, and over all distances, not those of the grid alone,
    ``s_{p+1} ≤ ‖symbol of K − K'‖_∞ ≤ 2 Σ_{r>p} s_r``: the left bound holds for p states of any kind (Adamyan, Arov and
    Krein 1971), the right one for these (Glover 1984; Al-Saggaf and Franklin 1987). So beyond the grid it is near 0:
    right for a kernel that has died away, and for a heavy tail not.

    The paper distils by gradient descent on poles and weights, ``h_t = Σ R_n λ_n^(t−1)`` beside a passthrough h_0, and
    takes the order from these singular values; it has balanced truncation as the alternative. Here h_0 is a tap like
    the others. Refining such poles on the grid by least squares is ``decay_sum``.

    Args:
        kernel: ``(heads, 2n − 1)``, real, 0 for δ > 0.
        states: p, or fewer where the matrix has a lower rank, or p poles cannot be told apart: with as many states as
            taps the recurrence only delays, and has no sum of exponentials.
        tolerance: Instead, the largest relative certificate: each head gets the first number of states that reaches it.

    Returns:
        The realisation, its certificate on the grid, and its states. A bare delay has poles at 0 of higher order, which
        no sum of exponentials has: the certificate, which is measured, shows it.

    Raises:
        ValueError: If not exactly one of states and tolerance is given, either is out of range, or the kernel is no
            real finite causal table on a line.
        OrderError: If no number of states up to 128 reaches the tolerance.

    Source:
        Massaroli et al. 2023, Laughing Hyena Distillery (arXiv 2310.18780): model order by Hankel singular values.
        Kung 1978 for the shift of singular vectors.

    Example:
        >>> line = torch.arange(-63, 64)[:, None]
        >>> past = torch.where(line[:, 0] <= 0, retconv.kernels.gaussian(line, torch.tensor(5.0).double()), 0.0)
        >>> int(balanced_truncation(past, tolerance=1e-3).states)
        4
    """
    return by_states("balanced_truncation", kernel, states, tolerance, lambda head: partial(_balanced, *_hankel(head)))


def _hankel(head: Array) -> tuple[Array, Array]:
    """Eigenvalues of the taps' Hankel matrix that are not rounding, largest modulus first, and their vectors."""
    size = len(head)
    padded = np.append(head, np.zeros(size - 1))
    values, vectors = np.linalg.eigh(padded[np.add.outer(np.arange(size), np.arange(size))])
    order = np.argsort(-np.abs(values), kind="stable")
    values, vectors = values[order], vectors[:, order]
    large = np.abs(values) > np.abs(values[0]) * size * np.finfo(np.float64).eps
    return values[large], vectors[:, large]


def _balanced(values: Array, vectors: Array, states: int) -> Sum:
    values, vectors = values[:states], vectors[:, :states]
    root = np.sqrt(np.abs(values))
    shift = np.append(vectors[1:], np.zeros((1, len(root))), axis=0)
    poles, modes = np.linalg.eig(vectors.T @ shift * root / root[:, None])
    if len(poles) > 1 and np.linalg.cond(modes) > _DEPENDENT:
        return _balanced(values, vectors, len(poles) - 1)
    entering = np.linalg.lstsq(modes, (root * np.sign(values) * vectors[0]).astype(np.complex128), rcond=None)[0]
    return one_of_each_pair(poles.astype(np.complex128), (vectors[0] * root) @ modes * entering)


@host()
def real_poles(kernel: Tensor, *, states: int | None = None, tolerance: float | None = None) -> Realisation:
    """SpectraLDS: fixed real poles in (0, 1), of which only the weights are fitted, by least squares.

    ``K'[m] = Σ_r w_r exp(−a_r m)`` with rates ``a_r`` in geometric progression from 1/4n to 4, and w by the
    pseudo-inverse. It is convex, and one set of poles serves every kernel; but real decays are nearly dependent: a
    kernel that is none of their positive mixtures takes weights that cancel, ``growth`` says by how much, and
    beyond the n tokens they cancel no longer.

    The paper first learns K as a combination of spectral filters, the leading eigenvectors of the Hankel matrix
    ``Z[i, j] = 2 / ((i + j)³ − (i + j))``, whose span is that of such decays up to an error that falls exponentially,
    and then writes the filters by the pseudo-inverse in the responses of one-state systems, drawn at random in [−1, 1]
    and chosen greedily. Here the kernel is given, the two steps are one, poles are not drawn, and there are no negative
    ones, which alternating kernels would need.

    Args:
        kernel: ``(heads, 2n − 1)``, real, 0 for δ > 0.
        states: Number of poles.
        tolerance: Instead, the largest relative certificate: each head gets the first number of poles that reaches it.

    Returns:
        The realisation, its certificate on the grid, and its states.

    Raises:
        ValueError: If not exactly one of states and tolerance is given, either is out of range, or the kernel is no
            real finite causal table on a line.
        OrderError: If no number of poles up to 128 reaches the tolerance.

    Source:
        Shah et al. 2025, SpectraLDS (arXiv 2505.17868), and its code (dshah02/SpectraLDS, ``filter_gen.py``).

    Example:
        >>> line = torch.arange(-63, 64)[:, None]
        >>> kernel = retconv.kernels.causal_decay(line, torch.tensor(0.9).double())
        >>> fit = real_poles(kernel, states=24)
        >>> bool(fit.relative < 1e-3), float(fit.exponentials.past_poles.imag.abs().max())
        (True, 0.0)
    """
    return by_states("real_poles", kernel, states, tolerance, lambda head: partial(_fixed, head))


def _fixed(head: Array, states: int) -> Sum:
    rates = np.geomspace(SLOWEST / len(head), FASTEST, states)
    decays = np.exp(-np.arange(len(head))[:, None] * rates)
    weights = np.linalg.lstsq(decays, head, rcond=CUTOFF)[0]
    return Sum(weights.astype(np.complex128), np.exp(-rates).astype(np.complex128))


@host()
def decay_sum(kernel: Tensor, *, order: int | None = None, tolerance: float | None = None) -> Realisation:
    """Ours: the few decays, real or in conjugate pairs, that least squares finds (law 16), as a realisation.

    Args:
        kernel: ``(heads, 2n − 1)``, real, 0 for δ > 0.
        order: Exponentials, a conjugate pair counting once: up to twice as many states.
        tolerance: Instead, the largest relative certificate, as in ``exponentials``.

    Returns:
        What ``exponentials`` gives, with its states.

    Raises:
        ValueError: As ``exponentials``, and if the kernel is not causal.
        OrderError: If no order reaches the tolerance.

    Example:
        >>> line = torch.arange(-63, 64)[:, None]
        >>> past = torch.where(line[:, 0] <= 0, retconv.kernels.gaussian(line, torch.tensor(5.0).double()), 0.0)
        >>> int(decay_sum(past, tolerance=1e-3).states)
        4
    """
    heads = taps(kernel, "decay_sum")
    line = exponentials(kernel, order=order, tolerance=tolerance).exponentials
    rows = zip(line.past_weights.cpu().numpy(), line.past_poles.cpu().numpy(), strict=True)
    sums = [Sum(weights[weights != 0], poles[weights != 0]) for weights, poles in rows]
    assert len(sums) == len(heads)
    return realised(kernel, sums)
