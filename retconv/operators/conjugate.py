"""Conjugate gradients on the fast product, for positive definite masks that are too large to be eliminated."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from retconv.ambient import threads
from retconv.grid import Grid
from retconv.operators.direct import require_values
from retconv.operators.fft import FFTProduct
from retconv.operators.implicit import Implicit
from retconv.operators.residuals import SolveError, relative, units
from retconv.watching import is_differentiated

#: Condition number above which nothing is tried: rounding of the products alone would be 1e-10 of y by then.
CONDITION_LIMIT = 1e6
#: Steps at most, and how often the recursion starts anew from the residual that there really is.
STEPS, STARTS = 2000, 4
#: Entries of y from which on several threads share the work.
SHARED = 2**18


class Circulant:
    """T. Chan's optimal circulant: of all periodic masks the nearest to M in Frobenius norm, and so a preconditioner.

    Its kernel is the mask's own on the torus, ``c[j] = Σ_{δ ≡ j mod n} ∏_d (1 − |δ_d|/n_d) K[δ]``. Its eigenvalues are
    the Rayleigh quotients of M with plane waves: so they lie between those of M, and are positive where M is.

    Args:
        kernel: ``(heads, 2 n_1 − 1, …)``, even.
        grid: The grid.

    Source:
        T. F. Chan 1988, An optimal circulant preconditioner for Toeplitz systems (SIAM J. Sci. Stat. Comput. 9);
        in several dimensions T. F. Chan and J. A. Olkin 1994 (Numer. Algorithms 6).
    """

    def __init__(self, kernel: Tensor, grid: Grid) -> None:
        self.grid = grid
        for axis, n in enumerate(grid.shape, start=1):
            offset = torch.arange(1 - n, n, device=kernel.device).abs().to(kernel.dtype)
            weighted = kernel * (1 - offset / n).reshape(-1, *(1,) * (grid.ndim - axis))
            past, rest = weighted.split([n - 1, n], dim=axis)
            kernel = rest.index_add(axis, torch.arange(1, n, device=kernel.device), past)
        #: shape: (heads, 1, n_1, …, n_D // 2 + 1)
        self.eigenvalues = torch.fft.rfftn(kernel, dim=tuple(range(1, kernel.ndim))).real[:, None]

    def solve(self, y: Tensor) -> Tensor:
        """Its inverse applied to ``y`` ``(heads, N, columns)``."""
        axes = tuple(range(2, 2 + self.grid.ndim))
        waves = torch.fft.rfftn(y.mT.reshape(len(y), y.shape[2], *self.grid.shape), dim=axes)
        return torch.fft.irfftn(waves / self.eigenvalues, s=self.grid.shape, dim=axes).flatten(2).mT


class ConjugateGradients:
    """``M⁻¹ y`` of even, positive definite masks by conjugate gradients with Chan's circulant as preconditioner.

    A step is one FFT product and one division of spectra, O(N log N); each column stops by itself. Gradients come by
    implicit differentiation. Before it starts the condition number is bounded from both sides without forming the mask:
    from above by the eigenvalues of the torus of 2n − 1 tokens or more an axis of which the mask is a part, where they
    are positive; from below by Rayleigh quotients of plane waves, and of the wave that the torus damps most, faded
    out towards the border.

    Args:
        kernel: ``(heads, 2 n_1 − 1, …)`` in the computing dtype.
        grid: The grid.
        tolerance: Largest relative residual of a column.

    Raises:
        ValueError: If a kernel is not even, or values are hidden.
        SolveError: If a mask is not positive definite, or its condition number is certain to be above
            ``CONDITION_LIMIT``.
    """

    def __init__(self, kernel: Tensor, grid: Grid, tolerance: float) -> None:
        require_values("cg", kernel)
        self.kernel, self.grid, self.tolerance = kernel, grid, tolerance
        self.iterations = 0
        with torch.no_grad():
            values = kernel.detach()
            even = (values == values.flip(tuple(range(1, values.ndim)))).flatten(1).all(dim=1)
            if not bool(even.all()):
                raise ValueError(
                    f"solve: method 'cg' is for even kernels, K[−δ] = K[δ], which that of head "
                    f"{int(even.int().argmin())} is not: use method='dense' on {grid} with N = {grid.size}, or its "
                    "nearest outer product, retconv.approximate.separate(kernel, rank=1)"
                )
            self._product, self._circulant = FFTProduct(values, grid), Circulant(values, grid)
            self._bound()

    def __call__(self, y: Tensor) -> Tensor:
        """Apply to ``y`` ``(heads, N, columns)``."""
        require_values("cg", y, self.kernel)
        return Implicit.apply(y, self.kernel, self) if is_differentiated(y, self.kernel) else self.values(y)

    def adjoint(self) -> ConjugateGradients:
        """An even mask is its own transpose."""
        return self

    def condition(self) -> Tensor:
        """The condition number's bound from above, ``(heads,)``, where there is none the best one from below."""
        return torch.where(self.above.isinf(), self.below, self.above)

    def values(self, y: Tensor) -> Tensor:
        """The solution, unseen by autograd.

        Raises:
            SolveError: If a mask turns out not to be positive definite, or the tolerance is not reached.
        """
        # Few columns are too little work to share out: threads would spend their time waiting for each other.
        with torch.no_grad(), threads(1 if y.numel() < SHARED else torch.get_num_threads()):
            unit = units(y.detach())
            y = y.detach() / unit
            x, error = torch.zeros_like(y), float("inf")
            for _ in range(STARTS):
                rest, errors = relative(self._product, x, y)
                error = float(errors.max()) if errors.numel() else 0.0
                if error <= self.tolerance:
                    self._note(x, y)
                    return x * unit
                x = x + self._start(rest, torch.linalg.vector_norm(y, dim=1, keepdim=True))
        about = float(self.condition().max())
        kind = "about" if bool(self.above.isfinite().all()) else "at least"
        raise SolveError(
            f"solve: conjugate gradients reached a relative residual of {error:.3g} in {self.iterations} steps, above "
            f"the tolerance of {self.tolerance:.3g}, with a condition number of {kind} {about:.2g}: "
            "raise the tolerance, or add to the kernel's entry at offset 0",
            condition=about,
            residual=error,
        )

    def _start(self, rest: Tensor, scale: Tensor) -> Tensor:
        """Conjugate gradients from 0 for the right side ``rest``; its steps are counted."""
        x, z = torch.zeros_like(rest), self._circulant.solve(rest)
        direction, power = z, (rest * z).sum(dim=1, keepdim=True)
        # A little below, since the recursion's residual drifts from the real one; beyond float64 it means nothing.
        least = torch.finfo(rest.dtype).eps * torch.linalg.vector_norm(rest, dim=1, keepdim=True)
        target = torch.maximum(0.5 * self.tolerance * scale, least)
        for _ in range(STEPS):
            active = torch.linalg.vector_norm(rest, dim=1, keepdim=True) > target
            if not bool(active.any()):
                break
            image = self._product(direction)
            energy = (direction * image).sum(dim=1, keepdim=True)
            self._require_positive(energy, active)
            step = torch.where(active, power / energy, 0.0)
            x, rest = x + step * direction, rest - step * image
            z = self._circulant.solve(rest)
            following = (rest * z).sum(dim=1, keepdim=True)
            ratio = torch.where(active, following / power, 0.0)
            direction, power = z + ratio * direction, following
            self.iterations += 1
        return x

    def _bound(self) -> None:
        """Bounds of the condition number from below and above."""
        torus = self._product.spectrum.real[:, 0] * math.prod(self._product.lengths)
        waves = self._circulant.eigenvalues.flatten(1)
        least, most = torus.flatten(1).amin(dim=1), torus.flatten(1).amax(dim=1)
        # What rounding leaves of an eigenvalue says nothing, neither of its size nor of its sign.
        rounding = 64 * torch.finfo(most.dtype).eps * most.abs()
        self.above = torch.where(least > rounding, most / least, torch.inf)
        faded = torch.stack([self._faded(head) for head in torus.flatten(1).argmin(dim=1).tolist()])
        lowest = torch.minimum(waves.amin(dim=1), (faded * self._product(faded)).sum(dim=(1, 2)))
        lowest = torch.where(lowest.abs() < rounding, rounding, lowest)
        self._require_positive(lowest, torch.ones_like(lowest, dtype=torch.bool))
        self.below = waves.amax(dim=1) / lowest
        head = int(self.below.argmax())
        if float(self.below[head]) > CONDITION_LIMIT:
            about = float(self.above[head])
            raise SolveError(
                f"solve: the mask of head {head} has a condition number of at least {float(self.below[head]):.2g}"
                + (f", about {about:.2g} by its symbol" if about < torch.inf else "")
                + f", above {CONDITION_LIMIT:.0g}: add to the kernel's entry at offset 0, narrow the kernel, or where "
                "it is one outer product give its factors, which are solved for axis by axis",
                condition=about if about < torch.inf else float(self.below[head]),
            )

    def _faded(self, place: int) -> Tensor:
        """The wave at an entry of the torus' spectrum, faded out towards the ends of each axis, ``(N, 1)``."""
        # The spectrum holds its last axis first, the half of its frequencies that a real kernel has.
        *others, last = self._product.lengths
        half, *index = np.unravel_index(place, (last // 2 + 1, *others))
        lengths = zip([*index, half], [*others, last], strict=True)
        frequency = [2 * math.pi * int(j) / length for j, length in lengths]
        position = self.grid.coordinates(self.kernel.device).to(self.kernel.dtype)
        n, theta = position.new_tensor(self.grid.shape), position.new_tensor(frequency)
        fade = torch.sin(math.pi * (position + 0.5) / n).square().prod(dim=1)
        wave = fade * torch.cos((position - (n - 1) / 2) @ theta)
        if float(wave.norm()) <= 1e-3 * float(fade.norm()):  # at Nyquist's frequency of an even side
            wave = fade * torch.cos(position @ theta)
        return (wave / wave.norm())[:, None]

    def _require_positive(self, energy: Tensor, active: Tensor) -> None:
        bad = (active & ~(energy > 0)).reshape(len(energy), -1).any(dim=1)
        if bool(bad.any()):
            head = int(bad.int().argmax())
            raise SolveError(
                f"solve: the mask of head {head} is not positive definite: xᵀ M x = "
                f"{float(energy[head].min()):.3g} for some x, and conjugate gradients need it to be positive: use "
                f"method='dense' on {self.grid} with N = {self.grid.size}, or add to the kernel's entry at offset 0"
            )

    def _note(self, x: Tensor, y: Tensor) -> None:
        """A solution is a step of inverse iteration: its Rayleigh quotient is near the smallest eigenvalue."""
        quotient = (x * y).sum(dim=1) / (x * x).sum(dim=1)
        smallest = quotient.nan_to_num(nan=torch.inf).amin(dim=1)
        self.below = torch.maximum(self.below, self._circulant.eigenvalues.flatten(1).amax(dim=1) / smallest)
