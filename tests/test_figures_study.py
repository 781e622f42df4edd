"""The figures of the study, drawn from planted tables whose effects are known, and from the stored ones."""

from __future__ import annotations

import html
import importlib
import math
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import matplotlib.text
import pandas as pd
import pytest
from planted_study import MAIN, Planted

from retconv.figures import FigureSpec, render, study
from retconv.figures.paired import over_seeds, pair
from retconv.figures.runner import _one_thread
from retconv.figures.style import house_style
from retconv.studies.published import PUBLISHED_TOP1

NAMES = (
    "accuracy",
    "controls",
    "placement",
    "gaussians",
    "data_size",
    "models",
    "elm_becomes_convolution",
    "learned_masks",
    "effective_kernels",
    "kernel_swap",
    "grid_transfer",
    "training_cost",
)
#: Quantile 0.975 of Student's t with 4 degrees of freedom, from tables.
T4 = 2.776445


def spec(name: str) -> FigureSpec:
    return importlib.import_module(f"retconv.figures.{name}").FIGURE


def draw(name: str) -> tuple[pd.DataFrame, list[str]]:
    """A figure's table, and every text that is written on it."""
    with house_style(), _one_thread():
        figure, data = spec(name).draw()
        figure.draw_without_rendering()
    return data, [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of planted tables of the small study, which figures read."""
    Planted().write(tmp_path)
    monkeypatch.setattr(study, "FOLDER", tmp_path)
    return tmp_path


def edit(folder: Path, table: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    path = folder / f"study_{table}.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_says_its_scale_on_itself_and_in_its_caption(planted: Path, name: str) -> None:
    data, texts = draw(name)
    assert set(data["scale"]) == {"small"}
    assert any(text.startswith("Small CPU study, digits") for text in texts)
    caption = spec(name).text(data)
    assert caption.startswith("Small CPU study, digits")
    assert "not of its size" in caption
    assert spec(name).finding(data) in caption
    assert "nan" not in caption


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_the_full_study_are_drawn_where_there_are_any(planted: Path, name: str) -> None:
    Planted("full", side=4, layers=4).write(planted)
    data, texts = draw(name)
    assert set(data["scale"]) == {"full"}
    assert any(text.startswith("Full study, CIFAR-10") for text in texts)
    assert spec(name).text(data).startswith("Full study, CIFAR-10, 5 seeds. ")
    runs = data["run"].dropna()
    small = pd.read_csv(planted / "study_main.csv").groupby("scale")["run"].nunique()
    assert runs.nunique() <= small["full"] * 2, "no run of the small study among them"


def test_differences_are_paired_by_seed_and_their_interval_is_students(planted: Path) -> None:
    data, texts = draw("accuracy")
    stored = pd.read_csv(planted / "study_main.csv").set_index(["arm", "seed"])["test_accuracy"]
    compared = data[data["part"] == "difference"].set_index("arm")
    assert set(compared.index) == set(MAIN) - {"plain"}
    for arm, row in compared.iterrows():
        gains = [stored[arm, seed] - stored["plain", seed] for seed in range(5)]
        half = T4 * statistics.stdev(gains) / math.sqrt(5)
        assert row["difference"] == pytest.approx(statistics.fmean(gains))
        assert (row["low"], row["high"]) == pytest.approx((row["difference"] - half, row["difference"] + half))
        assert row["n"] == 5
        assert f"{row['difference']:+.2f}".replace("-", "−") in " ".join(texts)


def test_seed_that_one_arm_lacks_is_left_out_of_its_pairs_alone(planted: Path) -> None:
    runs = pd.read_csv(planted / "study_main.csv")
    runs = runs[~((runs["arm"] == "elm") & (runs["seed"] == 3))]
    _, compared = pair(runs, "plain")
    assert compared.set_index("arm")["n"].to_dict() == {arm: 4 if arm == "elm" else 5 for arm in MAIN if arm != "plain"}


def test_two_seeds_have_no_interval_and_the_figure_says_so(planted: Path) -> None:
    edit(planted, "main", lambda runs: runs[~((runs["arm"] == "elm") & (runs["seed"] > 1))])
    data, texts = draw("accuracy")
    row = data[(data["part"] == "difference") & (data["arm"] == "elm")].iloc[0]
    assert row["n"] == 2
    assert math.isnan(row["low"])
    assert any("too few seeds" in text for text in texts)
    means = over_seeds(pd.DataFrame({"arm": ["a"] * 2, "seed": [0, 1], "x": [1.0, 2.0]}), "x", ["arm"])
    assert means.empty


@pytest.mark.parametrize(
    ("name", "table", "arm"),
    [("accuracy", "main", "two_sided"), ("controls", "controls", "lsa"), ("models", "models", "t2t_gmm")],
)
def test_arm_that_was_not_run_is_left_out(planted: Path, name: str, table: str, arm: str) -> None:
    edit(planted, table, lambda runs: runs[runs["arm"] != arm])
    data, _ = draw(name)
    assert arm not in set(data.loc[data["part"] == "run", "arm"])


@pytest.mark.parametrize("name", ["accuracy", "controls", "placement", "models"])
def test_every_rule_is_drawn_with_its_verdict_and_told_in_the_caption(planted: Path, name: str) -> None:
    data, texts = draw(name)
    stored = pd.read_csv(planted / "study_verdicts.csv")
    table = "main" if name == "accuracy" else name
    rules = stored[stored["table"] == f"study_{table}"]
    assert len(rules) > 0
    caption = spec(name).text(data)
    for rule in rules.itertuples():
        assert rule.verdict in texts
        assert f"“{rule.claim}”: {rule.verdict}" in caption


def test_rules_in_symbols() -> None:
    rule = {"arm": "a", "against": "b", "at": "fraction=0.1", "versus": "fraction=1.0", "expect": "above"}
    assert study.condition(rule | {"threshold": -0.3}) == "a − b, fraction 0.1 against 1.0 > −0.3"
    alone = {"arm": "a", "against": float("nan"), "at": float("nan"), "expect": "below", "threshold": 1.0}
    assert study.condition(alone) == "a < 1"
    assert study.condition(alone | {"arm": "gmm_5"}) == "mixture of 5 < 1"
    assert study.condition(alone | {"expect": "within"}) == "|a| < 1"


def test_published_numbers_stand_beside_the_full_study_only(planted: Path) -> None:
    data, texts = draw("models")
    assert "published" not in set(data["part"])
    assert "published" not in texts
    Planted("full", side=4).write(planted)
    data, texts = draw("models")
    told = data[data["part"] == "published"].groupby("row")["mean"].apply(tuple).to_dict()
    assert told == {
        "… against a class token": PUBLISHED_TOP1["vit", "cifar10"],
        **{name: PUBLISHED_TOP1[name.lower(), "cifar10"] for name in ("Swin", "CaiT", "PiT", "T2T")},
    }
    assert "published" in texts
    assert "one seed and the best epoch on the test set" in spec("models").text(data)


def test_rows_of_the_elementwise_mask_are_folded_to_the_grid(planted: Path) -> None:
    data, _ = draw("learned_masks")
    stored = pd.read_csv(planted / "study_elm_masks.csv").set_index(["layer", "query", "key"])["value"]
    for view, query in (("central row", 12), ("edge row", 0)):
        rows = data[(data["view"] == view) & (data["layer"] == 1)]
        assert len(rows) == 25
        for row in rows.itertuples():
            assert row.value == stored[1, query, 5 * row.row + row.column]


def test_gaussian_fit_has_the_residual_that_is_stated(planted: Path) -> None:
    data, _ = draw("learned_masks")
    keys = ["layer", "row", "column"]
    kernel, fit = (data[data["view"] == view].set_index(keys)["value"] for view in ("elm", "fit"))
    for layer, own in data[data["view"] == "fit"].groupby("layer"):
        residual = math.sqrt(((fit[layer] - kernel[layer]) ** 2).sum() / (kernel[layer] ** 2).sum())
        assert own["fit_residual"].iloc[0] == pytest.approx(residual, rel=1e-6)
        assert residual < 0.3


def test_swap_of_all_layers_stands_apart_from_those_of_one(planted: Path) -> None:
    data, texts = draw("kernel_swap")
    means = data[(data["part"] == "mean") & (data["kind"] == "effective")]
    assert set(means["layer"]) == {-1, 0, 1, 2}
    assert means.loc[means["layer"] == -1, "mean"].to_numpy() == pytest.approx([-20] * 5, abs=1)
    assert means.loc[means["layer"] == 2, "mean"].to_numpy() == pytest.approx([-4] * 5, abs=1)
    assert "all" in texts


def test_elementwise_mask_cannot_move_to_another_grid(planted: Path) -> None:
    data, texts = draw("grid_transfer")
    assert set(data.loc[data["part"] == "change", "arm"]) == {
        "plain",
        "table",
        "gmm_5",
        "manhattan_learnt",
        "two_sided",
    }
    assert "element-wise (ELM):\ncannot move" in texts


def test_cost_is_the_throughput_of_the_whole_stack(planted: Path) -> None:
    data, _ = draw("training_cost")
    arms = data[data["part"] == "arm"].set_index("arm")
    assert arms.loc["plain", "throughput"] == 250 * 5
    assert arms.loc["elm", "time"] == pytest.approx(250 / 240)


def test_the_caption_of_cost_names_the_machines_that_are_stored(planted: Path) -> None:
    """All of them, and nothing of them that is not stored."""
    edit(planted, "main", lambda runs: runs.assign(device="CPU A", torch="2.0", threads=1))
    data, _ = draw("training_cost")
    assert "one stack on CPU A (one thread, torch 2.0), hence" in spec("training_cost").text(data)
    edit(planted, "main", lambda runs: runs.assign(threads=runs["threads"].where(runs["seed"] == 0, 8)))
    data, _ = draw("training_cost")
    text = spec("training_cost").text(data)
    assert "one stack on CPU A (one thread, torch 2.0) and CPU A (8 threads, torch 2.0), hence" in text
    assert "shared" not in text


def test_shares_of_variance_are_means_over_heads(planted: Path) -> None:
    data, _ = draw("effective_kernels")
    runs = data[data["part"] == "run"]
    assert (runs[["explained", "position", "content"]].sum(axis=1)).to_numpy() == pytest.approx([100.0] * len(runs))
    stored = pd.read_csv(planted / "study_effective.csv").groupby(["arm", "seed", "layer"])["explained"].mean()
    first = runs.iloc[0]
    assert first["explained"] == pytest.approx(100 * stored[first["arm"], first["seed"], first["layer"]])


def test_gallery_tells_the_caption_from_the_stored_table(planted: Path, tmp_path: Path) -> None:
    name, out, again = "elm_becomes_convolution", tmp_path / "out", tmp_path / "again"
    for folder in (out, again):
        assert [one.spec.name for one in render([replace(spec(name), data=())], ["png"], folder)] == [name]
    assert (out / f"{name}.png").read_bytes() == (again / f"{name}.png").read_bytes()
    page = html.unescape((out / "index.html").read_text(encoding="utf-8"))
    assert spec(name).text(pd.read_csv(out / f"{name}.csv")) in page
    (out / f"{name}.csv").unlink()
    list(render([replace(spec("gaussians"), data=())], ["png"], out))
    assert "Its data file is missing: draw it anew." in (out / "index.html").read_text(encoding="utf-8")


def test_figure_shows_itself_in_a_notebook(planted: Path) -> None:
    page = replace(spec("gaussians"), data=())._repr_html_()
    assert page.startswith('<figure><img alt="How many Gaussians?"')
    assert "Small CPU study, digits, 5 seeds" in page
