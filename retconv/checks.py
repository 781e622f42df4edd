"""Public checks: what notebooks, tests and users call to see a law hold."""

from __future__ import annotations

import torch
from torch import Tensor

from retconv.ambient import host
from retconv.convert import kernel_to_mask, project
from retconv.grid import Grid, GridLike
from retconv.kernels.parameters import check_real
from retconv.masks import Mask
from retconv.operators import MaskOperator, operator

#: Relative tolerance of a sum in each dtype, the one table of the package. A gather must be bit-exact.
TOLERANCES: dict[torch.dtype, float] = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.bfloat16: 2.0**-7,
    torch.float16: 2.0**-10,
}


def tolerance(dtype: torch.dtype) -> float:
    """The relative tolerance of sums in a dtype: 1e-12 in float64, 1e-5 in float32.

    Raises:
        ValueError: If the table has no such dtype.

    Example:
        >>> tolerance(torch.float64) < tolerance(torch.float32)
        True
    """
    if dtype not in TOLERANCES:
        raise ValueError(f"no tolerance for {dtype}: the table has {', '.join(str(t) for t in TOLERANCES)}")
    return TOLERANCES[dtype]


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """``max |actual − expected| / max |expected|`` in float64, of complex numbers by their moduli.

    Where all of ``expected`` is 0 it is the absolute error, and where an entry is not finite it is infinite.

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> relative_error(torch.tensor([3.0, 4.5]), torch.tensor([3.0, 4.0]))
        0.125
    """
    if actual.shape != expected.shape:
        raise ValueError(f"shapes differ: {tuple(actual.shape)} and {tuple(expected.shape)}")
    a, e = _wide(actual), _wide(expected)
    if not bool(torch.isfinite(a).all() & torch.isfinite(e).all()):
        return float("inf")
    if not e.numel():
        return 0.0
    scale, error = float(e.abs().max()), float((a - e).abs().max())
    if max(scale, error) == float("inf"):
        # A modulus or a difference of the largest numbers is beyond them.
        scale, error = float((e / 4).abs().max()), float((a / 4 - e / 4).abs().max())
    return error / scale if scale else error


def _wide(x: Tensor) -> Tensor:
    return x.detach().to(torch.complex128 if x.is_complex() else torch.float64)


def shift_invariance_residual(mask: Tensor, grid: GridLike) -> Tensor:
    """Law 3: how far a mask is from a convolution, ``‖M − PM‖_F / ‖M‖_F``, float64 ``(heads,)``; 0 iff it has a kernel.

    Raises:
        ValueError: If the mask's shape is not the grid's, or it is not real.

    Example:
        >>> shift_invariance_residual(retconv.DecayMask(heads=1)(4), 4).item()
        0.0
    """
    return project(mask, grid).residual


@host()
def assert_equivalent(mask: Tensor, kernel: Tensor, grid: GridLike, columns: int = 3) -> None:
    """Law 1: a mask and a kernel are the same operator.

    Checks that ``mask`` is bit for bit the kernel's gather, and that ``mask @ x`` equals ``operator @ x``
    by every method for a fixed random x within the dtype's tolerance.

    Args:
        mask: ``(heads, length, length)``.
        kernel: ``(heads, 2 n_1 − 1, …, 2 n_D − 1)`` in the same dtype.
        grid: The grid.
        columns: Columns of x.

    Raises:
        AssertionError: If they differ, naming where and by how much.
        ValueError: If a shape is not the grid's.

    Example:
        >>> mask = retconv.GaussianMixtureMask(heads=3)
        >>> assert_equivalent(mask((4, 4)), mask.kernel(retconv.Grid((4, 4))), (4, 4))  # silent: they are one map
    """
    grid = Grid.of(grid)
    gathered = kernel_to_mask(kernel, grid)
    if not torch.equal(gathered, mask):
        if gathered.shape != mask.shape:
            raise AssertionError(f"mask has shape {tuple(mask.shape)}, the kernel's has {tuple(gathered.shape)}")
        where = [int(i) for i in (gathered != mask).nonzero()[0]]
        raise AssertionError(
            f"mask is not the kernel's gather: first at [head, query, key] = {where}, "
            f"{float(mask[tuple(where)])!r} against {float(gathered[tuple(where)])!r}"
        )
    plain = grid.without_prefix()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(kernel.shape[0], plain.size, columns, generator=generator, dtype=torch.float64)
    x = x.to(kernel.device, kernel.dtype)
    expected = mask[:, grid.prefix :, grid.prefix :].double() @ x.double()
    for method in operator(kernel, plain).methods:
        actual = operator(kernel, plain, method) @ x
        for head, (ours, theirs) in enumerate(zip(actual, expected, strict=True)):
            error = relative_error(ours, theirs)
            if error > tolerance(kernel.dtype):
                raise AssertionError(
                    f"method {method!r}: relative error {error:.2e} in head {head} on {grid}, above "
                    f"{tolerance(kernel.dtype):g}"
                )


def assert_forms(mask: Mask, grid: GridLike) -> None:
    """The forms that a mask names beside its kernel are that kernel: outer products, decay and logarithm.

    Operators, retention and attention take whichever form is fastest, and believe it.

    Args:
        mask: The mask.
        grid: The grid; prefix tokens are left out.

    Raises:
        AssertionError: If a form differs from ``mask.kernel(grid)`` by more than its dtype's tolerance.

    Example:
        >>> assert_forms(retconv.DecayMask(heads=2), (4, 6))  # silent: factors, decay and logarithm are the kernel
    """
    grid = Grid.of(grid).without_prefix()
    named, kernel = mask.forms(grid), mask.kernel(grid)
    check_real(kernel, "kernel")
    factors, decay, log = named.factors, named.decay, mask.log_kernel(grid)
    forms = {
        "separable": None if factors is None else factors.kernel(),
        "decay": None if decay is None else decay.kernel(grid),
        # Of a negative weight there is none.
        "log_kernel": None if log is None else torch.where(log.isnan() & (kernel < 0), kernel, log.exp()),
    }
    for name, form in forms.items():
        for head, (ours, theirs) in enumerate(zip(() if form is None else form, kernel, strict=form is not None)):
            error = relative_error(ours, theirs)
            if error > tolerance(kernel.dtype):
                raise AssertionError(
                    f"{type(mask).__name__}.{name} is not its kernel: relative error {error:.2e} in head {head} on "
                    f"{grid}, above {tolerance(kernel.dtype):g}"
                )


@host()
def dot_test(op: MaskOperator, columns: int = 3, dtype: torch.dtype = torch.float64, seed: int = 0) -> None:
    """The adjoint is the adjoint: ``⟨M x, y⟩ = ⟨x, Mᵀ y⟩`` in each head, for random x and y.

    Args:
        op: The operator.
        columns: Columns of x and y.
        dtype: In which to compute.
        seed: Of the random x and y.

    Raises:
        AssertionError: If the two sides differ by more than the dtype's tolerance of their scale ``‖M x‖ ‖y‖``.

    Example:
        >>> dot_test(retconv.operator(retconv.DecayMask(heads=2), (4, 4)))  # silent: ⟨M x, y⟩ = ⟨x, Mᵀ y⟩
    """
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, op.shape[0], op.shape[1], columns, generator=generator, dtype=torch.float64)
    x, y = x.to(op.kernel.device, dtype), y.to(op.kernel.device, dtype)
    forward, backward = op @ x, op.adjoint() @ y
    for head, (mx, mty) in enumerate(zip(forward.detach().double(), backward.detach().double(), strict=True)):
        # In units in which no product or square is beyond float64.
        unit = max(float(mx.abs().max()), float(mty.abs().max())) or 1.0
        left, right = float((mx / unit * y[head]).sum()), float((x[head] * (mty / unit)).sum())
        scale = float((mx / unit).norm() * y[head].double().norm())
        if not abs(left - right) <= tolerance(dtype) * scale:
            raise AssertionError(
                f"dot test: ⟨Mx, y⟩ = {left * unit!r}, ⟨x, Mᵀy⟩ = {right * unit!r} in head {head}, scale "
                f"{scale * unit:.3g}, {dtype}"
            )
