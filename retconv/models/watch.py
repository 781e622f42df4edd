"""Running a model once and watching what its modules compute: their attention, and the grids of its tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from retconv.models.calls import ATTENTION, MULTIHEAD, PRODUCTS, SOFTMAX
from retconv.models.experiment import Softmax
from retconv.models.multihead import given_arguments
from retconv.models.places import FeatureMap, OwnInput, Window

#: How models call the size of an attention's window or map, on the attention or on what it is part of.
OWN_SIZES = ("window_size", "resolution", "size", "ws")
OUTER_SIZES = ("window_size", "partition_size", "block_size")
_PREFIX_COUNTS = ("num_prefix_tokens", "num_tokens", "num_reg_tokens", "num_register_tokens")
_PREFIX_TOKENS = (
    "cls_token",
    "class_token",
    "class_embedding",
    "dist_token",
    "distillation_token",
    "reg_token",
    "register_token",
)
_MOST = 32


@dataclass
class Seen:
    """One attention call.

    Attributes:
        name: Of the module that makes it.
        call: ``"attention"``, ``"multihead"`` or ``"softmax"``.
        shape: Of the queries, and by hand of the scores: ``(…, tokens, channels or tokens)``.
        keys: Number of keys.
        given: Shape of what the module was given.
        maps: The feature maps until then, latest first.
        softmax: By hand: the softmax.
    """

    name: str
    call: str
    shape: tuple[int, ...]
    keys: int
    given: tuple[int, ...]
    maps: list[FeatureMap]
    softmax: Softmax | None = None

    @property
    def cuts(self) -> bool:
        """Whether the module is given one map, and attends to windows of it."""
        sides = {math.prod(self.given[1:-1]), math.prod(self.given[2:])}
        return len(self.given) == 4 and self.given[0] == 1 and self.shape[-2] not in sides


@dataclass
class _Frame:
    """A module that is running."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    products: list[tuple[int, ...]] = field(default_factory=list)
    mixing: set[int] = field(default_factory=set)
    softmaxes: int = 0


class Watch(TorchFunctionMode):
    """Notes every attention call with the module that makes it, and every feature map.

    Attributes:
        modules: Of the model, by name.
        prefixes: How many prefix tokens there may be.
        sources: Feature maps by their module's name, in the order of computation.
        inputs: What attention modules are given, where that was looked at.
        seen: The calls, each module's together.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.modules = dict(model.named_modules())
        self.prefixes = prefix_counts(model)
        self.running: list[_Frame] = []
        self.sources: dict[str, FeatureMap] = {}
        self.inputs: list[OwnInput] = []
        self.seen: dict[str, list[Seen]] = {}

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Follow which module runs, and every feature map that appears."""
        with ExitStack() as stack:
            for name, module in self.modules.items():
                enter = module.register_forward_pre_hook(self._enter(name), with_kwargs=True)
                leave = module.register_forward_hook(self._leave, always_call=True)
                stack.callback(enter.remove)
                stack.callback(leave.remove)
                convolves = any(isinstance(child, nn.Conv2d | nn.Conv3d) for child in module.modules())
                if isinstance(module, nn.Conv2d | nn.Conv3d) or (hasattr(module, "grid_size") and not convolves):
                    owner, _, attribute = name.rpartition(".")
                    self.sources[name] = FeatureMap(self.modules[owner], attribute)
            yield

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is ATTENTION:
            self._attention(*args, **kwargs)
        elif func is MULTIHEAD:
            self._multihead(*args, **kwargs)
        elif func in SOFTMAX:
            self._softmax(*args, **kwargs)
        out = func(*args, **kwargs)
        if func in PRODUCTS:
            # What mixes heads of scores by einsum is a product too, but one of scores, by a smaller matrix.
            tensors = [x for x in args if isinstance(x, Tensor)]
            mixes = any(x.shape == out.shape for x in tensors) and min(x.ndim for x in tensors) < out.ndim
            for frame in self.running:
                frame.mixing |= {len(frame.products)} if mixes else set()
                frame.products.append(tuple(out.shape))
        return out

    def calls_of(self, kind: type) -> list[Seen]:
        """The attention calls of all modules of a class."""
        return [one for name, calls in self.seen.items() if type(self.modules[name]) is kind for one in calls]

    def windows(self, name: str) -> list[Window]:
        """The windows that a module may attend in: its own, a part's, or those of what it is part of, nearest first."""
        module = self.modules[name]
        owners: list[tuple[Any, tuple[str, ...]]] = [(module, OWN_SIZES), (getattr(module, "rel_pos", None), OWN_SIZES)]
        while name:
            name = name.rpartition(".")[0]
            owners.append((self.modules[name], OUTER_SIZES))
        return [
            Window(owner, attribute)
            for owner, attributes in owners
            for attribute in attributes
            if owner is not None and _is_size(getattr(owner, attribute, None))
        ]

    def _enter(self, name: str) -> Callable[..., None]:
        return lambda module, args, kwargs: self.running.append(_Frame(name, args, kwargs))

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self.running.pop()

    def _attention(self, query: Tensor, key: Tensor, *_: Any, **__: Any) -> None:
        self._note(self._frame(), "attention", tuple(query.shape), key.shape[-2])

    def _multihead(self, *args: Any, **kwargs: Any) -> None:
        given = given_arguments(args, kwargs)
        length, *batch, channels = given.query.shape
        shape = (*(batch or [1]), given.num_heads, length, channels // given.num_heads)
        keys = len(given.key) + (given.bias_k is not None) + bool(given.add_zero_attn)
        self._note(self._frame(), "multihead", shape, keys)

    def _softmax(self, input: Tensor, dim: Any = None, *_: Any, **kwargs: Any) -> None:
        x = input  # torch's own name of it
        frame, index = self._frame(), self._frame().softmaxes
        for running in self.running:
            running.softmaxes += 1
        if x.ndim < 3 or dim not in (-1, x.ndim - 1):
            return
        shape = tuple(x.shape)
        outputs = list(frame.products)
        products = [i for i, output in enumerate(outputs) if output == shape and i not in frame.mixing]
        softmax = Softmax(self.modules[frame.name], frame.args, frame.kwargs, index, shape, products, outputs)
        self._note(frame, "softmax", shape, shape[-1], softmax)

    def _frame(self) -> _Frame:
        return next(frame for frame in reversed(self.running) if not isinstance(self.modules[frame.name], nn.Softmax))

    def _note(
        self, frame: _Frame, call: str, shape: tuple[int, ...], keys: int, softmax: Softmax | None = None
    ) -> None:
        maps = [source for source in reversed(self.sources.values()) if source.shape]
        given = next((tuple(x.shape) for x in (*frame.args, *frame.kwargs.values()) if isinstance(x, Tensor)), ())
        seen = Seen(frame.name, call, shape, keys, given, maps, softmax)
        self.seen.setdefault(frame.name, []).append(seen)


def prefix_counts(model: nn.Module) -> list[int]:
    """How many tokens may stand before those of the grid: as a model counts them, or as many as it has of its own.

    Args:
        model: Of timm, with a count; of transformers, with one in its configuration; or with parameters such as
            ``cls_token`` and ``register_tokens``.
    """
    owners = [owner for module in model.modules() for owner in (module, getattr(module, "config", None))]
    counts = [getattr(owner, name, 0) for owner in owners for name in _PREFIX_COUNTS]
    # More are those of a grid.
    named = {count for count in counts if isinstance(count, int) and count <= _MOST}
    own = {
        name: 1 if parameter.ndim < 2 else parameter.shape[-2]
        for name, parameter in model.named_parameters()
        if name.rpartition(".")[2].startswith(_PREFIX_TOKENS)
    }
    some = (combination for size in range(len(own) + 1) for combination in combinations(own.values(), size))
    return sorted(named | {sum(combination) for combination in some})


def _is_size(value: Any) -> bool:
    if isinstance(value, int):
        return value > 1
    return isinstance(value, tuple | list) and len(value) > 1 and all(isinstance(side, int) for side in value)
