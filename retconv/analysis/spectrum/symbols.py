"""The symbol of a kernel: what its mask does, far from the border, to a plane wave."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from retconv.analysis.spectrum.circulant import torus_symbol
from retconv.convert import wrap
from retconv.grid import Grid
from retconv.kernels.parameters import check_real, compute_dtype, require_tensor


def frequencies(sizes: int | tuple[int, ...], device: torch.device | str | None = None) -> Tensor:
    """A regular grid of frequencies, ``θ = 2π j / L`` with ``j = −⌊L/2⌋ … ⌈L/2⌉ − 1`` along each axis.

    Zero frequency is at index ``⌊L/2⌋``; for even L the first one is Nyquist's, −π.

    Args:
        sizes: Frequencies along each axis, ``(L_1, …, L_D)``.
        device: Where to make them.

    Returns:
        float64 ``(L_1, …, L_D, D)`` in rad/token, in [−π, π).

    Example:
        >>> frequencies(4)[:, 0] / torch.pi
        tensor([-1.0000, -0.5000,  0.0000,  0.5000], dtype=torch.float64)
    """
    lengths = (sizes,) if isinstance(sizes, int) else sizes
    dtype = compute_dtype(torch.device(device or "cpu"))
    axes = [2 * math.pi * (torch.arange(L, device=device, dtype=dtype) - L // 2) / L for L in lengths]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def symbol(kernel: Tensor, theta: Tensor) -> Tensor:
    """The symbol (transfer function) of a kernel, ``a(θ) = Σ_δ K[δ] exp(i δ·θ)``, at any frequencies.

    A plane wave ``x[p] = exp(i θ·p)`` goes through the mask as ``(M x)[q] = Σ_δ K[δ] x[q + δ] = a(θ) x[q]`` wherever
    the window of the kernel meets no border: the symbol is the gain of the mask by frequency. Its sign convention
    follows from offset = key − query: RetNet's causal decay has ``1 / (1 − γ z⁻¹)`` with ``z = exp(iθ)``.

    Args:
        kernel: ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``, real.
        theta: ``(*S, D)`` in rad/token.

    Returns:
        complex128 ``(heads, *S)``, differentiable with respect to the kernel; its imaginary part is 0 up to rounding if
        ``K[−δ] = K[δ]``.

    Raises:
        ValueError: If the kernel is not real or has an even side, or theta another number of axes.

    Example:
        >>> symbol(torch.tensor([[0.5, 1.0, 0.5]]), torch.tensor([[0.0], [torch.pi]])).real.round(decimals=6).tolist()
        [[2.0, 0.0]]
    """
    kernel = _checked(kernel)
    require_tensor(theta, "theta")
    ndim = kernel.ndim - 1
    if theta.shape[-1] != ndim:
        raise ValueError(f"theta must have a last axis of {ndim}, one entry per axis, got shape {tuple(theta.shape)}")
    sites = theta.reshape(-1, ndim).to(kernel)
    # One axis at a time, the last first, so that the table of phases is never as large as the kernel.
    value = torch.einsum("h...d,sd->hs...", kernel.to(torch.complex128), _phases(kernel.shape[-1], sites[:, -1]))
    for axis in reversed(range(ndim - 1)):
        value = torch.einsum("hs...d,sd->hs...", value, _phases(kernel.shape[axis + 1], sites[:, axis]))
    return value.reshape(kernel.shape[0], *theta.shape[:-1])


def sampled_symbol(kernel: Tensor, sizes: int | tuple[int, ...]) -> Tensor:
    """The symbol on a regular grid of frequencies, by one fast Fourier transform.

    Equal to ``symbol(kernel, frequencies(sizes))`` for every size: the spectrum of the kernel wrapped onto a torus of
    that size (law 23), where offsets that differ by a multiple of L share their phase.

    Args:
        kernel: ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``, real.
        sizes: Frequencies along each axis, ``(L_1, …, L_D)``.

    Returns:
        complex128 ``(heads, L_1, …, L_D)``.

    Raises:
        ValueError: If the kernel is not real or has an even side, or there is not one size for each axis.

    Example:
        >>> sampled_symbol(torch.tensor([[0.5, 1.0, 0.5]]), 4).real.tolist()
        [[0.0, 1.0, 2.0, 1.0]]
    """
    kernel = _checked(kernel)
    ring = _ring((sizes,) if isinstance(sizes, int) else tuple(sizes), kernel.ndim - 1)
    return torus_symbol(wrap(kernel, ring), ring)


def sampled_gain(kernel: Tensor, sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The gain ``|a(θ)|`` on the half of a regular grid of frequencies with ``0 ≤ θ_D ≤ π``.

    A real kernel has ``a(−θ)`` the complex conjugate of ``a(θ)``, so that half of the frequencies tell all gains.

    Args:
        kernel: ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``, real.
        sizes: Frequencies along each axis of the whole grid, ``(L_1, …, L_D)``, even.

    Returns:
        float64 ``(heads, S)``, and the frequencies ``(S, D)`` in rad/token, in (−π, π].
    """
    kernel = _checked(kernel)
    wrapped = wrap(kernel, _ring(sizes, kernel.ndim - 1))
    # Where offset 0 stands turns phases alone.
    gain = torch.fft.rfftn(wrapped, dim=tuple(range(1, wrapped.ndim))).abs().flatten(1)
    axes = [2 * math.pi * torch.arange(1 - L // 2, L // 2 + 1, device=gain.device, dtype=gain.dtype) / L for L in sizes]
    ordered = [axis.roll(1 - L // 2) for axis, L in zip(axes, sizes, strict=True)]
    ordered[-1] = ordered[-1][: sizes[-1] // 2 + 1]
    return gain, torch.stack(torch.meshgrid(*ordered, indexing="ij"), dim=-1).flatten(0, -2)


def dense_sizes(grid: Grid, points: int = 2**16, most: int = 64) -> tuple[int, ...]:
    """Sizes of a regular grid of about so many frequencies that samples a kernel of this grid finely.

    Even multiples of ``2 n_d − 1``, between 4 and ``most`` of them, so that zero and Nyquist frequency are on it.
    """
    entries = math.prod(grid.kernel_shape)
    factor = 2 * max(2, min(most // 2, round((points / entries) ** (1 / grid.ndim) / 2)))
    return tuple(factor * side for side in grid.kernel_shape)


def _ring(sizes: tuple[int, ...], axes: int) -> Grid:
    """The torus of so many frequencies along each axis."""
    if len(sizes) != axes or min(sizes) < 1:
        raise ValueError(f"sizes must be {axes} positive integers, one per axis of the kernel, got {sizes}")
    return Grid(sizes, periodic=True)


def _phases(side: int, theta: Tensor) -> Tensor:
    """``exp(i δ θ)`` for each frequency and each offset of an axis: ``(S, side)``."""
    offset = torch.arange(side, device=theta.device) - side // 2
    angle = theta[:, None] * offset
    return torch.polar(torch.ones_like(angle), angle)


def _checked(kernel: Tensor) -> Tensor:
    check_real(kernel, "kernel")
    if not 2 <= kernel.ndim <= 4 or any(side % 2 == 0 for side in kernel.shape[1:]):
        raise ValueError(
            f"kernel must be (heads, 2 n_1 − 1, …) with one to three odd sides, got shape {tuple(kernel.shape)}"
        )
    return kernel.to(compute_dtype(kernel.device))
