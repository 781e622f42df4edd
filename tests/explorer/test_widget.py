"""The explorer's numbers are the package's, its picture follows them, and its sliders follow the mask."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from retconv.convert import kernel_to_mask
from retconv.explorer import PARAMETERS, Choice, Explorer, Plate, view
from retconv.explorer.choice import FREQUENCIES
from retconv.grid import Grid
from tests import naive
from tests.compare import assert_close, assert_exact

KINDS = list(PARAMETERS)
PIXELS = np.random.default_rng(0).random((9, 11))


@pytest.fixture(scope="module")
def plate() -> Plate:
    return Plate()


@pytest.fixture(scope="module")
def explorer() -> Explorer:
    return Explorer()


def expected_entry(choice: Choice, offset: tuple[int, ...]) -> float:
    if choice.kind == "Gaussian mixture":
        return naive.gaussian_mixture(offset, (choice.sigma_1, choice.sigma_2), (choice.alpha_1, choice.alpha_2))
    closed = {
        "Manhattan decay": naive.manhattan_decay,
        "Euclidean decay": naive.euclidean_decay,
        "RetNet decay": naive.causal_decay,
    }
    return closed[choice.kind](offset, choice.gamma)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rows", "columns"), [(3, 5), (5, 3), (2, 2)])
def test_mask_and_kernel_are_those_of_the_loops(kind: str, rows: int, columns: int) -> None:
    """RetNet's decay runs along the raster, every other mask on the board."""
    choice = Choice(kind=kind, rows=rows, columns=columns)  # type: ignore[arg-type]
    shape = choice.grid.shape
    assert shape == ((rows * columns,) if kind == "RetNet decay" else (rows, columns))
    shown = view(choice, PIXELS)
    kernel = naive.kernel(lambda offset: expected_entry(choice, offset), shape)
    assert_close(torch.from_numpy(shown.kernel).flatten(), kernel)
    assert_close(torch.from_numpy(shown.mask), naive.mask_of_kernel(kernel, shape))
    assert_exact(torch.from_numpy(shown.mask), kernel_to_mask(choice.kernel(), shape)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_symbol_is_the_sum_over_offsets(kind: str) -> None:
    """``Σ_δ K[δ] e^{iδ·θ}``: real on a board, by modulus on a line; frequency 0 in the middle, −π first."""
    choice = Choice(kind=kind, rows=3, columns=4)  # type: ignore[arg-type]
    shown = view(choice, PIXELS)
    offsets = choice.grid.offsets().double().numpy()
    for index in (0, 7, FREQUENCIES // 2, FREQUENCIES - 1):
        place = (index, 5)[: shown.kernel.ndim]
        theta = [-math.pi + 2 * math.pi * i / (FREQUENCIES - 1) for i in place]
        total = (shown.kernel * np.exp(1j * (offsets * theta).sum(axis=-1))).sum()
        assert shown.symbol[place] == pytest.approx(abs(total) if shown.kernel.ndim == 1 else total.real, abs=1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_locality_counts_mass_by_distance(kind: str) -> None:
    choice = Choice(kind=kind, rows=3, columns=4)  # type: ignore[arg-type]
    shown = view(choice, PIXELS)
    distance = choice.grid.offsets().double().norm(dim=-1).numpy()
    mass = np.abs(shown.kernel)
    shares = [mass[distance <= radius].sum() / mass.sum() for radius in shown.radius]
    assert_close(torch.from_numpy(shown.share), shares)
    for share in (0.5, 0.95):
        radius = shown.radius_of(share)
        assert mass[distance <= radius].sum() >= share * mass.sum() * (1 - 1e-12)
        assert mass[distance < radius].sum() < share * mass.sum()


@pytest.mark.parametrize("kind", KINDS)
def test_photograph_is_convolved_with_the_kernel(kind: str) -> None:
    """The dense mask of the photograph's own grid, its kernel cut to the offsets of the chosen board."""
    choice = Choice(kind=kind, rows=3, columns=4)  # type: ignore[arg-type]
    grid = Grid(PIXELS.size) if kind == "RetNet decay" else Grid(PIXELS.shape)
    reach = choice.grid.center
    kernel = [
        expected_entry(choice, offset) if all(abs(d) <= r for d, r in zip(offset, reach, strict=True)) else 0.0
        for offset in naive.offsets(grid.shape)
    ]
    result = naive.correlate(kernel, grid.shape, [[p] for p in PIXELS.ravel().tolist()])
    assert_close(torch.from_numpy(view(choice, PIXELS).image).reshape(-1, 1), result)


def test_a_mask_of_zeros_has_all_its_mass_anywhere() -> None:
    shown = view(Choice(rows=3, columns=3, alpha_1=0.0, alpha_2=0.0), PIXELS)
    assert not shown.kernel.any()
    assert shown.radius_of(0.95) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parameters", [{}, {"alpha_1": 0.0, "alpha_2": 0.0}, {"rows": 2, "columns": 20}])
def test_picture_of_every_mask(plate: Plate, kind: str, parameters: dict[str, float]) -> None:
    """A PNG of one size, the same for the same choice whatever was drawn between, another for another choice."""
    choice = Choice(kind=kind, **parameters)  # type: ignore[arg-type]
    first = plate.draw(choice)
    other = plate.draw(Choice(kind=kind, rows=5, columns=7))  # type: ignore[arg-type]
    assert plate.draw(choice) == first != other
    sizes = {Image.open(io.BytesIO(png)).size for png in (first, other)}
    assert len(sizes) == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("rows", "columns"), [(1, 7), (7, 1), (1, 1)])
def test_picture_of_an_axis_of_one_token(plate: Plate, rows: int, columns: int) -> None:
    """Which has a width, as it has on a screen."""
    assert plate.draw(Choice(rows=rows, columns=columns)).startswith(b"\x89PNG")


@pytest.mark.parametrize(("name", "value"), [("rows", 9), ("columns", 9), ("sigma_1", 3.0), ("alpha_2", 0.5)])
def test_a_slider_changes_the_picture(explorer: Explorer, name: str, value: float) -> None:
    explorer.controls["kind"].value = "Gaussian mixture"
    before = explorer.picture.value
    explorer.controls[name].value = value
    assert explorer.picture.value not in (before, b"")
    assert explorer.picture.value == explorer.draw(explorer.choice())
    assert getattr(explorer.choice(), name) == value


def test_it_starts_as_asked_also_beyond_its_sliders() -> None:
    start = Choice(kind="Manhattan decay", rows=2, columns=24, gamma=1.0, sigma_1=9.0, alpha_2=-3.0)
    assert Explorer(start).choice() == start


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_sliders_of_the_mask_are_shown(explorer: Explorer, kind: str) -> None:
    explorer.controls["kind"].value = kind
    names = {"gamma", "alpha_1", "sigma_1", "alpha_2", "sigma_2"}
    assert {name for name in names if explorer.controls[name].layout.display != "none"} == set(PARAMETERS[kind])  # type: ignore[index]


def test_status_names_tokens_and_self_weight(explorer: Explorer) -> None:
    for name, value in vars(Choice()).items():
        explorer.controls[name].value = value
    assert explorer.status.value.startswith("196 tokens, self-weight −0.2; drawn in ")


def test_shown_by_a_notebook_as_its_widget_and_without_a_kernel_as_its_picture(explorer: Explorer) -> None:
    bundle = explorer._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert base64.b64decode(bundle["image/png"]) == explorer.picture.value
    assert bundle["text/plain"].startswith("Choice(kind=")
