"""Parameters of a model, and multiply-accumulates of one image, counted while the model runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from retconv.models.calls import MULTIHEAD
from retconv.models.inputs import call, evaluating, example_input, running
from retconv.models.multihead import multihead_attention
from retconv.models.surgery import masked_modules, masks_of

#: The calls of layers that are counted.
_TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
_LAYERS = (F.linear, F.conv1d, F.conv2d, F.conv3d, *_TRANSPOSED)
#: Linear layers that mix heads: they act on scores and weights, so they are counted with attention.
HEAD_MIXING = ("proj_l", "proj_w")


@dataclass(frozen=True)
class Count:
    """What a model costs.

    Attributes:
        parameters: Numbers of the model without its masks.
        mask_parameters: Numbers of its masks, each counted once.
        layer_macs: Multiply-accumulates of linear and convolution layers for one image, an added bias as one for each
            output, as the counters of the field do and the published figures were counted.
        attention_macs: Those of Q Kᵀ, of the weights times V, and of mixing heads.
    """

    parameters: int
    mask_parameters: int
    layer_macs: int
    attention_macs: int

    @property
    def macs(self) -> int:
        """All matrix products and convolutions."""
        return self.layer_macs + self.attention_macs


def count(model: nn.Module, example: Tensor | None = None) -> Count:
    """Count a model's parameters, and its multiply-accumulates by running it on one image.

    Layers are counted by torch's calls for them, also where a module makes them with weights of its own, as
    ``torch.nn.MultiheadAttention`` does; attention is what torch's own ``FlopCounterMode`` finds beside them (one
    multiply-accumulate is two of its operations). Products that are not matrix products (softmax, normalisation, the
    mask's own multiplication of the logits) are not counted.

    Args:
        model: The model.
        example: One image as a batch of 1; by default zeros of the model's own size.

    Raises:
        ValueError: If the model does not run on it.
    """
    example = example_input(model) if example is None else example[:1]
    masks = {id(p): p.numel() for mask in masks_of(model).values() for p in mask.parameters()}
    everything = {id(p): p.numel() for p in model.parameters()}
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    mixing = {id(module.weight) for name, module in linear.items() if name.rpartition(".")[2] in HEAD_MIXING}
    layers, flops = _Layers(mixing), FlopCounterMode(display=False)
    # The plain formula of attention: of its fast forms the counter knows only some. And it needs autograd.
    plain = sdpa_kernel(SDPBackend.MATH)
    with torch.enable_grad(), evaluating(model), _plainly(model), plain, flops, layers, running(model, example):
        call(model, example)
    return Count(
        parameters=sum(everything.values()) - sum(masks.values()),
        mask_parameters=sum(masks.values()),
        layer_macs=layers.products + layers.biases,
        attention_macs=flops.get_total_flops() // 2 - layers.products,
    )


@contextmanager
def _plainly(model: nn.Module) -> Iterator[None]:
    backends = {module: module.backend for _, module in masked_modules(model)}
    try:
        for module in backends:
            module.backend = "reference"
        yield
    finally:
        for module, backend in backends.items():
            module.backend = backend


class _Layers(TorchFunctionMode):
    """Counts linear and convolution layers as they are called.

    Args:
        mixing: Identities of the weights that mix heads.

    Attributes:
        products: Multiply-accumulates.
        biases: Outputs that a bias is added to.
    """

    def __init__(self, mixing: set[int]) -> None:
        super().__init__()
        self.mixing, self.products, self.biases = mixing, 0, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is MULTIHEAD:
            with self:
                return multihead_attention(_attend, *args, **kwargs)
        out = func(*args, **kwargs)
        if func in _LAYERS:
            given = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
            weight, bias = given["weight"], given.get("bias")
            if id(weight) not in self.mixing:
                # A transposed convolution takes its input to its outputs as a convolution takes outputs to inputs.
                self.products += (given["input"] if func in _TRANSPOSED else out).numel() * weight[0].numel()
                self.biases += out.numel() if bias is not None else 0
        return out


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
    """Plain attention, of the scale that the count does not ask for."""
    weights = (q @ k.mT if bias is None else q @ k.mT + bias).softmax(dim=-1)
    return weights @ v, weights
