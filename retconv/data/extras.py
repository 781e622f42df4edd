"""Packages that only some data sets need."""

import importlib
from typing import Any


def extra(module: str, purpose: str) -> Any:
    """Import a module of the ``train`` extra, or say how to get it.

    Args:
        module: Its dotted name.
        purpose: What needs it, for the message.

    Raises:
        ModuleNotFoundError: If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{purpose} needs {module.partition('.')[0]}, which is not installed: pip install 'retconv[train]'"
        ) from error
