"""Packages that an extra of this one brings, and what to say where one is missing."""

import importlib
from typing import Any

#: By the name under which a package is imported, the extra that brings it; ``train`` brings all others.
EXTRAS = {
    **dict.fromkeys(("dask", "distributed", "joblib", "loky", "ray", "submitit"), "cluster"),
    **dict.fromkeys(("peft", "transformers"), "models"),
    **dict.fromkeys(("onnx", "onnxruntime", "onnxscript"), "export"),
    "numba": "compiled",
    "triton": "triton",
}


def extra(module: str, purpose: str) -> Any:
    """Import a module that an extra brings, or say how to get it.

    Args:
        module: Its dotted name.
        purpose: What needs it, for the message.

    Raises:
        ModuleNotFoundError: If it is not installed.

    Example:
        >>> extra("yaml", "reading recipes").safe_load("1")
        1
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ModuleNotFoundError(lacking(module, purpose)) from error


def lacking(module: str, purpose: str) -> str:
    """What to say where a module is not installed.

    Example:
        >>> lacking("ray.util", "engine ray")
        "engine ray needs ray, which is not installed: pip install 'retconv[cluster]'"
    """
    package = module.partition(".")[0]
    return f"{purpose} needs {package}, which is not installed: pip install 'retconv[{EXTRAS.get(package, 'train')}]'"
