"""The picture of a mask on a grid."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from retconv.convert import project
from retconv.grid import Grid
from retconv.showing.picture import Picture, told


class _OnAGrid(Protocol):
    """What is asked of ``Forms``."""

    @property
    def grid(self) -> Grid: ...
    @property
    def kernel(self) -> Tensor | None: ...
    @property
    def entries(self) -> Tensor: ...


def picture(forms: _OnAGrid, title: str) -> Picture:
    """The picture of a mask, of the first sample where a batch stands before its heads.

    Where it has no kernel, the one of the nearest convolution is seen, and the residual said; where that has no meaning
    either (keys on another grid, weights that are not finite), a row alone.
    """
    grid, kernel, entries = forms.grid.without_prefix(), forms.kernel, None
    facts: dict[str, list[float]] = {}
    nearest = False
    # Detached at last: what is made for a picture may be wanted with its gradients later.
    if kernel is not None:
        kernel = kernel.detach()
    else:
        entries = forms.entries.detach()
        entries = entries.reshape(-1, *entries.shape[-3:])[0][:, forms.grid.prefix :]
        if entries.shape[2] == forms.grid.length:
            entries = entries[:, :, forms.grid.prefix :]
            if bool(entries.isfinite().all()):
                kernel, residual = project(entries, grid)
                nearest = bool(residual.any())
                facts["residual"] = told(residual)
    if kernel is not None:
        facts |= {
            "self-weight": [float(head[grid.center]) for head in kernel],
            "sum of the kernel": told(kernel.flatten(1).sum(1)),
        }
    return Picture.of(title, grid, kernel, entries, nearest=nearest, facts=facts)
