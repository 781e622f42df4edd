"""Everything that needs a run's weights, measured once and kept with the run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from retconv.ambient import host, single
from retconv.data import Dataset
from retconv.measure.attention import reach_rows, swap_rows
from retconv.measure.learned import elm_mask_rows, elm_rows, gaussian_rows, kernel_rows, mask_rows
from retconv.measure.model import Trained
from retconv.measure.observe import effective_kernels, with_places
from retconv.measure.rows import Row, plain
from retconv.measure.transfer import transfer_rows
from retconv.models import masks_of
from retconv.provenance import provenance
from retconv.train import RunFolder


@host()
@single()
def measure(run: RunFolder, data: Dataset) -> dict[str, Any]:
    """Measure a finished run, with no further training.

    Args:
        run: Finished, with its weights.
        data: Its data set, on the device that measures.

    Returns:
        ``images``, how many it was measured on, and ``part``, whether these are the ``"validation"`` images that the
        run held out or, where it held none out, the ``"test"`` images; ``commit``, ``torch`` and ``device`` that
        measured; and ``tables``, by name:

        - ``elm``, ``masks``, ``gaussians``, ``mask_kernels``, ``elm_masks``: what its masks learnt (``learned``);
        - ``effective``, ``effective_kernels``, ``distance``: what its attention does (``attention.reach_rows``);
        - ``kernel_swap``: accuracy with kernels swapped (``attention.swap_rows``);
        - ``grid_transfer``: accuracy at other image sizes (``transfer``).

        All are numbers, texts and lists, as JSON holds them; accuracies and changes are in per cent, losses in nats.

    Raises:
        TrainError: If the run is not finished, or has no weights.
    """
    load = partial(Trained.load, run, data)
    trained = load()
    tables: dict[str, list[Row]] = {
        "elm": elm_rows(run, trained),
        "masks": mask_rows(trained),
        "gaussians": gaussian_rows(trained),
        "mask_kernels": kernel_rows(trained),
        "elm_masks": elm_mask_rows(trained),
        "grid_transfer": transfer_rows(load),
    }
    is_masked = bool(masks_of(trained.model))
    layers = effective_kernels(with_places(trained))
    tables |= reach_rows(layers) | {"kernel_swap": swap_rows(trained, layers, is_masked)}
    origin = {key: value for key, value in provenance(trained.images.device).items() if key in _ORIGIN}
    sample = {"images": len(trained.labels), "part": "validation" if run.config.data.validation else "test"}
    return sample | origin | {"tables": {name: [plain(row) for row in rows] for name, rows in tables.items()}}


#: What of the measuring session's provenance is kept.
_ORIGIN = ("commit", "torch", "device")


def measured(run: RunFolder, load: Callable[[str], Dataset]) -> dict[str, Any]:
    """What was measured on a run: read from its folder, or measured now and put there.

    Args:
        run: Finished; with its weights, if it was not measured yet.
        load: Gives a data set by its name, on the device that measures; not asked if the run was measured before.

    Raises:
        TrainError: If the run is not finished, or was neither measured nor has weights.
    """
    if not run.measured:
        run.add_measures(measure(run, load(run.config.data.name)))
    return run.measures()
