"""The figures and their gallery: all are there, and the data they show are the mathematics."""

import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from retconv.checks import TOLERANCES
from retconv.figures import FIGURES
from retconv.figures.gallery import gallery
from retconv.figures.style import DOUBLE, SINGLE
from retconv.operators import METHODS
from tests.figures.drawn import NAMES, table


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_has_a_caption_its_data_and_a_width_of_the_page(folder: Path, name: str) -> None:
    spec = FIGURES[name]
    assert spec.name == name
    data = table(folder, name)
    assert spec.text(data).count(". ") >= 1
    assert spec.text(data).endswith(".")
    assert len(data) > 0
    assert not data.isna().all().any()
    with Image.open(folder / f"{name}.png") as image:
        assert image.width in (round(SINGLE * 200), round(DOUBLE * 200))
    assert (folder / f"{name}.png").stat().st_size < 400_000
    assert (folder / f"{name}.csv").stat().st_size < 500_000


def test_the_committed_figures_are_those_of_the_gallery() -> None:
    committed = {path.stem for path in Path("paper_figures").iterdir() if path.is_file()}
    assert committed == {*NAMES, "index"}
    assert Page(Path("paper_figures/index.html")).ids == NAMES


def test_only_the_asked_files_and_no_temporary_ones_are_written(folder: Path) -> None:
    expected = {f"{name}.{kind}" for name in NAMES for kind in ("png", "csv")} | {"index.html"}
    assert {path.name for path in folder.iterdir()} == expected


class Page(HTMLParser):
    """The links, images and ids of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.images: list[str] = []
        self.ids: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.links += [values["href"]] if tag == "a" else []
        self.images += [values["src"]] if tag == "img" else []
        self.ids += [values["id"]] if "id" in values else []


def test_gallery_shows_every_figure_and_its_links_resolve(folder: Path) -> None:
    page = Page(folder / "index.html")
    assert page.ids == NAMES
    assert page.images == [f"{name}.png" for name in NAMES]
    for name in NAMES:
        assert {f"#{name}", f"{name}.png", f"{name}.csv"} <= set(page.links)
    for link in page.links:
        assert link[1:] in page.ids if link.startswith("#") else (folder / link).is_file(), link


def test_gallery_tells_the_caption_of_a_table_that_is_written_anew(tmp_path: Path) -> None:
    spec = replace(FIGURES["windows"], caption=lambda table: f"{len(table)} rows")
    (tmp_path / "windows.png").touch()
    for rows in (1, 2):
        pd.DataFrame({"x": range(rows)}).to_csv(tmp_path / "windows.csv")
        assert f"{rows} rows" in gallery(tmp_path, [spec])


def test_residual_is_0_where_the_mask_has_a_kernel(folder: Path) -> None:
    residual = table(folder, "masks_and_kernels").groupby("mask")["residual"].unique()
    assert {name: list(values) for name, values in residual.drop("ELM").items()} == {
        name: [0.0] for name in ("RetNet", "Manhattan", "Gaussian", "GMM")
    }


def test_residual_of_the_elementwise_mask_is_that_of_its_means(folder: Path) -> None:
    data = table(folder, "masks_and_kernels")
    rows = data[data["mask"] == "ELM"]
    mask = {(r.row, r.column): r.value for r in rows[rows["view"] == "mask"].itertuples()}
    kernel = {(r.row - 6, r.column - 6): r.value for r in rows[rows["view"] == "kernel"].itertuples()}
    pairs: dict[tuple[int, int], list[float]] = {}
    for (q, k), value in mask.items():
        pairs.setdefault((k // 7 - q // 7, k % 7 - q % 7), []).append(value)
    assert kernel == pytest.approx({offset: sum(values) / len(values) for offset, values in pairs.items()}, abs=6e-6)
    error = sum((v - sum(values) / len(values)) ** 2 for values in pairs.values() for v in values)
    assert rows["residual"].iloc[0] == pytest.approx(math.sqrt(error / sum(v**2 for v in mask.values())), rel=1e-5)
    assert rows["residual"].iloc[0] > 0.9


def test_window_of_each_query_is_its_row_of_the_mask(folder: Path) -> None:
    data = table(folder, "windows")
    rows = data[data["part"] == "window"]
    assert len(rows) == 3 * 9 + 3 * 24
    for r in rows.itertuples():
        if r.grid == "9":
            assert r.value == pytest.approx(0.75 ** (r.query - r.key) if r.key <= r.query else 0.0, rel=1e-5)
        else:
            q, k = int(r.query), int(r.key)
            down, right = k // 6 - q // 6, k % 6 - q % 6
            assert r.offset == f"{down} {right}"
            assert r.value == pytest.approx(math.exp(-(down**2 + right**2) / (2 * (1.5**2 + 1e-5))), rel=1e-5)


def test_photograph_is_masked_by_the_closed_forms(folder: Path) -> None:
    queries = {"A": (4, 7), "B": (10, 3), "C": (7, 12)}
    for r in table(folder, "masked_photograph").itertuples():
        down, right = r.patch_row - queries[r.query][0], r.patch_column - queries[r.query][1]
        line = 14 * down + right
        d2 = down**2 + right**2
        expected = {
            "RetNet": 0.95**-line if line <= 0 else 0.0,
            "Manhattan": 0.75 ** (abs(down) + abs(right)),
            "GMM": 0.6 * math.exp(-d2 / 2.00002) + 0.4 * math.exp(-d2 / 32.00002),
        }
        assert r.weight == pytest.approx(expected[r.mask], rel=2e-5)


def test_photograph_is_convolved_alike_by_every_method(folder: Path) -> None:
    for name, data in table(folder, "convolved_photograph").groupby("mask"):
        x = data["photograph"].to_numpy().reshape(48, 48)
        dense = data["dense"].to_numpy().reshape(48, 48)
        assert data["difference"].abs().max() <= 1e-14 * np.abs(dense).max()
        for row, column in [(0, 0), (20, 31), (47, 5)]:
            total = 0.0
            for i in range(48):
                for j in range(48):
                    total += x[i, j] * 0.1592 * math.exp(-((i - row) ** 2 + (j - column) ** 2) / 2.00002)
            total -= x[row, column] if "extroversion" in name else 0.0
            assert dense[row, column] == pytest.approx(total, abs=1e-5)


def test_extroversion_has_self_weight_minus_a_fifth_and_symbol_low_pass_minus_identity(folder: Path) -> None:
    data = table(folder, "locality_extroversion")
    total = data[data["part"] == "sum"]
    kernel = total[total["quantity"] == "kernel"]
    at_zero = kernel[(kernel["offset_1"] == 0) & kernel["offset_2"].isin([0, np.nan])]
    assert list(at_zero["grid"]) == ["line", "plane"]
    assert at_zero["value"].to_numpy() == pytest.approx([-0.2, -0.2])
    symbol = total[total["quantity"] == "symbol"]
    far = symbol[symbol["theta_1"].abs() > 2.8]
    assert set(far["grid"]) == {"line", "plane"}
    assert far["value"].to_numpy() == pytest.approx(np.full(len(far), -0.8), abs=2e-4)
    line = symbol[symbol["grid"] == "line"]
    assert line["value"].to_numpy() == pytest.approx(line["closed_form"].to_numpy(), abs=1e-5)
    by_hand = [
        sum(k.value * math.cos(k.offset_1 * t) for k in kernel[kernel["grid"] == "line"].itertuples())
        for t in line["theta_1"]
    ]
    assert line["value"].to_numpy() == pytest.approx(np.array(by_hand), abs=1e-4)


def test_equivalence_covers_methods_and_dtypes_within_tolerance(folder: Path) -> None:
    data = table(folder, "equivalence")
    assert set(data["method"]) == set(METHODS)
    assert data.groupby("dtype")["tolerance"].unique().map(list).to_dict() == {
        str(dtype).removeprefix("torch."): [TOLERANCES[dtype]] for dtype in (torch.float64, torch.float32)
    }
    assert (data["relative_error"] <= data["tolerance"]).all()
    float32 = data[(data["dtype"] == "float32") & (data["grid"] == "32×32")]
    assert (float32["relative_error"] > 0).all(), "a product in float32 that is exact was not computed in float32"


@pytest.mark.parametrize(("side", "fraction"), [(16, 1 / 3), (32, 3 / 4)])
def test_reference_formula_has_wrong_zeros_in_a_third_and_three_quarters_of_pairs(
    folder: Path, side: int, fraction: float
) -> None:
    data = table(folder, "underflow").set_index(["formula", "sigma", "side"])["wrong_zeros"]
    x = np.arange(side**2) // side
    y = np.arange(side**2) % side
    squared = (x[:, None] - x) ** 2 + (y[:, None] - y) ** 2
    with np.errstate(under="ignore"):
        formula = (np.exp(-squared.astype(np.float32)) ** np.float32(0.5)) ** np.float32(1 / (10**2 + 1e-5))
    assert data["reference", 10.0, side] == pytest.approx((squared >= 104).mean(), rel=1e-5)
    assert data["reference", 10.0, side] == pytest.approx((formula == 0).mean(), rel=1e-5)
    assert data["reference", 10.0, side] == pytest.approx(fraction, abs=0.015)


def test_our_formula_has_no_wrong_zero_and_float32_accuracy(folder: Path) -> None:
    data = table(folder, "underflow")
    ours = data[data["formula"] == "ours"]
    assert set(ours["side"]) >= {4, 16, 32, 64}
    assert (ours["wrong_zeros"] == 0).all()
    assert (ours["relative_error"] <= 1e-6).all()
    wide = data[(data["formula"] == "reference") & (data["sigma"] == 10) & (data["side"] == 64)]
    assert wide["relative_error"].item() > 0.5


def stored(name: str, file: str) -> pd.DataFrame:
    """Results that a figure reads, which must be among those it declares."""
    (path,) = (path for path in FIGURES[name].data if path.name == file)
    return pd.read_csv(path)


def test_stored_results_name_the_commit_they_come_from() -> None:
    """A commit, not one with changes on top that nobody can check out."""
    for path in sorted({path for name in NAMES for path in FIGURES[name].data if path.suffix == ".csv"}):
        commits = pd.read_csv(path).get("commit", pd.Series(dtype=str)).unique()
        assert all(re.fullmatch(r"[0-9a-f]{7,40}", str(commit)) for commit in commits), f"{path}: {commits}"


def test_throughput_is_images_over_the_stored_times(folder: Path) -> None:
    data = table(folder, "throughput")
    rows = stored("throughput", "throughput.csv").to_dict("records")
    assert len(data) == len(rows) == 5 * 2 * 3
    assert set(data["kind"]) == {"none", "gmm"}
    for shown, r in zip(data.to_dict("records"), rows, strict=True):
        images = r["batch"] * r["replicas"]
        assert shown["images_per_second"] == pytest.approx(images / (r["ms"] / 1000), rel=1e-5)
        assert shown["images_per_second_min"] == pytest.approx(images / (r["ms_max"] / 1000), rel=1e-5)
        assert shown["images_per_second_max"] == pytest.approx(images / (r["ms_min"] / 1000), rel=1e-5)
        assert shown["data_share"] == pytest.approx(100 * r["data_share"], rel=1e-5)
        assert shown["utilisation"] == pytest.approx(100 * r["utilisation"], rel=1e-5)
