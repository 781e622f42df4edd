"""Augmentation of whole batches on the training device, each sample by its own draw.

Libraries apply such policies one sample at a time. Here the host draws all choices of a batch from one
``torch.Generator``; then the device works on whole batches, without a loop over samples and without waiting for the
host. Each operation gives what torchvision's (v2, on uint8 tensors, nearest neighbour) gives for the sample alone.
"""

from retconv.data.augment.augment import Augment, Draw
from retconv.data.augment.crop import crop_and_flip
from retconv.data.augment.erasing import Erasing, erase
from retconv.data.augment.mixing import Mixing, soft_targets
from retconv.data.augment.operations import OPERATIONS, apply
from retconv.data.augment.policies import POLICIES, AutoAugment, Policy, RandAugment, TrivialAugment

__all__ = [
    "OPERATIONS",
    "POLICIES",
    "Augment",
    "AutoAugment",
    "Draw",
    "Erasing",
    "Mixing",
    "Policy",
    "RandAugment",
    "TrivialAugment",
    "apply",
    "crop_and_flip",
    "erase",
    "soft_targets",
]
