"""Planted truths: what is planted, what theory says of it, and the command on its small tasks."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from retconv import planted
from retconv.convert import kernel_to_mask, project
from retconv.grid import Grid
from retconv.masks import ElementwiseMask, KernelTableMask
from retconv.planted.__main__ import BROKEN, TASKS, main
from retconv.planted.fit import build, learn
from retconv.planted.recovery import elm_error, residual
from retconv.planted.tables import Bound
from retconv.planted.targets import Samples, compress, planted_kernel, samples, varying_mask
from retconv.stored import TABLES
from tests.naive import matvec
from tests.planted import naive as naive_planted

GRID = Grid((3, 5))


def draw(n: int, noise: float, grid: Grid = GRID, seed: int = 0) -> tuple[torch.Tensor, Samples]:
    mask = kernel_to_mask(planted_kernel("mixture", grid), grid)
    return mask, samples(mask, grid, n, torch.Generator().manual_seed(seed), noise)


@pytest.mark.parametrize("name", TASKS)
def test_small_task_holds_every_bound_and_says_where_it_comes_from(name: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, [name, "--small", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "FAILS" not in result.output
    table = pd.read_csv(tmp_path / f"planted_{name}.csv")
    assert set(table["scale"]) == {"small"}
    assert table["seed"].nunique() >= 3
    assert {"command", "commit", "torch", "device", "threads", "grid"} <= set(table.columns)
    bounds = getattr(planted, name).bounds(table)
    assert f"{len(bounds)} of {len(bounds)} bounds hold" in result.output


@pytest.mark.parametrize("name", TASKS)
def test_stored_table_holds_every_bound(name: str) -> None:
    table = pd.read_csv(TABLES / f"planted_{name}.csv")
    assert set(table["scale"]) == {"full"}
    assert table["seed"].nunique() >= 5
    assert [str(bound) for bound in getattr(planted, name).bounds(table) if not bound.holds] == []


def test_command_fails_where_a_bound_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.DataFrame({"seed": [0]})
    monkeypatch.setattr(planted.bias, "table", lambda small, report: table)
    monkeypatch.setattr(planted.bias, "bounds", lambda _: [Bound("too much", 0, 2, 1)])
    result = CliRunner().invoke(main, ["bias", "--small", "--out", str(tmp_path)])
    assert result.exit_code == BROKEN
    assert "FAILS" in result.output
    assert "0 of 1 bounds hold" in result.output


def test_help_teaches_by_example() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    assert "\n    retconv planted varying --small" in result.output


@pytest.mark.parametrize("name", ["decay", "mixture"])
def test_planted_kernels_are_their_formulas(name: str) -> None:
    mask = kernel_to_mask(planted_kernel(name, GRID), GRID)
    for head in (0, 1):
        expected = naive_planted.planted(name, head, GRID.shape)
        np.testing.assert_allclose(mask[head].numpy(), expected, rtol=1e-12, atol=1e-14)
    assert residual(mask, GRID) == 0


@pytest.mark.parametrize("amount", [0.0, 0.5, 1.0])
def test_varying_mask_is_its_formula_and_a_convolution_only_at_0(amount: float) -> None:
    mask = varying_mask(GRID, amount)
    for head in (0, 1):
        expected = naive_planted.varying(amount, head, GRID.shape)
        np.testing.assert_allclose(mask[head].numpy(), expected, rtol=1e-12, atol=1e-14)
    assert (residual(mask, GRID) == 0) == (amount == 0)


def test_targets_are_the_mask_times_the_tokens() -> None:
    mask, data = draw(n=3, noise=0.0)
    for head in (0, 1):
        expected = matvec(mask[head].tolist(), data.x[0, head].tolist())
        np.testing.assert_allclose(data.y[0, head].numpy(), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("n", [10, 200])
def test_compressed_samples_give_every_mask_the_same_error(n: int) -> None:
    mask, data = draw(n, noise=0.5)
    few = compress(data)
    assert few.x.shape[-1] == min(n, 2 * GRID.size)
    for other in (mask, torch.randn_like(mask), torch.zeros_like(mask)):
        errors = [float((d.y - other @ d.x).square().sum()) for d in (data, few)]
        assert errors[0] == pytest.approx(errors[1], rel=1e-12)


@pytest.mark.parametrize("n", [9, 60])
def test_elementwise_mask_learns_the_least_squares_solution(n: int) -> None:
    """The shortest one where there are fewer samples than tokens: it starts at 0 and moves by gradients alone."""
    _, data = draw(n, noise=0.5)
    mask = build("elm", GRID)
    assert isinstance(mask, ElementwiseMask)
    learn(mask, GRID, data)
    expected = data.y @ torch.linalg.pinv(data.x)
    torch.testing.assert_close(mask(GRID), expected[0], rtol=0, atol=1e-4)


def test_kernel_table_learns_the_least_squares_solution() -> None:
    _, data = draw(n=40, noise=0.5)
    mask = build("table", GRID)
    assert isinstance(mask, KernelTableMask)
    learn(mask, GRID, data)
    for head in (0, 1):
        rows = naive_planted.design(data.x[0, head].tolist(), GRID.shape)
        expected, *_ = np.linalg.lstsq(np.array(rows), data.y[0, head].flatten().numpy(), rcond=None)
        np.testing.assert_allclose(mask.weight[head].detach().flatten().numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("n", [2, 12])
def test_expected_error_of_the_elementwise_mask_is_that_of_many_draws(n: int) -> None:
    grid, errors = Grid((2, 3)), []
    for seed in range(600):
        mask, data = draw(n, 0.5, grid, seed)
        errors.append(float((data.y @ torch.linalg.pinv(data.x) - mask).square().sum()))
    assert np.mean(errors) == pytest.approx(elm_error(mask, n), rel=0.1)
    assert all(math.isinf(elm_error(mask, n)) for n in (5, 6, 7))


def test_no_kernel_comes_nearer_to_a_varying_target_than_its_residual() -> None:
    mask = varying_mask(GRID, 1.0)
    least = float((kernel_to_mask(project(mask, GRID).kernel, GRID) - mask).norm() / mask.norm())
    assert least == pytest.approx(residual(mask, GRID), rel=1e-12)
    kernel = project(mask, GRID).kernel
    stream = torch.Generator().manual_seed(0)
    for _ in range(20):
        other = kernel + 0.1 * torch.randn(kernel.shape, dtype=kernel.dtype, generator=stream)
        assert float((kernel_to_mask(other, GRID) - mask).norm() / mask.norm()) > least
