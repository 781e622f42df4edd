"""Parameters of a model, and multiply-accumulates of one image, counted while the model runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from retconv.models.inputs import evaluating, example_input, running
from retconv.models.surgery import masked_modules, masks_of

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

    Layers are counted by hooks as they run; attention is what torch's own ``FlopCounterMode`` finds beside them (one
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
    products: list[int] = []
    biases: list[int] = []
    handles = [
        module.register_forward_hook(_counter(products, biases))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and name.rpartition(".")[2] not in HEAD_MIXING
    ]
    flops = FlopCounterMode(display=False)
    try:
        # The plain formula of attention: of its fast forms the counter knows only some. And it needs autograd.
        plain = sdpa_kernel(SDPBackend.MATH)
        with torch.enable_grad(), evaluating(model), _plainly(model), plain, flops, running(model, example):
            model(example)
    finally:
        for handle in handles:
            handle.remove()
    return Count(
        parameters=sum(everything.values()) - sum(masks.values()),
        mask_parameters=sum(masks.values()),
        layer_macs=sum(products) + sum(biases),
        attention_macs=flops.get_total_flops() // 2 - sum(products),
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


def _counter(products: list[int], biases: list[int]) -> Callable[[Any, Any, Tensor], None]:
    def note(module: Any, args: Any, output: Tensor) -> None:
        products.append(output.numel() * module.weight[0].numel())
        biases.append(output.numel() if module.bias is not None else 0)

    return note
