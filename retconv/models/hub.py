"""Saving and loading a masked model as a folder of configuration and weights."""

from __future__ import annotations

from typing import Any

import timm
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from retconv.models.named import Share
from retconv.models.surgery import add_masks


class MaskedViT(
    nn.Module,
    PyTorchModelHubMixin,
    library_name="retconv",
    tags=["image-classification", "attention-mask", "vision-transformer"],
    license="mit",
):
    """A timm vision transformer with masks that is saved to and loaded from a folder, bit for bit.

    ``MaskedViT("retconv_vit_tiny", mask="gmm").save_pretrained(folder)`` writes ``config.json``, the arguments given
    here, and ``model.safetensors``; ``MaskedViT.from_pretrained(folder)`` reads them.

    Args:
        architecture: A name of timm's registry.
        mask: A name of ``retconv.models.MASKS``, or None for the plain model.
        placement: See ``add_masks``.
        share: See ``add_masks``.
        mask_options: Further arguments of the mask.
        **model_options: Further arguments of ``timm.create_model``.

    Attributes:
        model: The timm model.
    """

    def __init__(
        self,
        architecture: str,
        mask: str | None = None,
        placement: str = "multiply_logits",
        share: Share = "head",
        mask_options: dict[str, Any] | None = None,
        **model_options: Any,
    ) -> None:
        super().__init__()
        if architecture.startswith("retconv_"):
            masking: dict[str, Any] = {"mask": mask, "placement": placement, "share": share}
            self.model = timm.create_model(architecture, mask_options=mask_options, **masking, **model_options)
        else:
            self.model = timm.create_model(architecture, **model_options)
            if mask is not None:
                add_masks(self.model, mask, placement=placement, share=share, **(mask_options or {}))

    def no_weight_decay(self) -> set[str]:
        """The model's own parameters without weight decay, its masks among them, as timm's factory asks."""
        own: Any = getattr(self.model, "no_weight_decay", set)
        return {name if name.startswith("*") else f"model.{name}" for name in own()}

    def forward(self, x: Tensor) -> Tensor:
        """Images ``(batch, channels, height, width)`` to logits ``(batch, classes)``."""
        return self.model(x)
