"""Imports that wait: packages whose names come when they are asked for."""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import retconv

PACKAGE = Path(retconv.__file__).parent
LAZY = sorted(
    ".".join(path.parent.relative_to(PACKAGE.parent).parts)
    for path in PACKAGE.rglob("__init__.py")
    if "lazily(__name__)" in path.read_text(encoding="utf-8")
)
TOY = """
from typing import TYPE_CHECKING
from retconv.lazy import lazily
if TYPE_CHECKING:
    from lazy_toy import plain as plain
    from lazy_toy.heavy import Thing, original as renamed
lazily(__name__)
__all__ = ["Thing"]
"""
HEAVY = "class Thing: pass\nclass NotAsked: pass\noriginal = object()\n"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path of imports, with a lazy package."""
    (tmp_path / "lazy_toy").mkdir()
    for name, text in {"__init__": TOY, "heavy": HEAVY, "plain": "", "_hidden": ""}.items():
        (tmp_path / "lazy_toy" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    before, finders = {*sys.modules}, [*sys.meta_path]
    yield tmp_path
    for name in {*sys.modules} - before:
        del sys.modules[name]
    sys.meta_path[:] = finders


def test_names_come_when_they_are_asked_for(toy: Path) -> None:
    import lazy_toy

    assert {"Thing", "renamed", "plain", "__all__"} <= set(dir(lazy_toy))
    assert "lazy_toy.heavy" not in sys.modules
    thing = lazy_toy.Thing
    assert thing is sys.modules["lazy_toy.heavy"].Thing is vars(lazy_toy)["Thing"]
    assert lazy_toy.renamed is sys.modules["lazy_toy.heavy"].original
    assert isinstance(pickle.loads(pickle.dumps(thing())), thing)
    assert lazy_toy.plain is sys.modules["lazy_toy.plain"]
    stars: dict[str, object] = {}
    exec("from lazy_toy import *", stars)
    assert stars["Thing"] is thing


@pytest.mark.parametrize("name", ["NotAsked", "_hidden", "lazily_", "original"])
def test_what_is_not_offered_is_not_there(name: str, toy: Path) -> None:
    package = importlib.import_module("lazy_toy")
    with pytest.raises(AttributeError, match=f"module 'lazy_toy' has no attribute '{name}'"):
        getattr(package, name)


@pytest.mark.parametrize("name", LAZY)
def test_every_name_of_every_lazy_package_is_there(name: str) -> None:
    package = importlib.import_module(name)
    assert {*package.__all__} <= {*dir(package)}
    for public in dir(package):
        getattr(package, public)
