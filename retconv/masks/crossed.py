"""Masks between two grids: queries on one, keys on another."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from retconv.convert import rectangular
from retconv.cross import Cross
from retconv.kernels.parameters import check_real
from retconv.masks.forms import Forms


@runtime_checkable
class HasOffsets(Protocol):
    """A mask module that knows its kernel and its logarithm at any offsets, as decays and Gaussian mixtures do."""

    heads: int

    def at(self, offset: Tensor) -> Tensor:
        """The kernel ``(heads, *S)`` at offsets ``(*S, D)``."""
        ...

    def log_at(self, offset: Tensor) -> Tensor:
        """Its logarithm, by a closed form."""
        ...


#: A module with ``at`` and ``log_at``; a closed form; a table of distinct offsets; entries, of a batch too; or forms.
RectangularLike = Tensor | HasOffsets | Callable[[Tensor], Tensor] | Forms


def between(mask: RectangularLike, cross: Cross) -> Forms:
    """A mask between two grids, ``M[q, k] = K[p_k − p_q]`` where it has a kernel: what ``attend`` reads on a ``Cross``.

    Args:
        mask: A module with ``at`` and ``log_at`` (``DecayMask``, ``GaussianMixtureMask``), a closed form of offsets as
            ``rectangular`` takes, a table ``(heads, *cross.table_shape)``, or entries ``(heads, *cross.shape)``, which
            may have a batch in front. A tensor of both shapes is entries.
        cross: Queries and keys. Modules, closed forms and tables are neutral at prefix tokens, entries as they are.

    Returns:
        The forms: entries, and the logarithm where it has a closed form. A bare closed form has none, since what has
        underflowed has no logarithm to take: ``between_log`` takes that one.

    Raises:
        TypeError: If it is none of these.
        ValueError: If a tensor has another shape or no real floating dtype, or forms are not of these queries and keys.
        DenseLimitError: If the mask would exceed the memory limit.

    Source:
        Pooled keys: PVT, Wang et al. 2021 (arXiv 2102.12122), whose keys carry no positions; ours do, at the centres of
        their cells.

    Example:
        >>> from retconv.masks import DecayMask
        >>> mask = DecayMask(1, "manhattan", 0.25)
        >>> between(mask, Cross((4, 4), (2, 2))).entries.shape  # keys pooled by 2
        torch.Size([1, 16, 4])
        >>> between(mask, Cross(1, 3, stride=1, origin=-2)).entries  # a query appended to two tokens
        tensor([[[0.0625, 0.2500, 1.0000]]])
    """
    if isinstance(mask, Forms):
        by_log = mask.given.get("log", _no_logarithm) is not _no_logarithm
        shape = tuple((mask.log if by_log else mask).entries.shape[-2:])
        if shape != cross.shape:
            raise ValueError(f"these forms are {shape}, not {cross.shape} of {cross}: make them of these by between")
        return mask
    if isinstance(mask, Tensor):
        entries = _read(mask, cross, 1.0)
        return Forms(cross.queries, entries.shape[-3], {"entries": entries}, handed_in=not mask.requires_grad)
    if isinstance(mask, HasOffsets):
        # Offsets where the module is: an accelerator need not wait for a copy of them at each call.
        tensors = chain(mask.parameters(), mask.buffers()) if isinstance(mask, nn.Module) else iter(())
        device = next((tensor.device for tensor in tensors), None)
        forms = {
            "entries": partial(rectangular, mask.at, cross, device=device),
            "log": partial(rectangular, mask.log_at, cross, 0.0, device),
        }
        return Forms(cross.queries, mask.heads, forms)
    if hasattr(mask, "forms") or not callable(mask):
        raise TypeError(
            f"a mask between two grids is a module with at and log_at, such as DecayMask, a closed form of offsets, or "
            f"a tensor, got {type(mask).__name__}: give its entries {cross.shape} for each head"
        )
    entries = rectangular(mask, cross)
    return Forms(cross.queries, entries.shape[0], {"entries": entries, "log": _no_logarithm})


def between_log(log: Tensor | Callable[[Tensor], Tensor], cross: Cross) -> Forms:
    """The mask between two grids of a bias on logits, which is its logarithm: what multiplies is the exponential.

    Args:
        log: A closed form of offsets, a table or entries, as in ``between``; −∞ where a key is hidden.
        cross: Queries and keys; of a closed form or table, prefix tokens have the bias 0.

    Raises:
        ValueError: If a tensor has another shape or no real floating dtype.

    Example:
        >>> between_log(lambda offset: -offset.abs().sum(-1)[None], Cross(1, 3, stride=1, origin=-2)).log.entries
        tensor([[[-2., -1., -0.]]], dtype=torch.float64)
    """
    entries = _read(log, cross, 0.0) if isinstance(log, Tensor) else rectangular(log, cross, 0.0)
    return Forms(cross.queries, entries.shape[-3], {"entries": lambda: entries.exp(), "log": entries})


def _read(mask: Tensor, cross: Cross, neutral: float) -> Tensor:
    """Entries of a tensor, which may be a table."""
    check_real(mask, "mask")
    entries = mask.ndim in (3, 4) and tuple(mask.shape[-2:]) == cross.shape
    # Of entries no offset is asked for: torch.compile cannot trace its fractions.
    if not (entries or tuple(mask.shape[1:]) == cross.table_shape) or not mask.is_floating_point():
        raise ValueError(
            f"a mask of {cross} must be floating entries {('heads', *cross.shape)} or a table "
            f"{('heads', *cross.table_shape)}, got {mask.dtype} of shape {tuple(mask.shape)}"
        )
    return mask if entries else rectangular(mask, cross, neutral)


def _no_logarithm() -> Tensor:
    raise ValueError(
        "bias_logits: a closed form that may underflow has no logarithm but its own: give "
        "retconv.masks.between_log(log, cross), or a module with log_at"
    )
