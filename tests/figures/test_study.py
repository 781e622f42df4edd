"""The figures of the studies, drawn from planted tables whose effects are known."""

from __future__ import annotations

import html
import math
import re
import statistics
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from retconv.figures import FIGURES, find, render
from retconv.figures.attention_distance import uniform_distance
from retconv.figures.paired import over_seeds, side, together
from retconv.model_names import VITS
from retconv.sweep import load_study
from tests.figures.drawn_study import NAMES, by_hand, draw, edit, plant, without
from tests.figures.planted_study import DISTANCES, GAINS, Planted

SMALL = "CIFAR-10 (JPEG), 45,000 images, 8 passes, ViT of 64 channels, 5 of 8 seeds"


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of planted tables."""
    plant(tmp_path, monkeypatch)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_tells_its_message_and_its_scale(planted: Path, name: str) -> None:
    """On itself and in a caption of four sentences at most."""
    spec = FIGURES[name]
    assert spec.waits_for() == ""
    data, texts = draw(name)
    message, caption = spec.finding(data), spec.text(data)
    assert message in texts
    (origin,) = (text for text in texts if " passes, " in text)
    assert origin.startswith(("CIFAR-10 (JPEG), ", "Tiny-ImageNet"))
    ran, *_ = origin.split(". ")  # what follows tells how to read the picture
    assert f" {ran}. {message.removesuffix('?')}." in caption
    assert caption.count(". ") <= 3
    assert not any("nan" in text.split() for text in [caption, *texts])


def test_scale_is_that_of_the_study_file(planted: Path) -> None:
    config = load_study("cifar_small").configs[0]
    assert config.schedule.epochs == 8
    assert config.model.options["embed_dim"] == 64
    assert round(50_000 * (1 - config.data.validation)) == 45_000
    assert f"{SMALL}. Bars: " in " ".join(draw("accuracy")[1])
    few = "CIFAR-10 (JPEG), 4,500–45,000 images, steps of 8 passes, ViT of 64 channels, 5 of 8 seeds"
    assert f"{few}. Bars" in " ".join(draw("data_size")[1])
    assert f"ViT of {VITS['retconv_vit_tiny'][0]} channels" in " ".join(draw("accuracy_full")[1])
    assert "five models" in " ".join(draw("models")[1])
    edit(planted, "cifar_small", lambda runs: runs[(runs["arm"] != "gmm") | (runs["seed"] < 3)])
    assert SMALL.replace("5 of", "3–5 of") in " ".join(draw("accuracy")[1])


def test_arms_and_seeds_may_be_missing(planted: Path) -> None:
    """An arm with two seeds has dots and no interval; a seed that plain lacks is in no pair."""
    edit(planted, "cifar_small", lambda runs: runs[~((runs["arm"] == "elm") & (runs["seed"] > 1))])
    edit(planted, "cifar_small", lambda runs: runs[~((runs["arm"] == "plain") & (runs["seed"] == 3))])
    edit(planted, "cifar_small", without(["table"]))
    data, texts = draw("accuracy")
    counts = data[data["part"] == "gain"].set_index("arm")["n"].to_dict()
    assert counts == {"manhattan_bias": 4, "gmm": 4, "gmm_local": 4}
    assert "2 seeds" in texts
    assert "kernel table" not in texts
    means = over_seeds(pd.DataFrame({"arm": ["a"] * 2, "seed": [0, 1], "x": [1.0, 2.0]}), "x", ["arm"])
    assert means.empty


@pytest.mark.parametrize("present", [("plain",), ("plain", "manhattan_bias"), ("manhattan_bias", "gmm"), ("elm",)])
def test_figures_draw_the_arms_that_are_stored_or_wait(planted: Path, present: tuple[str, ...]) -> None:
    missing = {arm for arms in GAINS.values() for arm in arms} - {*present}
    for path in planted.iterdir():
        edit(planted, path.stem.removeprefix("study_"), without(missing))
    ready = {spec.name for spec in find()} & {*NAMES}
    for name in ready:
        data, texts = draw(name)
        assert set(data["arm"].dropna()) <= {*present}
        assert not any("nan" in text.split() for text in [FIGURES[name].text(data), *texts])
    alone = {"attention_distance", "effective_kernels", "attention_is_more", "grid_transfer"}
    masked = {"accuracy", "controls", "data_size", "cutmix", "cutmix_short", "truncated", "cutmix_distance"}
    assert (
        ready
        == {
            ("plain",): alone | {"cutmix_distance"},
            ("plain", "manhattan_bias"): alone | masked,
            ("manhattan_bias", "gmm"): (alone | {"truncated", "cutmix_distance"}) - {"attention_is_more"},
            ("elm",): {"truncated", "elm_becomes_convolution", "learned_masks"},
        }[present]
    )
    for name in {*NAMES} - ready:
        assert "more runs than" in FIGURES[name].waits_for()


@pytest.mark.parametrize("planter", [Planted(seeds=2), Planted(scale="small")], ids=["two seeds", "small twins"])
def test_figures_wait_for_three_seeds_of_the_full_study(planted: Path, planter: Planted) -> None:
    planter.write(planted)
    ready = {spec.name for spec in find()} & {*NAMES}
    assert ready <= {"learned_masks"}, "which draws one run"
    assert not ready or planter.scale == "full"


def test_attention_distance_of_layers_heads_and_uniform_attention(planted: Path) -> None:
    data, _ = draw("attention_distance")
    stored = pd.read_csv(planted / "study_cifar_small_distance.csv").set_index(["arm", "layer", "seed"])["distance"]
    for row in data[data["part"] == "mean"].itertuples():
        values = [stored[row.arm, f"{row.layer:.0f}", seed] for seed in range(5)]
        assert (row.mean, row.low, row.high) == pytest.approx(by_hand(values))
    heads = data[(data["part"] == "head") & (data["arm"] == "plain")]
    assert len(heads) == 5 * 4 * 4
    places = [(i, j) for i in range(8) for j in range(8)]
    assert uniform_distance() == pytest.approx(statistics.fmean(math.dist(a, b) for a in places for b in places))
    gain = DISTANCES["manhattan_bias"] - DISTANCES["plain"]
    told = re.fullmatch(
        r"Learnt decay \(bias\) draws attention ([\d.]+) ± [\d.]+ tokens nearer",
        FIGURES["attention_distance"].finding(data),
    )
    assert told is not None
    assert float(told[1]) == pytest.approx(-gain, abs=0.2)
    assert FIGURES["cutmix_distance"].finding(draw("cutmix_distance")[0]) == (
        "CutMix makes a head of plain attention local"
    )


@pytest.mark.parametrize(
    ("mean", "half", "message"),
    [
        (-1.5, 0.2, "Learnt decay (bias) draws attention 1.50 ± 0.20 tokens nearer"),
        (0.9, 0.2, "Learnt decay (bias) sends attention 0.90 ± 0.20 tokens farther"),
        (-0.004, 0.2, "Learnt decay (bias) moves attention by 0.00 ± 0.20 tokens, less than 0.6"),
        (-0.58, 0.04, "Learnt decay (bias) draws attention 0.58 ± 0.04 tokens nearer; undecided whether by 0.6"),
        (0.5, 0.2, "Learnt decay (bias) sends attention 0.50 ± 0.20 tokens farther; undecided whether by 0.6"),
    ],
)
def test_message_of_distance_says_how_far_and_which_way(mean: float, half: float, message: str) -> None:
    row = {"part": "gain", "arm": "manhattan_bias", "mean": mean, "low": mean - half, "high": mean + half}
    assert FIGURES["attention_distance"].finding(pd.DataFrame([row])) == message


def test_titles_judge_all_arms_of_a_figure_together() -> None:
    """Ten intervals of 99.5 % hold their means at once with 95 %, by Student's t of seven degrees of freedom."""
    rows = pd.DataFrame({"arm": range(10), "n": 8, "mean": 1.0, "low": 1 - 2.3646, "high": 1 + 2.3646})
    assert together(rows[:1])["low"].tolist() == pytest.approx([1 - 2.3646])
    assert together(rows)["high"].tolist() == pytest.approx([1 + 4.0293] * 10, abs=1e-3)
    assert set(side(rows, 3.4)) == {"within"}
    assert set(side(together(rows), 3.4)) == {"open"}


def test_cut_masks_and_swapped_attention(planted: Path) -> None:
    data, _ = draw("truncated")
    assert FIGURES["truncated"].finding(data) == (
        "Cut to 5×5, 4 masks lose less than 0.7 points; Gaussian mixture loses more than 0.7 points"
    )
    means = data[data["part"] == "mean"].set_index(["arm", "k"])["mean"]
    assert means["gmm", 5] == pytest.approx(-3, abs=0.2)
    assert means["gmm", 15] == 0
    data, texts = draw("attention_is_more")
    assert set(data["arm"]) == {"plain"}
    told = data[data["part"] == "mean"].set_index("layer")["mean"]
    assert told.to_dict() == pytest.approx({"0": -4, "1": -7, "2": -10, "3": -13, "all": -38}, abs=0.2)
    told = "Attention is more than a convolution: as its effective kernels alone it loses 38."
    assert any(text.startswith(told) for text in texts)


def test_masks_on_a_larger_grid(planted: Path) -> None:
    data, _ = draw("grid_transfer")
    assert set(data.loc[data["part"] == "mean", "arm"]) == {*GAINS["cifar_small"]} - {"elm"}, "which cannot move"
    assert set(data.loc[data["part"] == "mean", "size"]) == {40, 48, 64}
    (row,) = data[data["part"] == "gain"].itertuples()
    stored = pd.read_csv(planted / "study_cifar_small_grid_transfer.csv").set_index(["arm", "size", "seed"])["change"]
    changes = [stored["manhattan_bias", 48, seed] - stored["plain", 48, seed] for seed in range(5)]
    assert (row.mean, row.low, row.high) == pytest.approx(by_hand(changes))
    assert FIGURES["grid_transfer"].finding(data).startswith("On 48 pixels learnt decay (bias) loses less")
    gain = data["part"] == "gain"
    for low, high, message in ((-2.0, 0.4, "does not lose 0.7 points less"), (-2.0, 0.9, "is undecided")):
        assert message in FIGURES["grid_transfer"].finding(data.assign(low=low, high=high).where(gain, data))


@pytest.mark.parametrize(
    ("learnt", "message"),
    [(0.3, "A free mask does not become a"), (0.7, "A free mask learns to be a"), (0.5, "Undecided: is half of")],
)
def test_free_mask_becomes_a_convolution_or_not(planted: Path, learnt: float, message: str) -> None:
    edit(planted, "cifar_small_elm", lambda t: t.assign(learnt=learnt + 0.01 * (t["seed"] - 2)))
    data, _ = draw("elm_becomes_convolution")
    assert FIGURES["elm_becomes_convolution"].finding(data).startswith(message)
    assert data["chance"].dropna().unique() == pytest.approx([100 * 225 / 4096])


def test_what_is_left_of_a_learnt_kernel_is_held_against_its_distance_from_1(planted: Path) -> None:
    data, texts = draw("learned_masks")
    kernels = pd.read_csv(planted / "study_cifar_small_mask_kernels.csv")
    for row in data[data["part"] == "run"].itertuples():
        own = kernels[(kernels["arm"] == row.arm) & (kernels["layer"] == row.layer) & (kernels["head"] == row.head)]
        norm, learnt = (math.sqrt((x**2).sum()) for x in (own["value"], own["value"] - 1))
        assert row.left == pytest.approx(0 if row.arm == "manhattan_bias" else 10 * norm / learnt)
    left = data[data["arm"].isin(["table", "elm"])]["left"].mean()
    assert f"Free kernels are neither decay nor Gaussian: the nearest leaves {left:.0f} % of what they learnt" in texts


def test_shares_that_kernels_explain_are_means_over_heads_and_layers(planted: Path) -> None:
    data, texts = draw("effective_kernels")
    stored = pd.read_csv(planted / "study_cifar_small_effective.csv")
    plain = stored[stored["arm"] == "plain"]
    values = [100 * plain[plain["seed"] == seed]["explained"].mean() for seed in range(5)]
    (row,) = data[(data["part"] == "mean") & (data["arm"] == "plain")].itertuples()
    assert (row.mean, row.low, row.high) == pytest.approx(by_hand(values))
    assert any(text.startswith(f"A kernel explains {row.mean:.1f} ± ") for text in texts)


def test_gallery_tells_the_caption_from_the_stored_table(planted: Path, tmp_path: Path) -> None:
    names = ["accuracy", "attention_is_more", "elm_becomes_convolution"]
    for folder in ("out", "again"):
        list(render([FIGURES[name] for name in names], ["png"], tmp_path / folder))
    page = html.unescape((tmp_path / "out" / "index.html").read_text(encoding="utf-8"))
    for name in names:
        here, there = (tmp_path / folder / f"{name}.png" for folder in ("out", "again"))
        assert here.read_bytes() == there.read_bytes()
        assert FIGURES[name].text(FIGURES[name].draw()[1]) in page
    (tmp_path / "out" / "accuracy.csv").unlink()
    list(render([FIGURES["controls"]], ["png"], tmp_path / "out"))
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "Its data file is missing: draw it anew." in page


def test_figure_shows_itself_in_a_notebook(planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture, and its words beside it."""
    outputs: list[Any] = []
    monkeypatch.setattr("IPython.display.display", lambda *objects: outputs.extend(objects))
    FIGURES["accuracy"]._ipython_display_()
    picture, words = outputs
    assert picture.data.startswith(b"\x89PNG")
    assert words.data.startswith("**Is it the mask? Accuracy by mask**\n\n")
    assert SMALL in words.data
