"""What free masks learnt: whether an element-wise mask becomes a convolution, and how local masks are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from retconv.analysis.locality import Locality, locality
from retconv.convert import project
from retconv.grid import Grid
from retconv.masks import ElementwiseMask, GaussianMixtureMask, KernelTableMask, Mask
from retconv.models import grids_of, masks_of
from retconv.results.store import kernel_entries
from retconv.studies.rows import Row, StudyRun
from retconv.train.build import mask_kernel

#: Arms whose kernels are stored entry by entry, for one run each.
_SHOWN = ("elm", "table", "gmm_5")
_MEASURES = ("mean_distance", "radius_half", "radius_95", "size_95", "entropy", "anisotropy")


def elm_rows(run: StudyRun) -> list[Row]:
    """By layer, at the end of each epoch that kernels were kept at, how much of an element-wise mask is a convolution.

    ``residual`` is law 3's, ``convolution = 1 − residual²`` the share of the mask's energy that its projection holds,
    and ``chance`` what that would be for independent entries: of N² dimensions the projector keeps one for each offset.
    """
    rows = []
    masks = _masks(run, ElementwiseMask)
    last = run.folder.result()["epochs"]
    for epoch in run.folder.metrics() if masks else []:
        for layer, module, _, grid in masks:
            if f"residual.{module}" not in epoch:
                continue
            residual = epoch[f"residual.{module}"]
            chance = int(np.prod(grid.kernel_shape)) / grid.size**2
            at = {"layer": layer, "module": module, "epoch": epoch["epoch"], "last": epoch["epoch"] == last}
            rows.append(run.row(at | {"residual": residual, "convolution": 1 - residual**2, "chance": chance}))
    return rows


def mask_rows(run: StudyRun) -> list[Row]:
    """Locality of every layer's and head's learnt mask, with its border: an element-wise mask, a table, a mixture."""
    rows = []
    for layer, module, mask, grid in _masks(run, ElementwiseMask, KernelTableMask, GaussianMixtureMask):
        own, residual = _entries(mask, grid)
        measures = locality(own, grid)
        for head in range(len(own)):
            at = {"layer": layer, "module": module, "head": head, "residual": float(residual[head])}
            rows.append(run.row(at | locality_columns(measures, head)))
    return rows


def locality_columns(measures: Locality, head: int) -> Row:
    """One head's measures as columns, those of a vector left out."""
    values = {f.name: float(getattr(measures, f.name)[head]) for f in fields(measures) if f.name != "center"}
    signed = {name: values[name] for name in ("self_weight", "neighbour_weight", "extroversion")}
    return signed | {name: values[name] for name in _MEASURES} | {"negative_center": values["self_weight"] < 0}


def gaussian_rows(run: StudyRun) -> list[Row]:
    """Width and weight of every learnt Gaussian."""
    rows = []
    for layer, module, mask, _ in _masks(run, GaussianMixtureMask):
        for (head, component), sigma in np.ndenumerate(mask.sigma.detach().abs().cpu().numpy()):
            at = {"components": mask.components, "layer": layer, "module": module, "head": head, "component": component}
            alpha = float(mask.weights[head, component])
            rows.append(run.row(at | {"sigma": float(sigma), "alpha": alpha}))
    return rows


def mask_kernel_rows(run: StudyRun) -> list[Row]:
    """The learnt kernels, of an element-wise mask that of its projection, entry by entry, for one run of an arm."""
    if run.arm not in _SHOWN or not run.is_shown:
        return []
    found = _masks(run, ElementwiseMask, KernelTableMask, GaussianMixtureMask)
    rows: list[Row] = []
    for layer, _, mask, grid in found:
        kernel, _ = mask_kernel(mask, grid)
        shared = isinstance(mask, ElementwiseMask) and not mask.per_head
        rows += run.short_rows(layer_entries(layer, kernel[:1] if shared else kernel))
    return rows


def layer_entries(layer: int, kernel: Tensor) -> Iterator[Row]:
    """One row for each entry of a layer's kernel ``(heads, 2 n_1 − 1, …)``: layer, head, offsets and value."""
    yield from ({"layer": layer} | entry for entry in kernel_entries(kernel.detach().float().cpu().numpy()))


def elm_mask_rows(run: StudyRun) -> list[Row]:
    """The element-wise masks themselves, entry by entry, for one run."""
    if not run.is_shown:
        return []
    return run.short_rows(
        {"layer": layer, "query": query, "key": key, "value": float(value)}
        for layer, _, mask, _ in _masks(run, ElementwiseMask)
        for (query, key), value in np.ndenumerate(mask.weight[0].detach().float().cpu().numpy())
    )


def _masks(run: StudyRun, *kinds: type[Mask]) -> list[tuple[int, str, Any, Grid]]:
    """Layer, module, mask (of one of the kinds) and grid."""
    if run.folder.config.model.options.get("mask") is None:
        return []
    model = run.trained.model
    grids = grids_of(model)
    found = enumerate(masks_of(model).items())
    return [(i, name, mask, grids[name].without_prefix()) for i, (name, mask) in found if isinstance(mask, kinds)]


def _entries(mask: Mask, grid: Grid) -> tuple[Tensor, Tensor]:
    """The mask ``(matrices, N, N)``, each of its matrices once, with their residuals; of a convolution, its kernel."""
    if isinstance(mask, ElementwiseMask):
        return mask.weight.detach(), project(mask.weight.detach(), grid).residual
    kernel = mask.kernel(grid).detach()
    return kernel, torch.zeros(len(kernel))
