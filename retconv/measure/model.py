"""A finished run as a model that can be measured, and its accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms import v2

from retconv.data import Dataset
from retconv.train import RunFolder
from retconv.train.build import augmentation, build_model, hold_out, precision_on

#: Images of a forward pass.
CHUNK = 256


@dataclass(frozen=True)
class Trained:
    """A trained model and the images that it is measured on.

    Attributes:
        model: In evaluation mode, on the images' device.
        images: uint8 ``(n, channels, size, size)``.
        labels: ``(n,)``.
        normalise: Makes uint8 images what the model sees.
        precision: ``"float32"`` or ``"bfloat16"``.
    """

    model: nn.Module
    images: Tensor
    labels: Tensor
    normalise: Callable[[Tensor], Tensor]
    precision: str

    @classmethod
    def load(cls, run: RunFolder, data: Dataset) -> Trained:
        """The weights that a run tested, in its model, with the images that it held out, or the test images if none.

        Args:
            run: Finished, with its weights.
            data: Its data set, on the device that measures.

        Raises:
            TrainError: If the run is not finished, or has no weights.
        """
        model = build_model(run.config, data.size, len(data.classes))
        model.load_state_dict(run.weights())
        model.to(data.test_images.device).eval().requires_grad_(False)
        _, images, labels = hold_out(data, run.config.data)
        if not len(labels):
            images, labels = data.test_images, data.test_labels
        precision = precision_on(images.device, run.config.precision)
        return cls(model, images, labels, augmentation(run.config.augment, data).normalise, precision)

    def logits(self, size: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Logits and labels of all images, chunk by chunk; at another image size if one is given."""
        device = self.images.device.type
        for x, y in zip(self.images.split(CHUNK), self.labels.split(CHUNK), strict=True):
            x = x if size is None or x.shape[-1] == size else v2.functional.resize(x, [size, size], antialias=True)
            with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=self.precision == "bfloat16"):
                yield self.model(self.normalise(x)).float(), y.long()

    def evaluate(self, size: int | None = None) -> tuple[float, float]:
        """Cross-entropy in nats and accuracy in per cent over the images."""
        loss = correct = 0.0
        for logits, labels in self.logits(size):
            loss += float(F.cross_entropy(logits, labels, reduction="sum"))
            correct += float((logits.argmax(dim=1) == labels).sum())
        count = len(self.labels)
        return loss / count, 100 * correct / count
