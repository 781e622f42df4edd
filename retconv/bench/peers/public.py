"""Public implementations of causal retention, raced where they are installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import torch
from torch import Tensor

#: Tokens of a chunk for peers that leave the choice to the caller.
CHUNK = 64


def peers(q: Tensor, k: Tensor, v: Tensor) -> dict[str, Callable[[], object]]:
    """The peers' forms by name, on the tensors ``(1, heads, N, d)`` that ours get; empty where none is installed.

    torchscale divides scores as well, which is part of what it is; its masks and angles are made beforehand, at no
    charge. A peer's parallel form is left out where its dense objects would exceed 4 GiB.
    """
    forms: dict[str, Callable[[], object]] = {}
    for find in (_yet_another_retnet, _torchscale):
        try:
            forms |= dict(find(q, k, v))
        except ImportError:
            continue
    return forms


def _dense(q: Tensor) -> bool:
    return q.shape[1] * q.shape[2] ** 2 * q.itemsize <= 2**30


def _yet_another_retnet(q: Tensor, k: Tensor, v: Tensor) -> Iterator[tuple[str, Callable[[], object]]]:
    from yet_another_retnet.retention import retention_chunkwise, retention_parallel, retention_recurrent  # type: ignore[import-not-found]

    def in_chunks() -> Tensor:
        state, out = None, []
        for part in zip(*(t.split(CHUNK, dim=2) for t in (q, k, v)), strict=True):
            result, state = retention_chunkwise(*part, state)
            out.append(result)
        return torch.cat(out, dim=2)

    def by_tokens() -> Tensor:
        state, out = None, []
        for token in range(q.shape[2]):
            result, state = retention_recurrent(q[:, :, token], k[:, :, token], v[:, :, token], state)
            out.append(result)
        return torch.stack(out, dim=2)

    if _dense(q):
        yield "yet-another-retnet parallel", lambda: retention_parallel(q, k, v)
    yield "yet-another-retnet chunkwise", in_chunks
    yield "yet-another-retnet recurrent", by_tokens


def _torchscale(q: Tensor, k: Tensor, v: Tensor) -> Iterator[tuple[str, Callable[[], object]]]:
    from torchscale.architecture.retnet import RetNetRelPos  # type: ignore[import-not-found]
    from torchscale.component.multiscale_retention import MultiScaleRetention  # type: ignore[import-not-found]

    _, heads, size, d = q.shape
    layer = SimpleNamespace(num_heads=heads, head_dim=v.shape[-1], key_dim=d)
    settings = SimpleNamespace(
        decoder_embed_dim=heads * d, decoder_retention_heads=heads, recurrent_chunk_size=min(CHUNK, size)
    )
    positions = RetNetRelPos(settings)
    keys, values = k * d**-0.5, v.transpose(1, 2).flatten(2)
    if _dense(q):
        _, mask = positions(size)
        yield "torchscale parallel", lambda: MultiScaleRetention.parallel_forward(layer, q, keys, values, mask)
    if size % settings.recurrent_chunk_size == 0:
        _, masks = positions(size, chunkwise_recurrent=True)
        yield (
            "torchscale chunkwise",
            lambda: MultiScaleRetention.chunk_recurrent_forward(layer, q, keys, values, masks),
        )
