"""The README: its examples run, its commands and files exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from retconv.bench import peers
from retconv.studies import readme_table

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_examples_run_as_printed_and_end_in_the_refusal_that_it_shows(tmp_path: Path) -> None:
    """Among them, from a model of timm to the picture of its mask in five lines."""
    command = [sys.executable, str(ROOT / "scripts" / "run_examples.py"), str(ROOT / "README.md")]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "mask.png").read_bytes().startswith(b"\x89PNG")


def test_examples_that_are_wrong_do_not_pass(tmp_path: Path) -> None:
    for text in ("```python\n1 / 0\n```", "```python\n1\n```\n\n```text\nValueError: no\n```"):
        (tmp_path / "wrong.md").write_text(text, encoding="utf-8")
        command = [sys.executable, str(ROOT / "scripts" / "run_examples.py"), str(tmp_path / "wrong.md")]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def test_its_examples_are_short_and_itself_a_screen_and_a_half() -> None:
    """Imports and empty lines apart, five lines each."""
    examples = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(examples) == 4
    for example in examples:
        assert len([line for line in example.splitlines() if line and "import " not in line]) <= 5
    assert len(README.splitlines()) <= 152


def test_names_the_two_commands() -> None:
    assert "make figures" in README
    assert "make test" in README


def test_files_and_pictures_it_links_exist() -> None:
    links = [link for link in re.findall(r'(?:\]\(|src=")([^)"]+)', README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_table_of_results_is_that_of_the_stored_runs() -> None:
    """As ``retconv studies --readme`` prints it."""
    assert readme_table() in README


def test_its_speeds_and_those_of_the_documents_are_the_stored_ones() -> None:
    """As ``retconv bench peers --summary`` prints them."""
    assert peers.highlights() in README
    assert peers.summary() in (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
