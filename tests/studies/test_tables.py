"""From stored runs to tables and verdicts: every number traces to a run, and all of it can be made again."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from retconv.results import Store
from retconv.studies import build_tables, load_tables, verdicts, write_tables
from retconv.studies.__main__ import main
from retconv.studies.published import PUBLISHED_TOP1
from retconv.studies.readme import readme_table, results_table
from retconv.studies.rulings import markdown, readable
from retconv.sweep import Study, load_study, parse_study, sweep
from retconv.train import TrainError

#: Four arms of the main study, one epoch of digits as 2×2 tokens.
STUDY = {
    "hypothesis": "Masks help.",
    "recipe": "small",
    "set": {
        "batch_size": 128, "model.options.patch_size": 4, "model.options.embed_dim": 16, "model.options.num_heads": 2,
        "schedule.epochs": 2, "schedule.warmup_epochs": 1, "model.options.pooling": "avg", "select": "best",
    },
    "arms": {
        "plain": {"model.options.mask": None},
        "elm": {"model.options.mask": "elm"},
        "table": {"model.options.mask": "table"},
        "gmm_5": {"model.options.mask": "gmm", "model.options.mask_options": {"components": 5}},
    },
    "grid": {"seed": [0, 1, 2]},
    "mask_tables": "study",
    "engine": "serial",
    "rules": [
        {"claim": "Masks cost less than everything.", "arm": "gmm_5", "against": "plain", "threshold": -100},
        {"claim": "It is a convolution.", "table": "study_elm", "metric": "convolution", "arm": "elm",
         "at": {"last": True}, "threshold": 0},
        {"claim": "Attention is its kernel.", "table": "study_kernel_swap", "metric": "change", "arm": "plain",
         "at": {"kind": "effective", "layer": "all"}, "expect": "within", "threshold": 100},
        {"claim": "It moves.", "table": "study_grid_transfer", "metric": "change", "arm": "gmm_5", "against": "plain",
         "at": {"factor": 1.5}, "threshold": 100},
    ],
}  # fmt: skip
#: What is measured besides the runs' outcomes, where a study says so.
MEASURED = (
    "elm",
    "masks",
    "gaussians",
    "mask_kernels",
    "elm_masks",
    "effective",
    "effective_kernels",
    "distance",
    "kernel_swap",
    "grid_transfer",
)
#: What a run made again does not repeat.
CLOCK = ["seconds", "images_per_second"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study file, its store, and its tables."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "main.yaml").write_text(yaml.safe_dump(STUDY), encoding="utf-8")
    assert not sweep(study(folder), folder / "runs").failures
    write_tables(build_tables(study(folder), folder / "runs"), folder / "data")
    return folder


def study(folder: Path) -> Study:
    return load_study(folder / "main.yaml")


def table(folder: Path, name: str) -> pd.DataFrame:
    return load_tables(folder / "data")[f"study_{name}"]


def test_every_row_traces_to_a_run(trained: Path) -> None:
    runs = {run.path.name: run for run in Store(trained / "runs").runs()}
    tables = load_tables(trained / "data")
    assert set(tables) == {f"study_{name}" for name in ("main", *MEASURED)}
    for name, rows in tables.items():
        assert set(rows["run"]) <= set(runs), name
        assert all(runs[run].config.seed == seed for run, seed in zip(rows["run"], rows["seed"], strict=True))
        assert {"study", "arm", "scale", "commit"} <= set(rows)
    assert {"data", "torch", "device", "threads", "replicas"} <= set(tables["study_main"])


def test_outcomes_are_those_of_the_runs(trained: Path) -> None:
    rows = table(trained, "main")
    assert len(rows) == 12
    stored = Store(trained / "runs").frame().set_index("run")
    epochs = Store(trained / "runs").metrics().groupby("run")
    for row in rows.to_dict("records"):
        assert row["seconds"] == pytest.approx(epochs["seconds"].sum()[row["run"]], rel=1e-5)
        assert row["images_per_second"] == pytest.approx(epochs["images_per_second"].max()[row["run"]], rel=1e-5)
        assert row["test_accuracy"] == pytest.approx(100 * stored["test_accuracy"][row["run"]])
        assert row["validation_accuracy"] == pytest.approx(100 * stored["best_validation_accuracy"][row["run"]])
        assert row["parameters"] == stored["parameters"][row["run"]]
    by_arm = rows.groupby("arm").first()
    assert by_arm["mask_parameters"].to_dict() == {"plain": 0, "elm": 2 * 16, "table": 2 * 2 * 9, "gmm_5": 2 * 2 * 10}
    assert by_arm["macs"].nunique() == 1
    assert by_arm["components"]["gmm_5"] == 5


def test_without_a_swap_accuracy_is_that_of_the_run_on_the_images_it_held_out(trained: Path) -> None:
    """To within one of them: a stacked model rounds otherwise than one alone."""
    whole = table(trained, "kernel_swap").query("kind == 'whole'").set_index("run")
    ran = table(trained, "main").set_index("run")["validation_accuracy"]
    moved = table(trained, "grid_transfer").query("factor == 1").set_index("run")["accuracy"]
    assert len(whole) == len(moved) == 12
    assert set(whole["part"]) == {"validation"}
    one = 100.1 / whole["images"]
    assert ((whole["accuracy"] - ran).abs() < one).all()
    assert ((moved - ran).abs() < one).all()


def test_swaps_cover_every_size_and_layer(trained: Path) -> None:
    swaps = table(trained, "kernel_swap")
    kinds = swaps.groupby(["arm", "kind"]).size().unstack(fill_value=0)
    assert kinds["effective"].to_dict() == dict.fromkeys(STUDY["arms"], 3 * 3)
    assert kinds["truncated"].to_dict() == {"plain": 0, "elm": 6, "table": 6, "gmm_5": 6}
    full = swaps[(swaps["kind"] == "truncated") & (swaps["k"] == 3) & swaps["arm"].isin(["table", "gmm_5"])]
    assert (full["change"].abs() < 0.6).all()


def test_shares_of_variance_add_up(trained: Path) -> None:
    rows = table(trained, "effective")
    assert len(rows) == 12 * 2 * 2
    shares = rows[["explained", "position", "content"]].sum(axis=1)
    assert shares[rows["explained"].notna()].tolist() == pytest.approx([1.0] * int(rows["explained"].notna().sum()))


def test_elementwise_masks_by_epoch(trained: Path) -> None:
    rows = table(trained, "elm")
    assert sorted(set(rows["epoch"])) == [1, 2]
    assert rows.groupby("last")["epoch"].unique().map(list).to_dict() == {False: [1], True: [2]}
    assert rows["convolution"].tolist() == pytest.approx((1 - rows["residual"] ** 2).tolist(), rel=1e-5)
    assert set(rows["chance"]) == {9 / 16}


def test_kernels_are_stored_for_one_seed(trained: Path) -> None:
    kernels, entries = table(trained, "mask_kernels"), table(trained, "elm_masks")
    assert set(kernels["seed"]) == set(entries["seed"]) == {0}
    assert kernels.groupby("arm").size().to_dict() == {"elm": 2 * 9, "table": 2 * 2 * 9, "gmm_5": 2 * 2 * 9}
    assert len(entries) == 2 * 16
    assert sorted(set(kernels["offset_1"])) == [-1, 0, 1]
    mean = entries.query("layer == 0 and query == key")["value"].mean()
    centre = kernels.query("arm == 'elm' and layer == 0 and offset_1 == 0 and offset_2 == 0")["value"]
    assert centre.tolist() == pytest.approx([mean], rel=1e-4)


def test_an_elementwise_mask_cannot_move(trained: Path) -> None:
    rows = table(trained, "grid_transfer")
    assert rows.groupby("factor")["size"].unique().map(list).to_dict() == {1.0: [8], 1.25: [10], 1.5: [12], 2.0: [16]}
    stuck = rows[(rows["arm"] == "elm") & (rows["factor"] > 1)]
    assert stuck["accuracy"].isna().all()
    assert stuck["note"].str.startswith("cannot move").all()
    moved = rows.drop(stuck.index)
    assert (moved["accuracy"].isna() == (moved["size"] % 4 > 0)).all(), "patches of 4 pixels"


def test_a_study_says_whether_and_where_its_masks_are_measured(trained: Path) -> None:
    """Two measured studies must not write the same tables."""
    first = [config for config in study(trained).configs if config.seed == 0]
    one = replace(study(trained), name="mine", configs=tuple(first))
    assert set(build_tables(replace(one, mask_tables=""), trained / "runs")) == {"study_mine"}
    named = set(build_tables(replace(one, mask_tables="study_mine"), trained / "runs"))
    assert named == {"study_mine", *(f"study_mine_{name}" for name in MEASURED)}


def test_tables_without_rows_are_left_out(trained: Path) -> None:
    """Plain attention has no mask; an empty file could not be read again."""
    whole = study(trained)
    plain = tuple(config for config in whole.configs if whole.arm_of[config.id] == "plain")
    tables = build_tables(replace(whole, configs=plain), trained / "runs")
    measured = ("main", "effective", "effective_kernels", "distance", "kernel_swap", "grid_transfer")
    assert set(tables) == {f"study_{name}" for name in measured}
    assert all(len(table) for table in tables.values())


def test_runs_made_again_give_the_same_tables(trained: Path, tmp_path: Path) -> None:
    """But for the clock; here those of two arms."""
    arms = {name: STUDY["arms"][name] for name in ("elm", "gmm_5")}
    part = parse_study(STUDY | {"arms": arms, "rules": []}, name="main")
    assert not sweep(part, tmp_path / "runs").failures
    write_tables(build_tables(part, tmp_path / "runs"), tmp_path / "data")
    for name, every in load_tables(trained / "data").items():
        before, after = every[every["arm"].isin(arms)].reset_index(drop=True), load_tables(tmp_path / "data")[name]
        pd.testing.assert_frame_equal(
            before.drop(columns=CLOCK, errors="ignore"), after.drop(columns=CLOCK, errors="ignore")
        )


def test_the_command_writes_tables_and_verdicts(trained: Path, tmp_path: Path) -> None:
    arguments = [str(trained / "main.yaml"), "--root", str(trained / "runs"), "--out", str(tmp_path)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert set(load_tables(tmp_path)) == {*load_tables(trained / "data"), "study_verdicts"}
    decided = verdicts(tmp_path, [study(trained)])
    assert readable(decided) in result.output
    written = load_tables(tmp_path)["study_verdicts"]
    assert list(written[written["study"] == "main"]["verdict"]) == list(decided["verdict"])
    own = CliRunner().invoke(main, [str(trained / "main.yaml"), "--rules", "--out", str(tmp_path)]).output
    assert own.strip() == markdown(decided)
    said = CliRunner().invoke(main, ["cifar_small", "--rules", "--out", str(tmp_path)]).output
    assert said.count("| not run |") == len(load_study("cifar_small").rules)
    assert list(decided["verdict"]) == ["supported", "supported", "supported", "refuted"]


def test_missing_runs_are_left_out_only_knowingly(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained / "runs", tmp_path / "runs")
    first = study(trained).configs[0]
    shutil.rmtree(tmp_path / "runs" / first.id)
    with pytest.raises(RuntimeError, match="1 of the 12 runs of study main are not finished"):
        build_tables(study(trained), tmp_path / "runs")
    rows = build_tables(study(trained), tmp_path / "runs", partial=True)["study_main"]
    assert len(rows) == 11
    assert first.id not in set(rows["run"])


def test_a_twin_that_varies_more_has_columns_for_it() -> None:
    study = parse_study(STUDY | {"small": {"recipe": "small", "grid": {"augment.cutmix": [0.0, 1.0]}}}, small=True)
    assert [*study.grid] == ["seed", "augment.cutmix"]
    assert len(study.configs) == 2 * 4 * 3


@pytest.mark.parametrize("others", [["z"], ["a", "z"], ["b"]])
def test_no_run_of_a_stored_table_is_lost(tmp_path: Path, others: list[str]) -> None:
    write_tables({"study_mine": pd.DataFrame({"study": "mine", "run": ["a", "b", "c"]})}, tmp_path)
    with pytest.raises(TrainError, match=r"study_mine\.csv holds . runs more, as ., which must not be lost"):
        write_tables({"study_mine": pd.DataFrame({"study": "mine", "run": others})}, tmp_path)
    write_tables({"study_mine": pd.DataFrame({"study": "mine", "run": ["a", "b", "c", "z"]})}, tmp_path)


def test_results_table_sets_ours_beside_the_published(tmp_path: Path) -> None:
    """Of seeds that both arms have; an arm with fewer than three is left out."""
    arms = {"plain": (66.0, 8), "gmm": (67.0, 4), "table": (68.0, 2)}
    rows = [
        {"arm": arm, "seed": seed, "test_accuracy": mean + seed / 10, "validation_accuracy": (mean + seed) / 2}
        for arm, (mean, seeds) in arms.items()
        for seed in range(seeds)
    ]
    table = pd.DataFrame(rows).assign(scale="full", data="cifar10", epochs=8)
    write_tables({"study_cifar_small": table}, tmp_path)
    _, _, *lines = results_table(tmp_path).splitlines()
    (line,) = lines
    assert line == (
        "| Gaussian mixture, K = 5, × logits: the published mask | 95.06 − 93.65 | 66.15 → 67.15 | "
        "+1.00 [+1.00, +1.00] | +0.50 [+0.50, +0.50] | 4 | CIFAR-10 (JPEG), 8 |"
    )
    printed = CliRunner().invoke(main, ["--readme", "--out", str(tmp_path)]).output
    assert printed == f"{readme_table(tmp_path)}\n\n{results_table(tmp_path)}\n"
    (short,) = readme_table(tmp_path).splitlines()[2:]
    assert short == "| Gaussian mixture, K = 5, × logits: the published mask | +1.41 | +1.00 [+1.00, +1.00] | 4 |"
    write_tables({"study_cifar_small": table.assign(validation_accuracy=float("nan"))}, tmp_path)
    assert "| +1.00 [+1.00, +1.00] | – | 4 |" in results_table(tmp_path)


def test_passes_of_fewer_images_are_more(tmp_path: Path) -> None:
    """An epoch keeps its number of steps."""
    runs = [{"arm": arm, "seed": seed} for arm in ("plain", "manhattan_bias") for seed in range(3)]
    table = pd.DataFrame(runs).assign(scale="full", data="cifar10", epochs=8, fraction=0.1)
    table = table.assign(test_accuracy=60.0, validation_accuracy=60.0)
    write_tables({"study_cifar_small_data": table}, tmp_path)
    assert results_table(tmp_path).splitlines()[2].endswith("| 3 | CIFAR-10 (JPEG), 80 |")


def test_results_table_reads_a_point_of_a_grid(tmp_path: Path) -> None:
    rows = [
        {"arm": arm, "seed": seed, "cutmix": cutmix, "test_accuracy": 60 + 2 * cutmix * (arm == "gmm") + seed}
        for arm in ("plain", "gmm")
        for cutmix in (0.0, 1.0)
        for seed in range(3)
    ]
    table = pd.DataFrame(rows).assign(scale="full", data="cifar10", epochs=8, validation_accuracy=float("nan"))
    write_tables({"study_cifar_small_cutmix": table}, tmp_path)
    (line,) = results_table(tmp_path).splitlines()[2:]
    assert line.startswith("| mixture, with CutMix | – | 61.00 → 63.00 | +2.00 [+2.00, +2.00] | – | 3 |")


def test_published_numbers_are_all_there() -> None:
    assert len(PUBLISHED_TOP1) == 5 * 4
    assert all(0 < plain < 100 and abs(masked - plain) < 2.5 for plain, masked in PUBLISHED_TOP1.values())
