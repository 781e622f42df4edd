"""Where numbers come from is known without git too, and never a reason to stop."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import timm

import retconv
from retconv.bench.reports import report
from retconv.planted.tables import origin
from retconv.provenance import commit, provenance

PACKAGE = Path(retconv.__file__).parent


@pytest.mark.parametrize(("given", "expected"), [(None, "unknown"), ("", "unknown"), ("60bfe4d", "60bfe4d")])
def test_without_git_the_commit_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, expected: str
) -> None:
    """Where no folder of PATH holds git."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("RETCONV_COMMIT", raising=False)
    if given is not None:
        monkeypatch.setenv("RETCONV_COMMIT", given)
    with pytest.raises(FileNotFoundError):
        subprocess.run(["git", "--version"], check=False)
    assert provenance()["commit"] == expected


def test_outside_a_checkout_the_commit_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RETCONV_COMMIT", raising=False)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    assert commit() == "unknown"


def test_in_a_repository_of_somebody_elses_the_commit_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the package is installed in an environment inside of it."""
    monkeypatch.delenv("RETCONV_COMMIT", raising=False)
    command = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=b"]
    subprocess.run([*command, "init", "-q"], check=True)
    subprocess.run([*command, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    monkeypatch.setattr("retconv.provenance.__file__", str(tmp_path / "venv" / "retconv" / "provenance.py"))
    assert commit() == "unknown"


def test_tables_name_the_program_as_it_is_called(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """A subcommand alike in both ways to call it, and nothing by where its file was; the rest is the session's."""
    monkeypatch.setattr(sys, "argv", ["/a/program.py", "--seed", "1"])
    session = provenance()
    assert session["command"] == "program.py --seed 1"
    monkeypatch.setattr(sys, "argv", [str(PACKAGE / "planted" / "__main__.py"), "--seed", "1"])
    assert session["timm"] == timm.__version__
    assert origin(small=True)["command"] == "retconv planted --seed 1"
    assert {key: session[key] for key in ("torch", "device", "threads")}.items() <= origin(small=True).items()
    monkeypatch.setattr(sys, "argv", ["/bin/retconv", "bench", "--seed", "1"])
    report(pd.DataFrame({"grid": ["2x2"], "ms": [1.0]}), "default", None)
    printed = capsys.readouterr().out
    assert "# command: retconv bench --seed 1\n" in printed
    assert f"# processor: {session['device']}\n" in printed
    for module in (PACKAGE / "__main__.py", PACKAGE / "describe.py"):
        monkeypatch.setattr(sys, "argv", [str(module), "gmm"])
        assert provenance()["command"] == " ".join(["retconv", *["describe"] * (module.stem == "describe"), "gmm"])
