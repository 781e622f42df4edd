"""Law 22: what the mask of gates is, and when it is a convolution."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import settings
from torch import Tensor

from retconv import convert
from retconv.checks import shift_invariance_residual
from retconv.grid import Grid
from retconv.kernels import Decay, Gates, PolylineGates
from retconv.masks import Forms
from tests.compare import assert_close, assert_exact
from tests.kernels import naive_gates
from tests.kernels.gates import log_gates, open_gates
from tests.strategies import HEADS, on_grids, uniform

F64 = torch.float64
on_lines = on_grids((1,))


def entries(logs: Tensor) -> Tensor:
    return Gates(logs).entries(Grid(logs.shape[-1]))


@settings(max_examples=8)
@on_lines
def test_law_22_gate_1_is_never_used(shape: tuple[int], seed: int) -> None:
    """No bit of the mask and no gradient depends on it, be it 0."""
    logs = log_gates(seed, shape[0], None).requires_grad_()
    other = torch.cat([torch.full((HEADS, 1), -torch.inf, dtype=F64), logs[:, 1:]], dim=1)
    assert_exact(entries(other), entries(logs))
    (slope,) = torch.autograd.grad(entries(logs).sum(), logs)
    assert_exact(slope[:, 0], torch.zeros(HEADS))


@settings(max_examples=8)
@on_lines
def test_law_22_equal_gates_are_the_decay(shape: tuple[int], seed: int) -> None:
    """To the bit, whatever gate 1 is; so there is a kernel, which is read off."""
    gamma = uniform(seed, 0.05, 1, HEADS)
    logs = gamma.log()[:, None].repeat(1, shape[0])
    logs[:, 0] = -uniform(seed + 1, 0, 5, HEADS)
    decay = Forms.of(Decay(gamma, causal=True), Grid(shape))
    assert_exact(entries(logs), decay.entries)
    assert_exact(Forms.of(Gates(logs), Grid(shape)).convolution().kernel, decay.kernel)


@settings(max_examples=8)
@on_lines
def test_law_22_a_kernel_iff_gates_after_the_first_are_equal(shape: tuple[int], seed: int) -> None:
    """Up to two tokens there is always one; beyond, one gate that differs leaves a residual, which the error states."""
    size = shape[0]
    logs = open_gates(seed, HEADS, 1).repeat(1, size)
    assert_exact(shift_invariance_residual(entries(logs), size), torch.zeros(HEADS))
    logs[:, -1] -= 0.1
    residual = shift_invariance_residual(entries(logs), size)
    if size <= 2:
        assert_exact(residual, torch.zeros(HEADS))
        convert.mask_to_kernel(entries(logs), size)
    else:
        assert bool((residual > 0).all())
        with pytest.raises(convert.NotAConvolutionError, match="relative residual") as error:
            Forms.of(Gates(logs), Grid(size)).convolution()
        assert_exact(error.value.residual, residual)


def test_law_22_the_residual_of_one_gate_among_three() -> None:
    """By hand: the first subdiagonal holds a and b, and keeps their mean; of 3 + a² + b² + (a b)² the rest is lost."""
    a, b = 0.5, 0.25
    logs = torch.tensor([[1.0, a, b]], dtype=F64).log()
    expected = ((a - b) ** 2 / 2 / (3 + a**2 + b**2 + (a * b) ** 2)) ** 0.5
    assert_close(shift_invariance_residual(entries(logs), 3), [expected])


@settings(max_examples=8)
@on_lines
def test_law_22_one_semiseparable(shape: tuple[int], seed: int) -> None:
    """On and below the diagonal every submatrix has rank 1 at most, and the inverse is bidiagonal, zeros or not."""
    size, logs = shape[0], log_gates(seed, shape[0], None)
    mask = entries(logs)
    for q in range(size):
        # Rows from q on, keys up to q: its 2×2 minors are 0.
        block = mask[:, q:, : q + 1]
        minors = torch.einsum("hij,hkl->hijkl", block, block) - torch.einsum("hil,hkj->hijkl", block, block)
        assert float(minors.abs().max()) <= 1e-12
    inverse = torch.eye(size, dtype=F64) - torch.diag_embed(logs[:, 1:].exp(), -1)
    assert_close(inverse @ mask, torch.eye(size, dtype=F64).expand(HEADS, -1, -1))


@settings(max_examples=8)
@on_lines
def test_law_22_a_gate_of_0_cuts_the_sequence(shape: tuple[int], seed: int) -> None:
    """The mask falls into the blocks between zeros, each the mask of its own gates."""
    logs = open_gates(seed, HEADS, shape[0])
    cuts = [seed % shape[0], *range(3, shape[0], 4)]
    logs[:, cuts] = -torch.inf
    edges = [0, *sorted({*cuts} - {0}), shape[0]]
    blocks = [entries(logs[:, a:b]) for a, b in pairwise(edges)]
    assert_close(entries(logs), torch.stack([torch.block_diag(*(block[h] for block in blocks)) for h in range(HEADS)]))


@settings(max_examples=8)
@on_grids((2,))
def test_law_22_a_polyline_is_gates_of_columns_after_gates_of_rows(shape: tuple[int, ...], seed: int) -> None:
    """PPMA's theorem 1: L is the product of a mask along rows with one along columns."""
    rows, columns = shape
    beta, alpha = (log_gates(seed + i, rows * columns, None) for i in range(2))
    across = [[naive_gates.line(row, False) for row in head] for head in alpha.unflatten(1, shape).tolist()]
    down = [[naive_gates.line(row, False) for row in head] for head in beta.unflatten(1, shape).mT.tolist()]
    along = torch.stack([torch.block_diag(*torch.tensor(head, dtype=F64)) for head in across])
    places = torch.arange(rows * columns).view(shape).T.flatten()
    back = places.argsort()
    across_columns = torch.stack([torch.block_diag(*torch.tensor(head, dtype=F64)) for head in down])
    assert_close(PolylineGates((beta, alpha)).entries(Grid(shape)), along @ across_columns[:, back][:, :, back])
