"""The model under examination: copies of it, masks for the time of an experiment, and what they let through."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from retconv.ambient import host, noise
from retconv.grid import Grid
from retconv.masks import KernelTableMask, Mask
from retconv.models.inputs import call, example_input
from retconv.models.neutral import NeutralMask
from retconv.models.surgery import add_masks, masked_modules, masks_of, remove_masks

#: Numbers all smaller than this make a branch that nobody would hear: layer scales, norms and tables that start at 0.
SILENT = 1e-3
#: What they are drawn from in the copy: a normal distribution of this width.
VOICE = 0.1
#: So many images of noise make the statistics of batch normalisations.
BATCH = 4
#: What ``whispering`` leaves of the weights of other tokens.
WHISPER = 1e-9


@dataclass
class Subject:
    """Two copies of a model, without masks and with them, and an input.

    Attributes:
        plain: Without masks.
        masked: With masks.
        example: An input of one image: a tensor, or the keyword arguments of the model by name.
        pooled: Attention with pooled keys, whose masks were taken out: no mask of one token lies between two grids.
        epsilon: Rounding of the dtype in which the copies compute now.
    """

    plain: nn.Module
    masked: nn.Module
    example: Any
    pooled: tuple[str, ...] = ()
    epsilon: float = torch.finfo(torch.float32).eps

    @property
    def image(self) -> Tensor:
        """The input's tensor that holds the image: of its tensors of numbers, the largest."""
        return image_of(self.example)

    @property
    def modules(self) -> dict[str, Any]:
        """The masked attention modules by name."""
        return dict(masked_modules(self.masked))

    def with_image(self, image: Tensor) -> Any:
        """The input with another image, or batch of images, in its place."""
        if isinstance(self.example, Tensor):
            return image
        mine, size = self.image, image.shape[0]
        return {
            name: image if value is mine else value.repeat_interleave(size, 0) if isinstance(value, Tensor) else value
            for name, value in self.example.items()
        }

    def widen(self) -> None:
        """Go on in float64, if the model can compute in it."""
        copies = copy.deepcopy(self.plain).double(), copy.deepcopy(self.masked).double()
        wide = self.with_image(self.image.double())
        try:
            with torch.no_grad():
                for model in copies:
                    run(model, wide)
        except (RuntimeError, ValueError, TypeError):  # a constant of the model is of float32
            return
        self.plain, self.masked = copies
        self.example, self.epsilon = wide, torch.finfo(torch.float64).eps

    @contextmanager
    def pointwise(self) -> Iterator[None]:
        """Let convolutions of stride 1 pass only their middle, for the time: they then mix no tokens."""
        before: list[tuple[Tensor, Tensor]] = []
        try:
            for module in self.masked.modules():
                if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) and set(module.stride) == {1}:
                    weight = module.weight.data
                    before.append((weight, weight.clone()))
                    middle = torch.zeros_like(weight)
                    at: tuple[Any, ...] = (..., *(side // 2 for side in module.kernel_size))
                    middle[at] = weight[at]
                    weight.copy_(middle)
            yield
        finally:
            for weight, value in before:
                weight.copy_(value)

    @contextmanager
    def given(self, mask: Callable[[Grid, int], Mask], placement: str) -> Iterator[dict[str, list[Tensor]]]:
        """Put other masks in for the time.

        Args:
            mask: ``(grid, heads) -> Mask`` of each place.
            placement: Where they act.

        Yields:
            By module, the weights of every call inside the ``with`` block.
        """
        weights: dict[str, list[Tensor]] = {name: [] for name in self.modules}
        before = {name: (m.mask, m.placement, m.observer) for name, m in self.modules.items()}
        try:
            for name, module in self.modules.items():
                with host():
                    one = mask(module.place.grid().without_prefix(), module.place.heads)
                module.mask, module.placement = one.to(self.image.device, self.image.dtype), placement
                module.observer = weights[name].append
            yield weights
        finally:
            for name, module in self.modules.items():
                module.mask, module.placement, module.observer = before[name]


def subject_of(model: nn.Module, example: Any, options: Mapping[str, Any]) -> Subject:
    """Copy a model for experiments.

    Args:
        model: With masks, or without: its copy then gets neutral ones.
        example: One input; by default noise of the model's own size.
        options: Further arguments of ``add_masks`` for a model without masks.

    Raises:
        ValueError: If options are given for a model that has masks.
    """
    base = copy.deepcopy(model).float().eval()
    has_masks = bool(masks_of(base))
    if has_masks and options:
        raise ValueError(
            f"the model has its masks, so there is nothing to do with {sorted(options)}: give them to add_masks"
        )
    if example is None:
        example = noise(0, *example_input(base).shape)
    example = _single(example, next(base.parameters()).device)
    if not has_masks:
        add_masks(base, neutral, example=example, **options)
    pooled = [name for name, module in masked_modules(base) if module.place.keys is not None]
    _hand_over(base, pooled)
    for name in pooled:
        remove_masks(base.get_submodule(name))
    # Only now, so that masks are where the model as it is has them.
    give_voice(base)
    calibrate(base, example)
    return Subject(remove_masks(copy.deepcopy(base)), base, example, tuple(pooled))


def _hand_over(model: nn.Module, names: list[str]) -> None:
    """Let the first of the other layers that have a mask of one of these be its owner."""
    heirs = [module for name, module in masked_modules(model) if name not in names and module.owner is not None]
    orphans = [module for module in heirs if module.owner is not None and module.owner.place.name in names]
    if not orphans:
        return
    first: Any = orphans[0]
    first.mask = first.mask
    for module in orphans:
        module.__dict__["owner"] = None if module is first else first


def give_voice(model: nn.Module) -> None:
    """Draw anew the parameters that are (almost) 0 everywhere: a branch times 0 hides every fault of what is in it.

    What is added, a bias, hides nothing.
    """
    own = {id(p) for mask in masks_of(model).values() for p in mask.parameters()}
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            hears = "bias" in name.rpartition(".")[2] or id(parameter) in own or not parameter.numel()
            if not hears and float(parameter.abs().max()) <= SILENT:
                parameter.copy_(VOICE * torch.randn(parameter.shape, generator=generator, device="cpu"))


def calibrate(model: nn.Module, example: Any) -> None:
    """Let batch normalisations that have seen nothing see noise: else the signal of an untrained model dies away."""
    fresh = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d) and not m.num_batches_tracked]
    if not fresh or not isinstance(example, Tensor):
        return
    images = noise(3, BATCH, *example.shape[1:]).to(example)
    before = [(m, m.momentum, {name: value.clone() for name, value in m.named_buffers()}) for m in fresh]
    try:
        with torch.no_grad():
            for norm in fresh:
                norm.train().momentum = 1.0
            run(model, images)
    except (RuntimeError, ValueError):  # one value for each channel is no statistic
        for norm, _, values in before:
            for name, value in norm.named_buffers():
                value.copy_(values[name])
    finally:
        for norm, momentum, _ in before:
            norm.eval().momentum = momentum


def neutral(grid: Grid, heads: int) -> Mask:
    """1 everywhere."""
    return NeutralMask()


def one_token(grid: Grid, heads: int) -> Mask:
    """1 at offset 0 and 0 elsewhere: no token sees another."""
    kernel = torch.zeros(1, *grid.kernel_shape)
    kernel[(0, *grid.center)] = 1
    return KernelTableMask.from_kernel(kernel).requires_grad_(False)


def whispering(grid: Grid, heads: int) -> Mask:
    """1 at offset 0 and almost 0 elsewhere: no token hears another, and yet every weight can be read."""
    kernel = torch.full((1, *grid.kernel_shape), WHISPER)
    kernel[(0, *grid.center)] = 1
    return KernelTableMask.from_kernel(kernel).requires_grad_(False)


def random_tables(grid: Grid, heads: int) -> Mask:
    """A free kernel for each head, of numbers about 1 that nothing else has."""
    return KernelTableMask.from_kernel(1 + noise(grid.size + heads, heads, *grid.kernel_shape) / 2)


def run(model: nn.Module, example: Any) -> Any:
    """What the model makes of an input, with the same random numbers each time that it draws any."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return call(model, example)


def leaves(output: Any) -> list[Tensor]:
    """The tensors of floating numbers of an output, whatever holds them."""
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, list | tuple) else ()
    return [leaf for part in parts for leaf in leaves(part)]


def image_of(example: Any) -> Tensor:
    """The largest tensor of floating numbers of an input.

    Raises:
        TypeError: If it has none.
    """
    tensors = sorted(leaves(example), key=Tensor.numel)
    if not tensors:
        kind = type(example).__name__
        raise TypeError(f"an input must be a tensor, or keyword arguments with one, of floating numbers; got {kind}")
    return tensors[-1]


def difference(values: Any, expected: Any) -> float:
    """The largest relative difference ``‖a − b‖ / ‖b‖`` of two outputs' tensors."""
    pairs = list(zip(leaves(values), leaves(expected), strict=True))
    return max((float((a - b).norm() / b.norm().clamp_min(1e-30)) for a, b in pairs), default=0.0)


def _single(example: Any, device: torch.device) -> Any:
    image_of(example)  # refuses what has no image
    if isinstance(example, Tensor):
        return example[:1].detach().float().to(device)
    return {
        name: value[:1].float()
        if isinstance(value, Tensor) and value.is_floating_point()
        else value[:1]
        if isinstance(value, Tensor)
        else value
        for name, value in example.items()
    }
