"""What a configuration names, made: its model, its data, the kernels of its masks."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

import timm
import torch
from torch import Tensor, nn

from retconv.convert import NotAConvolutionError, project
from retconv.data import Dataset
from retconv.data.augment import POLICIES, Augment, Erasing
from retconv.grid import Grid
from retconv.masks import ElementwiseMask, Mask
from retconv.models import SMALL_MODELS, UnsupportedModelError, grids_of, masks_of
from retconv.models.inputs import example_input
from retconv.models.places import release
from retconv.models.search import find_places
from retconv.names import nearest
from retconv.precision import has_units
from retconv.train.config import AugmentConfig, Config, DataConfig
from retconv.train.parsing import RecipeError
from retconv.train.randomness import seeded
from retconv.train.replicas import Replicas

#: Below this many tokens torch's fused attention of half types is slower than two products and a softmax on CPUs, and
#: in a stack that is compiled.
_SHORT = 256


def precision_on(device: torch.device, precision: str) -> str:
    """``"bfloat16"`` or ``"float32"``: what is asked for, or for ``"auto"`` what the device has units for."""
    if precision != "auto":
        return precision
    return "bfloat16" if has_units(torch.bfloat16, device) else "float32"


def compiles_on(device: torch.device, compile: bool | None) -> bool:
    """Whether a step is compiled: as asked for, or for None where it takes half the time, on a GPU."""
    return device.type == "cuda" if compile is None else compile


def unfuse_short_attention(model: nn.Module) -> None:
    """Let attention between few tokens, without a mask, be products of its own rather than torch's fused function."""
    if masks_of(model):
        return
    with suppress(UnsupportedModelError):  # a model without attention
        places, _ = find_places(model, example_input(model))
        for place in places:
            if place.fused and place.grid().length < _SHORT:
                model.get_submodule(place.name).fused_attn = False  # type: ignore[assignment]
        release(places)


def build_model(config: Config, size: int, classes: int) -> nn.Module:
    """The configuration's model for images of three channels at its start, which follows from the seed alone.

    Args:
        config: The configuration.
        size: Height and width of an image, in pixels.
        classes: Number of classes.

    Raises:
        RecipeError: If timm refuses the model's options, or they leave a parameter without a start.
    """
    kwargs = {"img_size": size, "in_chans": 3, "num_classes": classes} | dict(config.model.options)
    with seeded(config.seed, "start"), _unset_memory_is_nan():
        try:
            model = timm.create_model(config.model.name, pretrained=False, **kwargs)
        except (TypeError, ValueError, AssertionError, ArithmeticError) as error:
            hint = _hint(config.model.name, str(error))
            raise RecipeError(f"model {config.model.name!r} cannot be built from {kwargs}: {error}{hint}") from error
    if unset := [name for name, value in model.named_parameters() if value.isnan().any()]:
        raise RecipeError(
            f"model {config.model.name!r} with {kwargs} leaves {', '.join(unset)} without a start, so that it would be "
            "whatever memory holds: choose another model.options.weight_init, such as reset"
        )
    return model


@contextmanager
def _unset_memory_is_nan() -> Iterator[None]:
    """Inside, what ``torch.empty`` gives is NaN, so that a parameter which nothing sets is seen."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def _hint(model: str, fault: str) -> str:
    """The nearest option that a model has, where the fault is an option that it has not."""
    unknown = re.search(r"unexpected keyword argument '(\w+)'", fault)
    if unknown is None:
        return ""
    kind = type(timm.create_model(model, pretrained=False))
    own = {"mask", "mask_options", "placement", "share", "pooling", "temperature"} if model in SMALL_MODELS else set()
    return "; " + nearest(unknown[1], sorted(own | inspect.signature(kind).parameters.keys()))


def hold_out(data: Dataset, config: DataConfig) -> tuple[Dataset, Tensor, Tensor]:
    """The training part of a data set, and images and labels of its validation part, empty if none is wanted."""
    if not config.validation:
        return data, data.train_images[:0], data.train_labels[:0]
    train, validation = data.split(config.validation, config.split_seed)
    images, labels = data.train_images, data.train_labels
    return replace(data, train_images=images[train], train_labels=labels[train]), images[validation], labels[validation]


def augmentation(config: AugmentConfig, data: Dataset) -> Augment:
    """The chain from uint8 images to normalised ones that training images go through.

    AutoAugment's policy is that of the data set it was found on: CIFAR's unless there is one for this data set.
    """
    policy = None
    if config.policy == "autoaugment":
        policies = {"svhn": "autoaugment-svhn", "tiny-imagenet": "autoaugment-imagenet"}
        policy = POLICIES[policies.get(data.name.removesuffix("-32"), "autoaugment-cifar10")]
    elif config.policy != "none":
        policy = POLICIES[config.policy]
    erasing = Erasing(config.erase) if config.erase else None
    flip = data.flip if config.flip is None else config.flip
    return replace(Augment.of(data, config.crop, policy, erasing), flip=flip)


@torch.no_grad()
def mask_kernel(mask: Mask, grid: Grid) -> tuple[Tensor, float]:
    """The kernel of a mask, or that of its projection P if it has none (law 3).

    Returns:
        Kernel ``(heads, 2 n_1 − 1, …)``, and what it leaves out of the mask: ``‖M − PM‖_F / ‖M‖_F`` over all heads
        together, 0 for a convolution, such as a mask of zeros.
    """
    try:
        return mask.kernel(grid), 0.0
    except NotAConvolutionError:
        entries = mask(grid.without_prefix())
        kernel, missed = project(entries, grid.without_prefix())
        norms = entries.double().flatten(1).norm(dim=1)
        # Each head's residual is relative to its own norm.
        return kernel, float((missed * norms).norm() / norms.norm())


def kernels(replicas: Replicas, index: int) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Kernels of one replica's masks by the name of their module, and what they leave out (see ``mask_kernel``).

    The second result holds only masks that need not be convolutions: element-wise ones, and others without a kernel.
    """
    model = replicas.single(index)
    masks, grids = masks_of(model), grids_of(model)
    projections = {name: mask_kernel(mask, grids[name]) for name, mask in masks.items()}
    free = [name for name, mask in masks.items() if isinstance(mask, ElementwiseMask) or projections[name][1]]
    return {name: kernel for name, (kernel, _) in projections.items()}, {name: projections[name][1] for name in free}
