"""An attention module with a mask: its own code, in which the one call that mixes tokens is replaced.

A masked module is an object of a class made from its own: same parameters, same names, same ``forward``. While that
runs, torch's attention function (or the softmax of talking heads) is answered by the placement of the mask instead. So
whatever a model does around it (rotary positions, normalised queries, gates, position biases, shifted windows) stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from retconv.attention import PLACEMENTS, attend
from retconv.attention.inputs import read_mask
from retconv.attention.reference import weigh
from retconv.masks import Mask
from retconv.models.places import Place
from retconv.models.search import SOFTMAX


class _Masking(TorchFunctionMode):
    """Answers a module's attention call, or its softmax, with the mask in place."""

    def __init__(self, module: MaskedAttention) -> None:
        super().__init__()
        self.module = module

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self._attend(*args, **kwargs)
        if func is F.linear and (convolved := getattr(self.module, "convolved", None)) is not None:
            return convolved.project(self.module, *args, **kwargs)
        if func in SOFTMAX and self.module.place.call == "talking heads":
            return self._weigh(args[0])
        return func(*args, **kwargs)

    def _attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
    ) -> Tensor:
        grid = self.module.place.grid(q.shape[2])
        if is_causal:
            attn_mask = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool, device=q.device).tril()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            attn_mask = torch.zeros_like(attn_mask, dtype=q.dtype).masked_fill(~attn_mask, -torch.inf)
        convolved = getattr(self.module, "convolved", None)
        if convolved is not None:
            return convolved.attend(self.module, q, k, v, attn_mask, dropout_p, scale)
        mask, backend = self.module.mask, self.module.backend
        options: dict[str, Any] = {
            "placement": self.module.placement,
            "scale": scale,
            "bias": attn_mask,
            "dropout_p": dropout_p,
        }
        if self.module.observer is None:
            return attend(q, k, v, mask, grid, backend=backend, **options)
        out, weights = attend(q, k, v, mask, grid, return_weights=True, **options)
        self.module.observer(weights)
        return out

    def _weigh(self, scores: Tensor) -> Tensor:
        """Talking heads mix the scores before the softmax and the weights after: the mask acts between the two."""
        placement = PLACEMENTS[self.module.placement]
        forms = read_mask(self.module.mask, self.module.place.grid(scores.shape[-1]), scores.shape[1])
        acting = placement.form(forms)
        if placement.scores:
            weights = weigh(placement, scores, acting)
        else:
            weights = acting.entries.to(scores.dtype).expand_as(scores)
        convolved = getattr(self.module, "convolved", None)
        if convolved is not None:
            weights = convolved.weigh(weights, forms.grid)
        if self.module.observer is not None:
            self.module.observer(weights)
        return weights


class MaskedAttention(nn.Module):
    """What a masked attention module adds to its own class.

    Attributes:
        mask: The mask.
        placement: Where it acts, a name of ``retconv.attention.PLACEMENTS``.
        place: The module's name, heads and grid.
        backend: How the placement is computed, ``"auto"`` or one of ``retconv.attention.BACKENDS``.
        observer: If set, is given the weights ``(batch, heads, length, length)`` of every call, which are then formed.
        convolved: If set, answers attention in the module's stead: see ``retconv.heads.ConvolvedHeads``.
    """

    mask: Mask
    placement: str
    place: Place
    backend = "auto"
    observer: Callable[[Tensor], object] | None = None
    convolved: Any

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's own forward, with the mask in place."""
        with _Masking(self):
            return super().forward(*args, **kwargs)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # A checkpoint of the plain model says nothing of masks: they stay as they are. One of a masked model that lacks
        # some is still incomplete.
        # So do convolved heads.
        for name in ("mask", "convolved"):
            child = self._modules.get(name)
            if child is not None and not any(key.startswith(f"{prefix}{name}.") for key in state_dict):
                state_dict.update({f"{prefix}{name}.{key}": value for key, value in child.state_dict().items()})
        super()._load_from_state_dict(state_dict, prefix, *args)

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The class has no name to pickle it by: it is made anew from the module's own.
        return _empty, (plain_class(self), self.place.call), self.__dict__


class CosineAttention(nn.Module):
    """Swin v2's cosine attention said through torch's attention function: ``softmax(τ cos(q, k) + B) V``.

    Source:
        Liu et al. 2022, Swin Transformer V2 (arXiv 2111.09883), eq. (2) and section 3.3; B is ``16 σ(·)`` of a small
        network on log-spaced offsets.
    """

    def forward(self: Any, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """``(windows, tokens, channels)`` to the same; ``mask`` is the shift mask, a bias for each window."""
        bias = None if self.q_bias is None else torch.cat((self.q_bias, self.k_bias, self.v_bias))
        qkv = F.linear(x, self.qkv.weight, bias).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        temperature = self.logit_scale.clamp(max=math.log(100)).exp()  # shape: (heads, 1, 1)
        table = self.cpb_mlp(self.relative_coords_table).view(-1, self.num_heads)
        position = 16 * torch.sigmoid(table[self.relative_position_index].permute(2, 0, 1))[None]
        if mask is not None:
            position = position + mask[:, None].repeat(x.shape[0] // mask.shape[0], 1, 1, 1)
        dropout = self.attn_drop.p if self.training else 0.0
        q, k = F.normalize(q, dim=-1) * temperature, F.normalize(k, dim=-1)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=position, dropout_p=dropout, scale=1.0)
        return self.proj_drop(self.proj(out.transpose(1, 2).flatten(2)))


_CLASSES: dict[tuple[type[nn.Module], str], type[MaskedAttention]] = {}


def masked_class(plain: type[nn.Module], call: str) -> type[MaskedAttention]:
    """The class of modules of a plain class with a mask, always the same one."""
    if (plain, call) not in _CLASSES:
        bases = (MaskedAttention, CosineAttention, plain) if call == "cosine" else (MaskedAttention, plain)
        _CLASSES[plain, call] = type(f"Masked{plain.__name__}", bases, {"__module__": __name__})
    return _CLASSES[plain, call]


def plain_class(module: nn.Module) -> type[nn.Module]:
    """The class that a masked module had."""
    return type(module).__bases__[-1]


def _empty(plain: type[nn.Module], call: str) -> nn.Module:
    masked = masked_class(plain, call)
    return masked.__new__(masked)
