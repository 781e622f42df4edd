"""What is compiled is one graph, as ``fullgraph`` refuses any break, with the numbers of eager execution."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from retconv.attention import multiply_logits
from retconv.grid import Grid
from retconv.memory import DenseLimitError, dense_limit
from retconv.models import MASKS
from retconv.train.replicas import Replicas
from tests.compare import assert_close
from tests.strategies import normal

GRID = Grid((3, 4), prefix=1)
SMALL = {"img_size": 32, "num_classes": 2, "drop_path_rate": 0.1}
FAMILIES: dict[str, dict[str, Any]] = {
    "retconv_vit_tiny": {"patch_size": 16, "embed_dim": 4, "depth": 1, "num_heads": 2},
    "retconv_pit_tiny": {"patch_size": 16, "stride": 8, "base_dims": (2,), "heads": (2,), "depth": (1,)},
    "retconv_swin_tiny": {"patch_size": 4, "embed_dim": 4, "depths": (1,), "num_heads": (2,)},
}


class EveryMask(nn.Module):
    """Attention with one mask of each name."""

    def __init__(self) -> None:
        super().__init__()
        self.masks = nn.ModuleDict({name: make(GRID.without_prefix(), 2) for name, make in MASKS.items()})

    def forward(self, x: Tensor) -> Tensor:
        for mask in self.masks.values():
            x = x + multiply_logits(x, x, x, mask, GRID)  # type: ignore[arg-type]
        return x


def assert_one_graph(function: Callable[..., Tensor], *inputs: Any, leaves: list[Tensor], backward: bool) -> None:
    """Compiled without a break, with the output and the gradients of eager execution.

    Args:
        function: What is compiled.
        *inputs: Of the function.
        leaves: What gradients are compared of.
        backward: Whether the backward pass is compiled ahead too, which takes as long again.
    """
    torch.compiler.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager" if backward else "eager")
    outs = [call(*inputs) for call in (compiled, function)]
    # A mask without effect, as in the last layer of a model that reads off its class token, has no gradient.
    found = [torch.autograd.grad(out.square().sum(), leaves, allow_unused=True, materialize_grads=True) for out in outs]
    for actual, expected in zip((outs[0], *found[0]), (outs[1], *found[1]), strict=True):
        assert_close(actual, expected)


@pytest.mark.parametrize("replicas", [1, 3])
def test_every_mask(replicas: int) -> None:
    """Alone, and mapped over by ``torch.func`` as masks of several models."""
    torch.manual_seed(0)
    models, x = [EveryMask() for _ in range(replicas)], normal(1, replicas, 2, 2, GRID.length, 3, dtype=torch.float32)
    if replicas == 1:
        assert_one_graph(models[0], x[0], leaves=list(models[0].parameters()), backward=True)
        return
    parameters, buffers = stack_module_state(models)

    def stacked(state: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.vmap(lambda state, x: functional_call(models[0], state, (x,)))(state, x)

    assert_one_graph(stacked, parameters | buffers, x, leaves=list(parameters.values()), backward=True)


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family(name: str, replicas: int) -> None:
    """One model, and several as one."""
    model = Replicas([timm.create_model(name, mask="gmm", **SMALL, **FAMILIES[name])] * replicas)
    draws = torch.rand(replicas, model.draws, 2, generator=torch.Generator().manual_seed(0))
    leaves = [pack.matrix for pack in model.packs]
    images = normal(1, 2, 3, 32, 32, dtype=torch.float32)
    assert_one_graph(model, images, draws, leaves=leaves, backward=False)


def test_the_limit_for_dense_objects_is_not_read_while_compiling() -> None:
    """It is a context variable, at which torch 2.11 breaks a graph."""
    compiled = torch.compile(lambda x: [x + 1, GRID.require_dense()], fullgraph=True, backend="eager")
    with dense_limit(1):
        compiled(torch.ones(1))
        with pytest.raises(DenseLimitError):
            GRID.require_dense()
