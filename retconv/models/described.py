"""What was done to a model when its masks were put in: enough to do it again to a plain one."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor, nn

from retconv.models.inputs import Example
from retconv.models.loading import name_missing
from retconv.models.spared import tell, untell

#: Where a model keeps its description; a Hugging Face model's ``config`` has it too, and so its ``config.json``.
KEPT_AS = "retconv"
_LOADING = "retconv_loading"


@dataclass(frozen=True)
class Masking:
    """The arguments of ``add_masks`` as data.

    Attributes:
        mask: The mask's name; None if a factory or a mask was given, which nothing describes.
        placement: See ``add_masks``.
        share: See ``add_masks``.
        where: See ``add_masks``.
        options: Of a named mask.
        image: Shape of the input that the model was run with; None where it was several inputs.
        prefix: See ``add_masks``.
        grid: See ``add_masks``.
        pooled: See ``add_masks``.

    Example:
        >>> import timm
        >>> model = retconv.models.add_masks(timm.create_model("vit_tiny_patch16_224", depth=2), "gmm", components=3)
        >>> retconv.models.masking_of(model).options
        {'components': 3}
    """

    mask: str | None
    placement: str = "multiply_logits"
    share: str = "head"
    where: str = "*"
    options: dict[str, Any] = field(default_factory=dict)
    image: tuple[int, ...] | None = None
    prefix: int | None = None
    grid: tuple[int, ...] | None = None
    pooled: bool = False

    @classmethod
    def of(cls, mask: object, example: Example, **others: Any) -> Masking:
        """Of what ``add_masks`` was given."""
        image = tuple(example.shape) if isinstance(example, Tensor) else None
        return cls(mask if isinstance(mask, str) else None, image=image, **others)

    @classmethod
    def read(cls, data: dict[str, Any]) -> Masking:
        """Of what ``data`` was written from."""
        sizes = {name: None if data.get(name) is None else tuple(data[name]) for name in ("image", "grid")}
        return cls(**(data | sizes))

    @property
    def reason(self) -> str | None:
        """Why it cannot be written down, if so."""
        if self.mask is None:
            return "its masks were made by a factory or given as they are, and nothing says how to make them again"
        if self.image is None:
            return "it was run with several inputs to find its attention, and only an image's shape is kept"
        try:
            json.dumps(self.options)
        except TypeError as error:
            return f"an option of its masks is no plain number or text: {error}"
        return None

    def data(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def remember(model: nn.Module, masking: Masking) -> None:
    """Let a model say what masks it has: to ``masking_of``, to whoever saves or loads it, to makers of optimisers."""
    model.__dict__[KEPT_AS] = masking
    model.__dict__[_LOADING] = model.register_load_state_dict_pre_hook(name_missing)
    config = getattr(model, "config", None)
    if config is not None and hasattr(config, "to_json_string") and masking.reason is None:
        # A configuration may serve several models, and within one it is the same object everywhere.
        own = copy.copy(config)
        setattr(own, KEPT_AS, masking.data())
        for module in model.modules():
            if module.__dict__.get("config") is config:
                module.__dict__["config"] = own
    tell(model)


def forget(model: nn.Module) -> None:
    """Let it say nothing again."""
    model.__dict__.pop(KEPT_AS, None)
    loading = model.__dict__.pop(_LOADING, None)
    if loading is not None:
        loading.remove()
    if hasattr(getattr(model, "config", None), KEPT_AS):
        delattr(model.config, KEPT_AS)
    untell(model)


def masking_of(model: nn.Module) -> Masking | None:
    """What masks ``add_masks`` has put into a model, or None.

    Example:
        >>> import timm
        >>> masking_of(timm.create_model("vit_tiny_patch16_224", depth=2)) is None
        True
    """
    masking: Masking | None = model.__dict__.get(KEPT_AS)
    return masking
