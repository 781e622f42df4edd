"""The table of support: a sample of it afresh, its page, and the rule of its list."""

from __future__ import annotations

import re
from collections import defaultdict
from importlib import metadata
from pathlib import Path

import pandas as pd
import pytest
import timm
from click.testing import CliRunner

import retconv
from retconv.models.__main__ import main
from retconv.models.checking.report import QUESTIONS
from retconv.models.search import CLASS_TOKENS, ORDER, OTHER_KEYS, POOLED
from retconv.models.support.page import page
from retconv.models.support.reasons import KINDS, OTHER, OTHERS, kind, summary
from retconv.models.support.survey import CASES, COLUMNS, STEADY, cases, merged, read, row
from retconv.models.support.timm_models import MODULES, TIMM
from retconv.stored import TABLES

STORED = read(TABLES / "support.csv")
DOCUMENT = Path(retconv.__file__).parents[1] / "docs" / "models.md"
#: Tried afresh each time: plain, windowed and pooled ones, and some that are refused.
SAMPLE = {
    "timm": (
        *("vit_tiny_patch16_224", "beit_base_patch16_224", "cait_xxs24_224", "eva02_tiny_patch14_224"),
        *("vit_tiny_patch16_dinov3_qkvb", "nest_tiny", "xcit_nano_12_p8_224"),
    ),
    "transformers": ("Dinov2WithRegisters", "ViTMAE", "Swin", "VideoMAE"),
    "torchvision": ("vit", "swin"),
}
PLACED = [(library, name) for library, names in SAMPLE.items() for name in names]
#: Modules of which only some models attend, as the list's docstring says.
PARTLY = {"byobnet", "mobilenetv3"}


def stored_row(library: str, name: str) -> pd.Series:
    return STORED[(STORED["library"] == library) & (STORED["model"] == name)].iloc[0]


@pytest.mark.parametrize(("library", "name"), PLACED)
def test_a_sample_is_as_it_is_stored(library: str, name: str) -> None:
    stored = stored_row(library, name)
    # Another version builds other models; the pinned one, which CI has, is never skipped.
    if metadata.version(library) != stored["version"]:
        pytest.skip(f"the table is of {library} {stored['version']}")
    (case,) = cases((library,), only=name)
    fresh = row(case)
    assert {column: str(fresh[column]) for column in STEADY} == {column: str(stored[column]) for column in STEADY}


def test_the_page_is_what_the_stored_rows_say() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == page(STORED)


def test_every_model_has_one_row_in_order_with_its_provenance() -> None:
    assert [*zip(STORED["library"], STORED["model"], strict=True)] == [(case.library, case.model) for case in CASES]
    assert not (STORED[["command", "commit", "torch", "python", "version"]].astype(str) == "").any(axis=None)
    assert not STORED["commit"].str.contains("dirty").any()


def test_no_stored_row_has_a_failed_experiment_and_most_models_take_masks() -> None:
    assert not (STORED[list(QUESTIONS)] == "failed").any(axis=None)
    masked = STORED[STORED["masked"] > 0]
    assert (masked["neutral"] == "passed").all()
    assert (masked["batch"] != "").all()
    assert (masked["masked"] <= masked["attention"]).all()
    for library, count in {"timm": 60, "transformers": 28, "torchvision": 4}.items():
        assert (masked["library"] == library).sum() >= count


def test_what_takes_no_mask_says_why() -> None:
    plain = STORED[STORED["masked"] < STORED["attention"]]
    assert (plain["reason"] != "").all()
    named = {re.sub(r" \(\d+\)", "", text) for reason in STORED["reason"] if reason for text in reason.split(", ")}
    assert named <= {*KINDS, OTHER, OTHERS}
    for name in named & set(KINDS):
        assert f"- **{name}**: {KINDS[name][1]}" in page(STORED)


def test_the_families_are_those_of_the_rule() -> None:
    """Every leading word of names in every module of the list, once, and 82 together."""
    # Another version has other names; the pinned one, which CI has, is never skipped.
    if metadata.version("timm") != stored_row("timm", "vit_tiny_patch16_224")["version"]:
        pytest.skip("the list is of another version of timm")
    families: dict[str, list[str]] = defaultdict(list)
    for name, module in MODULES.items():
        families[module].append(leading(name))
    assert len(TIMM) == len(MODULES) == 82
    for module, words in families.items():
        assert len(words) == len(set(words))
        if module not in PARTLY:
            assert set(words) == {leading(name) for name in timm.list_models(module=module)}


def leading(name: str) -> str:
    return "".join(re.findall(r"^[a-z]+", name))


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (CLASS_TOKENS, "class token"),
        (OTHER_KEYS.format(queries=4, keys=16), "other keys"),
        (POOLED.format(queries=16, keys=4, grid=(4, 4), coarse=(2, 2)), "pooled keys"),
        (ORDER, "order"),
        ("no place for a mask in ByobNet: no attention was computed", "no attention"),
        ("error RuntimeError: it broke", OTHER),
    ],
)
def test_a_reason_of_the_search_has_its_kind(reason: str, expected: str) -> None:
    assert kind(reason) == expected


def test_reasons_are_counted_by_kind() -> None:
    assert summary([ORDER, ORDER, CLASS_TOKENS], 0, complete=True) == "order (2), class token"
    assert summary([ORDER], 2, complete=True) == "order, class token (2)"
    assert summary([ORDER] * 3, 2, complete=False) == "order (5)"
    assert summary([ORDER, CLASS_TOKENS], 2, complete=False) == "order, class token, others (2)"
    assert summary([], 0, complete=True) == ""


def test_new_rows_take_the_places_of_old_ones() -> None:
    old = STORED.iloc[[3, 1, 80]]
    new = STORED.iloc[[1, 2]].assign(seconds=-1.0)
    rows = merged(old, new)
    assert [*rows["model"]] == [*STORED["model"].iloc[[1, 2, 3, 80]]]
    assert [*(rows["seconds"] == -1)] == [True, True, False, False]


def test_the_command_tries_models_and_writes_table_and_page(tmp_path: Path) -> None:
    out, text = tmp_path / "support.csv", tmp_path / "models.md"
    options = ["--support", "--library", "timm", "--only", "beit_base*", "--out", str(out), "--page", str(text)]
    for _ in range(2):  # the second replaces the row of the first
        result = CliRunner().invoke(main, options)
        assert result.exit_code == 0, result.output
        rows = read(out)
        assert [*rows["model"]] == ["beit_base_patch16_224"]
    assert [*rows.columns[: len(COLUMNS)]] == [*COLUMNS]
    assert "`beit_base_patch16_224` (beit)" in text.read_text(encoding="utf-8")
    refused = CliRunner().invoke(main, ["--support", "--only", "biet_base*"])
    assert refused.exit_code == 2
    assert "no model is called 'biet_base*'" in refused.output
