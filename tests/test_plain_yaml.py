"""YAML from anywhere: what PyYAML reads is read alike; what it takes silently is refused."""

from __future__ import annotations

import datetime
import io
import re
import runpy
from importlib import resources
from pathlib import Path

import pytest
import yaml

from retconv.plain_yaml import YamlError, load_file, load_text

PACKAGE = Path(str(resources.files("retconv")))
FILES = sorted(PACKAGE.rglob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_of_the_package_reads_as_pyyaml_reads_it(path: Path) -> None:
    assert load_file(path) == yaml.safe_load(path.read_text(encoding="utf-8"))


def test_plain_values_aliases_and_merged_mappings() -> None:
    text = "a: &a {x: 1, y: [0x10, 1.5, yes, ~, 2024-02-29]}\nb: {<<: *a, x: 2}\nc: [*a, *a]\n"
    y = [16, 1.5, True, None, datetime.date(2024, 2, 29)]
    assert load_text(text, "text") == {"a": {"x": 1, "y": y}, "b": {"x": 2, "y": y}, "c": [{"x": 1, "y": y}] * 2}


def test_a_byte_order_mark_and_an_empty_file_are_read() -> None:
    assert load_text(b"\xef\xbb\xbfa: 1", "text") == {"a": 1}
    assert load_text(b"", "text") is None


def test_no_more_of_an_endless_file_is_read_than_may_be_there() -> None:
    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            assert 0 < size < 2**20
            return bytes(size)

    class File:
        def open(self, mode: str) -> Endless:
            return Endless()

    with pytest.raises(ValueError, match="more than 262,144 bytes"):
        load_file(File(), "it")  # type: ignore[arg-type]


def test_without_libyaml_it_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML is also built without its C library."""
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    slow = runpy.run_path(str(PACKAGE / "plain_yaml.py"))
    assert slow["load_text"]("a: &a {x: 1}\nb: {<<: *a}", "text") == {"a": {"x": 1}, "b": {"x": 1}}
    for text in ("a: 1\na: 2", "[" * 1000, "a: &a [*a]", "a: 2024-02-31"):
        with pytest.raises(YamlError) as fast:
            load_text(text, "text")
        with pytest.raises(slow["YamlError"], match=re.escape(str(fast.value))):
            slow["load_text"](text, "text")


def test_yaml_is_read_in_one_place() -> None:
    readers = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for call in ("yaml.load", "yaml.safe_load", "yaml.parse")
        if call + "(" in path.read_text(encoding="utf-8")
    }
    assert readers == {"plain_yaml.py"}
