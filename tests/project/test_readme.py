"""The README: its example runs, its commands and files exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from retconv.bench import peers
from retconv.studies import readme_table

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_example_runs_as_printed() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len([line for line in example.splitlines() if line]) == 12
    result = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "torch.Size([3, 1024, 1024])"


def test_names_the_two_commands() -> None:
    assert "make figures" in README
    assert "make test" in README


def test_files_and_pictures_it_links_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_its_table_of_results_is_that_of_the_stored_runs() -> None:
    """As ``python -m retconv.studies --readme`` prints it."""
    assert readme_table() in README


def test_its_speeds_and_those_of_the_documents_are_the_stored_ones() -> None:
    """As ``python -m retconv.bench peers --summary`` prints them."""
    assert peers.highlights() in README
    assert peers.summary() in (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
