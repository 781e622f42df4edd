"""Peers of other packages: which of them are installed, and what they do with a problem."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping

from retconv.bench.peers.rows import Run

#: What a package does with a problem, by name.
Named = Iterator[tuple[str, Run]]
#: Imports a package and gives what it does with a problem, which is nothing where the package does not serve it.
Adapter = Callable[..., Named]
#: The module that an adapter imports first, by the name under which its package is installed.
MODULES = {
    "flash-linear-attention": "fla.ops.simple_gla",
    "flash-pop": "flash_pop.fused_retention",
    "linear-operator": "linear_operator.operators",
    "nvsubquadratic": "nvsubquadratic.ops",
    "pylops": "pylops.signalprocessing",
    "torchscale": "torchscale.architecture.retnet",
    "yet-another-retnet": "yet_another_retnet.retention",
}


def found(adapters: Mapping[str, Adapter], *problem: object) -> dict[str, Run]:
    """What the installed packages do with a problem, by name; empty where none is installed.

    Args:
        adapters: By the name of their package.
        problem: What each adapter is called with.
    """
    runs: dict[str, Run] = {}
    for adapter in adapters.values():
        try:
            runs |= dict(adapter(*problem))
        except ImportError:
            continue
    return runs


def missing(packages: Iterable[str]) -> list[str]:
    """Those that cannot be imported, sorted; a package without an entry in ``MODULES`` comes with ours."""
    absent = []
    for package in sorted({*packages} & {*MODULES}):
        try:
            importlib.import_module(MODULES[package])
        except ImportError:
            absent.append(package)
    return absent
