"""What a head is, in words: thresholds on the shares of variance of its weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

#: A head whose weights vary by less than this part of their mean is called uniform.
FLAT = 0.1
#: A part that holds at least this share of the variance decides.
MOST = 0.5
#: A closed form that explains at least this part of what the kernel explains stands for it.
SHAPE = 0.9
#: A kernel is local if its mean distance is at most this part of that of uniform attention on the same grid.
NEAR = 0.5
#: A Gaussian so narrow, in tokens, or a decay so fast gives a neighbour less than 1 % of a token's own weight.
SELF = {"sigma": 0.3, "gamma": 0.01}
#: Shares that differ by less are told as one.
EQUAL = 0.005
#: What a kernel of softmax attention is, wherever one is shown.
NOT_A_CONVOLUTION = (
    "Softmax attention is not a convolution (law 17): a kernel here is the mean of its weights over images and pairs "
    "of equal offset (key − query), and its share is how much of their variance it explains."
)


class Verdict(NamedTuple):
    """What a head is.

    Attributes:
        kind: ``"uniform"``, ``"content"``, ``"local"``, ``"convolution"``, ``"position"`` or ``"mixed"``.
        text: The reason, with its numbers.

    Example:
        >>> retconv.heads.Verdict("convolution", "a kernel explains 99 % of this head").kind
        'convolution'
    """

    kind: str
    text: str


def judge(head: Mapping[str, Any], reach: float, peak: Sequence[int]) -> Verdict:
    """Put a head into words, by the first of these that holds.

    1. *uniform*: its weights vary by less than 10 % of their mean, or not at all.
    2. *content*: at least half of their variance changes from image to image. In windows, from window to window, which
       includes what windows of one image differ in, as the keys that shifted ones hide.
    3. *local* or *convolution*: the kernel explains at least half, as does the lower end of the interval if there is
       one. It is local if its mean distance is at most half of that of uniform attention. The Gaussian or the decay
       nearest to the kernel, whichever explains more, is named if it explains at least 90 % of what the kernel does;
       otherwise the offset at which the kernel is largest.
    4. *position*: at least half is the same in all images, and not a function of the offset.
    5. *mixed*: none of these.

    Args:
        head: A row of ``LayerLook.rows``.
        reach: Mean distance over that of uniform attention on the same grid.
        peak: The offset, in tokens, of the kernel's largest weight.

    Returns:
        Kind and text. The thresholds are conventions, those of ``retconv.heads.verdicts``; the numbers are measured.
    """
    explained, low, content = head["explained"], head["explained_low"], head["content"]
    if math.isnan(explained) or head["variation"] < FLAT:
        return Verdict("uniform", f"uniform: its weights vary by {100 * head['variation']:.2g} % of their mean")
    if content >= MOST:
        one = "window" if head["windows"] > 1 else "image"
        return Verdict("content", f"content decides: {content:.2f} of the variance changes from {one} to {one}")
    if explained >= MOST and not low < MOST:
        kind = "local" if reach <= NEAR else "convolution"
        return Verdict(kind, f"{'local' if kind == 'local' else 'a convolution'}: {_shape(head, peak)}")
    if head["position"] >= MOST:
        return Verdict("position", f"position decides: {head['position']:.2f} is the same in all images, no kernel")
    parts = f"its kernel explains {explained:.2f}, position {head['position']:.2f}, content {content:.2f}"
    return Verdict("mixed", f"mixed: {parts}")


def _shape(head: Mapping[str, Any], peak: Sequence[int]) -> str:
    """The closed form that stands for a kernel, else where it is largest."""
    name = "gamma" if head["gamma_explained"] > head["sigma_explained"] + EQUAL else "sigma"
    share = head[f"{name}_explained"]
    if share < SHAPE * head["explained"]:
        return f"its kernel explains {head['explained']:.2f}, most at offset ({', '.join(f'{d:+d}' for d in peak)})"
    words = {"sigma": f"a Gaussian of σ = {head['sigma']:.2g}", "gamma": f"a decay of γ = {head['gamma']:.2g}"}
    return f"{'the token itself' if head[name] < SELF[name] else words[name]} explains {share:.2f}"
