"""Every proof, in the order of the laws. A new proof is one function and one line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from retconv.names import unknown
from retconv.proofs import (
    causal,
    channels,
    depth,
    extroversion,
    normalisation,
    poisson,
    positivity,
    retention,
    separable,
    softmax,
    states,
    tails,
    two_sided,
)
from retconv.proofs.proof import Proof

#: The proofs by name; each call states one anew.
PROOFS: dict[str, Callable[[], Proof]] = {
    proof.__name__: proof
    for proof in (
        causal.causal_transfer,
        causal.causal_inverse,
        causal.causal_recurrence,
        two_sided.two_sided_symbol,
        two_sided.two_sided_inverse,
        two_sided.two_sided_range,
        two_sided.two_sided_eigenvalues,
        separable.manhattan_separates,
        separable.euclidean_does_not_separate,
        separable.gaussian_separates,
        separable.mixture_rank,
        poisson.gaussian_symbol,
        poisson.mixture_symbol,
        extroversion.narrow_gaussian,
        extroversion.extroversion,
        positivity.gaussian_gram,
        positivity.schur_product,
        positivity.signed_mixture,
        tails.causal_tail,
        tails.two_sided_tail,
        tails.gaussian_tail,
        retention.recurrent,
        retention.chunkwise,
        retention.rotation,
        normalisation.row_normalisation,
        normalisation.score_normalisation,
        normalisation.group_norm,
        softmax.log_form,
        depth.gaussian_depth,
        depth.variance_adds,
        softmax.quadratic_encoding,
        channels.shifted_gaussian,
        states.roots_of_unity,
    )
}


def find(names: Sequence[str] = ()) -> list[Proof]:
    """The proofs of these names, without repetition, in the order of the laws; all if no name is given.

    Raises:
        ValueError: If a name is unknown, naming the nearest right one.

    Example:
        >>> [proof.law for proof in find()][:3]
        [6, 6, 6]
    """
    for name in names:
        if name not in PROOFS:
            raise ValueError(unknown("proof", name, PROOFS))
    return [state() for name, state in PROOFS.items() if not names or name in names]
