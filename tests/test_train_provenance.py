"""Where numbers come from is known without git too, and never a reason to stop."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from retconv.train.provenance import commit

ROOT = Path(__file__).parents[1]
#: Both provenances, of a run and of a benchmark.
BOTH = """
import torch
from retconv.bench import timing
from retconv.train import provenance
print(provenance.provenance(torch.device("cpu"))["commit"], timing.provenance("default")["commit"])
"""


@pytest.mark.parametrize(("given", "expected"), [(None, "unknown"), ("", "unknown"), ("60bfe4d", "60bfe4d")])
def test_without_git_the_commit_comes_from_the_environment(tmp_path: Path, given: str | None, expected: str) -> None:
    """In a process whose PATH has no git."""
    environment = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(ROOT)}
    environment.pop("RETCONV_COMMIT", None)
    if given is not None:
        environment["RETCONV_COMMIT"] = given
    ran = subprocess.run([sys.executable, "-c", BOTH], env=environment, capture_output=True, text=True)
    assert ran.stdout.split() == [expected, expected], ran.stderr


def test_outside_a_checkout_the_commit_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RETCONV_COMMIT", raising=False)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    assert commit() == "unknown"
