"""The matrices that make queries, keys and values in an attention module, whatever it calls them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

#: Names of three linear maps for queries, keys and values.
_APART = (("q_proj", "k_proj", "v_proj"), ("q", "k", "v"), ("query", "key", "value"))
#: Names of the map of the output.
_OUT = ("proj", "out_proj")
#: What holds position embeddings in timm, torchvision and Hugging Face's models.
_POSITIONS = ("pos_embed", "pos_embedding", "position_embeddings")


@dataclass(frozen=True)
class Projections:
    """Views of an attention module's weights, as torch has them: ``y = W x + b``.

    Attributes:
        query: ``(heads · d, C)``.
        key: As query.
        value: As query.
        out: ``(C, heads · d)``, or None if the module has none of its own.
        biases: Those of queries and keys.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    out: Tensor | None
    biases: tuple[Tensor, ...]

    @classmethod
    def of(cls, name: str, module: Any) -> Projections:
        """Read them.

        Raises:
            ValueError: If a module has none under a known name, or normalises queries and keys.
        """
        if not all(isinstance(getattr(module, norm, nn.Identity()), nn.Identity) for norm in ("q_norm", "k_norm")):
            raise ValueError(
                f"attention '{name}' normalises queries and keys, whose size is then not that of their weights: "
                "start a model without q_norm"
            )
        outs = [getattr(module, n, None) for n in _OUT]
        out = next((o.weight.detach() for o in outs if isinstance(o, nn.Linear)), None)
        joint, of = getattr(module, "qkv", None), "{}"
        if not isinstance(joint, nn.Linear):
            joint, of = module, "in_proj_{}"
        weight, bias = (getattr(joint, of.format(part), None) for part in ("weight", "bias"))
        if weight is not None:
            query, key, value = weight.detach().chunk(3)
            own = (getattr(module, "q_bias", None), getattr(module, "k_bias", None))
            biases = [b.detach() for b in own if b is not None] if bias is None else bias.detach().chunk(3)[:2]
            return cls(query, key, value, out, tuple(biases))
        for names in _APART:
            maps = [m for n in names if isinstance(m := getattr(module, n, None), nn.Linear)]
            if len(maps) == len(names):
                query, key, value = (m.weight.detach() for m in maps)
                return cls(query, key, value, out, tuple(m.bias.detach() for m in maps[:2] if m.bias is not None))
        raise ValueError(
            f"attention '{name}', a {type(module).__name__}, has no weights of queries and keys under a known name: "
            f"qkv, in_proj_weight, or {'; '.join(', '.join(names) for names in _APART)}"
        )


def position_embedding(model: nn.Module, tokens: int) -> Tensor:
    """The position embedding of a model's last ``tokens`` tokens, those of its grid, as a view ``(tokens, C)``.

    Raises:
        ValueError: If it has none for so many.
    """
    for name, parameter in model.named_parameters():
        if name.rpartition(".")[2] in _POSITIONS and parameter.ndim >= 2 and parameter.shape[-2] >= tokens:
            return parameter.detach().flatten(0, -2)[-tokens:]
    raise ValueError(
        f"{type(model).__name__} has no position embedding of {tokens} tokens under the names {', '.join(_POSITIONS)}, "
        "and this start makes attention of it: start it by 'mimetic', or give it a mask"
    )


def balanced(query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """The same products of queries and keys, by weights of equal norms."""
    factor = torch.sqrt(key.norm() / query.norm())
    return query * factor, key / factor
