"""Heads whose attention is nearly a convolution, replaced by that convolution, with what it costs."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from retconv.analysis.effective import Effective
from retconv.heads.certifying import Certifier, Means, Passes, logits_of, race, relative, skip_unread
from retconv.heads.feeding import Images
from retconv.heads.replacing import ConvolvedHeads
from retconv.heads.undoing import convolvable, remove_convolutions
from retconv.models.inputs import evaluating
from retconv.models.surgery import masked_modules


@dataclass(frozen=True)
class Convolution:
    """Heads of a model that are convolutions now, with what was measured on the images that were given.

    Nothing is certified of other images.

    Attributes:
        model: The model.
        heads: The convolved heads by the name of their attention module.
        error: Of every head that could be convolved, by the name of its module, ``‖A V − M V‖_F / ‖A V‖_F`` over all
            images, in the model as it was: A are the weights of attention, M what stands for them, V the values.
            float64 ``(heads,)``.
        worst: The same of the image of which it is the largest.
        of: By module ``"output"``, or ``"weights"`` where it forms its own softmax: the error is then ``‖A − M‖_F /
            ‖A‖_F``.
        images: How many images there were.
        logits: ``‖·‖_F`` of the change of the model's logits, all heads replaced, by that of the logits.
        logits_worst: The same of the image of which it is the largest.
        agreement: The share of images whose largest logit stays the largest.
        seconds: Median seconds of a forward pass of the first batch, before and after; None if no round was timed.
        speed: How many times as fast it is: the median ratio of interleaved rounds; None if none was timed.

    Example:
        >>> import timm
        >>> model = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=1).eval()
        >>> report = retconv.convolve(model, images=torch.rand(2, 3, 32, 32), heads={"blocks.0.attn": [0]}, rounds=0)
        >>> report.error["blocks.0.attn"].shape
        torch.Size([3])
    """

    model: nn.Module
    heads: dict[str, tuple[int, ...]]
    error: dict[str, Tensor]
    worst: dict[str, Tensor]
    of: dict[str, str]
    images: int
    logits: float
    logits_worst: float
    agreement: float
    seconds: tuple[float, float] | None
    speed: float | None

    def remove(self) -> nn.Module:
        """Let the heads attend again: the model is bit for bit what it was, unless it was trained since."""
        return remove_convolutions(self.model)

    def __str__(self) -> str:
        """A line for each convolved head, and one for the model."""
        lines = [
            f"{name} head {h}: error {float(self.error[name][h]):.3g} (worst image {float(self.worst[name][h]):.3g})"
            f"{'' if self.of[name] == 'output' else ' of its weights'}"
            for name, heads in self.heads.items()
            for h in heads
        ]
        timed = "" if self.speed is None else f", {self.speed:.2f} times as fast"
        lines.append(
            f"logits: error {self.logits:.3g} (worst image {self.logits_worst:.3g}), {self.agreement:.1%} of "
            f"{self.images} images with the same answer{timed}"
        )
        return "\n".join(lines)


def convolve(
    model: nn.Module,
    look: Any = None,
    images: Images | None = None,
    *,
    tolerance: float | None = None,
    heads: Mapping[str, Iterable[int]] | None = None,
    rounds: int = 5,
    **places: Any,
) -> Convolution:
    """Replace heads whose attention is nearly a convolution by depthwise convolutions with their effective kernels.

    A head's output ``A V`` becomes ``K∗V``, exact at the border (law 1), where K is its effective kernel (law 17). The
    other heads of the layer attend as before. Prefix tokens (class token, registers) have no kernel: what they take
    and give is the mean of their rows and columns over the images, so that the head is the fixed block matrix ``[[P,
    R], [C, K∗]]`` (see ``retconv.heads.replacing``). Kernel, rows and columns are parameters: fine-tune them, save and
    load them with the model's state dict. In windows (Swin) one kernel serves all windows of a layer.

    The model is run over all images: once for means where they are needed, once for the error of each head in the model
    as it was, and once for the logits with all chosen heads replaced.

    Args:
        model: A vision transformer, with masks or without, as ``retconv.models.add_masks`` takes it.
        look: Kernels ``(heads, 2 n_1 − 1, …)``, or ``Effective`` with them, by the name of the attention module; or
            what has these as ``.effective`` of its ``.layers``. If not given, the effective kernels on the images.
        images: ``(count, channels, height, width)``, or a list or loader of such batches, alone or first in a tuple,
            in the same order in every pass. Errors are those on these images; means are of them too, so keep others
            for a judgement.
        tolerance: Replace every head whose error is at most this.
        heads: Replace these, ``{"blocks.0.attn": [0, 2]}``; either this or a tolerance.
        rounds: Interleaved rounds in which the model is timed before and after on the first batch; 0 times nothing and
            makes no copy of the model.
        **places: How ``retconv.models.add_masks`` is to find attention in a plain model, as ``where="blocks.1.*"``.

    Returns:
        The report; ``print`` it for a line a head. The model itself is changed: ``report.remove()`` undoes it.

    Raises:
        ValueError: If not exactly one of tolerance and heads is given, there is no image, images come otherwise in a
            second pass, the model has convolved heads already, a layer or head is unknown, a kernel does not fit its
            layer, or no head's error is within the tolerance. The model is then what it was.
        TypeError: If images cannot be read several times, or hold no tensor.
        UnsupportedModelError: If no attention is found.

    Source:
        Scribano et al. 2026, Accelerating Vision Foundation Models with Drop-in Depthwise Convolution (arXiv
        2605.22132), replace heads by 3×3 depthwise convolutions that start as a Gaussian (or at random), with two
        numbers a head for the class token, and then fine-tune. Here the kernel has all offsets of the grid and is the
        attention's own, prefix tokens keep their mean weights, and the error is stated before any training.

    Example:
        >>> import timm
        >>> vit = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=1)
        >>> report = convolve(vit, images=torch.randn(4, 3, 32, 32), heads={"blocks.0.attn": [1]}, rounds=0)
        >>> report.heads
        {'blocks.0.attn': (1,)}
    """
    if (tolerance is None) == (heads is None):
        raise ValueError("say which heads: either tolerance=, the largest error of an output, or heads={layer: [0, …]}")
    if images is None:
        raise ValueError("convolve needs images, on which it measures what it does: give at least one")
    passes = Passes(images, model)
    first = next(iter(passes))
    before = copy.deepcopy(model) if rounds else model
    with convolvable(model, {"example": first[:1]} | places) as plain, torch.no_grad(), evaluating(model):
        candidates = _candidates(model, look, passes, plain)
        logits, certifiers = _certify(model, candidates, passes, plain)
        results = {name: certifier.result() for name, certifier in certifiers.items()}
        error = {name: result[0] for name, result in results.items()}
        chosen = _named(heads, error) if heads is not None else _within(tolerance or 0.0, error)
        for name, module in masked_modules(model):
            if plain or name in chosen:
                module.convolved = _part(candidates.get(name), chosen.get(name, ()), module, plain)
        skip_unread(model, first[:1])
        after = torch.cat([logits_of(model(x)).cpu() for x in passes])
        with evaluating(before):
            timed = race(before, model, first, rounds) if rounds else None
    change, most = relative(after, logits)
    same = (after.flatten(1).argmax(dim=1) == logits.flatten(1).argmax(dim=1)).double().mean()
    return Convolution(
        model=model,
        heads=chosen,
        error=error,
        worst={name: result[1] for name, result in results.items()},
        of={name: certifier.of for name, certifier in certifiers.items()},
        images=len(logits),
        logits=change,
        logits_worst=most,
        agreement=float(same),
        seconds=timed[:2] if timed else None,
        speed=timed[2] if timed else None,
    )


def _candidates(model: nn.Module, look: Any, images: Passes, plain: bool) -> dict[str, ConvolvedHeads]:
    """All heads of each layer as convolutions."""
    modules: dict[str, Any] = dict(masked_modules(model))
    layers = {n: layer.effective for n, layer in look.layers.items()} if hasattr(look, "layers") else look
    layers = dict.fromkeys(modules) if layers is None else layers
    unknown = sorted(set(layers) - set(modules))
    if unknown:
        raise ValueError(f"kernels are given for {unknown}, which is no attention of the model: {', '.join(modules)}")
    means = {
        name: Means(modules[name].place.grid())
        for name, layer in layers.items()
        if layer is None or modules[name].place.prefix
    }
    try:
        for name, mean in means.items():
            modules[name].observer = mean
        for x in images if means else ():
            model(x)
    finally:
        for name in means:
            modules[name].observer = None
    candidates = {}
    for name, layer in layers.items():
        module, grid = modules[name], modules[name].place.grid()
        border = means[name].border() if grid.prefix else (None, None)
        effective = means[name].effective() if layer is None else layer
        kernel = effective.kernel if isinstance(effective, Effective) else effective
        if tuple(kernel.shape) != (module.place.heads, *grid.kernel_shape):
            raise ValueError(
                f"the kernel of '{name}' must be {(module.place.heads, *grid.kernel_shape)} for its "
                f"{module.place.heads} heads on {grid}, got {tuple(kernel.shape)}"
            )
        candidates[name] = _heads(range(module.place.heads), module, plain, kernel, *border)
    return candidates


def _heads(
    heads: Sequence[int],
    module: Any,
    plain: bool,
    kernel: Tensor,
    rows: Tensor | None = None,
    columns: Tensor | None = None,
) -> ConvolvedHeads:
    """Convolved heads where a module's parameters are, in their dtype, but float32 at least."""
    weight = next(module.parameters(), kernel)
    convolved = ConvolvedHeads(heads, module.place.heads, module.place.grid(), kernel, rows, columns, plain)
    return convolved.to(weight.device, torch.promote_types(weight.dtype, torch.float32))


def _certify(
    model: nn.Module, candidates: Mapping[str, ConvolvedHeads], images: Passes, plain: bool
) -> tuple[Tensor, dict[str, Certifier]]:
    """Logits of the model as it was, and each layer's errors."""
    modules: dict[str, Any] = dict(masked_modules(model))
    certifiers = {name: Certifier(candidate, plain) for name, candidate in candidates.items()}
    logits = []
    try:
        for name, certifier in certifiers.items():
            modules[name].convolved = certifier
        for x in images:
            for certifier in certifiers.values():
                certifier.images = x.shape[0]
            logits.append(logits_of(model(x)).cpu())
    finally:
        for name in certifiers:
            del modules[name].convolved
    return torch.cat(logits), certifiers


def _named(heads: Mapping[str, Iterable[int]], error: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    chosen = {name: tuple(sorted(set(numbers))) for name, numbers in heads.items()}
    for name, numbers in chosen.items():
        if name not in error or not all(0 <= h < len(error[name]) for h in numbers):
            known = ", ".join(f"'{n}' of {len(e)} heads" for n, e in error.items())
            raise ValueError(f"there are no heads {list(numbers)} of '{name}' to convolve: there are {known}")
    return {name: numbers for name, numbers in chosen.items() if numbers}


def _within(tolerance: float, error: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    chosen = {name: tuple(torch.nonzero(e <= tolerance).flatten().tolist()) for name, e in error.items()}
    chosen = {name: numbers for name, numbers in chosen.items() if numbers}
    if not chosen:
        name, least = min(error.items(), key=lambda item: float(item[1].min()))
        raise ValueError(
            f"no head's output error is at most tolerance={tolerance:g}: the smallest is {float(least.min()):.3g}, of "
            f"head {int(least.argmin())} of '{name}'; give a larger tolerance, or heads="
        )
    return chosen


def _part(all_heads: ConvolvedHeads | None, heads: tuple[int, ...], module: Any, plain: bool) -> ConvolvedHeads:
    """Some of a layer's heads convolved; with none, attention as it was."""
    if all_heads is None or not heads:
        return _heads((), module, plain, torch.zeros(0, *module.place.grid().kernel_shape))
    border = (None if x is None else x[list(heads)] for x in (all_heads.rows, all_heads.columns))
    return _heads(heads, module, plain, all_heads.table()[list(heads)], *border)
