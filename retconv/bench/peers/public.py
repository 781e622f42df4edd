"""Public implementations of causal retention, raced where they are installed."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from torch import Tensor

from retconv.bench.peers.installed import Adapter, Named, found
from retconv.bench.peers.rows import Run

#: Tokens of a chunk for peers that leave the choice to the caller.
CHUNK = 64
#: A package whose results are others by definition: it divides scores as well.
DIVIDES = "torchscale"


def peers(q: Tensor, k: Tensor, v: Tensor, gamma: Tensor) -> dict[str, Run]:
    """The peers' forms by name, on the tensors ``(batch, heads, N, d)`` that ours get; empty where none is installed.

    They do what ours do where gamma is the schedule ``"retnet_linspace"``, the only one that yet-another-retnet has,
    and torchscale aside, whose masks and angles are made beforehand, at no charge. A peer's parallel form is left out
    where its dense objects would exceed 4 GiB.
    """
    return found(ADAPTERS, q, k, v, gamma.float())


def next_token(q: Tensor, k: Tensor, v: Tensor, memory: Tensor) -> dict[str, Run]:
    """The peers' steps from a state ``(batch, heads, d, e)``, by name; their schedule is ``"retnet_linspace"``."""
    return found({"yet-another-retnet": _step}, q, k, v, memory)


def _dense(q: Tensor) -> bool:
    return q.shape[1] * q.shape[2] ** 2 * q.itemsize <= 2**30


def _by_tokens(x: Tensor) -> Tensor:
    """Heads before tokens, and tokens before heads, which is each the other's transpose."""
    return x.transpose(1, 2).contiguous()


def _yet_another_retnet(q: Tensor, k: Tensor, v: Tensor, gamma: Tensor) -> Named:
    from yet_another_retnet.retention import retention_chunkwise, retention_parallel, retention_recurrent

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


def _step(q: Tensor, k: Tensor, v: Tensor, memory: Tensor) -> Named:
    from yet_another_retnet.retention import retention_recurrent

    token, state = (q[:, :, 0], k[:, :, 0], v[:, :, 0]), memory * q.shape[-1] ** -0.5  # its keys are scaled
    yield "yet-another-retnet", lambda: retention_recurrent(*token, state)[0].unsqueeze(2)


def _torchscale(q: Tensor, k: Tensor, v: Tensor, gamma: Tensor) -> Named:
    from torchscale.architecture.retnet import RetNetRelPos
    from torchscale.component.multiscale_retention import MultiScaleRetention

    _, heads, size, d = q.shape
    layer = SimpleNamespace(num_heads=heads, head_dim=v.shape[-1], key_dim=d)
    settings = SimpleNamespace(
        decoder_embed_dim=heads * d, decoder_retention_heads=heads, recurrent_chunk_size=min(CHUNK, size)
    )
    positions = RetNetRelPos(settings).to(q.device)
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


def _flash_linear_attention(q: Tensor, k: Tensor, v: Tensor, gamma: Tensor) -> Named:
    """Simple gated linear attention with a fixed gate: what ``fla.ops.retention`` calls, for any schedule.

    Its kernels are Triton's, for a GPU. On a CPU it has plain torch.
    """
    from fla.ops.simple_gla import chunk_simple_gla, fused_chunk_simple_gla, parallel_simple_gla
    from fla.ops.simple_gla.naive import naive_chunk_simple_gla

    q, k, v = map(_by_tokens, (q, k, v))
    fixed, gates = gamma.log(), gamma.log().expand(q.shape[:3]).contiguous()
    if not q.is_cuda:
        yield "fla naive chunk", lambda: naive_chunk_simple_gla(q, k, v, gates)[0].transpose(1, 2)
        return
    yield "fla chunk", lambda: chunk_simple_gla(q, k, v, g_gamma=fixed)[0].transpose(1, 2)
    yield "fla fused chunk", lambda: fused_chunk_simple_gla(q, k, v, g_gamma=fixed)[0].transpose(1, 2)
    yield "fla parallel", lambda: parallel_simple_gla(q, k, v, g=gates)[0].transpose(1, 2)


def _flash_pop(q: Tensor, k: Tensor, v: Tensor, gamma: Tensor) -> Named:
    """Its kernel is tilelang's, for a GPU and bfloat16. On a CPU it has plain torch."""
    from flash_pop.fused_retention import fused_chunk_retention
    from flash_pop.fused_retention.reference import chunkwise_retention

    decays = tuple(gamma.tolist())
    q, k, v = map(_by_tokens, (q, k, v))
    if not q.is_cuda:
        yield "flash-pop reference", lambda: chunkwise_retention(q, k, v, None, decays, CHUNK)[0].transpose(1, 2)
        return
    state = torch.zeros(*q[:, 0].shape, v.shape[-1], dtype=torch.bfloat16, device=q.device)
    inputs = (*(x.bfloat16() for x in (q, k, v)), state)
    yield "flash-pop fused, bfloat16", lambda: fused_chunk_retention(*inputs, decays)[0].transpose(1, 2)


ADAPTERS: dict[str, Adapter] = {
    "yet-another-retnet": _yet_another_retnet,
    "torchscale": _torchscale,
    "flash-linear-attention": _flash_linear_attention,
    "flash-pop": _flash_pop,
}
