"""Which computation a placement runs: the plain reference, or the fastest exact one for device and size."""

from __future__ import annotations

from torch import Tensor

from retconv.attention import reference
from retconv.attention.inputs import MaskLike, Source, check_bias, check_dropout, check_qkv
from retconv.grid import Grid

#: The backends of each placement, beside ``"auto"``.
BACKENDS: dict[str, tuple[str, ...]] = {
    "multiply_logits": ("reference",),
    "bias_logits": ("reference",),
    "multiply_weights": ("reference",),
    "retention": ("reference",),
    "convolution": ("reference",),
}


def run(
    placement: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: MaskLike,
    grid: Grid | int | tuple[int, ...],
    scale: float | None,
    bias: Tensor | None,
    dropout_p: float,
    return_weights: bool,
    backend: str,
) -> Tensor | tuple[Tensor, Tensor]:
    """Check the arguments of a placement, choose its backend, and run it."""
    grid = Grid.of(grid)
    check_qkv(q, k, v, grid)
    check_dropout(dropout_p)
    if bias is not None:
        if placement in ("retention", "convolution"):
            raise ValueError(f"{placement} has no softmax, so a bias on logits has no meaning: leave it out")
        check_bias(bias, q)
    if backend not in ("auto", *BACKENDS[placement]):
        raise ValueError(
            f"{placement} has no backend {backend!r}: choose 'auto' or one of {', '.join(BACKENDS[placement])}"
        )
    if return_weights and backend not in ("auto", "reference"):
        raise ValueError(f"backend {backend!r} never holds the weights: use backend='reference' to return them")
    source = Source.read(mask, grid, q.shape[1])
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    out, weights = reference.attend(placement, q, k, v, source, scale, bias, dropout_p)
    return (out, weights) if return_weights else out
