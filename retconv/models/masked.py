"""An attention module with a mask: its own code, in which the calls that mix tokens are replaced.

A masked module is an object of a class made from its own: same parameters, same names, same ``forward``. While that
runs, torch's attention function is answered by the placement of the mask instead; where a module forms its own softmax,
the product of queries and keys or the softmax. So whatever a model does around it (rotary positions, normalised
queries, gates, position biases, shifted windows) stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from retconv import showing
from retconv.attention import PLACEMENTS, attend
from retconv.attention.inputs import read_mask
from retconv.attention.reference import weigh
from retconv.masks import Mask
from retconv.models.calls import ATTENTION, MULTIHEAD, PRODUCTS, SOFTMAX
from retconv.models.multihead import multihead_attention
from retconv.models.places import Place
from retconv.watching import is_checkpointed, is_recording, is_scripted

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class _Masking(TorchFunctionMode):
    """Answers a module's attention call, or its product and softmax, with the mask in place.

    Attributes:
        acted: Whether the mask had its say.
    """

    def __init__(self, module: MaskedAttention) -> None:
        super().__init__()
        self.module, self.place = module, module.place
        self.placement = PLACEMENTS[module.placement]
        self.convolved: Any = getattr(module, "convolved", None)
        self.products = self.softmaxes = 0
        self.multiplied: tuple[int, ...] | None = None
        self.recording = is_recording()
        self.acted = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is ATTENTION:
            self._act()
            return self._attend(*args, **kwargs)
        if func is MULTIHEAD:
            self._act()
            return multihead_attention(self._attend_weights, *args, **kwargs)
        if self.place.call == "softmax" and func in PRODUCTS:
            out = func(*args, **kwargs)
            if not self.place.layout.has_heads(out.shape):
                return out
            self.products += 1
            return self._multiply(out) if self.products - 1 in self.place.products and self._multiplies else out
        if self.place.call == "softmax" and func in SOFTMAX:
            self.softmaxes += 1
            if self.softmaxes - 1 in self.place.softmaxes:
                self._act()
                return self._weigh(func, *args, **kwargs)
        if func is F.linear and self.convolved is not None:
            return self.convolved.project(self.module, *args, **kwargs)
        return func(*args, **kwargs)

    def _act(self) -> None:
        # Only forward has the mask: what a checkpoint begun there runs again in backward would not.
        if self.recording and is_checkpointed(MaskedAttention.forward.__code__):
            raise ValueError(
                f"attention '{self.place.name}' attends within a checkpoint of its own, which backward runs again "
                "without the mask: checkpoint around it (torch.utils.checkpoint of the attention, or of its block), or "
                "not at all"
            )
        self.acted = True

    @property
    def _multiplies(self) -> bool:
        """Whether the mask multiplies the product of queries and keys itself."""
        return self.placement.before == "multiply" and bool(self.place.products)

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        layout, shape = self.place.layout, tuple(query.shape)
        if layout.axis == -3 and key.shape[-3] != query.shape[-3]:
            # Heads that share keys: one for all by broadcasting, or groups of heads by enable_gqa.
            key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], dim=-3) for x in (key, value))
        if is_causal:
            attn_mask = torch.ones(shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill(~attn_mask, -torch.inf)
        if attn_mask is not None and (query.ndim != 4 or layout.axis != -3):
            attn_mask = layout.fold(attn_mask.expand(*shape[:-1], key.shape[-2]))
        q, k, v = (layout.fold(x) for x in (query, key, value))
        out, _ = self._attend_weights(q, k, v, attn_mask, dropout_p, scale)
        return layout.unfold(out, shape)

    def _attend_weights(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        bias: Tensor | None,
        dropout_p: float,
        scale: float | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        if self.convolved is not None:
            return self.convolved.attend(self.module, q, k, v, bias, dropout_p, scale), None
        module, grid = self.module, self.place.between(q.shape[2], k.shape[2])
        options: dict[str, Any] = {
            "placement": module.placement,
            "scale": scale,
            "bias": bias,
            "dropout_p": dropout_p,
        }
        listener: Any = getattr(module, "attn_drop", None)
        listened = isinstance(listener, nn.Module) and bool(listener._forward_hooks or listener._forward_pre_hooks)
        if module.observer is None and not need_weights and not listened:
            return attend(q, k, v, module.mask, grid, backend=module.backend, **options), None
        out, weights = attend(q, k, v, module.mask, grid, return_weights=True, **options)
        if module.observer is not None:
            module.observer(weights)
        if listened:
            # Whoever hooks the dropout of weights, as timm's AttentionExtract does, sees those of the masked attention.
            listener(weights)
        return out, weights

    def _multiply(self, product: Tensor) -> Tensor:
        layout, self.multiplied = self.place.layout, tuple(product.shape)
        scores = layout.fold(product)  # shape: (batch, heads, length, length)
        forms = read_mask(self.module.mask, self.place.between(*scores.shape[-2:]), scores.shape[1])
        return layout.unfold(scores * forms.entries.to(scores.dtype), tuple(product.shape))

    def _weigh(self, func: Any, input: Tensor, *args: Any, dtype: torch.dtype | None = None, **kwargs: Any) -> Tensor:
        layout, placement = self.place.layout, self.placement
        dtype = next((one for one in args if isinstance(one, torch.dtype)), dtype)
        scores = layout.fold(input if dtype is None else input.to(dtype))
        if self._multiplies:
            if self.multiplied != tuple(input.shape):
                raise ValueError(
                    f"attention '{self.place.name}' made its scores by the matrix product number "
                    f"{self.place.products[0]} of those with heads when it was masked, and now does not: remove the "
                    "masks and add them anew, or take placement='bias_logits'"
                )
            self.multiplied = None
            weights = func(scores, dim=-1) if placement.softmax else scores
        else:
            forms = read_mask(self.module.mask, self.place.between(*scores.shape[-2:]), scores.shape[1])
            acting = placement.form(forms)
            if placement.scores:
                weights = weigh(placement, scores, acting)
            else:
                weights = acting.entries.to(scores.dtype).expand_as(scores)
        if self.convolved is not None:
            weights = self.convolved.weigh(weights, self.place.grid(scores.shape[-1]))
        if self.module.observer is not None:
            self.module.observer(weights)
        return layout.unfold(weights, tuple(input.shape))


class MaskedAttention(nn.Module):
    """What a masked attention module adds to its own class.

    Attributes:
        mask: The mask, or what wraps it, as peft does.
        owner: Whose mask it is, where one serves the whole model: that of its first place.
        placement: Where it acts, a name of ``retconv.attention.PLACEMENTS``.
        place: The module's name, heads and grid.
        backend: How the placement is computed, ``"auto"`` or one of ``retconv.attention.BACKENDS``.
        observer: If set, is given the weights ``(batch, heads, length, length)`` of every call, which are then formed.
        convolved: If set, answers attention in the module's stead: see ``retconv.heads.ConvolvedHeads``.
    """

    owner: MaskedAttention | None = None
    placement: str
    place: Place
    backend = "auto"
    observer: Callable[[Tensor], object] | None = None
    convolved: Any

    @property
    def mask(self) -> Mask:
        """The mask."""
        own: Any = self._modules.get("mask")
        if own is not None or self.owner is None:
            return own
        if not isinstance(self.owner, MaskedAttention):
            raise ValueError(
                f"attention '{self.place.name}' had the mask of a layer from which it was removed: remove the masks of "
                "the whole model, and add them anew"
            )
        return self.owner.mask

    def plot(self) -> Figure:
        """The mask on the grid of the place: see ``Mask.plot``."""
        title = f"{self.place.name}, {self.placement}: {self.mask}"
        with torch.no_grad():
            return showing.plot(self.mask.forms(self.place.grid()).picture(title))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The module's own forward, with the mask in place.

        Raises:
            ValueError: If the module no longer attends as it did when the mask was added, or does so within a
                checkpoint of its own; if ``torch.jit`` traces it, or its mask is another layer's, from which it is
                sharded apart.
        """
        if is_scripted():
            raise ValueError(
                f"attention '{self.place.name}' has a mask, which torch.jit.trace would keep as numbers of one grid: "
                "use torch.export or torch.compile"
            )
        if self.owner is not None and any(hasattr(p, "full_tensor") for p in self.mask.parameters()):
            raise ValueError(
                f"attention '{self.place.name}' has the mask of '{self.owner.place.name}', which fully_shard has "
                "sharded with that layer: shard the model as a whole, or add masks with share='layer' or 'head'"
            )
        # Not ``as masking``, whose attributes torch.compile does not see.
        masking = _Masking(self)
        with masking:
            out = super().forward(*args, **kwargs)
        if not masking.acted:
            ways = {
                "attention": "by torch's scaled_dot_product_attention",
                "multihead": "as torch.nn.MultiheadAttention",
                "softmax": "by a softmax of its own",
            }
            raise ValueError(
                f"attention '{self.place.name}' was masked when it computed {ways[self.place.call]}, and now does not: "
                "choose that again (such as fused_attn = True, or attn_implementation='sdpa'), or remove the masks and "
                "add them anew"
            )
        return out

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # A checkpoint of the plain model says nothing of masks: they stay as they are. One of a masked model that lacks
        # some is still incomplete; of one that lacks all of this module's, ``name_missing`` tells.
        for name in PARTS:
            child = self._modules.get(name)
            if child is not None and not any(key.startswith(f"{prefix}{name}.") for key in state_dict):
                state_dict.update({f"{prefix}{name}.{key}": value for key, value in child.state_dict().items()})
        super()._load_from_state_dict(state_dict, prefix, *args)

    def __reduce_ex__(self, protocol: Any) -> Any:
        # The class has no name to pickle it by: it is made anew from the module's own.
        return _empty, (plain_class(self),), self.__dict__


#: Those of its submodules that a checkpoint may know nothing of.
PARTS = ("mask", "convolved")
#: What a masked module has, and its own class must not.
OWN = ("mask", "owner", "placement", "place", "backend", "observer", "convolved")
_CLASSES: dict[type[nn.Module], type[MaskedAttention]] = {}


def masked_class(plain: type[nn.Module]) -> type[MaskedAttention]:
    """The class of modules of a plain class with a mask, always the same one."""
    if plain not in _CLASSES:
        _CLASSES[plain] = type(f"Masked{plain.__name__}", (MaskedAttention, plain), {"__module__": __name__})
    return _CLASSES[plain]


def plain_class(module: nn.Module) -> type[nn.Module]:
    """The class that a masked module had."""
    return type(module).__bases__[-1]


def _empty(plain: type[nn.Module]) -> nn.Module:
    masked = masked_class(plain)
    return masked.__new__(masked)
