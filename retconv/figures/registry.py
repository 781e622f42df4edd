"""Every figure, in the order of the gallery. A new figure is one module and one line here."""

from __future__ import annotations

from collections.abc import Sequence

from retconv.figures import (
    attention_distance,
    by_option,
    convolved_photograph,
    cost_of_a_mask,
    depth,
    effective_kernels,
    effective_size,
    elm_becomes_convolution,
    equivalence,
    gains,
    gaussian_as_retention,
    grid_transfer,
    kernel_swap,
    learned_masks,
    locality_extroversion,
    mask_atlas,
    masked_photograph,
    masks_and_kernels,
    normalisation_breaks_it,
    parameters_and_macs,
    planted_bias,
    planted_pairs,
    planted_recovery,
    planted_varying,
    retention_forms,
    symbols,
    szego,
    throughput,
    truncation_certificate,
    underflow,
    windows,
)
from retconv.figures.spec import FiguresError, FigureSpec
from retconv.names import unknown

#: The figures by name.
FIGURES: dict[str, FigureSpec] = {
    spec.name: spec
    for spec in (
        masks_and_kernels.FIGURE,
        windows.FIGURE,
        mask_atlas.FIGURE,
        masked_photograph.FIGURE,
        convolved_photograph.FIGURE,
        locality_extroversion.FIGURE,
        symbols.FIGURE,
        szego.FIGURE,
        depth.FIGURE,
        normalisation_breaks_it.FIGURE,
        equivalence.FIGURE,
        underflow.FIGURE,
        effective_size.FIGURE,
        truncation_certificate.FIGURE,
        gaussian_as_retention.FIGURE,
        retention_forms.FIGURE,
        planted_recovery.FIGURE,
        planted_varying.FIGURE,
        planted_bias.FIGURE,
        planted_pairs.FIGURE,
        cost_of_a_mask.FIGURE,
        parameters_and_macs.FIGURE,
        throughput.FIGURE,
        *gains.FIGURES,
        *by_option.FIGURES,
        attention_distance.FIGURE,
        effective_kernels.FIGURE,
        *kernel_swap.FIGURES,
        elm_becomes_convolution.FIGURE,
        learned_masks.FIGURE,
        grid_transfer.FIGURE,
    )
}


def find(names: Sequence[str] = ()) -> list[FigureSpec]:
    """The figures of these names, without repetition, in the order of the gallery.

    If no name is given, all but those that wait for their stored results.

    Raises:
        FiguresError: If a name is unknown, naming the nearest right one.
    """
    for name in names:
        if name not in FIGURES:
            raise FiguresError(unknown("figure", name, FIGURES))
    if names:
        return [spec for spec in FIGURES.values() if spec.name in names]
    return [spec for spec in FIGURES.values() if not spec.waits_for()]
