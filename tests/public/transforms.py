"""What a public operation is run under, each transform checked against plain calls and plain gradients.

Derivatives are compared along one direction: of the forward mode with the plain gradients, exactly; second ones with a
central difference of the plain gradients, which float32's tolerance bounds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from threading import Barrier, Thread
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from retconv.checks import tolerance
from tests.compare import assert_close, assert_exact
from tests.public.case import Case, normal

F64 = torch.float64
#: Step of the central difference: its cube is far above rounding and its square far below float32's tolerance.
STEP = 1e-4


@dataclass
class Row:
    """An operation as a function of leaves: the tensors that it is given, and the parameters of modules."""

    case: Case

    @cached_property
    def leaves(self) -> list[Tensor]:
        found: list[Tensor] = []
        for x in self.case.given:
            found += [*x.parameters(), *x.buffers()] if isinstance(x, nn.Module) else [x]
        return [x.detach().to(F64).clone() for x in found]

    def __call__(self, *leaves: Tensor) -> Tensor:
        rest, given = list(leaves), []
        for x in self.given:
            given.append(_refilled(x, rest) if isinstance(x, nn.Module) else rest.pop(0))
        return self.case.run(*given)

    def __post_init__(self) -> None:
        """Plainly, before anything is transformed."""
        self.given = [copy.deepcopy(x).to(F64) for x in self.case.given]
        self.out = self(*self.leaves).detach()
        self.upstream = normal(99, *self.out.shape)

    @cached_property
    def tangents(self) -> tuple[Tensor, ...]:
        if self.case.by_value:  # what is read by its values keeps its form only if it is scaled
            return tuple(self.leaves)
        return tuple(normal(70 + i, *x.shape, 1)[..., 0] * x.abs().clamp(max=1) for i, x in enumerate(self.leaves))

    def loss(self, *leaves: Tensor) -> Tensor:
        """The output along one direction."""
        return (self(*leaves) * self.upstream).sum()

    def gradients(self, *leaves: Tensor) -> tuple[Tensor, ...]:
        """By a plain backward pass."""
        return plain(self.loss, leaves)

    @cached_property
    def along(self) -> Tensor:
        """The derivative of the loss along the tangents."""
        return dot(self.gradients(*self.leaves), self.tangents)

    @cached_property
    def second(self) -> list[Tensor]:
        """The derivative of the gradients along the tangents, by a central difference."""
        after, before = (
            self.gradients(*(x + sign * STEP * t for x, t in zip(self.leaves, self.tangents, strict=True)))
            for sign in (1, -1)
        )
        return [(a - b) / (2 * STEP) for a, b in zip(after, before, strict=True)]

    @cached_property
    def stacked(self) -> list[Tensor]:
        """Two of each leaf, which differ."""
        return [torch.stack([x, 0.9 * x]) for x in self.leaves]

    def each(self, function: Callable[..., Any]) -> list[Any]:
        """A function of each of the two."""
        return [function(*(x[i] for x in self.stacked)) for i in range(2)]


def _refilled(module: nn.Module, leaves: list[Tensor]) -> nn.Module:
    module = copy.deepcopy(module)
    for name, _ in [*module.named_parameters(), *module.named_buffers()]:
        path, _, leaf = name.rpartition(".")
        owner = module.get_submodule(path)
        delattr(owner, leaf)
        setattr(owner, leaf, leaves.pop(0))
    return module


def plain(function: Callable[..., Tensor], leaves: Any, create_graph: bool = False) -> tuple[Tensor, ...]:
    """Gradients by a backward pass, 0 of what is not read."""
    leaves = [x.detach().clone().requires_grad_() for x in leaves] if not create_graph else leaves
    out = function(*leaves)
    if not out.requires_grad:
        return tuple(map(torch.zeros_like, leaves))
    return torch.autograd.grad(out, leaves, allow_unused=True, materialize_grads=True, create_graph=create_graph)


def dot(a: Any, b: Any) -> Tensor:
    return torch.stack([(x * y).sum() for x, y in zip(a, b, strict=True)]).sum()


def all_close(found: Any, expected: Any, dtype: torch.dtype = F64) -> None:
    """Together within the tolerance: what is nearly 0 beside the others is so."""
    one, other = (torch.cat([x.detach().flatten() for x in xs]) for xs in (found, expected))
    assert_close(one, other, dtype)


def vmap(row: Row) -> None:
    """Mapped over all that it is given, forward and then backward."""
    assert_close(torch.vmap(row)(*row.stacked), torch.stack(row.each(row)))
    found = plain(lambda *xs: torch.vmap(row.loss)(*xs).sum(), row.stacked)
    all_close(found, map(torch.stack, zip(*row.each(row.gradients), strict=True)))


def grad(row: Row) -> None:
    """``torch.func.grad``, alone and mapped over."""
    gradients = torch.func.grad(row.loss, argnums=tuple(range(len(row.leaves))))
    all_close(gradients(*row.leaves), row.gradients(*row.leaves))
    found = torch.vmap(gradients)(*row.stacked)
    all_close(found, map(torch.stack, zip(*row.each(row.gradients), strict=True)))


def jvp(row: Row) -> None:
    """Forward mode by ``torch.func.jvp``."""
    out, tangent = torch.func.jvp(row, tuple(row.leaves), row.tangents)
    assert_close(out, row.out)
    _same_slope(row, tangent)


def dual(row: Row) -> None:
    """Forward mode by dual numbers."""
    with forward_ad.dual_level():
        out = row(*map(forward_ad.make_dual, row.leaves, row.tangents))
        primal, tangent = forward_ad.unpack_dual(out)
    assert_close(primal, row.out)
    _same_slope(row, torch.zeros_like(primal) if tangent is None else tangent)


def _same_slope(row: Row, tangent: Tensor) -> None:
    scale = float((tangent * row.upstream).abs().sum()) + float(row.along.abs())
    assert float(((tangent * row.upstream).sum() - row.along).abs()) <= tolerance(F64) * scale


def double_backward(row: Row) -> None:
    """The derivative of gradients by a second backward pass."""
    leaves = [x.clone().requires_grad_() for x in row.leaves]
    gradients = plain(row.loss, leaves, create_graph=True)
    slope = dot(gradients, row.tangents)
    found: Any = map(torch.zeros_like, leaves)
    if slope.requires_grad:
        found = torch.autograd.grad(slope, leaves, allow_unused=True, materialize_grads=True)
    all_close(found, row.second, torch.float32)


def hessian(row: Row) -> None:
    """The derivative of gradients by forward over backward, as ``torch.func.hessian`` takes it."""
    gradients = torch.func.grad(row.loss, argnums=tuple(range(len(row.leaves))))
    all_close(torch.func.jvp(gradients, tuple(row.leaves), row.tangents)[1], row.second, torch.float32)


def inference(row: Row) -> None:
    """In inference mode first, and then in training, with whatever was kept between them."""
    with torch.inference_mode():
        assert_close(row(*row.leaves).clone(), row.out)
    assert all(bool(x.isfinite().all()) for x in row.gradients(*row.leaves))


class Traced(nn.Module):
    """An operation as a module, which holds the modules that it is given and takes the tensors."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case
        modules = [copy.deepcopy(x).to(F64) if isinstance(x, nn.Module) else None for x in case.given]
        self.held = nn.ModuleList(x or nn.Identity() for x in modules)
        self.places = [i for i, x in enumerate(modules) if x is None]

    def forward(self, *tensors: Tensor) -> Tensor:
        given: list[Any] = list(self.held)
        for place, x in zip(self.places, tensors, strict=True):
            given[place] = x
        return self.case.run(*given)


def _traced(row: Row) -> tuple[Traced, tuple[Any, ...]]:
    traced = Traced(row.case)
    return traced, tuple(row.case.given[i].to(F64) for i in traced.places)


def compiled(row: Row) -> None:
    """As one graph, without a break."""
    torch.compiler.reset()
    traced, inputs = _traced(row)
    assert_close(torch.compile(traced, fullgraph=True, backend="eager", dynamic=False)(*inputs), row.out)


def exported(row: Row) -> None:
    """As a program of torch's own operations."""
    traced, inputs = _traced(row)
    program = torch.export.export(traced, inputs)
    assert_close(program.module()(*inputs), row.out)


def threads(row: Row) -> None:
    """Several at once."""
    at_once(lambda: row(*row.leaves), row.out)


def at_once(call: Callable[[], Tensor], expected: Tensor, times: int = 3) -> None:
    """Three threads that call together get the bits of a call alone."""
    barrier, found = Barrier(3), []

    def work() -> None:
        barrier.wait()
        found.extend(call() for _ in range(times))

    workers = [Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 3 * times
    for out in found:
        assert_exact(out.detach(), expected)


def autocast(row: Row) -> None:
    """Float64 is left as it is; what half types get is ``test_autocast``'s."""
    with torch.autocast("cpu", torch.bfloat16):
        assert_close(row(*row.leaves), row.out)


#: The columns: every row is run under each of these,
TRANSFORMS = (vmap, grad, jvp, dual, double_backward, hessian, inference, threads, autocast)
#: and some rows under these, which take seconds each.
TRACERS = (compiled, exported)
