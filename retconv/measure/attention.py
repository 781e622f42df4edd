"""What attention does in a trained model: how far it reaches, its effective kernels, and accuracy without the rest."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from retconv.analysis.effective import Effective
from retconv.analysis.locality import locality
from retconv.heads.columns import fitted_columns, locality_columns
from retconv.masks import KernelTableMask
from retconv.measure.model import Trained
from retconv.measure.observe import replaced, truncated_kernels
from retconv.measure.rows import Row
from retconv.models import grids_of
from retconv.models.surgery import masked_modules


def reach_rows(layers: Mapping[str, Effective]) -> dict[str, list[Row]]:
    """Rows of three tables, from the attention of every layer averaged over all images.

    ``effective``, by layer and head: law 17's shares of variance, the locality of the mean attention (its
    ``mean_distance`` is the mean attention distance, in tokens), and the decay and the Gaussian nearest to the
    effective kernel. ``effective_kernels``: that kernel itself. ``distance``, by layer and for ``all``: the mean
    attention distance over heads, and that of the head that has the least.
    """
    effective: list[Row] = []
    kernels: list[Row] = []
    distances: list[Row] = []
    for layer, (module, one) in enumerate(layers.items()):
        measures, fits = locality(one.mean, one.grid), fitted_columns(one.kernel)
        for head in range(len(one.kernel)):
            shares = {key: float(getattr(one, key)[head]) for key in ("explained", "position", "content")}
            at = {"layer": layer, "module": module, "head": head}
            effective.append(at | shares | locality_columns(measures, head) | fits[head])
        kernels.append({"layer": layer, "kernel": one.kernel})
        reached = measures.mean_distance
        distances.append({"layer": layer, "distance": float(reached.mean()), "least_distance": float(reached.min())})
    overall = {
        "distance": sum(row["distance"] for row in distances) / len(distances),
        "least_distance": min(row["least_distance"] for row in distances),
    }
    distances.append({"layer": "all"} | overall)
    return {"effective": effective, "effective_kernels": kernels, "distance": distances}


def swap_rows(trained: Trained, layers: Mapping[str, Effective], is_masked: bool) -> list[Row]:
    """Accuracy when kernels are swapped, with no further training.

    A swap is one of three kinds. ``whole``: nothing is swapped. ``truncated``: every mask's kernel is cut to k × k, 0
    outside; a mask without a kernel is first projected. ``effective``: the attention weights of one layer, or of all,
    are replaced by their effective kernel alone, ``K_eff * V`` for every image; that kernel is the mean over the same
    images, in the model as it was trained, and uses no label. ``change`` is in percentage points, against ``whole``.

    A swap that means nothing is left out: a cut that hides every key from a query, and replacing attention that has
    prefix tokens, of whose weights no kernel speaks, or is handed a bias on logits, which a convolution has not.

    Args:
        trained: A model with places (``with_places``).
        layers: Its effective kernels, by module.
        is_masked: Whether its masks are its own.
    """
    rows: list[Row] = []
    _, whole = trained.evaluate()

    def swapped(kind: str, accuracy: float, layer: object = "all", k: int | None = None) -> None:
        rows.append({"kind": kind, "k": k, "layer": layer, "accuracy": accuracy, "change": accuracy - whole})

    swapped("whole", whole)
    sides = {max(grid.shape) for grid in grids_of(trained.model).values()} if is_masked else set()
    for k in range(1, 2 * max(sides, default=0), 2):
        cut = truncated_kernels(trained.model, k)
        if not _hides_all(trained, cut):
            with replaced(trained.model, cut):
                swapped("truncated", trained.evaluate()[1], k=k)
    if any(grid.prefix for grid in grids_of(trained.model).values()):
        return rows
    kernels = {name: one.kernel for name, one in layers.items()}
    try:
        with replaced(trained.model, kernels, "convolution"):
            everywhere = trained.evaluate()[1]
    except ValueError:  # a model hands a bias to its attention, as that of shifted windows
        return rows
    for layer, name in enumerate(kernels):
        with replaced(trained.model, {name: kernels[name]}, "convolution"):
            swapped("effective", trained.evaluate()[1], layer)
    swapped("effective", everywhere)
    return rows


def _hides_all(trained: Trained, kernels: Mapping[str, Tensor]) -> bool:
    """Whether a query would have no key left: the logarithm of 0 hides one."""
    grids = grids_of(trained.model)
    return any(
        module.placement == "bias_logits"
        and not bool((KernelTableMask.from_kernel(kernels[name])(grids[name]) > 0).any(dim=-1).all())
        for name, module in masked_modules(trained.model)
    )
