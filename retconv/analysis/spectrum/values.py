"""Eigenvalues and singular values of a mask."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from retconv.analysis.reading import is_symmetric, resolve
from retconv.analysis.spectrum.circulant import torus_symbol
from retconv.analysis.spectrum.lanczos import largest_eigenvalues, largest_singular_values
from retconv.convert import NotAConvolutionError
from retconv.grid import Grid, GridLike
from retconv.masks import Forms, MaskLike

#: Masks of N tokens with heads · N³ up to this are decomposed densely: one head of 1,290 tokens, or twelve of 563.
DENSE_WORK = 2**31

#: By how much of the largest rounding may move an eigenvalue that is given.
MOVED = 1e-6


def eigenvalues(mask: MaskLike, grid: GridLike, k: int | None = None) -> Tensor:
    """Eigenvalues of a mask, the largest in magnitude first.

    On a torus, a grid whose axes are all periodic, those of a mask with a kernel are exactly the samples of its symbol,
    by one transform (``torus_symbol``, law 23).

    Args:
        mask: In any form: see ``retconv.masks.Forms``.
        grid: The grid; prefix tokens are left out.
        k: How many; all N of them, from the dense mask, if not given. With k, a mask beyond ``DENSE_WORK`` is
            never formed: Lanczos iteration on the fast operator finds them.

    Returns:
        ``(heads, k)``: float64 if every head's mask is symmetric or triangular, else complex128. A triangular mask
        (RetNet's) has its diagonal as eigenvalues; that is returned exactly, since any numerical method for such a far
        from normal matrix gives another answer. Its size is told by ``singular_values``.

    Raises:
        ValueError: If k is not in 1 … N, or is asked of a large mask that is neither symmetric nor triangular; or if
            such a small one is so far from normal that rounding decides its eigenvalues, as of a shifted Gaussian.
        DenseLimitError: If the dense mask is needed and exceeds the memory limit.

    Example:
        >>> eigenvalues(torch.tensor([[[2.0, 1.0], [1.0, 2.0]]]), 2).tolist()
        [[3.0, 1.0]]
    """
    subject, k = resolve(mask, grid), _count(grid, k)
    symmetric, triangular, large = is_symmetric(subject), _triangular(subject), _is_large(subject, k)
    circulant = None if bool(triangular.all()) else _circulant(mask, grid)
    heads = []
    for head in range(subject.heads):
        one = subject.part(slice(head, head + 1))
        if triangular[head]:
            values = _diagonal(one)[0]
        elif circulant is not None:
            values = circulant[head].real if symmetric[head] else circulant[head]
        elif symmetric[head]:
            values = _stack([largest_eigenvalues(one, 0, k)], one)[0] if large else symmetric_eigenvalues(one)[0]
        elif large:
            raise ValueError(
                f"eigenvalues of an unsymmetric mask of {subject.grid.size} tokens are ill-conditioned and not "
                f"computed (head {head}): use singular_values"
            )
        else:
            values = _unsymmetric_eigenvalues(one.entries[0], head)
        heads.append(values[values.abs().argsort(descending=True, stable=True)][:k])
    # One that is complex makes all of them so.
    kind = torch.complex128 if any(values.is_complex() for values in heads) else torch.float64
    stacked = torch.empty(len(heads), k, dtype=kind, device=subject.values.device)
    for row, values in zip(stacked, heads, strict=True):
        row.copy_(values)
    return stacked


def singular_values(mask: MaskLike, grid: GridLike, k: int | None = None) -> Tensor:
    """Singular values of a mask, the largest first; the first is its operator norm.

    Args:
        mask: In any form: see ``retconv.masks.Forms``.
        grid: The grid; prefix tokens are left out.
        k: How many; all N of them, from the dense mask, if not given. With k, a mask beyond ``DENSE_WORK`` is
            never formed.

    Returns:
        float64 ``(heads, k)``.

    Raises:
        ValueError: If k is not in 1 … N.
        DenseLimitError: If the dense mask is needed and exceeds the memory limit.

    Example:
        >>> singular_values(torch.tensor([[[2.0, 1.0], [1.0, 2.0]]]), 2).tolist()
        [[3.0, 1.0]]
    """
    subject, k = resolve(mask, grid), _count(grid, k)
    if (circulant := _circulant(mask, grid)) is not None:
        return circulant.abs().sort(dim=1, descending=True).values[:, :k]
    symmetric = is_symmetric(subject).tolist()
    if not _is_large(subject, k):
        if not all(symmetric):
            return torch.linalg.svdvals(subject.entries)[:, :k]
        return symmetric_eigenvalues(subject).abs().sort(dim=1, descending=True).values[:, :k]
    spectra = [
        largest_eigenvalues(subject, head, k) if symmetric[head] else largest_singular_values(subject, head, k)
        for head in range(subject.heads)
    ]
    return _stack(spectra, subject).abs().sort(dim=1, descending=True).values


def operator_norm(mask: MaskLike, grid: GridLike) -> Tensor:
    """The operator norm ``‖M‖₂`` of each head: the most by which the mask lengthens any signal.

    Returns:
        float64 ``(heads,)``.

    Example:
        >>> operator_norm(torch.tensor([[[2.0, 1.0], [1.0, 2.0]]]), 2).tolist()
        [3.0]
    """
    return singular_values(mask, grid, k=1)[:, 0]


def symmetric_eigenvalues(subject: Forms) -> Tensor:
    """All eigenvalues of symmetric masks by the dense decomposition, float64 ``(heads, N)``, ascending.

    The mask of an even kernel, K[−δ] = K[δ], commutes with the reversal of the tokens, so that it maps even signals to
    even ones and odd to odd: two matrices of half the size take a quarter of the time.
    """
    mask = subject.entries
    if subject.kernel is None:
        return torch.linalg.eigvalsh(mask)
    size = mask.shape[-1]
    half = size // 2
    same, mirrored = mask[:, :half, :half], mask[:, :half, size - half :].flip(-1)
    even, odd = same + mirrored, same - mirrored
    if size % 2:
        # The middle token is its own mirror image: a unit vector against pairs of length √2.
        across = math.sqrt(2) * mask[:, :half, half, None]
        corner = mask[:, half, half, None, None]
        even = torch.cat([torch.cat([even, across], dim=2), torch.cat([across.mT, corner], dim=2)], dim=1)
    return torch.cat([torch.linalg.eigvalsh(even), torch.linalg.eigvalsh(odd)], dim=1).sort(dim=1).values


def _unsymmetric_eigenvalues(mask: Tensor, head: int) -> Tensor:
    """All eigenvalues of ``(N, N)``, complex.

    A change by ``ε ‖M‖`` moves eigenvalue i by up to ``κ_i ε ‖M‖``, κ_i the product of the lengths of its left and
    right vectors, whose product is 1.
    """
    values, right = torch.linalg.eig(mask)
    left = torch.linalg.inv_ex(right)[0]
    lengths = torch.linalg.vector_norm(right, dim=0) * torch.linalg.vector_norm(left, dim=1)
    moved = float(lengths.max() * torch.linalg.matrix_norm(mask) * torch.finfo(mask.dtype).eps)
    largest = float(values.abs().max())
    # Written so that NaN is refused.
    if not moved <= MOVED * largest:
        raise ValueError(
            f"eigenvalues of the unsymmetric mask of head {head} are ill-conditioned: rounding moves one by up to "
            f"{moved:.2g}, and the largest is about {largest:.2g}: use singular_values"
        )
    return values


def _circulant(mask: MaskLike, grid: GridLike) -> Tensor | None:
    """The eigenvalues of a mask that has a kernel on a torus, complex ``(heads, N)``: those of a normal matrix."""
    grid = Grid.of(grid)
    if not all(grid.periodic):
        return None
    try:
        with torch.no_grad():
            forms = Forms.of(mask, grid).without_prefix().convolution()
    except NotAConvolutionError:
        return None
    assert forms.kernel is not None
    return torus_symbol(forms.kernel.detach(), grid.without_prefix()).flatten(1)


def _count(grid: GridLike, k: int | None) -> int:
    size = Grid.of(grid).size
    if k is not None and not 1 <= k <= size:
        raise ValueError(f"k must be between 1 and the {size} tokens of {Grid.of(grid)}, got {k}")
    return size if k is None else k


def beyond_dense(subject: Forms) -> bool:
    """Whether decomposing the dense masks of all heads takes longer than iterating on the fast operator."""
    return subject.heads * subject.grid.size**3 > DENSE_WORK


def _is_large(subject: Forms, k: int) -> bool:
    """Whether a few values are wanted of a mask too large to decompose; Lanczos iteration finds at most N / 4."""
    return beyond_dense(subject) and k <= subject.grid.size // 4


def _triangular(subject: Forms) -> Tensor:
    """Bool ``(heads,)``. In row-major order k > q iff the offset's first entry other than 0 is positive."""
    if subject.kernel is not None:
        flat = subject.kernel.flatten(1)
        center = flat.shape[1] // 2
        past, future = flat[:, :center], flat[:, center + 1 :]
    else:
        mask = subject.entries
        past, future = mask.tril(-1).flatten(1), mask.triu(1).flatten(1)
    return ~past.any(dim=1) | ~future.any(dim=1)


def _diagonal(subject: Forms) -> Tensor:
    if subject.kernel is not None:
        flat = subject.kernel.flatten(1)
        return flat[:, flat.shape[1] // 2, None].expand(-1, subject.grid.size)
    return subject.entries.diagonal(dim1=1, dim2=2)


def _stack(spectra: list[np.ndarray], subject: Forms) -> Tensor:
    return torch.stack([torch.from_numpy(values.copy()) for values in spectra]).to(subject.values.device)
