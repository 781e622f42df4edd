"""Why attention stays without a mask, as kinds, each with a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

#: By kind: what its reason says in ``retconv.models.search``, and a sentence for the page.
KINDS: dict[str, tuple[str, str]] = {
    "no attention": (
        "no attention was computed",
        "Nothing like attention was computed: tokens are mixed by convolutions, pooling or linear attention, which "
        "forms no weights for pairs of tokens.",
    ),
    "pooled keys": (
        "with pooled=True",
        "Keys lie on a coarser map than queries: `add_masks(…, pooled=True)` puts a mask between the two grids, a decay "
        "or a Gaussian mixture.",
    ),
    "other keys": (
        "not the same tokens",
        "Queries and keys are different tokens, and no coarser map has the keys: a class token's or a pooling head's "
        "attention, windows with a rim (halo), strided queries, or means of all keys.",
    ),
    "channels": (
        "it attends between channels",
        "Attention between channels (cross-covariance) has no grid of pairs of tokens.",
    ),
    "no map": (
        "no window and no feature map has",
        "No feature map of the model has as many tokens: patches are cut before the model, channels attend, or tokens "
        "that stand behind those of the grid. `grid=` and `prefix=` say what the model does not.",
    ),
    "windows": (
        "of which no window's size is known",
        "An image is attended to in several parts whose shape the model names nowhere.",
    ),
    "order": (
        "do not lie on their grid by rows",
        "Tokens do not lie on their grid by rows: they are shuffled or unrolled, or they are no tokens but channels.",
    ),
    "heads": ("may be that of its", "Which axis of the scores is that of the heads is not certain."),
    "several calls": ("it attends several times", "One module attends several times, and not on the same tokens."),
    "own softmax": (
        "it forms its own softmax",
        "What reaches the softmax is not a product of queries and keys that is only scaled and added to.",
    ),
}
OTHER = "error"


def kind(reason: str) -> str:
    """The kind of a reason; ``"error"`` if it is none that we know."""
    return next((name for name, (phrase, _) in KINDS.items() if phrase in reason), OTHER)


def summary(reasons: Iterable[str], unsaid: str, missing: int) -> str:
    """Reasons by kind: ``other keys (2), order``.

    Args:
        reasons: As ``find_places`` gives them.
        unsaid: The kind of those that it does not give; empty if it may be any: a single kind so far, else ``others``.
        missing: How many those are.
    """
    kinds = Counter(kind(reason) for reason in reasons)
    kinds[unsaid or (next(iter(kinds)) if len(kinds) == 1 else "others")] += missing
    return ", ".join(f"{name} ({count})" if count > 1 else name for name, count in kinds.items() if count)
