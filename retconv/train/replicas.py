"""Runs that differ by seed as one stacked model: every parameter gets a leading axis, and the forward is vmapped.

Small models leave a device idle between small kernels. R of them in one model are R times the work in the same number
of launches: a matrix product becomes a batched one. Nothing mixes the replicas: the loss is a sum over them, so each
one's gradient is its own, and the optimiser works element by element.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from timm.layers import PatchDropout
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.dropout import _DropoutNd

from retconv.precision import entering
from retconv.train.given import mask_groups, settings, taking
from retconv.train.packed import pack
from retconv.watching import is_traced

#: Modules whose parameters autocast reads in its own dtype; a convolution of a stack needs them as its input is.
_PRODUCTS = nn.Linear
#: What draws for all replicas at once, and its attribute of how much it drops.
_DROPOUT = {_DropoutNd: "p", nn.MultiheadAttention: "dropout", PatchDropout: "prob"}


class Replicas(nn.Module):
    """R models of one functional form as one.

    Args:
        models: The models, which may differ in the values of parameters and buffers only. They are not changed.
        apart: Names of parameters that an optimiser treats apart from the others, as without weight decay.

    Attributes:
        count: R.
        model: The modules of the first model, in which every parameter and buffer is ``(R, …)``: to be read, saved and
            loaded. Trained parameters are views of the packs' matrices, which have the gradients.
        packs: The trained parameters as matrices.

    Raises:
        ValueError: If the models differ in their modules or settings, naming the first difference, or have dropout.

    Example:
        >>> import timm
        >>> models = [timm.create_model("retconv_vit_tiny", num_classes=10) for _ in range(2)]
        >>> retconv.train.Replicas(models)(torch.rand(2, 4, 3, 32, 32)).shape
        torch.Size([2, 4, 10])
    """

    def __init__(self, models: Sequence[nn.Module], apart: Collection[str] = ()) -> None:
        super().__init__()
        for model in models[1:]:
            _require_same_form(models[0], model)
            _require_no_dropout(model)
        self.count = len(models)
        self.model = copy.deepcopy(models[0])
        self._groups = mask_groups(self.model)
        # Not registered: it has no values of its own.
        template, self._paths = taking(self.model, self._groups)
        self._template: nn.Module
        self.__dict__["_template"] = template
        drop = [template.get_submodule(name).p for name in self._paths]
        self._dropped: Tensor
        self.register_buffer("_dropped", torch.tensor(drop).view(-1, 1), persistent=False)
        parameters, buffers = stack_module_state(list(models))
        learnt = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        for name, value in {**parameters, **buffers}.items():
            if name not in learnt:
                fixed = name in parameters
                _put(self.model, name, nn.Parameter(value.detach(), requires_grad=False) if fixed else value)
        linear = [(name, m) for name, m in self.model.named_modules() if isinstance(m, _PRODUCTS)]
        products = {f"{name}.{leaf}" for name, m in linear for leaf in m._parameters}
        self.packs = pack({name: parameters[name] for name in learnt}, apart, products)
        self._tie()

    def _tie(self) -> None:
        """Make the model's trained parameters views of the packs."""
        for one in self.packs:
            for name, view in one.columns(one.matrix.detach()).items():
                _put(self.model, name, nn.Parameter(view))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Replicas:
        super()._apply(fn, recurse)
        for one in self.packs:
            one.matrix = fn(one.matrix.detach()).requires_grad_()
        self._tie()
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._tie()

    @property
    def draws(self) -> int:
        """Uniform numbers that each sample needs in a training step: one for each drop path."""
        return len(self._paths)

    def forward(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
        """Logits of every replica.

        Args:
            x: ``(R, batch, C, H, W)``, each replica's own images, or ``(batch, C, H, W)``, the same for all.
            draws: ``(R, self.draws, batch)``, uniform on [0, 1), for drop path; without, all are kept.

        Returns:
            ``(R, batch, classes)``.
        """
        state = self._state()
        if self._paths:
            if draws is None:
                scale = x.new_ones(self.count, self.draws, 1)
            else:
                scale = (draws >= self._dropped) / (1 - self._dropped)
            # One cast for all, where each drop path would cast its own.
            each = self._first(entering(scale)).unbind(-2)
            state |= {f"{path}.scale": one for path, one in zip(self._paths, each, strict=True)}
        shared = x.ndim == 4
        self._template.train(self.training)
        if self.count == 1:
            # Without vmap, every fused operation of a single model stays available.
            return functional_call(self._template, state, (x if shared else x[0],))[None]
        # The CPU's fused attention has no rule for a batch of models, cuDNN's none for a learnt bias, and the efficient
        # one refuses the row sums that it is handed back in backward.
        fused = [] if x.device.type == "cpu" else [SDPBackend.FLASH_ATTENTION]
        with sdpa_kernel([*fused, SDPBackend.MATH]), warnings.catch_warnings():
            if not is_traced():  # it would cut its graph here, and does not warn
                warnings.filterwarnings("ignore", message="There is a performance drop")
            call = torch.vmap(self._call, in_dims=(0, None if shared else 0), randomness="different")
            return call(state, x)

    def _call(self, state: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(self._template, state, (x,))

    def _first(self, x: Tensor) -> Tensor:
        """Without the axis of replicas where there is only one."""
        return x if self.count > 1 else x[0]

    def _state(self) -> dict[str, Tensor]:
        """What a forward pass reads, by name: parameters, buffers, and values of all masks."""
        state: dict[str, Tensor] = {}
        for one in self.packs:
            state |= one.read()
        fixed = [(n, p) for n, p in self.model.named_parameters() if n not in state]
        state |= {name: self._first(value) for name, value in [*fixed, *self.model.named_buffers()]}
        for group in self._groups:
            values = group.values(state, self.count)
            for name in group.leaves:
                del state[name]
            state |= values
        return state

    def single(self, index: int) -> nn.Module:
        """One replica as a model of its own, a copy."""
        model = copy.deepcopy(self.model)
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            value = tensor.detach()[index].clone()
            is_parameter = isinstance(tensor, nn.Parameter)
            _put(model, name, nn.Parameter(value, requires_grad=tensor.requires_grad) if is_parameter else value)
        return model


def _put(model: nn.Module, name: str, value: Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(path), leaf, value)


def _require_no_dropout(model: nn.Module) -> None:
    """Refuse what draws for all replicas at once, unlike drop path, which each draws by its own seed."""
    for name, module in model.named_modules():
        share = next((getattr(module, share) for kind, share in _DROPOUT.items() if isinstance(module, kind)), 0.0)
        if share:
            raise ValueError(
                f"replicas cannot have dropout, whose random numbers they would share, but {name} drops {share:g}: "
                "train them one after the other"
            )


def _require_same_form(one: nn.Module, other: nn.Module) -> None:
    a, b = settings(one), settings(other)
    for key in [*a, *(k for k in b if k not in a)]:
        if a.get(key) != b.get(key):
            raise ValueError(
                f"replicas must share one functional form, but {key or 'the model'} is {a.get(key)!r} in one and "
                f"{b.get(key)!r} in another: train them one after the other"
            )
