"""How a run ended: accuracy, size and cost."""

from __future__ import annotations

import torch

from retconv.data.registry import SPECS
from retconv.measure.rows import Row
from retconv.models.count import count
from retconv.studies.rows import StudyRun
from retconv.train.build import build_model


def outcome_row(run: StudyRun) -> Row:
    """The row of a finished run.

    ``recipe`` is the arm's recipe of the full study, whose place in the small twin is taken by another. ``seconds`` is
    the time of the training steps, those of all ``replicas`` of one stacked model together, without what a session
    spent on an epoch that the next one completed; ``images_per_second`` is that of one replica among them in its
    fastest epoch, which other work on the machine disturbs least. ``macs`` are all multiply-accumulates of one image.
    ``validation_accuracy`` is that of the weights that were tested, where images were held out.
    """
    study, config, result, metrics = run.study, run.folder.config, run.folder.result(), run.folder.metrics()
    options = config.model.options
    mask = options.get("mask") or "plain"
    selected = result["best_epoch"] if config.select == "best" else result["epochs"]
    validation = next((m.get("validation_accuracy") for m in metrics if m["epoch"] == selected), None)
    spec = SPECS[config.data.name]
    model = build_model(config, spec.size, spec.classes)
    cost = count(model, torch.zeros(1, 3, spec.size, spec.size))
    return run.row(
        {
            "recipe": study.arms.get(run.arm, {}).get("recipe", study.recipe),
            "model": config.model.name,
            "mask": mask,
            "components": (options.get("mask_options") or {}).get("components", 5) if mask == "gmm" else None,
            "placement": options.get("placement", "multiply_logits"),
            "pooling": options.get("pooling", "avg"),
            "fraction": config.data.fraction,
            "epochs": result["epochs"],
            "test_accuracy": 100 * result["test_accuracy"],
            "test_loss": result["test_loss"],
            "validation_accuracy": None if validation is None else 100 * validation,
            "best_epoch": selected,
            "parameters": result["parameters"],
            "mask_parameters": cost.mask_parameters,
            "macs": cost.macs,
            "seconds": sum(m["seconds"] for m in metrics),
            "images_per_second": max(m["images_per_second"] for m in metrics),
        }
    )
