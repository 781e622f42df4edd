"""The command ``retconv atlas``, and the page that it writes."""

import base64
import re
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from retconv.atlas import ENTRIES, page, stored
from retconv.atlas.__main__ import main
from tests.project.modules import ROOT


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code, result.output
    return result.output


def test_all_masks_have_a_line() -> None:
    lines = run().splitlines()
    assert [line.split()[0] for line in lines[-len(ENTRIES) :]] == list(ENTRIES)


def test_a_mask_is_told_with_formula_and_source() -> None:
    text = " ".join(run("retnet").split())
    assert ENTRIES["retnet"].formula in text
    assert ENTRIES["retnet"].source in text
    assert "kernel yes" in text


def test_an_unknown_mask_is_refused_with_the_nearest() -> None:
    assert "unknown mask 'retnett': did you mean 'retnet'?" in run("retnett", code=2)


def test_the_table_is_written(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    run("manhattan", "retnet", "--out", str(path))
    assert list(pd.read_csv(path)["name"]) == ["manhattan", "retnet"]


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "atlas.html"
    assert f"cannot write {path}" in run("retnet", "--page", str(path), code=2)


@pytest.fixture(scope="module")
def html() -> str:
    return page(stored())


def test_the_page_has_a_row_and_a_picture_for_every_mask(html: str) -> None:
    assert re.findall(r'<tr id="(\w+)"', html) == list(ENTRIES)
    pictures = [base64.b64decode(data) for data in re.findall(r"data:image/png;base64,([^\"]+)", html)]
    assert [picture[:4] for picture in pictures] == [b"\x89PNG"] * len(ENTRIES)


def test_the_page_stands_by_itself(html: str) -> None:
    """No address but papers', so it is read without a server or a network."""
    assert {url.split("/")[2] for url in re.findall(r"https?://[^\"\s<]+", html)} == {"arxiv.org"}
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"(?!data:)", html)


def test_the_page_of_the_documents_is_that_of_the_stored_table(html: str) -> None:
    assert (ROOT / "docs" / "atlas.html").read_text(encoding="utf-8") == html
