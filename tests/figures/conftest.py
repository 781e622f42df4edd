"""Every figure, drawn once for all tests that look at it."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from filelock import FileLock

from retconv.figures.__main__ import main
from tests.figures.drawn import NAMES


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every figure in one format, drawn by whichever worker wants them first."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    out = shared / "figures" / "by the command"
    with FileLock(shared / "figures.lock"):
        if not (shared / "figures.drawn").exists():
            result = CliRunner().invoke(main, ["--out", str(out), "--format", "png"])
            assert result.exit_code == 0, result.output
            lines = result.output.splitlines()
            assert [line.split(":")[0] for line in lines[:-1]] == NAMES
            assert "index.html" in lines[-1]
            assert "\r" not in result.output, "the progress bar is for terminals"
            (shared / "figures.drawn").touch()
    return out
