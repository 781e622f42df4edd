"""Parameters of stacked models as a few matrices, a row for each model.

A small model has hundreds of small parameters. Held in one matrix they are cast, clipped, updated and checked in one
operation each, and their gradients arrive as one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from retconv.precision import entering

#: Elements to which parameters are aligned, 16 bytes and more: fast products want their operands to begin there.
_ALIGNED = 16


@dataclass
class Pack:
    """Parameters of one kind.

    Attributes:
        matrix: ``(R, P)``, a leaf: what an optimiser updates. Each row ends in a few zeros that nothing reads.
        shapes: Of each parameter of a single model, by name, in the order of the columns.
        apart: Whether an optimiser treats them apart from the others, as without weight decay.
        product: Whether they are operands of products, which autocast takes in its own dtype.
    """

    matrix: Tensor
    shapes: dict[str, torch.Size]
    apart: bool = False
    product: bool = False

    @classmethod
    def of(cls, stacked: Mapping[str, Tensor], apart: bool = False, product: bool = False) -> Pack:
        """Pack parameters ``(R, …)`` of one dtype; what would put others out of alignment comes last."""
        names = sorted(stacked, key=lambda name: stacked[name][0].numel() % _ALIGNED != 0)
        rows = torch.cat([stacked[name].detach().reshape(len(stacked[name]), -1) for name in names], dim=1)
        rest = -rows.shape[1] % _ALIGNED
        matrix = torch.cat([rows, rows.new_zeros(len(rows), rest)], dim=1)
        return cls(matrix.requires_grad_(), {name: stacked[name].shape[1:] for name in names}, apart, product)

    def columns(self, matrix: Tensor) -> dict[str, Tensor]:
        """A matrix like this one, cut into parameters ``(R, …)``; differentiable, with one concatenation backward."""
        return self._cut(matrix, (len(matrix),))

    def read(self) -> dict[str, Tensor]:
        """The parameters as a forward pass reads them, ``(…)`` where there is a single model."""
        # One cast for all, where autocast would cast each parameter by itself.
        matrix = entering(self.matrix) if self.product else self.matrix
        return self._cut(matrix, (len(matrix),) if len(matrix) > 1 else ())

    def _cut(self, matrix: Tensor, lead: tuple[int, ...]) -> dict[str, Tensor]:
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        parts = matrix.split([*sizes, matrix.shape[1] - sum(sizes)], dim=1)
        return {name: part.view(*lead, *shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=False)}


def pack(stacked: Mapping[str, Tensor], apart: Collection[str], products: Collection[str]) -> list[Pack]:
    """Pack parameters ``(R, …)`` by kind and dtype; the names of those that are apart, and of operands of products."""
    groups: dict[tuple[bool, bool, torch.dtype], dict[str, Tensor]] = {}
    for name, value in stacked.items():
        groups.setdefault((name in apart, name in products, value.dtype), {})[name] = value
    return [Pack.of(group, *kind[:2]) for kind, group in groups.items()]
