"""Every published mask against the formula of its paper, and what is said of it."""

import re

import pytest
import torch

from retconv.atlas import ENTRIES
from retconv.atlas.entry import Entry
from retconv.convert import project
from retconv.grid import Grid
from retconv.masks import Forms
from tests import naive
from tests.atlas.cases import NO_KERNEL, numbers, shapes
from tests.atlas.naive_published import FORMULAS
from tests.compare import assert_close

#: Those that are this family's: masks that read neither queries nor tokens.
STATIC = {name: entry for name, entry in ENTRIES.items() if not entry.reads}
every_entry = pytest.mark.parametrize("entry", STATIC.values(), ids=STATIC)


@pytest.mark.parametrize(
    ("name", "shape"), [(name, shape) for name, e in STATIC.items() for shape in shapes(name, e.grid.ndim)]
)
def test_mask_is_its_formula(name: str, shape: tuple[int, ...]) -> None:
    """Entry by entry: the bias where it is one, else what multiplies; the same from every query, head by head."""
    entry = STATIC[name]
    grid = Grid(shape, periodic=not entry.grid.is_open)
    forms = Forms.of(entry.build(grid), grid)
    given = numbers(name, shape)
    loops = [naive.mask(lambda q, k, h=h: FORMULAS[name](q, k, h, shape, given), shape) for h in range(forms.heads)]
    expected = torch.tensor(loops, dtype=torch.float64)
    if entry.placement != "bias_logits":
        assert_close(forms.entries, expected)
        return
    bias, out = forms.log.entries, expected.isinf()
    assert torch.equal(bias.isinf(), out)
    assert_close(bias.masked_fill(out, 0), expected.masked_fill(out, 0))
    assert_close(forms.entries, expected.exp())


def test_every_formula_is_an_entry() -> None:
    assert set(FORMULAS) == set(STATIC)


@every_entry
def test_entry_says_where_it_is_from(entry: Entry) -> None:
    """By a name that is written in one way, with authors, year and arXiv number, on a grid that it can have."""
    assert re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", entry.name)
    assert re.search(r"\w.* 20\d\d.*arXiv \d{4}\.\d{5}|arXiv \d{4}\.\d{5}", entry.source), entry.source
    assert re.search(r"20\d\d", entry.source)
    assert entry.formula
    assert entry.title


@every_entry
def test_which_have_a_kernel(entry: Entry) -> None:
    """Those without one are a stated part away from every convolution, by loops too; the others none at all."""
    forms = Forms.of(entry.build(entry.grid), entry.grid)
    residual = project(forms.entries, entry.grid).residual
    if entry.name in NO_KERNEL:
        assert forms.kernel is None
        by_loops = [naive.projection(head.tolist(), entry.grid.shape)[1] for head in forms.entries]
        assert_close(residual, by_loops)
        assert round(max(by_loops), 4) == NO_KERNEL[entry.name]
    else:
        assert bool((residual == 0).all())
    assert forms.entries.dtype == torch.float64
    assert bool(torch.isfinite(forms.entries).all())
    assert not forms.entries.requires_grad


@every_entry
def test_a_mask_is_built_the_same_again(entry: Entry) -> None:
    """Seeds are its own: the global generator is neither read nor moved."""
    state = torch.random.get_rng_state()
    first, second = (Forms.of(entry.build(entry.grid), entry.grid).entries for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.random.get_rng_state(), state)
