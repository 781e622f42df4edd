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
        "Keys lie on a coarser map than queries: `add_masks(…, pooled=True)` puts a mask between the two grids, of "
        "decays or Gaussian mixtures.",
    ),
    "class token": (
        "only its class tokens ask",
        "Only class tokens, or a pooling head's, have queries: there are no pairs of tokens of a grid.",
    ),
    "other keys": (
        "not the same tokens",
        "Queries and keys are different tokens, and no coarser map has the keys: windows with a rim "
        "(halo), strided queries, means of all keys.",
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
    "unseen": (
        "no token stands out when a patch",
        "The grid would be that of a feature map made coarser, and experiment did not show it.",
    ),
    "heads": ("may be that of its", "Which axis of the scores is that of the heads is not certain."),
    "several calls": ("it attends several times", "One module attends several times, and not on the same tokens."),
    "own softmax": (
        "it forms its own softmax",
        "What reaches the softmax is not a product of queries and keys that is only scaled and added to.",
    ),
}
OTHER = "error"
#: What is counted without a reason.
OTHERS = "others"


def kind(reason: str) -> str:
    """The kind of a reason; ``"error"`` if it is none that we know."""
    return next((name for name, (phrase, _) in KINDS.items() if phrase in reason), OTHER)


def summary(reasons: Iterable[str], missing: int, complete: bool) -> str:
    """Reasons by kind: ``other keys (2), order``.

    Args:
        reasons: As ``find_places`` gives them.
        missing: How many it does not give.
        complete: Whether it gives all but class tokens', as of a model that takes masks. Otherwise it names three, and
            the missing are taken for the same where these are of one kind.
    """
    kinds = Counter(kind(reason) for reason in reasons)
    rest = "class token" if complete else next(iter(kinds)) if len(kinds) == 1 else OTHERS
    kinds[rest] += missing
    return ", ".join(f"{name} ({count})" if count > 1 else name for name, count in kinds.items() if count)
