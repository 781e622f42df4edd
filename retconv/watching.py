"""Who watches a computation beside its caller: autograd in either mode, ``torch.func``, or a tracer.

A shortcut may not cheat whoever watches. Work in place, or into memory that is kept, needs tensors that nobody watches
(``is_watched``), and code that torch does not see needs tensors whose calls nobody follows (``is_plain``). A decision
by values needs values that may be looked at (``is_readable``) and, where the derivative would decide otherwise, of
which no derivative is taken (``is_constant``). What is recomputed in the backward pass needs one that keeps hooks
(``is_recorded``). What outlives a call must belong to no watcher (``unwatched``, ``lasting``, ``outliving``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import CodeType, FrameType

import torch
import torch.utils.checkpoint
from torch import Tensor
from torch._guards import TracingContext, detect_fake_mode
from torch.autograd import forward_ad
from torch.nn import Parameter


def is_traced() -> bool:
    """Whether ``torch.compile`` or ``torch.export`` traces: values are unknown, and time means nothing."""
    return torch.compiler.is_compiling()


def is_scripted() -> bool:
    """Whether ``torch.jit.trace`` records: sizes are tensors then, and what is read of them is lost."""
    return torch._C._get_tracing_state() is not None


def refuse_script(name: str) -> None:
    """Raise a ``ValueError`` while ``torch.jit.trace`` records, which would keep what depends on sizes as numbers."""
    if not is_traced() and is_scripted():
        raise ValueError(
            f"{name} is not for torch.jit.trace, which would keep it as numbers of these sizes: use torch.export or "
            "torch.compile"
        )


def is_backward() -> bool:
    """Whether autograd goes backward just now, where checkpointed parts of a model run again."""
    return not is_traced() and torch._C._current_graph_task_id() != -1


def is_forward() -> bool:
    """Whether autograd records what runs, for the first time: not backward again, and no tracer."""
    return is_recording() and not is_backward()


def is_enabled() -> bool:
    """Whether autograd is on, also for a tracer."""
    return torch.is_grad_enabled()


def is_recording() -> bool:
    """Whether autograd records what runs, be it for the first time or again, and no tracer does."""
    return is_enabled() and not is_traced()


def is_checkpointed(since: CodeType) -> bool:
    """Whether a checkpoint that was begun within the innermost call of some code runs what runs now."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not since:
        if frame.f_globals.get("__name__") == torch.utils.checkpoint.__name__:
            return True
        frame = frame.f_back
    return False


def is_exported() -> bool:
    """Whether ``torch.export`` traces: what is traced runs elsewhere, where this package's own operations are not."""
    return torch.compiler.is_exporting()


def is_differentiated(*tensors: Tensor) -> bool:
    """Whether autograd records what is computed of them, for a backward pass."""
    # A loop, for speed: a generator takes longer than the shortest application of an operator can spare.
    if torch.is_grad_enabled():
        for x in tensors:
            if x.requires_grad:
                return True
    return False


def is_transformed(*tensors: Tensor) -> bool:
    """Whether ``torch.func`` maps over one of them or differentiates it; a tracer cannot ask, and answers no."""
    if not is_traced():
        for x in tensors:
            if torch._C._functorch.is_functorch_wrapped_tensor(x):
                return True
    return False


def has_tangent(*tensors: Tensor) -> bool:
    """Whether forward mode may carry a derivative through one of them.

    Within ``torch.func`` and by a tracer that cannot be asked: every transformed tensor is then taken to have one.
    """
    if forward_ad._current_level < 0 or is_traced():
        return forward_ad._current_level >= 0
    return any(is_transformed(x) or forward_ad.unpack_dual(x).tangent is not None for x in tensors)


def is_derived(*tensors: Tensor) -> bool:
    """Whether a derivative of one of them is taken otherwise than by a backward pass: forward, or by ``torch.func``."""
    return has_tangent(*tensors) or any(_is_wrapped(x, torch._C._functorch.is_gradtrackingtensor) for x in tensors)


def is_mapped(*tensors: Tensor) -> bool:
    """Whether ``torch.vmap`` maps over one of them: it stands for many, whose values differ."""
    return is_transformed(*tensors) and any(_is_wrapped(x, torch._C._functorch.is_batchedtensor) for x in tensors)


def _is_wrapped(x: Tensor, by: Callable[[Tensor], bool]) -> bool:
    """Whether a transform of ``torch.func``, at any level, is of a kind."""
    while is_transformed(x):
        if by(x):
            return True
        x = torch._C._functorch.get_unwrapped(x)
    return False


def is_watched(*tensors: Tensor) -> bool:
    """Whether somebody watches one of them: nothing computed of them may then be overwritten, or written elsewhere."""
    return is_traced() or is_differentiated(*tensors) or is_transformed(*tensors) or has_tangent(*tensors)


def is_seen(*tensors: Tensor) -> bool:
    """Whether somebody but a tracer watches one of them, who would miss what a step writes to memory of its own."""
    return is_differentiated(*tensors) or (is_watched(*tensors) and not is_traced())


def is_recorded(*tensors: Tensor) -> bool:
    """Whether autograd alone records what is computed of them, so that a checkpoint may stand for it.

    Checkpoints are hooks on saved tensors, which ``torch.func`` does not know, and forward mode needs none.
    """
    return is_differentiated(*tensors) and not (is_transformed(*tensors) or has_tangent(*tensors))


def is_visible(*tensors: Tensor) -> bool:
    """Whether values may be read at all, on any device: nobody traces or maps."""
    return not (is_traced() or is_transformed(*tensors))


def is_readable(x: Tensor) -> bool:
    """Whether its values may be looked at in passing: on a CPU, and neither traced nor transformed.

    An accelerator would be waited for, at every call, and no CUDA graph could hold the call.
    """
    return x.device.type == "cpu" and is_visible(x)


def is_plain(*tensors: Tensor) -> bool:
    """Whether code that torch does not see may read their memory: on a CPU, of no subclass, and nobody follows calls.

    Autograd aside, which a caller can serve: see ``is_differentiated``.
    """
    # Whatever the tensors, a transform or mode that is active is there to see the calls.
    if (
        is_traced()
        or forward_ad._current_level >= 0
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._get_tracing_state() is not None
    ):
        return False
    for x in tensors:
        if type(x) not in (Tensor, Parameter) or not x.is_cpu or x.is_neg():
            return False
        # Many gradients at once (`is_grads_batched`) are mapped over by a transform that is not torch.func's.
        if torch._C._functorch.is_legacy_batchedtensor(x):
            return False
    return True


def is_constant(x: Tensor) -> bool:
    """Whether a shortcut may rest on its values: they are readable, and no derivative in it is wanted.

    The gradient of an even kernel, for one, is not even.
    """
    return is_readable(x) and not is_watched(x)


def fake_mode() -> object | None:
    """The mode in which tensors are made without values, if there is one."""
    # To look for it takes 12 µs, which on a small grid is a part of the whole: first, whether there is any mode at all.
    return detect_fake_mode() if TracingContext.try_get() or torch._C._len_torch_dispatch_stack() else None


def unwatched() -> AbstractContextManager[object]:
    """A region whose results belong to no watcher, and may be kept for others: of tensors that nobody watches."""
    return torch.no_grad() if is_traced() else _unwatched()


def lasting() -> AbstractContextManager[object]:
    """A region whose results autograd may use later, although it is entered in inference mode."""
    return nullcontext() if is_traced() or not torch.is_inference_mode_enabled() else _lasting()


@contextmanager
def recording() -> Iterator[None]:
    """A region in which autograd records, whatever it is entered in."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def is_inference(x: Tensor) -> bool:
    """Whether it was made in inference mode, so that autograd has no use for it."""
    return not is_traced() and x.is_inference()


def outliving(x: Tensor) -> Tensor:
    """The tensor, or if it was made in inference mode a copy that autograd may use later."""
    if not is_inference(x):
        return x
    with unwatched():
        return x.clone()


@contextmanager
def _unwatched() -> Iterator[None]:
    with torch.inference_mode(False), torch._C._DisableFuncTorch(), torch.no_grad():
        yield


@contextmanager
def _lasting() -> Iterator[None]:
    # Leaving inference mode alone would switch gradients on.
    with torch.inference_mode(False), torch.no_grad():
        yield
