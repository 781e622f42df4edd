"""What stands at the beginning and at the end of every row of a study's tables."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

from retconv.studies.rows import StudyRun
from retconv.sweep import parse_study


def test_what_a_study_varies_is_said_as_it_varies_it() -> None:
    """Also where the outcome, or where it comes from, has a column of that name."""
    grid = {"model.options.mask": [None, "manhattan"], "precision": ["auto"], "seed": [0, 1, 2]}
    study = parse_study({"recipe": "smoke", "arms": {"a": {}}, "grid": grid}, name="toy")
    folder = mock.Mock(config=study.configs[0], path=Path("x"), origin=lambda: {"precision": "float32"})
    row = StudyRun(study, "a", folder, load=mock.Mock()).row({"mask": "plain", "epochs": 2})
    assert (row["mask"], row["precision"], row["epochs"]) == (None, "auto", 2)
