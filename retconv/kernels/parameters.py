"""Boundary checks and broadcasting that all closed forms share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from retconv.watching import is_traced, is_transformed


def compute_dtype(device: torch.device) -> torch.dtype:
    """The dtype in which closed forms are evaluated, to be cast last: float64, or float32 where a device lacks it."""
    return torch.float32 if device.type == "mps" else torch.float64


def require_tensor(value: object, name: str) -> None:
    """Raise a ``TypeError`` unless it is a tensor: what is given as anything else is never copied silently."""
    if isinstance(value, Tensor):
        return
    remedies = {"ndarray": f"pass torch.from_numpy({name})", "Grid": "pass grid.offsets()"}
    kind, kernel = type(value).__name__, getattr(value, "kernel", None)
    remedy = remedies.get(kind, f"pass torch.as_tensor({name})")
    if kernel is not None:  # a mask, or what was made of a kernel
        remedy = "pass its kernel(grid)" if callable(kernel) else "pass its .kernel"
    raise TypeError(f"{name} must be a torch.Tensor, got {kind}: {remedy}")


def require_tensors(**values: object) -> None:
    """``require_tensor`` of each, by its name."""
    for name, value in values.items():
        require_tensor(value, name)


def device_of(offset: Tensor) -> torch.device:
    """Where offsets are; a ``TypeError`` says what to pass where they are none, as a grid."""
    require_tensor(offset, "offset")
    return offset.device


def result_dtype(*values: object) -> torch.dtype:
    """The dtype of what is computed of parameters: that of the floating tensors among them, else torch's default."""
    given = [value.dtype for value in values if isinstance(value, Tensor) and value.is_floating_point()]
    return reduce(torch.promote_types, given) if given else torch.get_default_dtype()


def as_parameter(value: Tensor | float, name: str, axes: int = 1, device: torch.device | None = None) -> Tensor:
    """Turn a number or tensor into a per-head parameter tensor with ``axes`` axes, the first of them heads.

    Args:
        value: The number or tensor. A floating tensor keeps its dtype; a number has the computing dtype at once, since
            float32 would round 1 − 1e-9 to 1.
        name: What it is called.
        axes: Of the result.
        device: Of the result.

    Raises:
        ValueError: If it is complex, has another number of axes or a non-finite entry.
    """
    if not isinstance(value, Tensor | float | int | Sequence):
        require_tensor(value, name)
    if device is None:  # torch would take it to its default device
        device = value.device if isinstance(value, Tensor) else torch.get_default_device()
    if isinstance(value, Tensor):
        check_real(value, name)
    keeps = isinstance(value, Tensor) and value.is_floating_point()
    parameter = torch.as_tensor(value, device=device, dtype=None if keeps else compute_dtype(device))
    if parameter.ndim == 0:
        parameter = parameter.reshape((1,) * axes)
    if parameter.ndim != axes:
        expected = "(heads,)" if axes == 1 else f"(heads{', …' * (axes - 1)})"
        raise ValueError(f"{name} must be a number or of shape {expected}, got shape {tuple(parameter.shape)}")
    check(parameter, name, torch.isfinite(parameter), "must be finite")
    return parameter


def check_real(tensor: Tensor, name: str) -> None:
    """Raise a ``ValueError`` if a tensor is complex: masks are real, and a cast would drop the imaginary part."""
    require_tensor(tensor, name)
    if tensor.is_complex():
        raise ValueError(
            f"{name} must be real, got {tensor.dtype}: give its real and its imaginary part one after the other"
        )


def check(parameter: Tensor, name: str, good: Tensor, rule: str) -> None:
    """Raise a ``ValueError`` that names the first offending entries of a parameter, unless all are good.

    It is for values that a user hands in, and looks at them on every device: a mask module does not check what it
    learnt itself at every call. While ``torch.compile`` or ``torch.export`` traces or ``torch.func`` transforms, and on
    the device ``meta``, values are unknown and not checked.
    """
    if is_traced() or is_transformed(good) or good.is_meta or bool(good.all()):
        return
    bad = parameter.detach()[~good].flatten()
    values = ", ".join(f"{v:.6g}" for v in bad[:4].tolist())
    more = f" and {bad.numel() - 4} more" if bad.numel() > 4 else ""
    raise ValueError(f"{name} {rule}, got {values}{more}")


def whole(offset: Tensor) -> Tensor:
    """Offsets as int64. Those between tokens, as pooled keys have them, are refused: they have no entry of a table."""
    if offset.is_floating_point():
        check(offset, "offset", offset == offset.round(), "must be whole tokens")
    return offset.long()


def prepare(offset: Tensor, *parameters: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Bring offsets and parameters to the computing dtype.

    Args:
        offset: ``(*S, D)``, any real dtype.
        *parameters: Floating tensors ``(heads, …)``.

    Returns:
        The offsets and the parameters. What is computed of them is cast to ``result_dtype`` of what was given.

    Raises:
        ValueError: If the offsets have no last axis of length 1 to 3, or numbers of heads disagree.
    """
    require_tensor(offset, "offset")
    if offset.ndim < 1 or not 1 <= offset.shape[-1] <= 3:
        raise ValueError(
            "offset must have a last axis of length 1, 2 or 3 (one entry per grid axis), got shape "
            f"{tuple(offset.shape)}"
        )
    heads = {p.shape[0] for p in parameters} - {1}
    if len(heads) > 1:
        raise ValueError(f"parameters disagree on the number of heads: {[tuple(p.shape) for p in parameters]}")
    dtype = compute_dtype(offset.device)
    return offset.to(dtype), [p.to(offset.device, dtype) for p in parameters]


def per_head(parameter: Tensor, sites: int) -> Tensor:
    """View a parameter ``(heads, …)`` as ``(heads, …, 1, …, 1)`` with one axis of length 1 for each site axis."""
    return parameter.reshape(*parameter.shape, *(1,) * sites)
