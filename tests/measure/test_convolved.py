"""Accuracy by the number of convolved heads: against doing it by hand, and the table of the command."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from retconv.heads import convolve
from retconv.measure import Trained, merged
from retconv.measure.__main__ import main
from retconv.measure.convolved import arm_of, convolved_rows, spaced
from retconv.models import masks_of
from retconv.stored import read_runs
from retconv.train import train
from tests.compare import assert_exact
from tests.models.cases import plain
from tests.results.carried import MASKED
from tests.strategies import normal
from tests.train.small import few_digits


def trained() -> tuple[Trained, tuple[torch.Tensor, torch.Tensor]]:
    pixels = (255 * torch.sigmoid(normal(2, 30, 3, 32, 32))).to(torch.uint8)
    labels = torch.arange(30) % 5
    model = plain("ViT without class token").requires_grad_(False)
    whole = Trained(model, pixels[:10], labels[:10], lambda x: x.float() / 128 - 1, "float32")
    return whole, (pixels[10:], labels[10:])


def test_rows_are_what_convolving_by_hand_gives() -> None:
    whole, test = trained()
    x = whole.normalise(whole.images)
    on_test = replace(whole, images=test[0], labels=test[1])
    before, state = on_test.evaluate()[1], [p.clone() for p in whole.model.parameters()]
    rows = pd.DataFrame(convolved_rows(whole, test, seed=1, steps=4))
    assert list(rows["heads"]) == [0, 1, 2, 3, 4] * 2
    assert set(rows["of"]) == {4}
    errors = convolve(whole.model, images=x, tolerance=float("inf"), rounds=0)
    all_changed = on_test.evaluate()[1] - before
    errors.remove()
    ascending = sorted(float(e) for error in errors.error.values() for e in error)
    first = rows[rows["order"] == "error"].set_index("heads")
    assert list(first["error"]) == pytest.approx([0, *ascending], rel=1e-4)
    ends = rows[rows["heads"] == 4]
    assert list(ends["change"]) == pytest.approx([all_changed] * 2)
    assert list(ends["logits"]) == pytest.approx([errors.logits] * 2, rel=1e-4)
    assert set(rows.loc[rows["heads"] == 0, "accuracy"]) == {before}
    assert not masks_of(whole.model)
    for now, then in zip(whole.model.parameters(), state, strict=True):
        assert_exact(now, then)


def test_an_arm_is_named_by_all_that_its_masks_differ_in() -> None:
    options = {"mask": "manhattan", "mask_options": {"learnable": True}, "placement": "bias_logits"}
    assert arm_of(options) == "manhattan_bias"
    assert arm_of(options | {"mask": None}) == arm_of({}) == "plain"
    assert arm_of({"mask": "table", "placement": "convolution"}) == "table_convolution"
    assert arm_of({"mask": "gmm", "mask_options": {"components": 5, "start": "local"}}) == "gmm_local"


def test_images_are_far_apart() -> None:
    assert spaced(torch.arange(10), 4).tolist() == [0, 3, 6, 9]
    assert spaced(torch.arange(3), 7).tolist() == [0, 1, 2]


def test_the_command_adds_the_rows_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retconv.measure.convolved.load_data", lambda name, download: few_digits())
    (run,) = train(MASKED, tmp_path, data=few_digits(), device="cpu", progress=False)
    out = tmp_path / "table.csv"
    other = {"arm": ["elm"], "seed": [3], "run": ["0123"], "order": ["error"], "heads": [0], "accuracy": [1.5]}
    pd.DataFrame(other).to_csv(out, index=False)
    result = CliRunner().invoke(main, [str(run.path), "--out", str(out)])
    assert result.exit_code == 0, result.output
    table = read_runs(out)
    assert list(table["arm"]) == ["elm"] + ["gmm"] * 10
    assert list(table["run"].unique()) == ["0123", run.path.name]
    assert set(table.loc[1:, "data"]) == {"digits"}
    again = merged(table[table["arm"] == "gmm"].assign(accuracy=2.0), out)
    assert list(again["accuracy"]) == [1.5] + [2.0] * 10
    kept = MASKED.model.options
    others = {"gmm_local": kept | {"mask_options": {"start": "local"}}, "plain": kept | {"mask": None}}
    configs = [replace(MASKED, model=replace(MASKED.model, options=options)) for options in others.values()]
    folders = [str(train(c, tmp_path, data=few_digits(), device="cpu", progress=False)[0].path) for c in configs]
    result = CliRunner().invoke(main, [*folders, "--out", str(out)])
    assert result.exit_code == 0, result.output
    arms = pd.read_csv(out)["arm"].value_counts().to_dict()
    assert arms == {"elm": 1, "gmm": 10, "gmm_local": 10, "plain": 10}
    refused = CliRunner().invoke(main, [str(tmp_path / "nothing"), "--out", str(out)])
    assert refused.exit_code == 2
    assert "does not exist" in refused.output
