"""What attention does in a trained model: its effective kernels, and accuracy when kernels are swapped."""

from __future__ import annotations

from retconv.analysis.locality import locality
from retconv.models import grids_of, masks_of
from retconv.studies.learned import layer_entries
from retconv.studies.observe import effective_kernels, replaced, truncated_kernels, with_places
from retconv.studies.rows import Row, StudyRun

#: Arms whose attention is measured, in studies with ``mask_tables``.
MEASURED_ARMS = ("plain", "elm", "table", "gmm_5", "manhattan_learnt")


def attention_rows(run: StudyRun) -> dict[str, list[Row]]:
    """Rows of three tables: of effective kernels, of their entries (for one run of an arm), and of swapped kernels.

    A swap is one of three kinds. ``whole``: nothing is swapped. ``truncated``: every mask's kernel is cut to k × k, 0
    outside; an element-wise mask is first projected. ``effective``: the attention weights of one layer, or of all, are
    replaced by their effective kernel alone, ``K_eff * V`` for every image; that kernel is the mean over the images of
    the test set, in the model as it was trained, and uses no label. ``change`` is in percentage points, against
    ``whole``.
    """
    effective: list[Row] = []
    entries: list[Row] = []
    swaps: list[Row] = []
    tables = {"effective": effective, "effective_kernels": entries, "kernel_swap": swaps}
    if run.arm not in MEASURED_ARMS:
        return tables
    trained = run.load()
    is_masked = bool(masks_of(trained.model))
    trained = with_places(trained)
    _, whole = trained.evaluate()
    found = effective_kernels(trained)
    for layer, (name, one) in enumerate(found.items()):
        measures = locality(one.kernel, one.grid)
        for head in range(len(one.kernel)):
            at = {"layer": layer, "module": name, "head": head, "images": one.count}
            shares = {key: float(getattr(one, key)[head]) for key in ("explained", "position", "content")}
            keys = ("self_weight", "extroversion", "mean_distance", "size_95")
            effective.append(run.row(at | shares | {key: float(getattr(measures, key)[head]) for key in keys}))
        if run.is_shown:
            entries += run.short_rows(layer_entries(layer, one.kernel))

    def swapped(kind: str, accuracy: float, layer: object = "all", k: int | None = None) -> None:
        change = accuracy - whole
        swaps.append(run.row({"kind": kind, "k": k, "layer": layer, "test_accuracy": accuracy, "change": change}))

    swapped("whole", whole)
    sides = {max(grid.shape) for grid in grids_of(trained.model).values()} if is_masked else set()
    for k in range(1, 2 * max(sides, default=0), 2):
        with replaced(trained.model, truncated_kernels(trained.model, k)):
            swapped("truncated", trained.evaluate()[1], k=k)
    kernels = {name: one.kernel for name, one in found.items()}
    for layer, name in enumerate(kernels):
        with replaced(trained.model, {name: kernels[name]}, "convolution"):
            swapped("effective", trained.evaluate()[1], layer)
    with replaced(trained.model, kernels, "convolution"):
        swapped("effective", trained.evaluate()[1])
    return tables
