"""Structured starts: a vision transformer whose attention begins as convolutions, or near the identity."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.heads.encoding import attention_from
from retconv.heads.projections import Projections, balanced, position_embedding
from retconv.models import add_masks, masks_of, remove_masks
from retconv.models.neutral import NeutralMask
from retconv.models.surgery import masked_modules
from retconv.names import unknown

How = Literal["impulse", "mimetic", "quadratic"]
#: How many times as large position embeddings become.
_SCALES = {"impulse": 18.0, "quadratic": 100.0}
#: Of the layer normalisation in front of attention, as timm has it.
_EPSILON = 1e-6
#: Mimetic: the size of the noise and of the identity, of queries and keys, and of values and output.
_QUERY_KEY, _VALUE_OUT = (0.7, 0.7), (0.4, -0.4)


def start_attention(
    model: nn.Module,
    how: str,
    *,
    where: str = "*",
    offsets: Sequence[Sequence[int]] | None = None,
    alpha: float = 0.1,
    strength: float = 7.0,
    position_scale: float | None = None,
    seed: int = 0,
    example: Tensor | None = None,
    **places: Any,
) -> dict[str, Tensor]:
    """Set the query and key weights of a vision transformer's attention to a structured start, in place.

    With X the layer-normalised position embedding of the grid's tokens, and d the channels of a head:

    ============= ======================================================================================================
    how           what
    ============= ======================================================================================================
    ``impulse``   ``X W_Q W_Kᵀ Xᵀ ≈ H``, H the mask of one offset: ``W_Q W_Kᵀ`` is the part of rank d of ``X⁺ H X⁺ᵀ``
                  for the first d principal directions of X, split by a singular value decomposition, each factor of
                  norm ``strength``.
    ``quadratic`` ``X W_Q W_Kᵀ Xᵀ / √d ≈ −α ‖p_k − p_q − Δ‖²`` up to a term of the row, by least squares, in D + 1
                  channels (law 20, ``attention_from``): exact where X spans the positions and their square, so where it
                  has no fewer channels than there are tokens.
    ``mimetic``   ``W_Q W_Kᵀ ≈ 0.7 Z + 0.7 I`` for each head, by the first d singular vectors, and ``W_V W_O = 0.4 Z −
                  0.4 I``; Z normal of variance 1 / C. A token attends to itself and to its like.
    ============= ======================================================================================================

    Impulse and quadratic multiply the position embedding by ``position_scale``, as content is noise to them: attention
    is near its kernel as far as a token is its position. Distances of quadratic grow with the grid and content errs by
    a share of them, so it suits broad kernels (a small alpha) and needs a larger scale than impulse. Biases of queries
    and keys become 0. All stays learnable.

    Args:
        model: As ``retconv.models.add_masks`` takes it; it is run once.
        how: ``"impulse"``, ``"quadratic"`` or ``"mimetic"``.
        where: Only attention modules whose name matches this pattern.
        offsets: Δ = key − query of each head, ``(heads, D)``; if there are more heads it begins anew. If not given
            those of a 3×3 kernel, nearest first.
        alpha: Of quadratic: how sharp, in tokens⁻²: the weights are a Gaussian around Δ of ``σ² = 1 / 2α``.
        strength: Of impulse: the Frobenius norm of ``W_Q`` and of ``W_K`` of a head.
        position_scale: See above; 1 leaves the embedding. If not given 18 for impulse and 100 for quadratic.
        seed: Of the noise of mimetic.
        example: An input of batch size 1, if the model does not name its image size.
        **places: How else ``retconv.models.add_masks`` is to find the attention of a model without masks.

    Returns:
        The offsets that heads start at, int64 ``(heads, D)``, by the name of the attention module.

    Raises:
        ValueError: If the start is unknown, no attention matches, the model has no position embedding, an attention has
            no weights that are known or normalises its queries, an offset is not on the grid, or a head has fewer than
            D + 1 channels.
        UnsupportedModelError: If no attention is found.

    Source:
        Impulse: Zheng et al. 2024, Structured Initialization for Attention in Vision Transformers (arXiv 2404.01139),
        ``softmax(X̃ Q Kᵀ X̃ᵀ) ≈ H`` by gradient descent, and its follow-up Structured Initialization for Vision
        Transformers (arXiv 2505.19985), in closed form: ``impulse_init`` of its code, repository
        osiriszjq/structured_initialization, commit 2623dcc2, whose 18 and 7 are the defaults. There the entries off H
        are small noise, heads take offsets in another order, and values start mimetically; here they stay.
        Mimetic: Trockman and Kolter 2023 (arXiv 2305.09828), ``get_ortho_like`` of the code above, where Z is uniform
        of the same variance; its mimetic branch stores W_V and W_O without transposing them, whose product is then not
        the formula's. They also take sinusoidal position embeddings, which this leaves to the model.
        Quadratic: Cordonnier et al. 2020 (arXiv 1911.03584), section 3.

    Example:
        >>> import timm
        >>> vit = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=1)
        >>> start_attention(vit, "quadratic")["blocks.0.attn"].tolist()
        [[0, 0], [-1, 0], [0, -1]]
    """
    if how not in get_args(How):
        raise ValueError(unknown("start", how, get_args(How)))
    attention = _places(model, where, {"example": example} | places)
    scale = _SCALES.get(how, 1.0) if position_scale is None else position_scale
    generator = torch.Generator().manual_seed(seed)
    starts: dict[str, Tensor] = {}
    plans: list[Callable[[], None]] = []
    scaled: dict[int, Tensor] = {}
    for name, (module, grid, heads) in attention.items():
        weights = Projections.of(name, module)
        if how == "mimetic":
            plans.append(_mimetic(name, weights, heads, generator))
            starts[name] = torch.zeros(heads, grid.ndim, dtype=torch.int64)
            continue
        position = position_embedding(model, grid.size)
        scaled[position.data_ptr()] = position
        starts[name] = _offsets(offsets, grid, heads)
        kernel = _impulses(starts[name], grid)
        features = F.layer_norm(scale * position.double().cpu(), position.shape[1:], eps=_EPSILON)
        channels = weights.query.shape[0] // heads
        if how == "impulse":
            pairs = [_impulse(features, mask, channels, strength) for mask in kernel_to_mask(kernel, grid)]
        else:
            pairs = _quadratic(name, features, kernel, grid, alpha, channels)
        plans.append(_setting(weights, pairs))
    # Only now, when nothing can be refused any more, does the model change.
    for plan in plans:
        plan()
    for position in scaled.values():
        position.mul_(scale)
    return starts


def _places(model: nn.Module, where: str, given: dict[str, Any]) -> dict[str, tuple[Any, Grid, int]]:
    plain = not masks_of(model)
    if plain:
        add_masks(model, NeutralMask(), **given)
    masked: dict[str, Any] = dict(masked_modules(model))
    places = {name: (m, m.place.grid().without_prefix(), m.place.heads) for name, m in masked.items()}
    if plain:
        remove_masks(model)
    matching = {name: place for name, place in places.items() if fnmatchcase(name, where)}
    if not matching:
        raise ValueError(f"no attention matches where={where!r}: there are {', '.join(places)}")
    return matching


def _offsets(offsets: Sequence[Sequence[int]] | None, grid: Grid, heads: int) -> Tensor:
    if offsets is None:
        near = itertools.product(*(range(-1, 2) if n > 1 else range(1) for n in grid.shape))
        offsets = sorted(near, key=lambda offset: (sum(d * d for d in offset), offset))
    table = torch.tensor([list(offsets[h % len(offsets)]) for h in range(heads)], dtype=torch.int64)
    if table.shape[1:] != (grid.ndim,) or bool((table.abs() >= torch.tensor(grid.shape)).any()):
        raise ValueError(f"offsets must be {grid.ndim} numbers for each head and lie on {grid}, got {table.tolist()}")
    return table


def _impulses(offsets: Tensor, grid: Grid) -> Tensor:
    kernel = torch.zeros(len(offsets), *grid.kernel_shape, dtype=torch.float64)
    for head, offset in zip(kernel, offsets.tolist(), strict=True):
        head[tuple(d + n - 1 for d, n in zip(offset, grid.shape, strict=True))] = 1
    return kernel


def _impulse(features: Tensor, mask: Tensor, channels: int, strength: float) -> tuple[Tensor, Tensor]:
    """``(C, channels)`` each: the split of ``X⁺ H X⁺ᵀ``, X⁺ of as many principal directions."""
    u, s, vh = torch.linalg.svd(features, full_matrices=False)
    rank = min(channels, int((s > s[0] * 1e-12).sum()))
    directions, inner = vh[:rank].T, u[:, :rank] / s[:rank]
    # Directions are orthonormal, so the small matrix between them has the singular values.
    left, right = _split(inner.T @ mask @ inner)
    query, key = (F.pad(directions @ side, (0, channels - rank)) for side in (left, right))
    return strength * query / query.norm(), strength * key / key.norm()


def _quadratic(
    name: str, features: Tensor, kernel: Tensor, grid: Grid, alpha: float, channels: int
) -> list[tuple[Tensor, Tensor]]:
    heads = attention_from(kernel, grid, alpha=alpha, encoding=features)
    rank = heads.query.shape[2]
    if rank > channels:
        raise ValueError(f"heads of '{name}' have {channels} channels, and a quadratic encoding on {grid} takes {rank}")
    # Attention divides by √d.
    root = channels**0.25
    pairs = [balanced(query * root, key * root) for query, key in zip(heads.query, heads.key, strict=True)]
    return [(F.pad(query, (0, channels - rank)), F.pad(key, (0, channels - rank))) for query, key in pairs]


def _setting(weights: Projections, pairs: Sequence[tuple[Tensor, Tensor]]) -> Callable[[], None]:
    def act() -> None:
        for side, matrix in enumerate((weights.query, weights.key)):
            matrix.copy_(torch.cat([pair[side].T for pair in pairs]))
        for bias in weights.biases:
            bias.zero_()

    return act


def _mimetic(name: str, weights: Projections, heads: int, generator: torch.Generator) -> Callable[[], None]:
    size, width = weights.query.shape
    if weights.out is None or weights.value.shape[0] != width:
        raise ValueError(
            f"attention '{name}' has values of {weights.value.shape[0]} of {width} channels and "
            f"{'no' if weights.out is None else 'an'} output map: a mimetic start needs both, of all channels"
        )
    out = weights.out
    channels = size // heads
    pairs = []
    for _ in range(heads):
        left, right = _split(_noisy(width, *_QUERY_KEY, generator))
        pairs.append((left[:, :channels], right[:, :channels]))
    left, right = _split(_noisy(width, *_VALUE_OUT, generator))
    rest = _setting(weights, pairs)

    def act() -> None:
        rest()
        weights.value.copy_(left.T)
        out.copy_(right)

    return act


def _noisy(size: int, noise: float, identity: float, generator: torch.Generator) -> Tensor:
    normal = torch.randn(size, size, generator=generator, dtype=torch.float64) / math.sqrt(size)
    return noise * normal + identity * torch.eye(size, dtype=torch.float64)


def _split(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """L and R with ``L Rᵀ = matrix``, columns in the order of singular values."""
    u, s, vh = torch.linalg.svd(matrix)
    return u * s.sqrt(), vh.T * s.sqrt()
