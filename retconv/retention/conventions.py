"""RetNet's conventions by name: what public implementations do around ``(S ⊙ M) V``, each selectable by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from retconv.names import unknown

Rotation = Literal["none", "interleaved", "half"]
Normalization = Literal["none", "group", "rms"]


@dataclass(frozen=True)
class Conventions:
    """What surrounds ``(S ⊙ M) V`` in a retention layer.

    Attributes:
        scale: Multiplies the scores; None is ``1 / √d``. torchscale scales k (``k *= self.scaling``), the same thing.
        rotation: ``"none"``, or pairs of features turned by position, ``"interleaved"`` (torchscale's
            ``rotate_every_two``) or ``"half"`` (RoPE as in GPT-NeoX). Rotated retention has complex poles γ e^{iθ}.
        rotation_endpoint: Whether angles run to ``1 / base`` itself (torchscale) or stop before (RoPE).
        normalize_mask: Rows of the mask divided by √ of their sum, ``D / √Σ D`` (``RetNetRelPos``:
            ``mask / mask.sum(dim=-1, keepdim=True).sqrt()``). The factor depends on the query alone, so every form
            applies it to its output.
        normalize_scores: Rows of ``S ⊙ M`` divided by ``max(|Σ|, 1)`` (``parallel_forward``:
            ``qk_mat / qk_mat.detach().sum(dim=-1, keepdim=True).abs().clamp(min=1)``), with no gradient through the
            divisor, as there. The sum is linear in k, so every form has it: it is retention of a feature of ones.
        norm: ``"none"``, ``"rms"`` over each head's features (``RMSNorm(head_dim, elementwise_affine=False)``), or
            ``"group"``, with the mean subtracted (the paper's GroupNorm, eq. 8).
        epsilon: Of the norm; torchscale's ``layernorm_eps`` is 1e-5.
        gate: Whether ``swish(x W_G)`` multiplies the normalised output (eq. 8).

    Raises:
        ValueError: If rotation or norm is another name.

    Source:
        Sun et al. 2023 (arXiv 2307.08621), section 2.2 ("Retention Score Normalization") and eq. (8); torchscale's
        ``component/multiscale_retention.py`` and ``architecture/retnet.py``, from which the lines are quoted.

    Example:
        >>> Conventions(scale=1.0, rotation="none").normalize_mask
        False
    """

    scale: float | None = None
    rotation: Rotation = "none"
    rotation_endpoint: bool = True
    normalize_mask: bool = False
    normalize_scores: bool = False
    norm: Normalization = "none"
    epsilon: float = 1e-5
    gate: bool = False

    def __post_init__(self) -> None:
        """Check the names: one that nobody knows would be no norm at all."""
        for name, value, names in (("rotation", self.rotation, Rotation), ("norm", self.norm, Normalization)):
            if value not in get_args(names):
                raise ValueError(f"Conventions: {unknown(name, value, get_args(names))}")


#: Presets: ``"torchscale"`` is the reference implementation's parallel form, ``"plain"`` nothing but ``(S ⊙ M) V``.
PRESETS: dict[str, Conventions] = {
    "torchscale": Conventions(
        rotation="interleaved", normalize_mask=True, normalize_scores=True, norm="rms", gate=True
    ),
    "plain": Conventions(),
}
