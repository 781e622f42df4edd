"""Where a mask acts in attention, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from retconv.masks import Forms


@dataclass(frozen=True)
class Placement:
    """What a mask does to scores ``S = Q Kᵀ · scale`` and to the weights that are made of them.

    Attributes:
        name: Of the placement.
        formula: What multiplies V, in words of S, M and a bias B.
        source: Where it is from.
        before: What the mask does to the scores: ``"multiply"``, ``"add"`` (its logarithm), or nothing.
        softmax: Whether the weights are a softmax; without one, a bias has no meaning.
        after: Whether the mask multiplies the weights.
        scores: Whether queries and keys are read at all.
        backends: How it can be computed, beside ``"auto"``: the plain formula; blocks that are computed again in
            backward; compiled loops of a CPU, for inference; fused kernels of a GPU that read the mask by offset, our
            own or FlexAttention's, which changes logits only; fused ``scaled_dot_product_attention`` with a bias, or
            with extra channels for one Gaussian or a causal decay; the operator M V.

    Example:
        >>> retconv.attention.PLACEMENTS["bias_logits"].formula
        'softmax(S + log M + B)'
    """

    name: str
    formula: str
    source: str
    before: Literal["multiply", "add"] | None = None
    softmax: bool = True
    after: bool = False
    scores: bool = True
    backends: tuple[str, ...] = ("reference", "recompute", "compiled", "triton")

    @property
    def adds(self) -> bool:
        """Whether the logarithm of the mask acts, and not the mask."""
        return self.before == "add"

    def form(self, mask: Forms) -> Forms:
        """What acts: the mask, or its logarithm."""
        return mask.log if self.adds else mask


_PLACEMENTS = (
    Placement(
        "multiply_logits",
        "softmax(M ⊙ S + B)",
        "the code of Li and Zhang 2023 (arXiv 2309.05375), ELM and GMM",
        before="multiply",
        backends=("reference", "recompute", "compiled", "triton", "flex"),
    ),
    Placement(
        "bias_logits",
        "softmax(S + log M + B)",
        "the code of RMT (Fan et al. 2024, arXiv 2309.11523); ALiBi (arXiv 2108.12409); Swin (arXiv 2103.14030, eq. 4)",
        before="add",
        backends=("reference", "recompute", "compiled", "triton", "flex", "sdpa", "channels"),
    ),
    Placement(
        "multiply_weights",
        "softmax(S + B) ⊙ M",
        "the paper of RMT (Fan et al. 2024, arXiv 2309.11523); its code adds the logarithm instead",
        after=True,
    ),
    Placement(
        "retention",
        "S ⊙ M",
        "RetNet (Sun et al. 2023, arXiv 2307.08621), eq. (5), without rotation and normalisation",
        before="multiply",
        softmax=False,
    ),
    Placement(
        "convolution",
        "M",
        "TNN (Qin et al. 2023, arXiv 2305.04749); large kernel convolutional attention, LKCA (Li et al. 2024)",
        softmax=False,
        scores=False,
        backends=("reference", "operator"),
    ),
)
#: The placements by name.
PLACEMENTS: dict[str, Placement] = {placement.name: placement for placement in _PLACEMENTS}
#: The backends of each placement, beside ``"auto"``.
BACKENDS: dict[str, tuple[str, ...]] = {name: placement.backends for name, placement in PLACEMENTS.items()}
