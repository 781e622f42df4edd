"""What has no answer on a periodic grid, by the name of the operation that refuses it (law 23)."""

from __future__ import annotations

from collections.abc import Callable

import torch

import retconv
from retconv import analysis, attention, convert, kernels, masks, models
from retconv.analysis import effective, locality, spectrum
from retconv.grid import Grid
from retconv.masks import DecayMask, Forms, KernelTableMask
from retconv.retention import retention
from tests.error_table import Error
from tests.laws.rings import ring_kernel, ring_mask
from tests.strategies import HEADS, normal

RING, MIXED = Grid((4, 3), periodic=True), Grid((4, 3), periodic=(True, False))
LINE = Grid(6, periodic=True)


def _with_retnet(call: Callable[[masks.RetNetMask], object]) -> Callable[[], object]:
    return lambda: call(masks.RetNetMask(HEADS))


TABLE = torch.ones(HEADS, 7, 5)
GATES, SHIFT = kernels.Gates(torch.zeros(HEADS, 6)), torch.zeros(HEADS, 12, 2)
POLYLINE = kernels.PolylineGates((torch.zeros(HEADS, 12), torch.zeros(HEADS, 12)))
GAUSSIANS, ONES = kernels.QueryGaussian(SHIFT, SHIFT + 1), torch.ones(HEADS)
#: What reads data, or counts from a border or a first token, and the grid that it is asked for.
BORDERS: dict[str, Callable[[], object]] = {
    "Gates.entries": lambda: GATES.entries(LINE),
    "Gates.log_entries": lambda: GATES.log_entries(LINE),
    "Gates.require": lambda: GATES.require(LINE),
    "PolylineGates.entries": lambda: POLYLINE.entries(RING),
    "PolylineGates.log_entries": lambda: POLYLINE.log_entries(RING),
    "PolylineGates.require": lambda: POLYLINE.require(RING),
    "QueryGaussian.entries": lambda: GAUSSIANS.entries(RING),
    "QueryGaussian.log_entries": lambda: GAUSSIANS.log_entries(RING),
    "QueryGaussian.require": lambda: GAUSSIANS.require(RING),
    "ForgetGate.forward": lambda: masks.ForgetGate(4, HEADS)(torch.ones(1, 6, 4), LINE),
    "SSDGate.forward": lambda: masks.SSDGate(4, HEADS)(torch.ones(1, 6, 4), LINE),
    "PolylineGate.forward": lambda: masks.PolylineGate(4, HEADS)(torch.ones(1, 12, 4), RING),
    "SpatialDecay.forward": lambda: masks.SpatialDecay(4, HEADS)(torch.ones(1, 12, 4), RING),
    "LocAt": lambda: masks.LocAt(4, RING),
    "LocAt.forward": lambda: masks.LocAt(4, RING.opened())(torch.ones(1, HEADS, 12, 4), RING),
    "add_masks": lambda: models.add_masks(torch.nn.Conv2d(3, 3, 1), "gmm", example=torch.zeros(1, 3, 4, 3), grid=RING),
    "alibi_channels": lambda: attention.alibi_channels(ONES, LINE),
    "decay_channels": lambda: attention.decay_channels(ONES / 2, LINE),
    "forget_channels": lambda: attention.forget_channels(torch.zeros(HEADS, 6), LINE),
    "gaussian_channels": lambda: attention.gaussian_channels(ONES, RING),
    "gpsa_channels": lambda: attention.gpsa_channels(ONES, RING),
    "shifted_gaussian_channels": lambda: attention.shifted_gaussian_channels(SHIFT, SHIFT + 1, RING),
    "cosine_channels": lambda: attention.cosine_channels(torch.ones(HEADS, 1), torch.ones(1, 2), RING),
    "beit_table": lambda: kernels.beit_table(torch.ones(38, HEADS), RING),
    "swin_v2": lambda: kernels.swin_v2(RING.offsets(), torch.ones(5, 2), torch.ones(5), torch.ones(HEADS, 5), RING),
    "fire": lambda: kernels.fire(LINE, 0.1, 4.0, torch.ones(5), torch.ones(5), torch.ones(HEADS, 5), ONES),
    "block_causal": lambda: kernels.block_causal(LINE, 2),
    "dilated_segments": lambda: kernels.dilated_segments(LINE, HEADS, 4, 2),
    "neighbourhood": lambda: kernels.neighbourhood(RING, 3),
    "same_window": lambda: kernels.same_window(RING, 2),
}
#: What refuses, and by what name.
REFUSED: dict[str, Error] = {
    "crop": (
        lambda: convert.crop(TABLE, RING),
        ValueError,
        "bringing a kernel to another size is for open grids.*use retconv.wrap",
    ),
    "extend": (lambda: convert.extend(TABLE, RING), ValueError, "bringing a kernel to another size is for open grids"),
    "resize": (lambda: convert.resize(TABLE, RING), ValueError, "bringing a kernel to another size is for open grids"),
    "kernel_to_conv": (
        lambda: convert.kernel_to_conv(ring_kernel(MIXED), MIXED),
        ValueError,
        "pads all axes alike.*operator",
    ),
    "conv_to_kernel": (
        lambda: convert.conv_to_kernel(torch.nn.Conv2d(1, 1, 1), MIXED),
        ValueError,
        "pads all axes alike",
    ),
    "swin_table": (lambda: kernels.swin_table(torch.ones(35, 2), RING), ValueError, "swin_table is for open grids"),
    "Decay.factors": (
        lambda: kernels.Decay(torch.ones(2)).factors(RING),
        ValueError,
        "Decay.factors is for open grids.*Decay.kernel",
    ),
    "Decay.require_line": (
        lambda: kernels.Decay(torch.ones(2), causal=True).require_line(LINE),
        ValueError,
        "a causal decay is for open grids.*a ring has no past",
    ),
    "RetNetMask.kernel": (
        _with_retnet(lambda m: m.kernel(LINE)),
        ValueError,
        "RetNetMask is for open grids.*use DecayMask",
    ),
    "RetNetMask.separable": (_with_retnet(lambda m: m.separable(LINE)), ValueError, "RetNetMask is for open grids"),
    "RetNetMask.decay": (_with_retnet(lambda m: m.decay(LINE)), ValueError, "RetNetMask is for open grids"),
    "RetNetMask.log_kernel": (_with_retnet(lambda m: m.log_kernel(LINE)), ValueError, "RetNetMask is for open grids"),
    "RetNetMask.forward": (_with_retnet(lambda m: m(LINE)), ValueError, "RetNetMask is for open grids"),
    "KernelTableMask": (
        lambda: KernelTableMask(RING, 2).kernel((4, 3)),
        ValueError,
        "moving a KernelTableMask.*make a table for",
    ),
    "KernelTableMask.kernel": (
        lambda: KernelTableMask((4, 3), 2).kernel(RING),
        ValueError,
        "for open grids, got .*use retconv.wrap",
    ),
    "BiasMask.kernel": (
        lambda: masks.BiasMask(2, "gpsa").kernel(RING),
        ValueError,
        "a BiasMask with a direction is for open grids.*use GaussianMixtureMask",
    ),
    "BiasMask.log_kernel": (
        lambda: masks.BiasMask(2, "gpsa").log_kernel(RING),
        ValueError,
        "a BiasMask with a direction is for open grids",
    ),
    "BiasTableMask": (lambda: masks.BiasTableMask(RING, 2), ValueError, "BiasTableMask is for open grids.*a border"),
    "BiasTableMask.kernel": (
        lambda: masks.BiasTableMask((4, 3), 2).kernel(RING),
        ValueError,
        "bringing a kernel to another size is for open grids",
    ),
    "BiasTableMask.log_kernel": (
        lambda: masks.BiasTableMask((4, 3), 2).log_kernel(RING),
        ValueError,
        "bringing a kernel to another size is for open grids",
    ),
    "BiasTableMask.from_table": (
        lambda: masks.BiasTableMask.from_table(torch.ones(35, 2), RING),
        ValueError,
        "swin_table is for open grids",
    ),
    "RasterMask.kernel": (
        lambda: models.RasterMask(DecayMask(2)).kernel(RING),
        ValueError,
        "RasterMask.kernel is for open grids",
    ),
    "describe": (lambda: analysis.describe(DecayMask(2), RING), ValueError, "describe is for open grids.*eigenvalues"),
    "norm_bounds": (
        lambda: spectrum.norm_bounds(DecayMask(2), RING),
        ValueError,
        "norm_bounds is for open.*use operator_norm",
    ),
    "szego": (lambda: spectrum.szego(DecayMask(2), RING), ValueError, "szego is for open grids.*torus_symbol"),
    "torus_symbol": (
        lambda: spectrum.torus_symbol(ring_kernel(MIXED), MIXED),
        ValueError,
        "every axis must be periodic",
    ),
    "locality": (lambda: locality.locality(DecayMask(2), RING), ValueError, "locality is for open grids.*grid.opened"),
    "mass_within": (lambda: locality.mass_within(DecayMask(2), RING, 1.0), ValueError, "mass_within is for open grids"),
    "window_sums": (lambda: locality.window_sums(ring_kernel(RING), RING), ValueError, "window_sums is for open grids"),
    "Effective": (
        lambda: effective.effective_kernel(ring_mask(RING)[None], RING).decay(),
        ValueError,
        "a fit of distances is for open grids",
    ),
    "Effective.gaussian_mixture": (
        lambda: effective.effective_kernel(ring_mask(RING)[None], RING).gaussian_mixture(1),
        ValueError,
        "a fit of distances is for open grids",
    ),
    "Separable": (
        lambda: Forms.of(kernels.Separable((torch.ones(1, 1, 11),)), LINE),
        ValueError,
        "kernels.Separable is for open grids.*retconv.wrap",
    ),
    "Exponentials": (
        lambda: Forms.of(kernels.Exponentials(torch.ones(1, 1), torch.ones(1, 1)), LINE),
        ValueError,
        "kernels.Exponentials is for open grids.*retconv.wrap",
    ),
    "operator direct": (
        lambda: retconv.operator(ring_kernel(RING), RING, "direct"),
        ValueError,
        "'direct' does not apply.*dense, fft",
    ),
    "operator recursive": (
        lambda: retconv.operator(DecayMask(2), RING, "recursive"),
        ValueError,
        "'recursive' does not apply",
    ),
    "operator separable": (
        lambda: retconv.operator(DecayMask(2), RING, "separable"),
        ValueError,
        "'separable' does not apply",
    ),
    "operator toeplitz": (
        lambda: retconv.operator(DecayMask(2), RING, "toeplitz"),
        ValueError,
        "'toeplitz' does not apply",
    ),
    "retention scan": (
        lambda: retention(*(normal(i, 1, 2, 6, 2) for i in range(3)), DecayMask(2), LINE, method="scan"),
        ValueError,
        "'scan' does not apply",
    ),
    "a table of another grid": (
        lambda: convert.kernel_to_mask(TABLE, RING),
        ValueError,
        r"must be \(heads, 4, 3\).*use retconv.wrap",
    ),
}
#: What is no grid, or no kernel, of rings.
GRIDS: dict[str, Error] = {
    "rings of another number": (
        lambda: Grid((3, 4), periodic=(True,)),
        ValueError,
        r"a bool, or one for each axis of \(3, 4\), got \(True,\)",
    ),
    "rings by number": (lambda: Grid(3, periodic=1), ValueError, "periodic must be a bool, .* got 1"),  # type: ignore[arg-type]
    "wrap of an even side": (lambda: convert.wrap(torch.ones(1, 4), LINE), ValueError, "with 1 odd sides.*resize"),
    "wrap of a short open axis": (lambda: convert.wrap(torch.ones(1, 9, 3), MIXED), ValueError, "2n − 1 along open"),
    "decay without end": (lambda: kernels.wrapped_decay(LINE, 1.0), ValueError, r"must lie in \(0, 1\) .* got 1"),
    "components": (
        lambda: kernels.wrapped_gaussian(LINE, torch.ones(1, 2), torch.ones(1, 3)),
        ValueError,
        "have 2 and 3 components",
    ),
}
REFUSED |= {
    name: (call, ValueError, rf"{name.partition('.')[0]} is for open grids.*use grid\.opened|has a border")
    for name, call in BORDERS.items()
}
TABLES = {"rings": REFUSED, "grids of rings": GRIDS}
