"""What masks learnt: whether an element-wise mask becomes a convolution, how local masks are, and what is near them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from retconv.analysis.locality import locality
from retconv.convert import NotAConvolutionError, project
from retconv.grid import Grid
from retconv.heads.columns import fitted_columns, locality_columns
from retconv.masks import ElementwiseMask, GaussianMixtureMask, Mask
from retconv.measure.model import Trained
from retconv.measure.rows import Row
from retconv.models import grids_of, masks_of
from retconv.train import RunFolder
from retconv.train.build import mask_kernel


def elm_rows(run: RunFolder, trained: Trained) -> list[Row]:
    """By layer, at the end of each epoch that kernels were kept at, how much of an element-wise mask is a convolution.

    ``residual`` is law 3's, ``convolution = 1 − residual²`` the share of the mask's energy that its projection PM
    holds, and ``chance`` what that would be for independent entries: of N² dimensions the projector keeps one for each
    offset. A mask that starts as a convolution M₀, such as of ones, holds a share that it need not learn; so
    ``learnt`` is that of what was learnt, ``‖PM − M₀‖² / ‖M − M₀‖²``, missing while nothing is, and where M₀ is not
    stored, as in a run merged from an archive.
    """
    rows = []
    kernels, epochs = run.kernels(), run.metrics()
    for layer, module, _, grid in _masks(trained, ElementwiseMask):
        pairs = grid.pair_count().numpy()
        chance = len(pairs.reshape(-1)) / grid.size**2
        for epoch in epochs:
            residual = epoch.get(f"residual.{module}")
            if residual is None or epoch["epoch"] not in kernels:
                continue
            own, start = kernels[epoch["epoch"]][module], kernels.get(0, {}).get(module, np.nan)
            # ‖M − PM‖² from the residual, since M = PM + (M − PM) is an orthogonal sum.
            missed = (pairs * own**2).sum() * residual**2 / (1 - residual**2) if residual < 1 else np.inf
            moved = (pairs * (own - start) ** 2).sum()
            learnt = moved / (moved + missed) if moved + missed else np.nan
            at = {"layer": layer, "module": module, "epoch": epoch["epoch"], "last": epoch is epochs[-1]}
            shares = {"residual": residual, "convolution": 1 - residual**2, "learnt": float(learnt), "chance": chance}
            rows.append(at | shares)
    return rows


def mask_rows(trained: Trained) -> list[Row]:
    """By layer and head, how local a mask is, with its border, and the decay and the Gaussian nearest to its kernel."""
    rows = []
    for layer, module, mask, grid in _masks(trained):
        own, residual = _entries(mask, grid)
        measures, fits = locality(own, grid), fitted_columns(mask_kernel(mask, grid)[0])
        for head in range(len(own)):
            at = {"layer": layer, "module": module, "head": head, "residual": float(residual[head])}
            rows.append(at | locality_columns(measures, head) | fits[head])
    return rows


def gaussian_rows(trained: Trained) -> list[Row]:
    """Width and weight of every learnt Gaussian."""
    rows = []
    for layer, module, mask, _ in _masks(trained, GaussianMixtureMask):
        for (head, component), sigma in np.ndenumerate(mask.sigma.detach().abs().cpu().numpy()):
            at = {"components": mask.components, "layer": layer, "module": module, "head": head, "component": component}
            alpha = float(mask.weights[head, component])
            rows.append(at | {"sigma": float(sigma), "alpha": alpha})
    return rows


def kernel_rows(trained: Trained) -> list[Row]:
    """By layer, the learnt kernel, of a mask without one that of its projection; of heads that share it, one."""
    rows = []
    for layer, _, mask, grid in _masks(trained):
        kernel, _ = mask_kernel(mask, grid)
        shared = isinstance(mask, ElementwiseMask) and not mask.per_head
        rows.append({"layer": layer, "kernel": kernel[:1] if shared else kernel})
    return rows


def elm_mask_rows(trained: Trained) -> list[Row]:
    """By layer, the element-wise mask itself, of its first head."""
    masks = _masks(trained, ElementwiseMask)
    return [{"layer": layer, "mask": mask.weight[0]} for layer, _, mask, _ in masks]


def _masks(trained: Trained, kind: type[Mask] = Mask) -> list[tuple[int, str, Any, Grid]]:
    """Layer, module, mask (of a kind) and grid."""
    grids = grids_of(trained.model)
    masks = enumerate(masks_of(trained.model).items())
    return [(i, name, mask, grids[name].without_prefix()) for i, (name, mask) in masks if isinstance(mask, kind)]


def _entries(mask: Mask, grid: Grid) -> tuple[Tensor, Tensor]:
    """A mask ``(matrices, N, N)``, each of its matrices once, with their residuals; of a convolution, its kernel."""
    if isinstance(mask, ElementwiseMask):
        return mask.weight, project(mask.weight, grid).residual
    try:
        kernel = mask.kernel(grid)
    except NotAConvolutionError:
        return mask(grid), project(mask(grid), grid).residual
    return kernel, torch.zeros(len(kernel))
