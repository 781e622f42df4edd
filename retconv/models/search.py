"""Finding the attention of a model by running it once and watching what its modules compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from retconv.models.places import FeatureMap, Place, Window

#: As in a class token's attention, or where keys are pooled: there is no square mask, and none is missed.
OTHER_KEYS = "its queries are not the tokens that its keys are"
#: Every way in which a module may call softmax.
SOFTMAX = (torch.softmax, Tensor.softmax, F.softmax)
#: Where models keep the size of an attention's window: on the module, on its position bias, or on its parent.
WINDOWS = ("window_size", "rel_pos.window_size", "..partition_size")
LOOKED_FOR = (
    "retconv looks for modules that call torch's scaled_dot_product_attention, or are talking-heads or cosine "
    "attention (CaiT, Swin v2), on as many queries as keys, whose tokens are those of a window or of a feature map"
)


class UnsupportedModelError(ValueError):
    """A model has no attention that a mask of a token grid can be put into."""


def find_places(model: nn.Module, example: Tensor) -> tuple[list[Place], dict[str, str]]:
    """Run a model on one input, and say where attention between the tokens of a grid happens in it.

    Args:
        model: A timm vision transformer, or anything built like one.
        example: An input of batch size 1.

    Returns:
        The places in the order of computation, which follow the model's feature maps until they are released; and the
        attention between as many queries as keys that a mask does not fit, with the reason.

    Raises:
        UnsupportedModelError: If there is none, with the reason for each attention that was seen.
        ValueError: If the model does not run on the input.
    """
    watch = _Watch(model)
    try:
        with torch.no_grad(), evaluating(model), _fused(model) as fused, watch.hooks(), watch, running(model, example):
            model(example)
    finally:
        needed = {id(place.source) for place in watch.places.values()}
        for source in watch.sources.values():
            if id(source) not in needed:
                source.release()
    if not watch.places:
        reasons = "".join(f"; '{name}': {reason}" for name, reason in list(watch.refused.items())[:3])
        raise UnsupportedModelError(
            f"no place for a mask in {type(model).__name__}{reasons or ': no attention was computed'}. {LOOKED_FOR}"
        )
    places = [replace(place, fused=fused.get(watch.modules[name])) for name, place in watch.places.items()]
    return places, {name: reason for name, reason in watch.refused.items() if reason != OTHER_KEYS}


def example_input(model: nn.Module) -> Tensor:
    """Zeros ``(1, channels, height, width)`` of the size that a model's patch embedding names.

    Raises:
        ValueError: If no module names one.
    """
    sizes = [getattr(module, "img_size", None) for module in model.modules()]
    size = next((size for size in sizes if size), None) or getattr(model, "default_cfg", {}).get("input_size")
    if size is None:
        raise ValueError(f"{type(model).__name__} names no image size: give an input of it as example=")
    height, width = (size, size) if isinstance(size, int) else tuple(size)[-2:]
    convolution = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    channels = getattr(model, "in_chans", None) or (convolution.in_channels if convolution else 3)
    weight = next(model.parameters())
    return torch.zeros(1, channels, height, width, dtype=weight.dtype, device=weight.device)


@contextmanager
def running(model: nn.Module, example: Tensor) -> Iterator[None]:
    """Say of a failure inside that the input may be at fault: the size a timm model names need not be its own.

    Raises:
        ValueError: Instead of a RuntimeError or AssertionError.
    """
    try:
        yield
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"{type(model).__name__} does not run on an input {tuple(example.shape)} ({error}): "
            "give one of its own size as example="
        ) from error


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and afterwards each module's own mode again."""
    training = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


@contextmanager
def _fused(model: nn.Module) -> Iterator[dict[Any, bool]]:
    """Torch's attention function wherever a module offers it; afterwards as before. Yields what was before."""
    fused: dict[Any, bool] = {
        module: bool(module.fused_attn) for module in model.modules() if hasattr(module, "fused_attn")
    }
    try:
        for module in fused:
            module.fused_attn = True
        yield fused
    finally:
        for module, value in fused.items():
            module.fused_attn = value


class _Watch(TorchFunctionMode):
    """Notes attention and softmax calls with the module that makes them, and the feature maps made before."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.modules = dict(model.named_modules())
        names = ("num_prefix_tokens", "num_tokens")
        counts = {getattr(module, name, 0) for module in self.modules.values() for name in names}
        self.prefixes = sorted({0} | {p for p in counts if isinstance(p, int)})
        self.running: list[str] = []
        self.sources: dict[str, FeatureMap] = {}
        self.places: dict[str, Place] = {}
        self.refused: dict[str, str] = {}

    @contextmanager
    def hooks(self) -> Iterator[None]:
        """Follow which module runs, and every feature map that appears."""
        with ExitStack() as stack:
            for name, module in self.modules.items():
                enter = module.register_forward_pre_hook(self._enter(name))
                leave = module.register_forward_hook(self._leave, always_call=True)
                stack.callback(enter.remove)
                stack.callback(leave.remove)
                convolves = any(isinstance(child, nn.Conv2d) for child in module.modules())
                if isinstance(module, nn.Conv2d) or (hasattr(module, "grid_size") and not convolves):
                    self.sources[name] = FeatureMap(module)
            yield

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            self._see("attention", args[0], args[1].shape[-2])
        elif func in SOFTMAX:
            self._see("softmax", args[0], args[0].shape[-1])
        return func(*args, **(kwargs or {}))

    def _enter(self, name: str) -> Callable[[nn.Module, Any], None]:
        return lambda module, args: self.running.append(name)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        self.running.pop()

    def _see(self, call: str, queries: Tensor, keys: int) -> None:
        name = next(name for name in reversed(self.running) if not isinstance(self.modules[name], nn.Softmax))
        if name in self.places or name in self.refused:
            return
        module = self.modules[name]
        if call == "softmax":
            call = _by_hand(module)
        reason = self._reason(module, call, queries, keys)
        match = None if reason else self._grid(name, queries)
        if match:
            source, prefix = match
            self.places[name] = Place(name, queries.shape[1], prefix, source, call, None)
        else:
            maps = sorted({source.shape for source in self.sources.values() if source.shape})
            self.refused[name] = reason or (
                f"no window and no feature map has its {queries.shape[-2]} tokens, with {self.prefixes} prefix tokens; "
                f"the maps seen are {maps}"
            )

    def _reason(self, module: nn.Module, call: str, queries: Tensor, keys: int) -> str | None:
        """Why a mask cannot go here, if so."""
        if queries.ndim != 4:
            return f"its queries have {queries.ndim} axes, not (batch, heads, tokens, channels)"
        heads, length, channels = queries.shape[1:]
        if length != keys:
            return OTHER_KEYS
        out = getattr(getattr(module, "qkv", None), "out_features", 0)
        if call == "attention" and out == 3 * heads * length != 3 * heads * channels:
            return "it attends between channels, not between tokens (cross-covariance), so there is no grid of pairs"
        if call == "softmax":
            return "it forms its own softmax, where a bias cannot be told from the scores"
        return None

    def _grid(self, name: str, queries: Tensor) -> tuple[FeatureMap | Window, int] | None:
        """Whose shape these tokens have: the module's window, else the latest feature map of their number."""
        windows = [window for window in (self._window(name, path) for path in WINDOWS) if window]
        # Attention on a whole map sees each image once; on windows, as often as there are windows.
        maps = [source for source in reversed(self.sources.values()) if source.shape] if queries.shape[0] == 1 else []
        sources: list[FeatureMap | Window] = [*windows, *maps]
        for source in sources:
            height, width = source.shape
            if queries.shape[2] - height * width in self.prefixes:
                return source, queries.shape[2] - height * width
        return None

    def _window(self, name: str, path: str) -> Window | None:
        *owners, attribute = path.removeprefix("..").split(".")
        owner = self.modules[name.rpartition(".")[0] if path.startswith("..") else name]
        for step in owners:
            owner = getattr(owner, step, None) or nn.Identity()
        return Window(owner, attribute) if isinstance(getattr(owner, attribute, None), tuple) else None


def _by_hand(module: nn.Module) -> str:
    """Which known attention a module that calls softmax itself is."""
    if hasattr(module, "proj_l") and hasattr(module, "proj_w"):
        return "talking heads"
    if hasattr(module, "logit_scale") and hasattr(module, "cpb_mlp"):
        return "cosine"
    return "softmax"
