"""Experiments that say whether a mask acts on all of an attention, on nothing else, and can learn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from retconv.ambient import noise
from retconv.models.checking.report import Outcome
from retconv.models.checking.subject import Subject, difference, leaves, neutral, one_token, random_tables, run

#: Relative difference of outputs in float32 with a neutral mask: sums in another order.
NEUTRAL = 5e-6
#: The same for one image in two batches, in units of the dtype's rounding, but at most as much.
ROUNDINGS = 1e6
#: Numbers of an attention module's output that are asked which of its inputs they depend on.
ASKED = 5
#: Modules that mix tokens as well, whatever the mask does.
MIXERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d)


def neutral_outcomes(subject: Subject) -> list[Outcome]:
    """Outputs with a neutral mask are those of the plain model."""
    with torch.no_grad(), subject.given(neutral, "multiply_logits"):
        error = difference(run(subject.masked, subject.example), run(subject.plain, subject.example))
    if not error <= NEUTRAL:
        return [Outcome("neutral", "failed", f"outputs differ by {error:.1e}, relatively")]
    return [Outcome("neutral", "passed", f"outputs differ by {error:.1e}, relatively")]


def one_token_outcomes(subject: Subject) -> list[Outcome]:
    """A mask that hides every other token leaves no weight off the diagonal, and no other way between tokens."""
    with subject.pointwise(), subject.given(neutral, "bias_logits"), _arrivals(subject) as arrivals:
        run(subject.masked, subject.example)
        ways = {name: _reach(calls) for name, calls in arrivals.items()}
    with subject.pointwise(), subject.given(one_token, "bias_logits") as weights, _arrivals(subject) as arrivals:
        run(subject.masked, subject.example)
        left = {name: _reach(calls) for name, calls in arrivals.items()}
        called = {name: len(calls) for name, calls in arrivals.items()}
    return [
        _one_token(name, module, weights[name], called[name], left[name], ways[name])
        for name, module in subject.modules.items()
    ]


def _one_token(name: str, module: Any, weights: list[Tensor], called: int, left: float, ways: float) -> Outcome:
    grid = module.place.grid()
    if not called:
        return Outcome("one token", "inconclusive", "the model does not run it", name)
    if len(weights) < called:
        return Outcome("one token", "failed", f"its mask acted in {len(weights)} of {called} calls", name)
    if any(w.shape[-1] != w.shape[-2] for w in weights):
        return Outcome("one token", "inconclusive", "its keys are not the tokens that its queries are", name)
    inside = [w.detach()[..., grid.prefix :, grid.prefix :] for w in weights]
    largest = max(float((w - torch.diag_embed(w.diagonal(dim1=-2, dim2=-1))).abs().max()) for w in inside)
    if largest > 0:
        return Outcome("one token", "failed", f"weights off the diagonal are up to {largest:.1e}", name)
    share, allowed = left / max(ways, 1.0), (1 + grid.prefix) / grid.length
    detail = f"outputs depend on {share:.3g} of the numbers that they depend on without, 1 token in {grid.length}"
    detail += f" and {grid.prefix} prefix tokens" if grid.prefix else ""
    if share <= allowed * (1 + 1e-6):
        return Outcome("one token", "passed", detail, name)
    mixers = sorted({type(part).__name__ for part in module.modules() if isinstance(part, MIXERS)})
    mixers += ["the bias of talking heads' weights"] if getattr(module, "proj_w", None) is not None else []
    if mixers or share < 1:
        why = f"it mixes tokens by {', '.join(mixers)} too" if mixers else detail
        return Outcome("one token", "inconclusive", f"{why}; no weight is off the diagonal", name)
    return Outcome(
        "one token", "failed", "its outputs depend on every token still, by a way that the mask misses", name
    )


@contextmanager
def _arrivals(subject: Subject) -> Iterator[dict[str, list[tuple[Tensor, Tensor]]]]:
    """By attention module, for each call: its input cut off from what is before it, and its output."""
    calls: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in subject.modules}
    waiting: dict[str, Tensor] = {}
    with ExitStack() as stack, torch.enable_grad():
        for name, module in subject.modules.items():

            def enter(_: nn.Module, args: Any, kwargs: Any, name: str = name) -> tuple[Any, Any]:
                first = leaves([args, kwargs])[0]
                leaf = first.detach().clone().requires_grad_()
                waiting[name] = leaf
                # Queries, keys and values may be one tensor given three times.
                swap = {id(first): leaf}
                return tuple(swap.get(id(a), a) for a in args), {k: swap.get(id(v), v) for k, v in kwargs.items()}

            def leave(_: nn.Module, args: Any, output: Any, name: str = name) -> None:
                calls[name].append((waiting[name], leaves(output)[0]))

            stack.callback(module.register_forward_pre_hook(enter, with_kwargs=True).remove)
            stack.callback(module.register_forward_hook(leave).remove)
        yield calls


def _reach(calls: list[tuple[Tensor, Tensor]]) -> float:
    """On how many numbers of its input one number of an output depends, the median of several of the last call."""
    if not calls:
        return 0.0
    x, y = calls[-1]
    numbers = y.flatten()
    counts = []
    for at in torch.linspace(0.31, 0.97, ASKED, device="cpu").mul(numbers.numel()).long().tolist():
        (slope,) = torch.autograd.grad(numbers[at], x, retain_graph=True, allow_unused=True)
        counts.append(0 if slope is None else int((slope != 0).sum()))
    return float(sorted(counts)[ASKED // 2])


def gradient_outcomes(subject: Subject) -> list[Outcome]:
    """The numbers of every mask have a gradient, unless only prefix tokens leave its attention."""
    outputs: dict[str, Tensor] = {}
    with ExitStack() as stack, torch.enable_grad(), subject.given(random_tables, "multiply_logits"):
        for name, module in subject.modules.items():

            def leave(_: nn.Module, args: Any, output: Any, name: str = name) -> None:
                outputs[name] = leaves(output)[0]

            stack.callback(module.register_forward_hook(leave).remove)
        loss = _loss(run(subject.masked, subject.example))
        tables = {name: module.mask.weight for name, module in subject.modules.items()}
        if not loss.requires_grad:
            return [Outcome("gradient", "failed", "no output has a gradient", name) for name in tables]
        asked = {("mask", name): table for name, table in tables.items()}
        asked |= {("output", name): output for name, output in outputs.items() if output.requires_grad}
        slopes = torch.autograd.grad(loss, list(asked.values()), allow_unused=True)
    by_name = dict(zip(asked, slopes, strict=True))
    return [
        _gradient(name, module, by_name["mask", name], by_name.get(("output", name)))
        for name, module in subject.modules.items()
    ]


def _gradient(name: str, module: Any, of_mask: Tensor | None, of_output: Tensor | None) -> Outcome:
    largest = 0.0 if of_mask is None else float(of_mask.abs().max())
    if largest > 0:
        return Outcome("gradient", "passed", f"up to {largest:.1e}", name)
    if of_output is None or not bool(of_output.any()):
        return Outcome("gradient", "inconclusive", "its own output reaches no output of the model", name)
    grid = module.place.grid()
    rows = of_output.shape[1] if of_output.ndim == 3 else 0
    if grid.prefix and rows == grid.length and not bool(of_output[:, grid.prefix :].any()):
        none = "this mask has no effect: only prefix tokens leave the layer, whose rows are neutral"
        return Outcome("gradient", "passed", none, name, told=True)
    return Outcome("gradient", "failed", "its mask has none, though its output has", name)


def _loss(output: Any) -> Tensor:
    """A sum of all outputs with random weights, so that no normalisation makes it constant."""
    terms = [(leaf * noise(1, *leaf.shape).to(leaf)).sum() for leaf in leaves(output)]
    return torch.stack([term.double() for term in terms]).sum()


def batch_outcomes(subject: Subject) -> list[Outcome]:
    """The first image's output is the same alone and with either of two other images behind it."""
    image = subject.image
    others = noise(2, 2, *image.shape).to(image)
    pairs = [subject.with_image(torch.cat([image, other])) for other in others]
    limit = min(ROUNDINGS * subject.epsilon, NEUTRAL)
    with torch.no_grad(), subject.given(random_tables, "multiply_logits"):
        try:
            error = _first_alone(subject.masked, subject.example, pairs)
        except (RuntimeError, ValueError) as failure:
            return [Outcome("batch", "inconclusive", f"the model does not run on two images ({str(failure)[:80]})")]
        if error <= limit:
            return [Outcome("batch", "passed", f"outputs differ by {error:.1e}, relatively")]
        bare = _first_alone(subject.plain, subject.example, pairs)
    if bare > limit:
        return [Outcome("batch", "inconclusive", f"the plain model's images see one another too, by {bare:.1e}")]
    return [Outcome("batch", "failed", f"outputs of one image in two batches differ by {error:.1e}, relatively")]


def _first_alone(model: nn.Module, example: Any, pairs: list[Any]) -> float:
    alone = leaves(run(model, example))
    return max(
        difference([b[: a.shape[0]] for a, b in zip(alone, leaves(run(model, pair)), strict=True)], alone)
        for pair in pairs
    )
