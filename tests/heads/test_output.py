"""A look as text, table, picture and page; wherever a kernel is shown, what softmax attention is not (law 17)."""

from __future__ import annotations

import io
import re

import pandas as pd
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

import retconv
from retconv.grid import Grid
from retconv.heads import HeadStream, LayerLook, Look
from retconv.heads.verdicts import NOT_A_CONVOLUTION
from retconv.masks import GaussianMixtureMask
from tests.analysis.checks import attention
from tests.heads.cases import pictures, planted


@pytest.fixture(scope="module")
def look() -> Look:
    gaussians = GaussianMixtureMask.from_parameters(torch.tensor([[0.6], [9.0]]), torch.ones(2, 1))
    model = planted(lambda grid, heads: gaussians, "bias_logits", class_token=True, global_pool="token")
    return retconv.look(model, pictures(4), progress=False)


def of(shape: tuple[int, ...]) -> Look:
    """Attention on a grid of any number of axes."""
    stream = HeadStream(shape)
    stream.update(attention(shape, 0, images=4), 4)
    layer = LayerLook.of("attn", Grid(shape), 1, float("nan"), stream.result())
    return Look("Toy", 4, (8, 8), 0.95, {"attn": layer}, ("one layer stays plain",))


def test_text(look: Look) -> None:
    lines = repr(look).splitlines()
    assert lines[0] == "VisionTransformer: 4 heads in 2 layers, 4 images of 24×40 pixels"
    assert lines[2].split() == ["layer", "tokens", "explained", "circulant", "position", "content", "prefix",
                                "distance", "heads"]  # fmt: skip
    assert re.fullmatch(r"blocks\.0\.attn +3×5\+1 .* 0\.0[0-9] .* 1 local, 1 uniform", lines[3]), lines[3]
    assert " ".join(lines[-2:]) == NOT_A_CONVOLUTION
    text = str(look)
    assert text.startswith(repr(look))
    assert "blocks.1.attn head 0: local: a Gaussian of σ = 0.6" in text
    assert "note: one layer stays plain" in str(of((3, 4)))
    assert max(map(len, text.splitlines())) <= 120


def test_table(look: Look) -> None:
    frame = look.to_frame()
    assert len(frame) == 4
    assert list(frame["module"].unique()) == ["blocks.0.attn", "blocks.1.attn"]
    assert list(frame["head"]) == [0, 1, 0, 1]
    assert set(frame["grid"]) == {"3×5"}
    assert set(frame["prefix"]) == {1}
    for row in frame.to_dict("records"):
        if row["kind"] != "uniform":
            assert row["circulant"] <= row["explained"] + 1e-12
            assert row["explained"] + row["position"] + row["content"] == pytest.approx(1)
    again = pd.read_csv(io.StringIO(frame.to_csv(index=False)))
    assert list(again.columns) == list(frame.columns)


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4)])
def test_picture_of_every_number_of_axes(shape: tuple[int, ...]) -> None:
    figure = of(shape).plot()
    assert len(figure.axes) == 2
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=50)
    assert file.tell() > 1000
    assert "data:image/png;base64," in of(shape)._repr_html_()


def test_picture_says_what_it_is_not_and_fits_a_column(look: Look) -> None:
    figure = look.plot()
    texts = " ".join(text.get_text().replace("\n", " ") for text in figure.texts)
    assert NOT_A_CONVOLUTION in texts
    assert look.title in texts
    assert figure.get_figwidth() == 3.35
    assert look.plot(width=6.9).get_figwidth() == 6.9
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [ax.get_tightbbox(renderer) for ax in figure.axes]
    for text in figure.texts:
        box = text.get_window_extent(renderer)
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert not any(box.overlaps(other) for other in boxes), text
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_page(look: Look) -> None:
    part, page = look._repr_html_(), look.to_html()
    for text in (part, page):
        assert NOT_A_CONVOLUTION in text
        assert text.count('<img src="data:image/png;base64,') == 4
        assert not re.search(r'(?:src|href)="http', text)
    assert page.startswith("<!DOCTYPE html>")
    assert part in page
    assert "one layer stays plain" in of((3, 4)).to_html()
