"""Where a mask goes in attention: one public function for each placement.

With scores ``S = Q Kᵀ · scale`` and a mask ``M[q, k] = K[k − q]``, the placements differ in what the mask touches: the
logits, by a product or by its logarithm; the weights, after the softmax; or the scores of attention without softmax.
All functions take the same arguments:

- ``q``, ``k``, ``v``: queries, keys ``(batch, heads, length, d)`` and values ``(batch, heads, length, d_v)`` with
  ``length = grid.length``: prefix tokens (class token, registers) first, then the grid in row-major order. For
  windows (Swin) the batch is that of all windows and the grid is the window's.
- ``mask``: a mask module, a kernel ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``, or a mask tensor ``(heads, length, length)``;
  one head serves all. Kernels and modules are neutral (1) at prefix tokens. It is cast to the dtype of the scores, and
  gradients flow to it.
- ``grid``: a ``Grid``, or its shape where there is no prefix token.
- ``scale``: of the scores; ``d^(−1/2)`` if not given.
- ``bias``: logits added last before the softmax, broadcastable to ``(batch, heads, length, length)``: a relative
  position bias, or the shift mask of windows with −100 or −∞.
- ``dropout_p``: probability with which a weight is dropped, others being divided by ``1 − dropout_p``; pass 0 when
  evaluating, as for ``scaled_dot_product_attention``.
- ``return_weights``: also return the weights ``(batch, heads, length, length)`` that multiply V, before dropout.
- ``backend``: ``"reference"`` (the formula, line by line), ``"auto"`` (the fastest exact one for device and size), or a
  name in ``BACKENDS``.

They return the output ``(batch, heads, length, d_v)``, or the pair of output and weights, in the dtype of q, k and v,
under autocast in its dtype (see ``retconv.precision``). They raise a ``ValueError`` where shapes or dtypes do not fit,
the dropout is no probability, or a backend does not apply, and a ``DenseLimitError`` where a backend would form too
large a mask.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, cast, overload

from torch import Tensor

from retconv.attention.backends import run
from retconv.grid import Grid
from retconv.masks import MaskLike


class Placement(Protocol):
    """The signature that all placements share."""

    @overload
    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: MaskLike,
        grid: Grid | int | tuple[int, ...],
        *,
        scale: float | None = None,
        bias: Tensor | None = None,
        dropout_p: float = 0.0,
        return_weights: Literal[False] = False,
        backend: str = "auto",
    ) -> Tensor: ...

    @overload
    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        mask: MaskLike,
        grid: Grid | int | tuple[int, ...],
        *,
        scale: float | None = None,
        bias: Tensor | None = None,
        dropout_p: float = 0.0,
        return_weights: Literal[True],
        backend: str = "auto",
    ) -> tuple[Tensor, Tensor]: ...


def _placement(function: Callable[..., Any]) -> Placement:
    return cast(Placement, function)


@_placement
def multiply_logits(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: MaskLike,
    grid: Grid | int | tuple[int, ...],
    *,
    scale: float | None = None,
    bias: Tensor | None = None,
    dropout_p: float = 0.0,
    return_weights: bool = False,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """``softmax(M ⊙ S + bias) V``: the mask multiplies the logits.

    A weight of 0 does not hide a key: its logit becomes 0, like that of a key without affinity, and a mask that is
    everywhere t is a temperature 1/t. Any real mask will do, negative entries too.

    Arguments, result and errors: see ``retconv.attention.placements``.

    Source:
        The code of Li and Zhang 2023 (arXiv 2309.05375), ELM and GMM.
    """
    return run("multiply_logits", q, k, v, mask, grid, scale, bias, dropout_p, return_weights, backend)


@_placement
def bias_logits(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: MaskLike,
    grid: Grid | int | tuple[int, ...],
    *,
    scale: float | None = None,
    bias: Tensor | None = None,
    dropout_p: float = 0.0,
    return_weights: bool = False,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """``softmax(S + log M + bias) V``: the logarithm of the mask is added to the logits.

    It equals ``multiply_weights`` with rows normalised to sum 1 (law 18). A weight of 0 hides the key; a negative one
    has no logarithm and is refused (law 10). Where the mask is one Gaussian, log M is a dot product of ``D + 1`` extra
    channels, with no ``N × N`` tensor (law 20, backend ``"channels"``). ALiBi and Swin give their bias itself: pass it
    as ``bias`` beside a neutral mask.

    Arguments, result and errors: see ``retconv.attention.placements``; a ``ValueError`` also if an entry is negative.

    Source:
        The code of RMT (Fan et al. 2024, arXiv 2309.11523); ALiBi (arXiv 2108.12409); Swin (arXiv 2103.14030), eq. (4).
    """
    return run("bias_logits", q, k, v, mask, grid, scale, bias, dropout_p, return_weights, backend)


@_placement
def multiply_weights(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: MaskLike,
    grid: Grid | int | tuple[int, ...],
    *,
    scale: float | None = None,
    bias: Tensor | None = None,
    dropout_p: float = 0.0,
    return_weights: bool = False,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """``(softmax(S + bias) ⊙ M) V``: the mask multiplies the weights after the softmax.

    The rows no longer sum to 1, and are not normalised again. Any real mask will do.

    Arguments, result and errors: see ``retconv.attention.placements``.

    Source:
        The paper of RMT (Fan et al. 2024, arXiv 2309.11523); its code adds the logarithm instead, see ``bias_logits``.
    """
    return run("multiply_weights", q, k, v, mask, grid, scale, bias, dropout_p, return_weights, backend)


@_placement
def retention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: MaskLike,
    grid: Grid | int | tuple[int, ...],
    *,
    scale: float | None = None,
    bias: Tensor | None = None,
    dropout_p: float = 0.0,
    return_weights: bool = False,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """``(S ⊙ M) V``: attention without softmax, a convolution of the outer products ``k_j v_jᵀ`` with K (law 14).

    This is the dense form, for a mask inside a vision transformer. There is no softmax, so a ``bias`` has no meaning
    and is refused.

    Arguments, result and errors: see ``retconv.attention.placements``; a ``ValueError`` also if a bias is given.

    Source:
        RetNet (Sun et al. 2023, arXiv 2307.08621), eq. (5), without rotation and normalisation.
    """
    return run("retention", q, k, v, mask, grid, scale, bias, dropout_p, return_weights, backend)


@_placement
def convolution(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: MaskLike,
    grid: Grid | int | tuple[int, ...],
    *,
    scale: float | None = None,
    bias: Tensor | None = None,
    dropout_p: float = 0.0,
    return_weights: bool = False,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """``M V``: the mask alone mixes tokens, a depthwise convolution of V with K (law 1).

    Queries, keys and the scale are not read; a ``bias`` is refused. The neutral 1 of prefix tokens is taken literally:
    a prefix token's row is the sum of all values.

    Arguments, result and errors: see ``retconv.attention.placements``; a ``ValueError`` also if a bias is given.

    Source:
        TNN (Qin et al. 2023, arXiv 2305.04749); large kernel convolutional attention, LKCA (Li et al. 2024).
    """
    return run("convolution", q, k, v, mask, grid, scale, bias, dropout_p, return_weights, backend)


#: The placements by name.
PLACEMENTS: dict[str, Placement] = {
    "multiply_logits": multiply_logits,
    "bias_logits": bias_logits,
    "multiply_weights": multiply_weights,
    "retention": retention,
    "convolution": convolution,
}
