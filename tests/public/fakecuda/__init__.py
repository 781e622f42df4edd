"""Code paths of CUDA without a GPU: fake tensors of a pretended one, beside real tensors of the CPU.

Shapes, dtypes and devices are real, values are not. So what a device would refuse is found, and what it would do is
counted: kernel launches, bytes moved, and where the host waits for it. See ``process.py`` for how a script is run.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

TESTS = str(Path(__file__).parents[2])
#: Operations that start no kernel, though their results are no views.
FREE = re.compile(r"prim\.|aten\.(empty\w*|new_empty\w*|detach|alias|_unsafe_view|(un)?squeeze_|transpose_|resize_)\.")
#: Operations whose result has a shape that only the device knows.
SHAPED_BY_VALUES = re.compile(r"aten\.(nonzero|_unique|unique|masked_select|repeat_interleave\.Tensor)")
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


class FakeCuda(TorchDispatchMode):
    """Inside, tensors made on or moved to ``cuda`` are fake, and what is done with them is counted.

    Attributes:
        launches: Kernel launches by ``(operation, place)``; the optimiser's have the place ``"optimiser"``. A place
            is the innermost line of the package, timm or torchvision, for the backward pass that of its forward.
        moved: Bytes read and written, by the same keys.
        waits: Host synchronisations by ``"operation place"``.
    """

    def __init__(self) -> None:
        super().__init__()
        _pretend()
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.reset()

    def reset(self) -> None:
        """Count from 0."""
        self.launches: Counter[tuple[str, str]] = Counter()
        self.moved: Counter[tuple[str, str]] = Counter()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and count it."""
        kwargs = kwargs or {}
        name, before = str(func), _tensors((args, kwargs))
        device = kwargs.get("device")
        on_cuda = device is not None and torch.device(device).type == "cuda"
        if not on_cuda and not any(isinstance(t, FakeTensor) for t in before):
            return func(*args, **kwargs)
        if name in ("aten._local_scalar_dense.default", "aten.equal.default"):
            return self._value(name, before[0])
        generator = kwargs.get("generator")
        if on_cuda and generator is not None and generator.device.type != "cuda":
            raise RuntimeError(f"{name} on cuda got a generator of {generator.device}")
        if name.startswith("aten._fused_adam"):  # in place, and without a rule for fake tensors
            self._count(func, name, before, [])
            return None
        if SHAPED_BY_VALUES.match(name) or (name.startswith("aten.index") and _counts(args)):
            self.waits[f"{name} {_place()}"] += 1
        out = self.fake.__torch_dispatch__(func, types, args, kwargs)  # to enter the mode takes half as long again
        after = _tensors(out)
        for tensor in after:
            tensor.asked = name.split(".")[1]  # type: ignore[attr-defined]
        if name in ("aten._to_copy.default", "aten.copy_.default"):
            out = self._copied(name, args, kwargs, before, after, out)
        self._count(func, name, before, after)
        return out

    def _count(self, func: Any, name: str, before: list[Tensor], after: list[Tensor]) -> None:
        returns = [r.alias_info for r in func._schema.returns]
        view = any(r is not None and not r.is_write for r in returns)
        if view or FREE.match(name) or not any(t.is_cuda for t in before + after):
            return
        key = name.split(".")[1], _place()
        written = any(r is not None and r.is_write for r in returns)
        self.launches[key] += 1
        self.moved[key] += sum(t.numel() * t.itemsize for t in before + after * (not written) if t.is_cuda)

    def _value(self, name: str, tensor: Tensor) -> Any:
        """A made-up value: that all is well, nothing is ill, and a number is 1."""
        self.waits[f"{name} {_place()}"] += 1
        if tensor.dtype == torch.bool or name.startswith("aten.equal"):
            return getattr(tensor, "asked", "") != "any"
        return 1.0 if tensor.dtype.is_floating_point else 1

    def _copied(self, name: str, args: Any, kwargs: Any, before: list[Tensor], after: list[Tensor], out: Any) -> Any:
        """Count a copy that the host waits for; a copy on the CPU is a real tensor, of ones."""
        source, target = before[-1 if name.startswith("aten.copy_") else 0], after[0]
        if source.is_cuda == target.is_cuda:
            return out
        waits = not (kwargs.get("non_blocking") or (name.startswith("aten.copy_") and len(args) > 2 and args[2]))
        if waits or source.is_cuda:
            self.waits[f"copy {source.device.type} to {target.device.type} {_place()}"] += 1
        if source.is_cuda and name == "aten._to_copy.default":
            return torch.ones(target.shape, dtype=target.dtype)
        return out


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _counts(args: Any) -> bool:
    """Whether an index is a mask whose ones have to be counted: not where a number of the host fills them."""
    fills = len(args) > 2 and args[2].numel() == 1 and not args[2].is_cuda
    return not fills and any(t.dtype in (torch.bool, torch.uint8) for t in _tensors(args[1]))


def _place() -> str:
    """Where the operation was asked for."""
    node = torch._C._current_autograd_node()
    if node is not None:
        trace = node.metadata.get("traceback_", ())
        frames = [(f, n) for entry in reversed(trace) for f, n in reversed(_FRAME.findall(entry))]
        return "backward of " + _innermost(frames)
    frames, frame = [], sys._getframe(1)
    while frame is not None:
        if frame.f_code is torch.nn.Module.to.__code__:  # who moves a module waits, whichever class has a part in it
            return "elsewhere"
        frames.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return _innermost(frames)


def _innermost(frames: list[tuple[str, Any]]) -> str:
    names = [(_shown(file), line) for file, line in frames]
    if any(name == "optimiser" for name, _ in names):
        return "optimiser"
    return next((f"{name}:{line}" for name, line in names if name), "elsewhere")


@cache
def _shown(file: str) -> str | None:
    """How a file is named in a place: None if it is not of the package, timm or torchvision."""
    if re.search(r"/(torch|timm)/optim/", file):
        return "optimiser"
    ours = re.fullmatch(r".*/((retconv|timm|torchvision)/.*)", file)
    return ours[1] if ours and not file.startswith(TESTS) else None


def _pretend() -> None:
    """Keep torch from starting the GPU that is not there."""
    fake_tensor.init_gpu_context = lambda device: None  # type: ignore[assignment]
    FakeTensorMode.avoid_device_init = property(lambda self: True)  # type: ignore[assignment]
    torch._C._ensureCUDADeviceGuardSet()
    torch._C._set_only_lift_cpu_tensors(True)
    torch.cuda._lazy_init = lambda: None
    torch.cuda.is_available = lambda: True
    torch.cuda.device_count = lambda: 1
    torch.cuda.is_bf16_supported = lambda *args, **kwargs: True  # type: ignore[assignment]
    torch.cuda.get_device_name = lambda *args: "H100, pretended"
    torch.cuda.get_device_capability = lambda *args: (9, 0)
    torch.cuda.get_rng_state_all = lambda: []
    Tensor.pin_memory = lambda self, *args: self  # type: ignore[assignment, method-assign]
