"""How large a kernel is: the window that holds all but a given part of it, and the kernel cut to a window."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal, localcontext

import torch
from torch import Tensor

from retconv.ambient import host
from retconv.approximate.boundary import check_choice, check_table, check_tolerance
from retconv.approximate.certificate import Approximation, certify, double, unit_of
from retconv.kernels import GAUSSIAN_EPSILON
from retconv.kernels.parameters import as_parameter, check

#: Part of a Gaussian beyond one standard deviation, erfc(1/√2): up to there its tail is convex, which the bound needs.
ONE_SIGMA = 0.31731050786291415
#: Decimal digits in which ties of a decay are told: twice those of float64, and those of the largest radius.
DIGITS = 60


@dataclass(frozen=True, repr=False)
class Truncation(Approximation):
    """A kernel cut to a window around offset 0.

    Attributes:
        size: Side of each head's window, odd; int64 ``(heads,)``.

    Example:
        >>> kernel = retconv.kernels.gaussian(retconv.Grid((14, 14)).offsets(), 1.0)
        >>> retconv.approximate.truncate(kernel, tolerance=0.01).size.tolist()
        [7]
    """

    size: Tensor


@host()
def effective_size(kernel: Tensor, tolerance: float) -> Tensor:
    """The effective kernel size: side of the smallest centred cube that holds all but a part of the kernel's mass.

    ``k(ε) = min {k odd : Σ_{‖δ‖_∞ > (k−1)/2} |K[δ]| ≤ ε ‖K‖₁}``. By law 12, cutting the kernel to k(ε) changes ``M x``
    by at most ``ε ‖K‖₁ ‖x‖``. A tie within rounding goes to the larger window, so that the certificate of
    ``truncate(kernel, tolerance=ε)`` is never above ε.

    Args:
        kernel: ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``, real.
        tolerance: ε, a fraction of ‖K‖₁ in [0, 1); 0 asks for every entry that is not 0.

    Returns:
        Odd int64 ``(heads,)`` on the kernel's device, at most ``2 max(n_d) − 1``; 1 for a kernel that is 0.

    Raises:
        ValueError: If the kernel is not a real finite table, or the tolerance is outside [0, 1).

    Example:
        >>> kernel = retconv.kernels.two_sided_decay(retconv.Grid(32).offsets(), 0.5)
        >>> effective_size(kernel, 0.05).tolist()
        [9]
    """
    check_table(kernel, "effective_size")
    check_tolerance(tolerance, "effective_size")
    radius = chebyshev(kernel)
    flat = double(kernel).flatten(1).abs()
    # Where all that is not 0 counts, how large it is does not; else sums must not overflow.
    magnitude = flat / unit_of(flat) if tolerance else (flat > 0).double()
    sizes = max(kernel.shape[1:]) // 2 + 1
    rings = magnitude.new_zeros(len(kernel), sizes).index_add_(1, radius.flatten(), magnitude)
    # Summed from the outermost ring inwards, small terms first; entry r is the mass beyond radius r.
    beyond = torch.nn.functional.pad(rings.flip(1).cumsum(dim=1).flip(1)[:, 1:], (0, 1))
    # The certificate's rounding on both sides of the fraction, with a margin for the other order of summation.
    margin = 1 + 4 * (magnitude[0].numel() + 4) * torch.finfo(torch.float64).eps
    inside = beyond * margin <= tolerance * rings.sum(dim=1, keepdim=True)
    return (2 * inside.to(torch.int8).argmax(dim=1) + 1).to(kernel.device)


@host()
def truncate(kernel: Tensor, *, size: int | Tensor | None = None, tolerance: float | None = None) -> Truncation:
    """Cut a kernel to a centred cube: entries with ``‖δ‖_∞ > (size − 1)/2`` become 0, all others are bit-exact copies.

    The table keeps its shape, so that it still fits its grid; ``retconv.crop`` makes it small. K' is differentiable
    with respect to K.

    Args:
        kernel: ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``, real.
        size: Side of the window, odd, for all heads or ``(heads,)``.
        tolerance: Instead of a size, the largest relative certificate; each head gets its ``effective_size``.

    Returns:
        The cut kernel, its certificate, which is the mass cut away, and the size of each head.

    Raises:
        ValueError: If not exactly one of size and tolerance is given, a size is not odd and positive, the tolerance is
            outside [0, 1), or the kernel is not a real finite table.

    Example:
        >>> truncate(torch.tensor([[1.0, 2.0, 4.0, 2.0, 1.0]]), size=3).kernel
        tensor([[0., 2., 4., 2., 0.]])
    """
    check_table(kernel, "truncate")
    check_choice("truncate", "size", size, tolerance)
    if size is None:
        sides = effective_size(kernel, tolerance or 0.0)
    else:
        sides = torch.as_tensor(size, device=kernel.device)
        if sides.is_floating_point() or sides.shape not in ((), kernel.shape[:1]) or bool((sides % 2 != 1).any()):
            raise ValueError(f"truncate: size must be odd, one int or one for each of {len(kernel)} heads, got {size}")
        check(sides, "truncate: size", sides > 0, "must be positive")
        sides = sides.to(torch.int64).expand(len(kernel))
    inside = chebyshev(kernel).to(kernel.device) <= (sides // 2).reshape(-1, *(1,) * (kernel.ndim - 1))
    return Truncation(**certify(kernel, torch.where(inside, kernel, 0.0)), size=sides)


@host()
def decay_effective_size(gamma: Tensor | float, tolerance: float, *, axes: int = 1, causal: bool = False) -> Tensor:
    """Effective size of a decay in closed form, on the unbounded grid.

    The kernel γ^‖δ‖₁ of all integer offsets has, along one axis, total mass ``(1 + γ)/(1 − γ)``, of which the part
    ``t(r) = 2 γ^(r+1) / (1 + γ)`` lies beyond radius r; RetNet's causal γ^(−δ), δ ≤ 0, leaves ``t(r) = γ^(r+1)``. In D
    axes the cube holds ``(1 − t)^D``, so that ``r = ⌈log_γ(τ (1 + γ)/2)⌉ − 1``, or ``⌈log_γ τ⌉ − 1`` if causal, with
    ``τ = 1 − (1 − ε)^(1/D)``, and ``k = 2r + 1``, in as many digits as a tie needs: a window that leaves out exactly ε
    is large enough. On n tokens a side, the kernel has less mass beyond r and the measured size is smaller; the two
    agree once γ^n is negligible beside ε.

    Args:
        gamma: Number or ``(heads,)``, in (0, 1).
        tolerance: ε, in (0, 1).
        axes: D, the number of axes of the Manhattan decay.
        causal: RetNet's one-sided decay, on one axis.

    Returns:
        Odd int64 ``(heads,)``.

    Raises:
        ValueError: If gamma, the tolerance or the number of axes is out of range, or a causal decay has several axes.

    Example:
        >>> decay_effective_size(0.5, 0.05).item()
        9
    """
    gamma = _wide(gamma, "gamma")
    check(gamma, "gamma", (gamma > 0) & (gamma < 1), "must lie in (0, 1)")
    _check_closed_form(tolerance, axes, "decay_effective_size")
    if causal and axes != 1:
        raise ValueError(f"decay_effective_size: a causal decay has one axis, got {axes}")
    sizes = [2 * _decay_radius(g, tolerance, axes, causal) + 1 for g in gamma.tolist()]
    return torch.tensor(sizes, dtype=torch.int64, device=gamma.device)


def _decay_radius(gamma: float, tolerance: float, axes: int, causal: bool) -> int:
    """The least r that leaves out at most ε; logarithms in float64 would miss it by one where r + 1 is near a tie."""
    with localcontext() as context:
        context.prec = DIGITS - min(0, Decimal(tolerance).adjusted())
        g, whole = Decimal(gamma), Decimal(1)
        part = Decimal(tolerance) if axes == 1 else whole - ((whole - Decimal(tolerance)).ln() / axes).exp()
        steps = (part if causal else part * (1 + g) / 2).ln() / g.ln()
        tie = steps.to_integral_value()
        if abs(steps - tie) > Decimal(10) ** (-DIGITS // 2):
            tie = steps.to_integral_value(ROUND_CEILING)
    return max(int(tie) - 1, 0)


@host()
def gaussian_effective_size(sigma: Tensor | float, tolerance: float, *, axes: int = 1) -> Tensor:
    """Effective size of a Gaussian in closed form, on the unbounded grid: never too small, and rarely too large.

    With ``s² = σ² + 1e-5``, ``r = ⌈s √2 erfc⁻¹(τ) − ½⌉``, ``k = 2r + 1`` and ``τ = 1 − (1 − ε)^(1/D)``. The window is
    large enough: beyond s the Gaussian is convex, so that ``Σ_{m > r} g(m) ≤ ∫_{r+½}^∞ g`` (a convex function is at
    most its mean over an interval around the point), and ``Σ_m g(m) ≥ s √2π`` (Poisson summation: the other terms are
    positive). It is the smallest one except where the bound's slack, of relative order 1/s², crosses an integer.

    Args:
        sigma: Number or ``(heads,)``, in tokens; its sign is irrelevant.
        tolerance: ε, in (0, 0.317], the part beyond one σ: up to there the proof holds.
        axes: D, the number of axes.

    Returns:
        Odd int64 ``(heads,)``.

    Raises:
        ValueError: If sigma is not finite or its size no int64, or the tolerance or the number of axes is out of range.

    Example:
        >>> gaussian_effective_size(1.0, 0.05, axes=2).item()
        5
    """
    sigma = _wide(sigma, "sigma")
    _check_closed_form(tolerance, axes, "gaussian_effective_size")
    if tolerance > ONE_SIGMA:
        raise ValueError(
            f"gaussian_effective_size: the closed form holds for a tolerance of at most {ONE_SIGMA:.4f}, got "
            f"{tolerance:g}: measure with effective_size"
        )
    # τ, without cancellation.
    part = -torch.expm1(torch.log1p(torch.tensor(-tolerance, dtype=torch.float64, device=sigma.device)) / axes)
    width = (sigma.square() + GAUSSIAN_EPSILON).sqrt()
    # erfc⁻¹(τ) √2 is minus the normal quantile of τ/2, which keeps its digits for small τ.
    radius = torch.ceil(-width * torch.special.ndtri(part / 2) - 0.5)
    check(sigma, "sigma", radius < 2**62, "must have a size that an int64 holds")
    return 2 * radius.clamp(min=0).to(torch.int64) + 1


def chebyshev(kernel: Tensor) -> Tensor:
    """``‖δ‖_∞`` of every offset of a table ``(heads, 2 n_1 − 1, …)``: int64 ``(2 n_1 − 1, …)`` on the CPU."""
    axes = [(torch.arange(side) - side // 2).abs() for side in kernel.shape[1:]]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).amax(dim=0)


def _wide(value: Tensor | float, name: str) -> Tensor:
    return as_parameter(value, name).detach().double()


def _check_closed_form(tolerance: float, axes: int, name: str) -> None:
    check_tolerance(tolerance, name)
    if tolerance == 0:
        raise ValueError(f"{name}: no finite window holds the whole kernel: give a tolerance above 0")
    if axes not in (1, 2, 3):
        raise ValueError(f"{name}: a grid has 1, 2 or 3 axes, got {axes}")
