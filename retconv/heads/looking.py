"""``retconv.look``: what convolution is my attention?"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

from torch import Tensor, nn
from tqdm import tqdm

from retconv.grid import GridLike
from retconv.heads.feeding import Images, batches
from retconv.heads.layer import LayerLook, pixels_of
from retconv.heads.observing import observed, watchable
from retconv.heads.result import Look
from retconv.heads.stream import HeadStream
from retconv.models.inputs import call

#: Attention weights that one batch may form in one layer, in bytes, and the most images of a batch.
_BYTES, _IMAGES = 2**26, 32
#: A progress bar appears after so many seconds.
_DELAY = 2.0


def look(
    model: nn.Module,
    images: Images,
    *,
    where: str = "*",
    prefix: int | None = None,
    grid: GridLike | None = None,
    limit: int | None = None,
    confidence: float = 0.95,
    progress: bool = True,
) -> Look:
    """What convolution is the attention of a model, layer by layer and head by head?

    The images run through the model once, and the attention weights of every layer are streamed: a mean mask
    (``8 · heads · N²`` bytes) and the sums of 32 groups of images (``256 · heads · ∏(2 n_d − 1)`` bytes) are all that
    stays of them. Class tokens and registers are left out, and the share of the weight that goes to them is told; the
    rest of a row is not renormalised. Windows are images of their own grid, and those of one image count as one in
    intervals; a pair of tokens that the model itself hides, as in shifted windows, has a weight of 0, and
    ``content`` includes what differs between the windows of one image.

    The model is left bit for bit as it was: weights, modes, hooks, attributes, the states of random generators. Hooks
    of yours run with it. It is in evaluation mode for the time.

    For each head the result tells

    - the **effective kernel**, the mean over images and pairs of equal offset, and the share of the weights' variance
      that it **explains** (law 17), ``explained``, with ``position`` and ``content`` the parts that the mean attention
      adds and that change from image to image; the three add up to 1;
    - the interval of that share over all images like these, ``explained_low`` and ``explained_high``: a jackknife over
      images, that assumes them independent, and needs three. Its centre ``explained_estimate`` lacks the bias by which
      the mean over n images follows them, about 1/n of the content; so of few images ``explained`` can lie above;
    - ``circulant``, the share of the nearest block-circulant matrix (BCCB), which is the mean over wrapped offsets. A
      matrix with a kernel (BTTB) need not wrap round the border, so ``explained`` is never less (law 23). The source
      projects the logits ``Q Kᵀ``, before the softmax; here it is the weights, after it;
    - locality of the mean attention with its border (``retconv.analysis.locality``), in tokens, and the mean attention
      distance in pixels where the tokens of a layer cover the image once; the decay and the Gaussian nearest to the
      kernel with their residuals and the share that they explain;
    - a verdict in words, by the thresholds of ``retconv.heads.verdicts.judge``.

    Args:
        model: A vision transformer, plain or masked: whatever ``retconv.models.add_masks`` takes. Of a model that has
            masks in some layers, those are looked at.
        images: What the model takes, ``(N, channels, height, width)``, normalised; or an iterable of batches: tensors,
            ``(images, labels)``, or mappings with ``"pixel_values"``. They are moved to the model's device and dtype.
        where: Only attention modules whose name matches this pattern, such as ``"blocks.[0-5].*"``.
        prefix: As for ``add_masks``: prefix tokens of a plain model, where it does not name them.
        grid: As for ``add_masks``: the grid of its tokens, where no feature map tells.
        limit: Look at no more than so many images.
        confidence: The share of intervals that hold the true share.
        progress: Whether a bar may show after two seconds, at a terminal.

    Returns:
        The look: print it, ``plot()`` it, or take ``to_frame()``.

    Raises:
        UnsupportedModelError: If the model has no attention between the tokens of a grid.
        ValueError: If there is no image, sizes differ, the pattern matches nothing, the limit is not positive, or the
            confidence is not in (0, 1).
        TypeError: If a batch holds no tensor of images.

    Source:
        BCCB: Han et al. 2025, Vision Transformers are Circulant Attention Learners (arXiv 2512.21542), eqs (15), (16).

    Example:
        >>> print(retconv.look(timm.create_model("vit_small_patch16_224"), images))  # doctest: +SKIP
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be a positive number of images, got {limit}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), got {confidence!r}")
    streams = _Streams()
    feed = batches(images, streams.room, limit)
    first = next(feed)
    weight = next(p for p in model.parameters() if p.is_floating_point())
    total = len(images) if isinstance(images, Tensor) else None
    total = limit if total is None else min(total, limit or total)
    with (
        watchable(model, where, first.to(weight.device, weight.dtype), prefix, grid) as (modules, notes),
        observed(model, {name: streams.of(name, module) for name, module in modules.items()}),
        tqdm(total=total, unit="image", delay=_DELAY, disable=None if progress else True, leave=False) as bar,
    ):
        for batch in chain([first], feed):
            streams.images = len(batch)
            call(model, batch.to(weight.device, weight.dtype))
            streams.taken += len(batch)
            bar.update(len(batch))
        size, by_name = tuple(first.shape[-2:]), streams.by_name
        # Here still: making a mask for a fit takes random numbers, whose state comes back at the end of this block.
        layers = {name: _layer(name, by_name.pop(name), size, confidence) for name in modules if name in by_name}
    return Look(type(model).__name__, streams.taken, size, confidence, layers, tuple(notes))


class _Streams:
    """A stream for each attention module, made when its weights first come, and the images that they belong to."""

    def __init__(self) -> None:
        self.by_name: dict[str, HeadStream] = {}
        self.images, self.taken = 1, 0
        self._entries = 0

    def of(self, name: str, module: Any) -> Callable[[Tensor], None]:
        """The observer of a module."""

        def observe(weights: Tensor) -> None:
            if name not in self.by_name:
                self.by_name[name] = HeadStream(module.place.grid())
            self.by_name[name].update(weights, self.images, self.taken)
            self._entries = max(self._entries, weights.numel() * weights.element_size() // self.images)

        return observe

    def room(self) -> int:
        """How many images the next batch may have: the first image goes alone, to tell how large its weights are."""
        return max(1, min(_IMAGES, _BYTES // self._entries)) if self._entries else 1


def _layer(name: str, stream: HeadStream, size: tuple[int, ...], confidence: float) -> LayerLook:
    pixels = pixels_of(stream.grid, stream.windows, size)
    return LayerLook.of(name, stream.grid, stream.windows, pixels, stream.result(confidence))
