"""The matrix of methods: ``python -m tests.project.methods_page`` writes ``docs/methods.md`` from what masks have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from retconv import ElementwiseMask, Grid, NotAConvolutionError, operator
from retconv.attention import PLACEMENTS
from retconv.masks import Forms, Mask
from retconv.models import MASKS, RasterMask
from retconv.retention.functional import methods as retention_methods

PAGE = Path(__file__).parents[2] / "docs" / "methods.md"
PLANE, LINE = Grid((6, 6)), Grid(36)

TEXT = """# Which method for which mask

What applies is read off the forms that a mask has (`mask.forms(grid)`), so a new mask gains methods by naming a form
([how](adding_a_mask.md)). Nothing falls back silently: a method that does not apply is refused by name, and `"auto"`
takes the fastest of those that do. The tables are computed: `python -m tests.project.methods_page` writes this page.

## Forms

By their names in `add_masks`, on a plane. ✓ has the form, – has not. A **kernel** is what makes a mask a convolution;
**factors** are outer products along the axes (laws 8 and 9), a **decay** runs by recursion (laws 6 to 8), and a
**closed logarithm** survives where the kernel underflows.

{forms}

A free matrix, `elm`, is a convolution only where its entries happen to be: `retconv.project` gives the nearest kernel
and its residual. `retnet` and `two_sided` live on a line; in models they are laid along the tokens in raster order.

## As an operator, `retconv.operator(mask, grid) @ x`

{operators}

With n tokens along each of D axes, N = nᴰ tokens, r outer products, and one column of features:

| method | masks | time | memory beside x | exact |
| --- | --- | --- | --- | --- |
| dense | all with a kernel | N² | N² | the reference |
| direct | all with a kernel | N (2n − 1)ᴰ | tiles of N | to rounding |
| fft | all with a kernel; periodic axes too | N log N | N | to rounding, of the largest entry |
| toeplitz | all with a kernel, two axes or more | N (2n + 3 n^(D−1)) | n^(2D−1) | as fft |
| separable | those with factors | r N n D | n² an axis | to rounding |
| recursive | decays | N D | N | to rounding; powers in float64 |

## As retention, `retconv.retention.retention(q, k, v, mask, grid)`

{retention}

For heads of d features. Time and memory of each form stand in its docstring; `recurrent` and `chunkwise` carry a state.

| method | time | memory | exact |
| --- | --- | --- | --- |
| parallel | N² d | N² | the reference |
| tiled | N² d | N d | to rounding |
| fft, convolution | N log N d², or of the fastest operator | N d | to rounding |
| scan | N d² | N d | to rounding |
| chunkwise | N (C + d) d, chunks of C | N d | to rounding; states between groups in float64 |
| recurrent | N d² | d² | rounds at each token: slow decays want float64 |

## In attention, `retconv.attention.attend(q, k, v, mask, grid, placement=…)`

Every mask goes into every placement, a convolution or not, with one exception: `bias_logits` needs weights that are not
negative (a logarithm). In `convolution`, `M V`, a mask without kernel is a product with the matrix.

{attention}

All backends give the reference's numbers to rounding. `reference` forms N² weights for each head; `recompute`,
`compiled` and `triton` hold blocks; `flex` and `sdpa` are torch's; `channels` turns a bias that is a sum of few
products into extra features of query and key, which any fused attention takes.

## What is an approximation

Nothing above. What is cut, fitted or projected lives in `retconv.approximate` and `retconv.project`, and returns its
certified error or residual beside the result.
"""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of Markdown."""
    head = list(head)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def convolution(mask: Mask, grid: Grid) -> Forms | None:
    """The forms of a mask that has a kernel, else None."""
    try:
        with torch.no_grad():
            return mask.forms(grid).convolution()
    except NotAConvolutionError:
        return None


def named(name: str, grid: Grid) -> Mask:
    """A mask as ``add_masks`` makes it; one that is laid along the tokens is itself on a line."""
    mask = MASKS[name](grid, 1)
    if isinstance(mask, ElementwiseMask):
        torch.nn.init.normal_(mask.weight)  # as it starts, all ones, it is a convolution
    return mask.line if isinstance(mask, RasterMask) and grid.ndim == 1 else mask


def marks(yes: Iterable[bool]) -> list[str]:
    """As they stand in a table."""
    return ["✓" if one else "–" for one in yes]


def forms_row(name: str) -> list[str]:
    """A mask's forms on a plane, and its decay on a line."""
    forms = named(name, PLANE).forms(PLANE)
    has = convolution(named(name, PLANE), PLANE)
    line = named(name, LINE).forms(LINE)
    parts = (has, forms.factors, forms.decay, line.decay, line.exponentials, forms.given["log"]())
    return [f"`{name}`", *marks(one is not None for one in parts)]


def methods_rows(names: dict[str, Iterable[str]]) -> list[list[str]]:
    """Masks with the same methods share a row."""
    rows: dict[str, list[str]] = {}
    for name, methods in names.items():
        rows.setdefault(", ".join(methods) or "none", []).append(f"`{name}`")
    return [[", ".join(masks), methods] for methods, masks in rows.items()]


def applying(grid: Grid, of: Callable[[Forms], Iterable[str]]) -> dict[str, Iterable[str]]:
    """By mask, the methods on a grid; none without a kernel."""
    masks = {name: named(name, grid) for name in MASKS}
    return {name: () if (f := convolution(mask, grid)) is None else of(f) for name, mask in masks.items()}


def page() -> str:
    """The page, as it should stand."""
    heads = ("mask", "methods")
    by = {"operators": lambda forms: operator(forms, forms.grid).methods, "retention": retention_methods}
    parts = {
        part: "\n\n".join(
            f"On a {shape}:\n\n{table(heads, methods_rows(applying(grid, of)))}"
            for shape, grid in (("plane", PLANE), ("line", LINE))
        )
        for part, of in by.items()
    }
    head = ("mask", "kernel", "factors", "decay", "decay on a line", "exponentials on a line", "closed logarithm")
    placements = [[f"`{p.name}`", f"`{p.formula}`", ", ".join(p.backends)] for p in PLACEMENTS.values()]
    return TEXT.format(
        forms=table(head, map(forms_row, MASKS)),
        attention=table(("placement", "weights", "backends"), placements),
        **parts,
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
