"""Errors of convolved heads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from retconv.grid import Grid
from retconv.heads import ConvolvedHeads, convolve, load_convolutions
from tests.error_table import Error
from tests.models.errors import vit

NAME = "blocks.0.attn"
IMAGES = torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)


def call(*given: Any, images: Any = IMAGES, **options: Any) -> None:
    convolve(vit(patch_size=8), *given, images=images, rounds=0, **options)


class Shuffled:
    """Two batches, in another order at every pass."""

    order = 1

    def __iter__(self) -> Iterator[torch.Tensor]:
        self.order = -self.order
        return iter([IMAGES[:1], IMAGES[1:]][:: self.order])


class Dwindling:
    """A batch less at every pass."""

    left = 5

    def __iter__(self) -> Iterator[torch.Tensor]:
        self.left -= 1
        return iter([IMAGES] * self.left)


def twice() -> None:
    model = vit(patch_size=8)
    for _ in range(2):
        convolve(model, images=IMAGES, heads={NAME: [0]}, rounds=0)


def checkpoint(depth: int = 1) -> dict[str, torch.Tensor]:
    model = vit(patch_size=8)
    convolve(model, images=IMAGES, heads={NAME: [0]}, rounds=0)
    state = model.state_dict()
    return state if depth == 1 else {key.replace("blocks.0", "blocks.7"): x for key, x in state.items()}


def loaded_twice() -> None:
    model = vit(patch_size=8)
    for _ in range(2):
        load_convolutions(model, checkpoint())


def moved() -> None:
    grid = Grid((2, 2), prefix=1)
    heads = ConvolvedHeads((0,), 1, grid, torch.ones(1, 3, 3), torch.ones(1, 1, 5), torch.ones(1, 4, 1))
    heads.mix(torch.ones(1, 1, 7, 2), Grid((2, 3), prefix=1))


CONVOLVING: dict[str, Error] = {
    "no choice": (call, ValueError, r"either tolerance=, the largest error of an output, or heads=\{layer"),
    "two choices": (lambda: call(tolerance=0.1, heads={}), ValueError, "say which heads: either tolerance="),
    "no images": (lambda: call(images=None, tolerance=1.0), ValueError, "convolve needs images, .* give at least one"),
    "images once": (
        lambda: call(images=iter([IMAGES]), tolerance=1.0),
        TypeError,
        "an iterator can be read once: give a",
    ),
    "images shuffled": (
        lambda: call(images=Shuffled(), heads={NAME: [0]}),
        ValueError,
        "images must be the same in every pass, in the same order: give a loader that neither shuffles nor augments",
    ),
    "images lacking": (
        lambda: call(images=Dwindling(), heads={NAME: [0]}),
        ValueError,
        "images must be the same in every pass, in the same order",
    ),
    "no tensor": (
        lambda: call(images=["cat"], tolerance=1.0),
        TypeError,
        "images must be a tensor, .* got str",
    ),
    "convolved twice": (twice, ValueError, r"convolved heads already: call remove_convolutions\(model\) first"),
    "layer unknown": (
        lambda: call({"blocks.3": torch.ones(1)}, tolerance=1.0),
        ValueError,
        r"kernels are given for \['blocks.3'\], which is no attention of the model: blocks.0.attn",
    ),
    "kernel of another grid": (
        lambda: call({NAME: torch.ones(2, 5, 5)}, tolerance=1.0),
        ValueError,
        r"the kernel of 'blocks.0.attn' must be \(2, 7, 7\) for its 2 heads on Grid.*, got \(2, 5, 5\)",
    ),
    "head unknown": (
        lambda: call(heads={NAME: [2]}),
        ValueError,
        r"there are no heads \[2\] of 'blocks.0.attn' to convolve: there are 'blocks.0.attn' of 2 heads",
    ),
    "tolerance too small": (
        lambda: call(tolerance=1e-9),
        ValueError,
        "no head's output error is at most tolerance=1e-09: the smallest is .* of head . of 'blocks.0.attn'; give a",
    ),
    "heads out of order": (
        lambda: ConvolvedHeads((1, 0), 2, (2, 2), torch.ones(2, 3, 3)),
        ValueError,
        r"heads must be ascending numbers from 0 to 1, each once, got \[1, 0\]",
    ),
    "no columns": (
        lambda: ConvolvedHeads((0,), 2, Grid((2, 2), prefix=1), torch.ones(1, 3, 3), torch.ones(1, 1, 5)),
        ValueError,
        r"1 convolved heads on Grid\(\(2, 2\), prefix=1\) take .*'columns': \(1, 4, 1\)\}, got",
    ),
    "prefix on another grid": (
        moved,
        ValueError,
        r"on Grid\(\(2, 2\), prefix=1\), and cannot move to Grid\(\(2, 3\), prefix=1\): convolve the model again",
    ),
    "plain checkpoint": (
        lambda: load_convolutions(vit(patch_size=8), vit(patch_size=8).state_dict()),
        ValueError,
        "the checkpoint has no convolved heads: load it with",
    ),
    "loaded twice": (loaded_twice, ValueError, r"convolved heads already: call remove_convolutions\(model\) first"),
    "checkpoint of another model": (
        lambda: load_convolutions(vit(patch_size=8), checkpoint(7)),
        ValueError,
        r"convolves heads of \['blocks.7.attn'\], no attention of the model: \['blocks.0.attn'\]",
    ),
}

TABLES = {"convolving": CONVOLVING}
