"""What is measured on a run when it ends: against loops, kept with the run, and carried without its weights."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from click.testing import CliRunner

from retconv.masks import KernelTableMask
from retconv.measure import Trained, measure, measured
from retconv.measure.attention import reach_rows, swap_rows
from retconv.measure.learned import elm_rows, fitted_columns
from retconv.measure.observe import effective_kernels, replaced, truncated_kernels, with_places
from retconv.measure.rows import plain
from retconv.measure.transfer import transfer_rows
from retconv.models import masks_of
from retconv.models.surgery import masked_modules
from retconv.results import Store, merge, pack
from retconv.sweep import parse_study, sweep
from retconv.sweep.__main__ import main
from retconv.train import Budget, RunFolder, train
from retconv.train.build import build_model
from tests.models import cases
from tests.results.carried import MASKED, MIB
from tests.train.small import few, few_digits

SIDE = 2


def trained_run(root: Path, **options: Any) -> RunFolder:
    """Two epochs on a few digits as 2×2 tokens."""
    given = {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2} | options
    config = replace(MASKED, model=replace(MASKED.model, options=given))
    (run,) = train(config, root, data=few_digits(), device="cpu", progress=False)
    return run


def untrained(**options: Any) -> Trained:
    given = {"patch_size": 2, "embed_dim": 16, "depth": 2, "num_heads": 2} | options
    config = replace(MASKED, model=replace(MASKED.model, options=given))
    model = build_model(config, 8, 10).eval().requires_grad_(False)
    images, labels = few_digits().test_images, few_digits().test_labels
    return Trained(model, images, labels, lambda x: x.float() / 255, "float32")


def place(token: int, side: int) -> tuple[int, int]:
    return token // side, token % side


def test_attention_distance_is_the_mean_over_queries_and_images_by_loops() -> None:
    trained = with_places(untrained(mask="manhattan", placement="bias_logits"))
    seen: list[torch.Tensor] = []
    module = dict(masked_modules(trained.model))["blocks.1.attn"]
    module.observer = seen.append
    for _ in trained.logits():
        pass
    module.observer = None
    weights = torch.cat(seen).double().tolist()
    by_hand = []
    for head in range(2):
        distances = [
            sum(w * math.dist(place(q, 4), place(k, 4)) for k, w in enumerate(row)) / sum(row)
            for image in weights
            for q, row in enumerate(image[head])
        ]
        by_hand.append(sum(distances) / len(distances))
    tables = reach_rows(effective_kernels(trained))
    heads = [row["mean_distance"] for row in tables["effective"] if row["layer"] == 1]
    assert heads == pytest.approx(by_hand, rel=1e-5)
    first, second, overall = tables["distance"]
    assert (second["distance"], second["least_distance"]) == pytest.approx((sum(by_hand) / 2, min(by_hand)), rel=1e-5)
    assert overall["layer"] == "all"
    assert overall["distance"] == pytest.approx((first["distance"] + second["distance"]) / 2)
    assert overall["least_distance"] == min(first["least_distance"], second["least_distance"])


@pytest.mark.parametrize("start", ["zeros", "ones"])
def test_what_an_elementwise_mask_learnt_is_counted_from_its_start_by_loops(tmp_path: Path, start: str) -> None:
    """‖P(M − M₀)‖² / ‖M − M₀‖² from the last weights; from zeros it is the share of the whole mask."""
    run = trained_run(tmp_path, mask="elm", mask_options={"start": start})
    rows = elm_rows(run, Trained.load(run, few_digits()))
    assert [(row["layer"], row["epoch"], row["last"]) for row in rows] == [
        (0, 1, False),
        (0, 2, True),
        (1, 1, False),
        (1, 2, True),
    ]
    for row in rows:
        if start == "zeros":
            assert row["learnt"] == pytest.approx(row["convolution"], rel=1e-6)
        if row["last"]:
            mask = run.weights()[f"blocks.{row['layer']}.attn.mask.weight"][0].double() - float(start == "ones")
            assert row["learnt"] == pytest.approx(share_by_loops(mask.tolist()), rel=1e-4)
        assert row["chance"] == 9 / 16


def test_without_the_stored_start_nothing_is_said_of_what_was_learnt(tmp_path: Path) -> None:
    """As of a run that was merged from an archive with its weights, which carries the last kernels alone."""
    run = trained_run(tmp_path, mask="elm")
    (run.path / "kernels/epoch-00000.npz").unlink()
    rows = elm_rows(run, Trained.load(run, few_digits()))
    assert len(rows) == 4
    assert all(math.isnan(row["learnt"]) and row["convolution"] > 0 for row in rows)


def share_by_loops(mask: list[list[float]]) -> float:
    groups: dict[tuple[int, int], list[float]] = {}
    for q, row in enumerate(mask):
        for k, value in enumerate(row):
            (a, b), (c, d) = place(q, SIDE), place(k, SIDE)
            groups.setdefault((c - a, d - b), []).append(value)
    held = sum(sum(g) ** 2 / len(g) for g in groups.values())
    return held / sum(value**2 for row in mask for value in row)


def test_a_cut_decay_added_as_a_logarithm_hides_what_is_outside() -> None:
    """And cutting nothing changes nothing: log γ^d from a table is the decay's own."""
    trained = untrained(mask="manhattan", placement="bias_logits", depth=1)
    rows = swap_rows(trained, effective_kernels(trained), is_masked=True)
    changes = {row["k"]: row["change"] for row in rows if row["kind"] == "truncated"}
    assert list(changes) == [1, 3, 5, 7]
    assert changes[7] == 0
    seen: list[torch.Tensor] = []
    module = dict(masked_modules(trained.model))["blocks.0.attn"]
    with replaced(trained.model, truncated_kernels(trained.model, 3)):
        module.observer = seen.append
        next(trained.logits())
    weights = seen[0]
    for q in range(16):
        for k in range(16):
            far = max(abs(a - b) for a, b in zip(place(q, 4), place(k, 4), strict=True)) > 1
            assert bool((weights[:, :, q, k] == 0).all()) == far


def test_cuts_that_hide_every_key_are_left_out() -> None:
    trained = untrained(mask="off_diagonal", placement="bias_logits", depth=1)
    rows = swap_rows(trained, effective_kernels(trained), is_masked=True)
    assert [row["k"] for row in rows if row["kind"] == "truncated"] == [3, 5, 7]
    assert all(math.isfinite(row["accuracy"]) for row in rows)


@pytest.mark.parametrize(
    ("options", "kinds"),
    [
        ({"mask": None}, {"whole", "effective"}),
        ({"mask": None, "temperature": True}, {"whole", "effective"}),
        ({"mask": None, "pooling": "token"}, {"whole"}),
        ({"mask": "table", "placement": "convolution"}, {"whole", "truncated", "effective"}),
        ({"mask": "two_sided"}, {"whole", "truncated", "effective"}),
        ({"mask": "gmm", "mask_options": {"start": "local"}}, {"whole", "truncated", "effective"}),
        ({"mask": "elm", "mask_options": {"start": "ones"}}, {"whole", "truncated", "effective"}),
    ],
    ids=["plain", "temperature", "token", "convolution", "raster", "gmm", "elm"],
)
def test_every_kind_of_arm_is_measured_and_kept(tmp_path: Path, options: dict[str, Any], kinds: set[str]) -> None:
    run = trained_run(tmp_path, **options)
    found = measured(run, few)
    assert measured(run, few) == found == json.loads((run.path / "measures.json").read_text(encoding="utf-8"))
    assert (found["images"], found["part"]) == (32, "validation")
    tables = found["tables"]
    assert {row["kind"] for row in tables["kernel_swap"]} == kinds
    assert len(tables["distance"]) == 3
    assert len(tables["effective"]) == 4
    assert [row["size"] for row in tables["grid_transfer"]] == [8, 10, 12, 16]
    own = masks_of(Trained.load(run, few_digits()).model)
    assert [row["layer"] for row in tables["mask_kernels"]] == list(range(len(own)))
    assert {row["layer"] for row in tables["masks"]} == set(range(len(own)))


def test_a_run_that_held_nothing_out_is_measured_on_the_test_images(tmp_path: Path) -> None:
    config = replace(MASKED, data=replace(MASKED.data, validation=0.0))
    (run,) = train(config, tmp_path, data=few_digits(), device="cpu", progress=False)
    found = measure(run, few_digits())
    assert (found["images"], found["part"]) == (60, "test")
    whole = found["tables"]["kernel_swap"][0]["accuracy"]
    assert whole == pytest.approx(100 * run.result()["test_accuracy"], abs=100.1 / 60)


def test_sizes_that_patches_do_not_divide_have_no_accuracy() -> None:
    rows = transfer_rows(lambda: untrained(patch_size=4))
    assert [row["accuracy"] is None for row in rows] == [False, True, False, False]
    assert rows[1]["note"] == "patches of 4 pixels do not divide it"


def test_a_table_of_biases_has_no_accuracy_at_other_sizes() -> None:
    rows = transfer_rows(lambda: untrained(mask="swin_table", placement="bias_logits"))
    assert [row["accuracy"] is None for row in rows] == [False, True, True, True]
    assert rows[1]["note"] == "cannot move: its table has no number for offsets that it never saw"


@pytest.mark.parametrize("family", ["cait", "pit", "t2t"])
def test_a_model_of_one_size_is_moved_to_no_other(family: str) -> None:
    model = timm.create_model(f"retconv_{family}_tiny", num_classes=10)
    assert transfer_rows(lambda: replace(untrained(), model=model)) == []


def test_attention_that_is_handed_a_bias_is_not_replaced() -> None:
    """As that of a Swin, whose convolution would have no logits to add it to."""
    model = cases.plain("Swin").eval().requires_grad_(False)
    trained = with_places(Trained(model, cases.images("Swin"), torch.zeros(2), lambda x: x, "float32"))
    assert [row["kind"] for row in swap_rows(trained, effective_kernels(trained), False)] == ["whole"]


def test_the_nearest_decay_and_gaussian_are_found() -> None:
    offset = torch.arange(-7, 8).double()
    steps = offset[:, None].abs() + offset.abs()
    squared = offset[:, None] ** 2 + offset**2
    decay, gaussian = fitted_columns(torch.stack([2 * 0.6**steps, torch.exp(-squared / 8)]))
    assert (decay["gamma"], decay["gamma_residual"]) == pytest.approx((0.6, 0), abs=1e-6)
    assert (gaussian["sigma"], gaussian["sigma_residual"]) == pytest.approx((2, 0), abs=1e-4)
    assert decay["sigma_residual"] > 0.1 < gaussian["gamma_residual"]


def test_rows_are_what_json_holds() -> None:
    row = plain({"layer": 0, "share": math.nan, "value": 1 / 3, "kernel": torch.tensor([[1.0, math.inf]]), "note": ""})
    assert row == {"layer": 0, "share": None, "value": 0.3333333, "kernel": [[1.0, None]], "note": ""}


STUDY = {
    "recipe": "small",
    "set": {
        "model.options.patch_size": 4, "model.options.embed_dim": 16, "model.options.num_heads": 2,
        "schedule.epochs": 2, "schedule.warmup_epochs": 1, "model.options.mask": None,
    },
    "grid": {"seed": [0, 1]},
    "mask_tables": "study_toy",
    "engine": "serial",
}  # fmt: skip


def test_a_sweep_measures_its_runs_and_goes_on_with_what_it_had_no_time_for(tmp_path: Path) -> None:
    study = parse_study(STUDY, name="toy")
    plain_study = replace(study, mask_tables="")
    assert len(sweep(plain_study, tmp_path).finished) == 2
    folders = [RunFolder(tmp_path, config) for config in study.configs]
    assert not any(folder.measured for folder in folders)
    soon = sweep(study, tmp_path, budget=Budget(until=time.time() + 2))  # no time to measure anything
    assert sorted(soon.left) == sorted(config.id for config in study.configs)
    assert not any(folder.measured for folder in folders)
    assert sweep(study, tmp_path).finished == tuple(config.id for config in study.configs)
    assert all(folder.measured for folder in folders)
    times = [(folder.path / "measures.json").stat().st_mtime_ns for folder in folders]
    assert sweep(study, tmp_path).rounds == 0
    assert times == [(folder.path / "measures.json").stat().st_mtime_ns for folder in folders]


def test_the_command_says_what_is_not_measured(tmp_path: Path) -> None:
    study = tmp_path / "toy.yaml"
    study.write_text(json.dumps(STUDY), encoding="utf-8")
    sweep(parse_study(STUDY | {"mask_tables": ""}, name="toy"), tmp_path / "runs")
    result = CliRunner().invoke(main, [str(study), "--root", str(tmp_path / "runs"), "--budget", "4"])
    assert result.exit_code == 3
    assert result.output.count("seed 0: not measured") == 1


def test_measures_travel_without_weights_and_are_added(tmp_path: Path) -> None:
    run = trained_run(tmp_path / "runs", mask="table")
    without = pack(tmp_path / "runs", tmp_path / "before", MIB).archives
    wanted = measured(run, few)
    there = RunFolder(tmp_path / "there", run.config)
    merge(without, tmp_path / "there")
    assert not there.measured
    assert not there.measurable
    assert len(merge(pack(tmp_path / "runs", tmp_path / "after", MIB).archives, tmp_path / "there").taken) == 1
    assert measured(there, few) == wanted
    assert not (there.path / "weights.pt").exists()


def test_adding_to_archives_packs_only_what_they_do_not_hold(tmp_path: Path) -> None:
    """A run that was packed before it was measured is packed again."""
    root, out = tmp_path / "runs", tmp_path / "out"
    first = trained_run(root, mask="table")
    assert pack(root, out, MIB, add=True).finished == [first.path.name]
    assert pack(root, out, MIB, add=True).archives == []
    measured(first, few)
    second = trained_run(root, mask=None)
    packed = pack(root, out, MIB, add=True)
    assert packed.finished == sorted([first.path.name, second.path.name])
    assert len(list(out.glob("*.zip"))) == 2
    merge(sorted(out.glob("*.zip")), tmp_path / "there")
    runs = {run.path.name: run.measured for run in Store(tmp_path / "there").runs()}
    assert runs == {first.path.name: True, second.path.name: False}


def test_a_kernel_of_zeros_can_be_measured() -> None:
    """A mask that removes every score: its fits and its locality are missing or 0, never an error."""
    trained = untrained(mask="table", mask_options={"start": "zeros"}, depth=1)
    assert isinstance(next(iter(masks_of(trained.model).values())), KernelTableMask)
    rows = swap_rows(trained, effective_kernels(trained), is_masked=True)
    assert {row["change"] for row in rows if row["kind"] == "truncated"} == {0.0}
    assert len(fitted_columns(torch.zeros(1, 7, 7))) == 1
