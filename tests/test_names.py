"""A name that nobody knows is answered with the nearest right one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retconv.data import load
from retconv.figures import FiguresError
from retconv.figures import find as find_figures
from retconv.grid import Grid
from retconv.models.named import make_masks
from retconv.names import LISTED, like, nearest, unknown
from retconv.proofs import find as find_proofs
from retconv.sweep import load_study
from retconv.train import load as load_recipe
from retconv.train import parse

#: What is asked for a name, with a name mistyped and the right one.
ASKED: dict[str, tuple[Callable[[str], object], str, str]] = {
    "figure": (lambda name: find_figures([name]), "Mask_atlass", "mask_atlas"),
    "proof": (lambda name: find_proofs([name]), "Chunkwize", "chunkwise"),
    "mask": (lambda name: make_masks(name, [(Grid(2), 1)], "head"), "Manhatan", "manhattan"),
    "data set": (load, "CIFAR-10", "cifar10"),
    "recipe": (load_recipe, "Smokey", "smoke"),
    "option": (lambda name: parse({name: 1}), "Seeds", "seed"),
    "study": (load_study, "Short_", "short"),
}


@pytest.mark.parametrize("kind", ASKED)
def test_every_boundary_names_the_nearest_in_either_case(kind: str) -> None:
    ask, wrong, right = ASKED[kind]
    with pytest.raises((ValueError, FiguresError), match=rf"did you mean '{right}'\?"):
        ask(wrong)


def test_where_none_is_near_all_are_listed_or_counted() -> None:
    assert nearest("zzz", ("b", "a")) == "choose from b, a"
    assert unknown("mask", "zzz", ("b", "a")) == "unknown mask 'zzz': choose from b, a"
    many = [f"name_{i}" for i in range(LISTED + 1)]
    assert nearest("_4", many) == f"choose from {LISTED + 1} names, such as name_4, name_40, name_41"
    assert nearest("zzz", many) == f"choose from {LISTED + 1} names, of which none is near"
    assert nearest("name_1_", many) == "did you mean 'name_1'?"


@given(st.lists(st.text("abcdefgh", min_size=3, max_size=8), min_size=1, unique=True), st.data())
def test_a_name_with_one_letter_too_many_has_a_near_one(known: list[str], data: st.DataObject) -> None:
    """The right one, unless another is as near; in capitals too."""
    right = data.draw(st.sampled_from(known))
    assert like(right.upper(), known) == f"did you mean {right!r}?"
    assert like(f"{right}z", known).startswith("did you mean '")
    assert like("0123", known) == ""
