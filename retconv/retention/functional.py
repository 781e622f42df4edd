"""``retention(q, k, v, mask, grid)``: every form behind one name, and the causal forms with their state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from torch import Tensor

from retconv.grid import Grid, GridLike
from retconv.kernels import Exponentials, Gates
from retconv.masks import Forms, MaskLike
from retconv.names import unknown
from retconv.precision import as_written
from retconv.retention import convolution as law14
from retconv.retention import gated
from retconv.retention.cancelling import STREAM, require_stable
from retconv.retention.chunks import absorb, chunk_length
from retconv.retention.chunks import chunkwise as in_chunks
from retconv.retention.dense import parallel, tiled
from retconv.retention.form_cost import choose, is_small
from retconv.retention.inputs import (
    causal_gates,
    causal_line,
    check_heads,
    check_memory,
    check_tokens,
    checked,
    computed,
    default_scale,
)
from retconv.retention.recurrence import RetentionState, steps

Method = Literal["parallel", "tiled", "recurrent", "chunkwise", "scan", "fft", "convolution"]

#: The forms by name; ``"auto"`` chooses among them.
METHODS: tuple[str, ...] = get_args(Method)
#: What a recurrence with a state runs.
Line = Exponentials | Gates
#: Those that serve every mask that has a kernel, beside law 14.
ANY_MASK = ("parallel", "tiled")


def retention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: MaskLike,
    grid: GridLike,
    *,
    method: str = "auto",
    scale: float | None = None,
    chunk: int | None = None,
    budget: int | None = None,
) -> Tensor:
    """Retention ``(S ⊙ M) V`` with ``S = s Q Kᵀ`` and no softmax, for every mask that has a kernel.

    Retention is convolution (law 14): ``o_n = q_n · Σ_δ K[δ] k_{n+δ} v_{n+δ}ᵀ``. All forms give the same numbers up to
    rounding, and so do their gradients in q, k, v and the mask's parameters:

    ============= ================================ ============================================================
    method        masks                            time, memory (N tokens, head size d)
    ============= ================================ ============================================================
    parallel      all; gates                       O(N² d), O(N²): the reference
    tiled         all                              O(N² d), O(N d): the same in blocks, the mask read as windows
    fft           all                              O(N log N d²), O(N d): law 14 by FFT
    convolution   all                              law 14 by the fastest of ``retconv.operator``'s methods
    scan          decay on both sides, Manhattan,  O(N d²), O(N d): recursions forwards and backwards along each
                  two-sided exponentials or gates  axis
    chunkwise     1-D causal decay, exponentials,  O(N (C + d) d), O(N d): products in chunks of C tokens
                  gates
    recurrent     1-D causal decay, exponentials,  O(N d²), O(d²) beside input and output: token by token
                  gates
    ============= ================================ ============================================================

    ``"auto"`` is the fastest by a measured cost model, and never one that takes memory quadratic in N beyond 64 MiB.

    In float32 every form but ``recurrent`` keeps 1e-5 of the largest output up to 65,536 tokens, whatever γ is: powers
    of poles are taken in float64, and so are states carried between groups of chunks. ``recurrent`` rounds pole and
    state at every token, and of a slow decay these roundings add up, to 2^−22 a token at most: at 1 − γ = 1e-6 and
    65,536 tokens 6e-4 was seen. Give it float64 where that matters. Exponentials whose weights cancel, as those of a
    realisation may (its ``growth``), magnify the roundings of ``recurrent``, ``chunkwise`` and ``scan``: ``"auto"``
    takes none of these beyond the tolerance, and by name what would lose a thousandth is refused.

    Args:
        q: Queries ``(batch, heads, N, d)``, tokens in row-major order of the grid.
        k: Keys ``(batch, heads, N, d)``.
        v: Values ``(batch, heads, N, e)``.
        mask: A mask that has a kernel, in any form (see ``retconv.masks.Forms``), or ``kernels.Gates``, which read data
            and have none (law 22); of as many heads as q, or of one for all.
        grid: The grid, without prefix tokens: they take part in no convolution. With a periodic axis there is no
            recurrence, and of the methods ``"parallel"``, ``"tiled"``, ``"fft"`` and ``"convolution"`` apply.
        method: ``"auto"`` or a name in ``METHODS``.
        scale: s; by default ``1 / √d``.
        chunk: Tokens of a chunk C of ``chunkwise`` and of ``scan`` on one axis; it need not divide N. By default
            about √(de), from 16 to 64.
        budget: Bytes of intermediate results that law 14 may hold in one block of feature pairs (a block has at least
            one feature of k with all of v's); by default 48 MiB on a CPU and 1 GiB elsewhere.

    Returns:
        ``(batch, heads, N, e)`` in q's dtype, under autocast in its dtype (see ``retconv.precision``). Half types are
        computed in float32 and cast last.

    Raises:
        ValueError: If shapes or dtypes disagree, the method is unknown or does not apply, chunk or budget is not
            positive, the grid has a prefix, or a recurrence is named whose weights cancel too far for the dtype.
        NotAConvolutionError: If the mask has no kernel.
        DenseLimitError: If ``parallel`` would exceed the memory limit.

    Source:
        Sun et al. 2023, Retentive Network (arXiv 2307.08621): eq. (5) is ``parallel`` with RetNet's mask, eq. (6)
        ``recurrent``, eq. (7) ``chunkwise``.

    Example:
        >>> q, k, v = torch.rand(3, 1, 2, 1000, 16)
        >>> retention(q, k, v, retconv.RetNetMask(heads=2), 1000).shape
        torch.Size([1, 2, 1000, 16])
    """
    grid = Grid.of(grid)
    if method not in ("auto", *METHODS):
        raise ValueError(unknown("method", method, ("auto", *METHODS)))
    if budget is not None and budget < 1:
        raise ValueError(f"budget must be a positive number of bytes, got {budget}")
    q, k, v = checked(q, k, v, chunk)
    check_tokens(q, grid)
    if method == "auto" and is_small(q):
        method = "parallel"
    forms, any_mask = Forms.of(mask, grid), method in ANY_MASK
    if forms.gates is not None:
        any_mask = False
    elif any_mask or forms.exponentials is None:  # recurrences need no kernel
        forms = forms.convolution()
    check_heads(forms.heads, q)
    if not any_mask and method != "auto" and method not in (names := methods(forms)):
        raise ValueError(f"method {method!r} does not apply to this mask on {grid}: choose one of {', '.join(names)}")
    shape, dtype = (*q.shape[:3], v.shape[-1]), q.dtype
    if forms.heads == 1 and forms.gates is None:
        # One mask for all heads: they are further elements of the batch.
        q, k, v = (t.flatten(0, 1)[:, None] for t in (q, k, v))
    q, k, v = computed(q, k, v)
    with as_written(q.device):
        if method != "auto":
            name = method
        else:
            name = methods(forms)[-1] if forms.gates is not None else choose(q, v, forms, methods(forms))
        out = _run(name, q, k, v, forms, default_scale(q, scale), chunk, budget)
    return out.reshape(shape).to(dtype)


def recurrent(
    q: Tensor, k: Tensor, v: Tensor, mask: MaskLike, state: RetentionState | None = None, *, scale: float | None = None
) -> tuple[Tensor, RetentionState]:
    """Causal retention token by token, from a state and to a state: ``S_n = γ S_{n−1} + k_n v_nᵀ``, ``o_n = q_nᵀ S_n``.

    A sequence cut at any point and continued from the state has the same bits as the uncut one, where both run compiled
    or neither does: loops run it where numba is installed, on a CPU, for real poles and without gradients. In float32
    roundings add up over the tokens that a slow decay remembers: see ``retention``.

    Args:
        q: Queries ``(batch, heads, N, d)``: the next N tokens, one or many.
        k: Keys ``(batch, heads, N, d)``.
        v: Values ``(batch, heads, N, e)``.
        mask: ``RetNetMask``, a causal ``kernels.Decay``, causal ``kernels.Exponentials``, or causal ``kernels.Gates``
            of these N tokens, of which the first acts on the state.
        state: What an earlier call returned, of ``recurrent`` or of ``chunkwise``; None before the first token.
        scale: As in ``retention``.

    Returns:
        The output ``(batch, heads, N, e)`` and the state after its last token.

    Raises:
        ValueError: If shapes or dtypes disagree, the mask is no causal sum of exponentials, or the state is not of
            such inputs.

    Source:
        Sun et al. 2023 (arXiv 2307.08621), eq. (6).

    Example:
        >>> q, k, v = torch.rand(3, 1, 2, 10, 4).double()
        >>> mask, state = retconv.RetNetMask(heads=2), None
        >>> for n in range(10):
        ...     y, state = recurrent(q[:, :, n, None], k[:, :, n, None], v[:, :, n, None], mask, state)
        >>> torch.allclose(y, retconv.retention.retention(q, k, v, mask, 10)[:, :, -1:])
        True
    """

    def run(q: Tensor, k: Tensor, v: Tensor, line: Line, memory: Tensor | None) -> tuple[Tensor, Tensor]:
        if isinstance(line, Gates):
            return gated.steps(q * default_scale(q, scale), k, v, gated.logs_of(line, q), memory)
        return steps(q, k, v, line, default_scale(q, scale), memory)

    return _continued(run, *checked(q, k, v), mask, state)


def chunkwise(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: MaskLike,
    state: RetentionState | None = None,
    *,
    scale: float | None = None,
    chunk: int | None = None,
) -> tuple[Tensor, RetentionState]:
    """Causal retention in chunks, from a state and to a state: reads a prompt fast, and ``recurrent`` goes on from it.

    Args:
        q: Queries ``(batch, heads, N, d)``: the next N tokens.
        k: Keys ``(batch, heads, N, d)``.
        v: Values ``(batch, heads, N, e)``.
        mask: As for ``recurrent``.
        state: What an earlier call returned, of ``recurrent`` or of ``chunkwise``; None before the first token.
        scale: As in ``retention``.
        chunk: Tokens of a chunk; it need not divide N. By default as in ``retention``.

    Returns:
        The output ``(batch, heads, N, e)`` and the state after its last token.

    Raises:
        ValueError: As ``recurrent``, and if chunk is not positive.

    Source:
        Sun et al. 2023 (arXiv 2307.08621), eq. (7).

    Example:
        >>> q, k, v = torch.rand(3, 1, 2, 10, 4).double()
        >>> mask = retconv.RetNetMask(heads=2)
        >>> begun, state = chunkwise(q[:, :, :6], k[:, :, :6], v[:, :, :6], mask)
        >>> ended, state = chunkwise(q[:, :, 6:], k[:, :, 6:], v[:, :, 6:], mask, state)
        >>> torch.allclose(torch.cat([begun, ended], -2), retconv.retention.retention(q, k, v, mask, 10))
        True
    """

    def run(q: Tensor, k: Tensor, v: Tensor, line: Line, memory: Tensor | None) -> tuple[Tensor, Tensor]:
        tokens = chunk or chunk_length(q.shape[-1], v.shape[-1])
        if isinstance(line, Gates):
            return gated.chunkwise(q * default_scale(q, scale), k, v, gated.logs_of(line, q), tokens, memory)
        out = in_chunks(q, k, v, line.times(default_scale(q, scale)), tokens, memory)
        return out, absorb(k, v, line, tokens, memory)

    return _continued(run, *checked(q, k, v, chunk), mask, state)


def methods(forms: Forms) -> tuple[str, ...]:
    """The names of the methods that apply to a mask."""
    if forms.gates is not None:
        return gated.methods(forms.gates)
    names: tuple[str, ...] = ()
    if forms.exponentials is not None:
        names = ("recurrent", "chunkwise") if forms.exponentials.causal else ("scan",)
    elif forms.decay is not None:
        names = ("scan",)
    return (*ANY_MASK, *names, "fft", "convolution")


def _run(
    method: str, q: Tensor, k: Tensor, v: Tensor, forms: Forms, scale: float, chunk: int | None, budget: int | None
) -> Tensor:
    if forms.gates is not None:
        return gated.run(method, q, k, v, forms.gates, scale, chunk)
    # (s S) ⊙ M = S ⊙ (s M): where the kernel is multiplied, q need not be.
    if method in ("recurrent", "chunkwise", "scan") and forms.exponentials is not None:
        require_stable(forms.exponentials, q.dtype, q.shape[2], f"retention by {method!r}")
        if method == "recurrent":
            return steps(q, k, v, forms.exponentials, scale)[0]
        line = forms.exponentials.times(scale)
        return in_chunks(q, k, v, line, chunk or chunk_length(q.shape[-1], v.shape[-1]))
    if method in ANY_MASK:
        forms = forms.opened()
        assert forms.kernel is not None
        kernel = forms.kernel.to(q.dtype) * scale
        return (parallel if method == "parallel" else tiled)(q, k, v, kernel, forms.grid)
    name = {"fft": "fft", "scan": "recursive", "convolution": "auto"}[method]
    return law14.convolution(q * scale, k, v, forms, name, budget or law14.budget_bytes(q.device))


def _continued(
    run: Callable[[Tensor, Tensor, Tensor, Line, Tensor | None], tuple[Tensor, Tensor]],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: MaskLike,
    state: RetentionState | None,
) -> tuple[Tensor, RetentionState]:
    """Run from the state of a causal mask to the next, and check both."""
    line = causal_gates(mask, q.shape[2]) or causal_line(mask, q.shape[2])
    check_heads(line.heads, q)
    (memory, position), dtype = (None, 0) if state is None else (state.memory, state.position), q.dtype
    if memory is not None:
        check_memory(memory, line, q, v)
    with as_written(q.device):
        q, k, v = computed(q, k, v)
        if isinstance(line, Exponentials) and state is None:  # once for a stream, not at every token
            require_stable(line, q.dtype, max(q.shape[2], STREAM), "retention with a state")
        out, memory = run(q, k, v, line, memory)
    return out.to(dtype), RetentionState(memory, position + q.shape[2])
