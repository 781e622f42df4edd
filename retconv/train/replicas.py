"""Runs that differ by seed as one stacked model: every parameter gets a leading axis, and the forward is vmapped.

Small models leave a device idle between small kernels. R of them in one model are R times the work in the same number
of launches: a matrix product becomes a batched one. Nothing mixes the replicas: the loss is a sum over them, so each
one's gradient is its own, and the optimiser works element by element.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn.attention import SDPBackend, sdpa_kernel

#: What ``vars`` of a module hold that is the same for every module, or stacked.
_MACHINERY = set(vars(nn.Module())) | {"training"}
_PLAIN = (bool, int, float, str, tuple, list, type(None), torch.Size, torch.dtype)


class DrawnDropPath(nn.Module):
    """timm's ``DropPath`` with its randomness given from outside, as the buffer ``draw``.

    In training a sample whose draw u, uniform on [0, 1), is below p leaves the residual branch out, and the others are
    scaled by 1/(1 − p). With draws from outside, each replica can have its own seed.

    Args:
        p: Probability of leaving the branch out.
    """

    draw: Tensor  # shape: (batch,); the 1 it starts with keeps every branch

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.register_buffer("draw", torch.ones(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` of shape ``(batch, …)`` with the dropped samples 0 and the others scaled."""
        if not self.training:
            return x
        keep = (self.draw >= self.p).to(x.dtype) / (1 - self.p)
        return x * keep.view(-1, *[1] * (x.ndim - 1))


class Replicas(nn.Module):
    """R models of one functional form as one.

    Args:
        models: The models, which may differ in the values of parameters and buffers only. They are not changed.

    Attributes:
        count: R.
        model: The modules of the first model, in which every parameter and buffer is ``(R, …)``.

    Raises:
        ValueError: If the models differ in their modules or settings, naming the first difference.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        models = [_with_drawn_drop_path(model) for model in models]
        for model in models[1:]:
            _require_same_form(models[0], model)
        self.count = len(models)
        self.model = models[0]
        parameters, buffers = stack_module_state(models)
        for name, parameter in parameters.items():
            module, leaf = _owner(self.model, name)
            setattr(module, leaf, nn.Parameter(parameter.detach(), requires_grad=getattr(module, leaf).requires_grad))
        for name, buffer in buffers.items():
            module, leaf = _owner(self.model, name)
            setattr(module, leaf, buffer)
        self._draws = [name for name, m in self.model.named_modules() if isinstance(m, DrawnDropPath)]

    @property
    def draws(self) -> int:
        """Uniform numbers that each sample needs in a training step: one for each drop path."""
        return len(self._draws)

    def forward(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
        """Logits of every replica.

        Args:
            x: ``(R, batch, C, H, W)``, each replica's own images, or ``(batch, C, H, W)``, the same for all.
            draws: ``(R, self.draws, batch)``, uniform on [0, 1), for drop path; without, all are kept.

        Returns:
            ``(R, batch, classes)``.
        """
        state = dict(self.model.named_parameters()) | dict(self.model.named_buffers())
        if draws is not None:
            state |= {f"{name}.draw": draws[:, i] for i, name in enumerate(self._draws)}
        shared = x.ndim == 4
        if self.count == 1:
            # Without vmap, every fused operation of a single model stays available.
            out = functional_call(self.model, {k: v[0] for k, v in state.items()}, (x if shared else x[0],))
            return out[None]
        # The CPU's fused attention has no rule for a batch of models; its decomposition has.
        with sdpa_kernel(SDPBackend.MATH) if x.device.type == "cpu" else nullcontext(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is a performance drop")
            call = torch.vmap(self._call, in_dims=(0, None if shared else 0), randomness="different")
            return call(state, x)

    def _call(self, state: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(self.model, state, (x,))

    def single(self, index: int) -> nn.Module:
        """One replica as a model of its own, a copy."""
        model = copy.deepcopy(self.model)
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            module, leaf = _owner(model, name)
            value = tensor.detach()[index].clone()
            setattr(module, leaf, nn.Parameter(value) if isinstance(tensor, nn.Parameter) else value)
        return model


def _owner(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    return model.get_submodule(path), leaf


def _with_drawn_drop_path(model: nn.Module) -> nn.Module:
    model = copy.deepcopy(model)
    for name, module in list(model.named_modules()):
        if isinstance(module, DropPath):
            parent, leaf = _owner(model, name)
            setattr(parent, leaf, DrawnDropPath(module.drop_prob))
    return model


def _settings(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Class and plain attributes of every module, and shapes of every tensor, by name.

    ``start`` and whether a mask's parameters were drawn this way or that says how values began, not what they mean.
    """
    for name, module in model.named_modules():
        yield name, type(module)
        for key, value in sorted(vars(module).items()):
            if key not in _MACHINERY and key != "start" and isinstance(value, _PLAIN):
                yield f"{name}.{key}".lstrip("."), value
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        yield f"shape of {name}", tuple(tensor.shape)


def _require_same_form(one: nn.Module, other: nn.Module) -> None:
    a, b = dict(_settings(one)), dict(_settings(other))
    for key in [*a, *(k for k in b if k not in a)]:
        if a.get(key) != b.get(key):
            raise ValueError(
                f"replicas must share one functional form, but {key or 'the model'} is {a.get(key)!r} in one and "
                f"{b.get(key)!r} in another: train them one after the other"
            )
