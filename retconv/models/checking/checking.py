"""Whether masks are right where they were put: five experiments on copies of a model."""

from __future__ import annotations

from typing import Any

from torch import nn

from retconv.models.checking.experiments import (
    batch_outcomes,
    gradient_outcomes,
    neutral_outcomes,
    one_token_outcomes,
)
from retconv.models.checking.position import position_outcomes
from retconv.models.checking.report import MaskReport, Outcome
from retconv.models.checking.subject import subject_of


def check_masks(model: nn.Module, example: Any = None, **options: Any) -> MaskReport:
    """Ask a model by experiment whether masks are right where ``add_masks`` puts them.

    Five questions, each of every masked attention module: does a neutral mask leave the outputs as they are (within
    5e-6 relative, float32); does a mask of one token, ``K[0] = 1`` and 0 elsewhere under ``bias_logits``, leave no
    weight off the diagonal and no other way from token to token; does the token that moves when a patch of the image is
    changed lie at the patch's place (in windows: do neighbouring patches move neighbouring tokens); do gradients reach
    every mask; does an image's output depend on no other image of its batch. What cannot be told is inconclusive.

    The experiments are done in evaluation mode on copies, in float64 where the model can compute in it. In the copies,
    parameters that are almost 0 everywhere (layer scales, position tables at their start) are drawn anew: a branch
    times 0 would hide a fault; and batch normalisations that have seen nothing see noise. Attention with pooled keys
    is left out. The model itself is not touched.

    Args:
        model: A model with masks, or without: its copy then gets neutral ones.
        example: One input: an image ``(1, channels, height, width)``, a video, or keyword arguments of the model by
            name; by default noise of the model's own size.
        **options: Further arguments of ``add_masks``, such as ``where=``, for a model without masks.

    Returns:
        The report: ``ok``, ``failures``, ``verdicts``, and as text what was measured.

    Raises:
        UnsupportedModelError: If the model has no attention that a mask of a grid fits.
        ValueError: If it does not run on the example, or options are given for a model that has masks.
        TypeError: If the example holds no tensor of floating numbers.

    Source:
        Ours. That a mask of a grid is right when only the token at a patch's place answers to it is the definition of
        ``M[q, k] = K[k − q]``: at K = [offset 0] alone, M is the identity.

    Example:
        >>> import timm
        >>> model = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2)
        >>> check_masks(model).verdicts["position"]
        'passed'
    """
    subject = subject_of(model, example, options)
    outcomes = neutral_outcomes(subject)
    subject.widen()
    outcomes += one_token_outcomes(subject)
    outcomes += position_outcomes(subject)
    outcomes += gradient_outcomes(subject)
    outcomes += batch_outcomes(subject)
    detail = "its keys are pooled: a mask between two grids has no diagonal"
    outcomes += [
        Outcome(check, "inconclusive", detail, name) for name in subject.pooled for check in ("one token", "position")
    ]
    modules = len(subject.modules) + len(subject.pooled)
    return MaskReport(type(model).__name__, modules, tuple(outcomes))
