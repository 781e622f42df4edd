"""Objects show themselves: what is drawn is theirs, in a figure one column wide, and a notebook shows the same."""

from __future__ import annotations

import io
import sys
from typing import Protocol

import matplotlib
import numpy as np
import pytest
import timm
import torch
from matplotlib.figure import Figure

import retconv
from retconv import models
from retconv.analysis import describe
from retconv.atlas import verdict
from retconv.grid import Grid
from retconv.masks import DecayMask, ElementwiseMask, Forms, GaussianMixtureMask, Mask, RetNetMask, between
from retconv.models.named import MASKS
from retconv.showing import Picture, markup
from tests.strategies import normal


class Shown(Protocol):
    def plot(self) -> Figure: ...
    def _repr_html_(self) -> str: ...


SHAPE = (3, 4)
DECAY = DecayMask(2, "manhattan", 0.7)
SHOWN: dict[str, Shown] = {
    "forms": Forms.of(DECAY, SHAPE),
    "forms of entries": Forms.of(normal(0, 2, 13, 13), Grid(SHAPE, prefix=1)),
    "forms between two grids": between(DECAY, retconv.Cross((4, 4), (2, 2))),
    "forms on a torus": Forms.of(DECAY, Grid(SHAPE, periodic=True)),
    "a box": Forms.of(DECAY, (2, 3, 4)),
    "a batch": Forms.of(retconv.kernels.Gates(torch.zeros(2, 2, 6)), 6),
    "hidden keys": Forms.of(RetNetMask(2), 5).log,
    "projection": retconv.project(normal(1, 2, 12, 12), SHAPE),
    "operator": retconv.operator(DECAY, SHAPE),
    "description": describe(DECAY, SHAPE),
    "verdict": verdict(DECAY, SHAPE),
}


@pytest.mark.parametrize("name", SHOWN)
def test_objects_are_drawn_and_notebooks_show_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a table beside the picture, which is drawn in full elsewhere."""
    words = {text for ax in SHOWN[name].plot().axes for text in (ax.get_title(), ax.get_ylabel())}
    assert "|symbol|" in words or name == "forms between two grids"
    monkeypatch.setattr(markup, "plot", lambda picture: Figure(figsize=(1, 1)))
    html = SHOWN[name]._repr_html_()
    assert 'src="data:image/png;base64,' in html
    assert "head 0" in html


def test_a_notebook_shows_a_plot_without_pyplot() -> None:
    assert DECAY.plot(SHAPE)._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", MASKS)
def test_every_mask_is_drawn(name: str) -> None:
    figure = MASKS[name](Grid(SHAPE), 2).plot(Grid(SHAPE, prefix=1))
    assert figure.get_figwidth() == pytest.approx(3.35)
    assert "pyplot" not in str(type(figure.canvas))


def test_a_picture_is_of_the_mask() -> None:
    """Its kernel, the symbol of that, and the row of the query in the middle, on open grids and rings."""
    for grid in (Grid((3, 4)), Grid((3, 4), periodic=(True, False)), Grid(5)):
        picture = Forms.of(DECAY, grid).picture()
        assert picture.kernel is not None
        assert picture.row is not None
        query = np.ravel_multi_index(picture.query, grid.shape)
        assert torch.equal(picture.row.flatten(1), DECAY(grid)[:, query])
        symbol = picture.symbol(0)
        assert symbol is not None
        assert symbol[tuple(n // 2 for n in symbol.shape)] == pytest.approx(float(picture.kernel[0].sum()))
    free = Forms.of(normal(2, 1, 13, 13), Grid(SHAPE, prefix=1))
    assert free.picture().nearest
    assert torch.equal(free.picture().row.flatten(), free.entries[0, 1 + 1 * 4 + 2, 1:])  # type: ignore[union-attr]


@pytest.mark.parametrize(("shape", "square"), [((7, 7), True), ((4, 9), True), ((2, 24), False)])
def test_tokens_are_drawn_square_beside_a_bar_of_their_height(shape: tuple[int, ...], square: bool) -> None:
    """A Gaussian is round; a grid that is too slender for it fills its panel."""
    panel = GaussianMixtureMask(1).plot(shape).axes[0]
    assert panel.get_aspect() == (1.0 if square else "auto")
    (bar,) = panel.child_axes
    panel.figure.draw_without_rendering()
    assert bar.get_window_extent().height == pytest.approx(panel.get_window_extent().height)


def test_a_picture_takes_no_gradient_from_its_forms() -> None:
    """What was made to be seen is the same that is trained through."""
    forms = DecayMask(1, "manhattan", 0.7, learnable=True).forms(SHAPE)
    forms.plot()
    assert forms.kernel is not None
    assert forms.kernel.requires_grad


def test_of_many_heads_six_are_drawn_and_the_rest_counted() -> None:
    figure = RetNetMask(8).plot(16)
    assert len(figure.axes) == 6 * 3
    assert "6 of 8 heads" in figure.get_suptitle()


def test_a_mask_without_a_grid_is_shown_where_it_has_a_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    """A causal decay on a line, a table on its own grid; what has no meaning anywhere is left to its text."""
    monkeypatch.setattr(markup, "plot", lambda picture: Figure(figsize=(1, 1)))

    class Nowhere(Mask):
        def kernel(self, grid: object) -> torch.Tensor:
            raise ValueError(f"not on {grid}")

    assert "Grid((64,))" in str(RetNetMask(1)._repr_html_())
    assert "Grid((3, 4))" in str(ElementwiseMask(SHAPE, 1)._repr_html_())
    assert Nowhere(1)._repr_html_() is None


def test_texts_are_short() -> None:
    """They say what it is, not its numbers: the residual comes first."""
    projection = retconv.project(torch.ones(2, 144, 144), (12, 12))
    assert repr(projection) == "Projection(residual=[0, 0], kernel: (2, 23, 23) in torch.float32)"
    assert repr(Forms.of(torch.ones(2, 5), 3)) == "Forms(heads=2 on Grid((3,)), given as kernel)"
    assert len(repr(describe(DECAY, SHAPE))) < 200
    assert "kernel" not in repr(verdict(DECAY, SHAPE))


def test_drawing_leaves_the_settings_of_the_reader_alone() -> None:
    before = dict(matplotlib.rcParams)
    DECAY.plot(SHAPE)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("shape", [(1,), (1, 1), (1, 7), (7, 1), (2, 1, 3)])
def test_an_axis_of_one_token_is_drawn(shape: tuple[int, ...]) -> None:
    grid = Grid(shape)
    for shown in (Forms.of(DECAY, grid), retconv.project(torch.eye(grid.size)[None], grid), verdict(DECAY, grid)):
        shown.plot().savefig(io.BytesIO())


def test_the_symbol_on_a_ring_is_its_eigenvalues() -> None:
    ring = Grid(8, periodic=True)
    for shown in (Forms.of(torch.ones(1, 8), ring), verdict(torch.ones(1, 8), ring)):
        symbol = shown.picture().symbol(0)
        assert symbol is not None
        assert symbol.tolist() == [0, 0, 0, 0, 8, 0, 0, 0]


def test_weights_that_are_not_finite_have_no_symbol() -> None:
    assert Picture("hidden", torch.tensor([[1.0, -torch.inf, 0.0]])).symbol(0) is None


def test_from_a_model_of_timm_to_a_picture_in_five_lines(tmp_path: object) -> None:
    """The line that most people come for."""
    model = timm.create_model("vit_tiny_patch16_224", depth=1, img_size=64)
    models.add_masks(model, "gmm")
    figure = model.blocks[0].attn.plot()
    figure.savefig(f"{tmp_path}/mask.png")
    assert "blocks.0.attn, multiply_logits: GaussianMixtureMask" in figure.get_suptitle().replace("\n", " ")
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
