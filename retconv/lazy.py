"""Imports that wait until they are wanted, so that ``import retconv.train`` and every ``--help`` stay light."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def lazily(package: str) -> None:
    """Give a package the names that it imports under ``if TYPE_CHECKING``, each when it is first asked for.

    So the list of what a package offers stands once, as imports, which type checkers and the tests of the order of
    imports read as well; ``lazy_loader`` reads such a list from a stub in the same way. Submodules are there when they
    are asked for too. From then on a name costs nothing more: it is set in the package.

    Args:
        package: The ``__name__`` of the package, which calls this from its ``__init__``.

    Source:
        ``__getattr__`` and ``__dir__`` of modules: PEP 562.
    """
    module = sys.modules[package]
    origins = _imports_for_types(module)

    def get(name: str) -> Any:
        parent, original = origins.get(name, (package, name))
        if parent != package:
            value = getattr(importlib.import_module(parent), original)
        elif not name.startswith("_") and find_spec(f"{package}.{name}"):
            value = importlib.import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=module)
        setattr(module, name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(module), *origins})

    vars(module).update(__getattr__=get, __dir__=names)


def _imports_for_types(module: ModuleType) -> dict[str, tuple[str, str]]:
    """Module and name there of every name that a module imports under ``if TYPE_CHECKING``."""
    return {
        alias.asname or alias.name: (line.module or "", alias.name)
        for block in ast.parse(inspect.getsource(module)).body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for line in block.body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }
