"""Masks as ``torch.nn.Module``s: a differentiable ``kernel(grid)``, and ``forward(grid)``, the mask itself."""

from retconv.masks import readers as readers  # its functions register themselves
from retconv.masks.base import Mask
from retconv.masks.biases import BiasMask
from retconv.masks.crossed import between, between_log
from retconv.masks.decay import DecayMask, RetNetMask
from retconv.masks.diagonal import OffDiagonalMask
from retconv.masks.forms import Forms, MaskLike
from retconv.masks.free import BiasTableMask, ElementwiseMask, KernelTableMask
from retconv.masks.gates import ForgetGate, LocAt, PolylineGate, SpatialDecay, SSDGate
from retconv.masks.gaussian import GaussianMixtureMask
from retconv.masks.window import WindowMask

__all__ = [
    "BiasMask",
    "BiasTableMask",
    "DecayMask",
    "ElementwiseMask",
    "ForgetGate",
    "Forms",
    "GaussianMixtureMask",
    "KernelTableMask",
    "LocAt",
    "Mask",
    "MaskLike",
    "OffDiagonalMask",
    "PolylineGate",
    "RetNetMask",
    "SSDGate",
    "SpatialDecay",
    "WindowMask",
    "between",
    "between_log",
]
