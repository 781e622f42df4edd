"""The race against other packages: those that are installed do what ours does, and those that are not are named."""

from __future__ import annotations

import itertools
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from retconv import bench
from retconv.bench.__main__ import main
from retconv.bench.peers import attending, convolutions, public, retaining
from retconv.bench.peers.installed import MODULES
from retconv.bench.peers.rows import DisagreementError, Row, check
from retconv.grid import Grid
from retconv.kernels import Separable
from retconv.masks import DecayMask, GaussianMixtureMask, KernelTableMask, RetNetMask
from retconv.operators import operator
from retconv.retention import recurrent, retention

pytestmark = pytest.mark.usefixtures("without_gradients")

#: Grid, heads of the kernel, and shape of the features in front of tokens and channels.
SIZES = (((6,), 1, (2, 1)), ((6,), 2, (3, 2)), ((4, 5), 1, (1, 1)), ((4, 5), 3, (2, 3)), ((3, 4, 2), 3, (1, 3)))
KERNELS: dict[str, Callable[[int, Grid], torch.Tensor]] = {
    "arbitrary": lambda heads, grid: torch.randn(heads, *grid.kernel_shape),
    "Gaussian": lambda heads, grid: GaussianMixtureMask(heads, components=1).kernel(grid).detach(),
    "decay": lambda heads, grid: DecayMask(heads).kernel(grid),
}


@pytest.fixture
def without_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def installed(package: str) -> None:
    if package in MODULES:
        pytest.importorskip(MODULES[package], reason="an optional peer of the benchmark")


@pytest.mark.parametrize("package", convolutions.ADAPTERS)
def test_installed_convolution_agrees(package: str) -> None:
    installed(package)
    for (shape, heads, front), (kind, make) in itertools.product(SIZES, KERNELS.items()):
        grid = Grid(shape)
        kernel, x = make(heads, grid), torch.randn(*front, grid.size, 4)
        runs = dict(convolutions.ADAPTERS[package](kernel, grid, x))
        assert bool(runs) == (package != "linear-operator" or kind != "arbitrary")
        check(Row(f"{kind} on {grid}", partial(operator(kernel, grid), x), runs))
        assert all(run().shape == x.shape for run in runs.values())


def test_scipy_has_a_toeplitz_product_for_one_kernel_on_one_axis() -> None:
    for shape, heads, front in SIZES:
        grid = Grid(shape)
        runs = convolutions.peers(torch.randn(heads, *grid.kernel_shape), grid, torch.randn(*front, grid.size, 2))
        assert ("scipy matmul_toeplitz" in runs) == (len(shape) == heads == 1)


def test_only_symmetric_outer_products_are_kronecker_products() -> None:
    grid = Grid((4, 5))
    lopsided = Separable((torch.rand(2, 1, 7), torch.rand(2, 1, 9))).kernel()
    mixed = GaussianMixtureMask(2, generator=torch.Generator().manual_seed(0)).kernel(grid).detach()
    assert convolutions._lines(lopsided, grid) is None
    assert convolutions._lines(mixed, grid) is None


@pytest.mark.parametrize("package", public.ADAPTERS)
def test_installed_retention_agrees(package: str) -> None:
    """Except torchscale's, which is another by definition, so it runs only."""
    installed(package)
    mask = RetNetMask(3, "retnet_linspace")
    for tokens in (64, 100):
        q, k, v = torch.randn(3, 2, 3, tokens, 8)
        runs = dict(public.ADAPTERS[package](q, k, v, mask.gamma.float()))
        assert runs
        if package == public.DIVIDES:
            assert all(isinstance(run(), torch.Tensor) for run in runs.values())
        else:
            check(Row(package, partial(retention, q, k, v, mask, tokens), runs))


def test_installed_step_agrees() -> None:
    installed("yet-another-retnet")
    mask = RetNetMask(3, "retnet_linspace")
    q, k, v = torch.randn(3, 2, 3, 1, 8)
    _, state = recurrent(q, k, v, mask)
    runs = public.next_token(q, k, v, state.memory[:, :, 0])
    assert runs
    check(Row("step", lambda: recurrent(q, k, v, mask, state)[0], runs))


@pytest.mark.parametrize("batch", [1, 2])
def test_one_token_is_raced_in_place_and_as_a_function(batch: int) -> None:
    in_place, functional = retaining._decode(batch)
    assert "raw torch in place" in in_place.others
    assert "raw torch" in functional.others
    check(in_place)
    check(functional)
    assert in_place.ours() is not None


@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="torch compiles with a C++ compiler")
def test_flex_attention_agrees() -> None:
    """With a kernel table as a factor; compiling the row of a bias too takes as long again."""
    grid = Grid((3, 4))
    table = KernelTableMask(grid, attending.HEADS)
    table.weight.data.uniform_(0.5, 1.5)
    row = attending._multiplied("kernel table", table, lambda: table(grid), grid, 1, torch.float32, backward=False)
    assert "FlexAttention" in row.others
    check(row)


def test_narrow_heads_are_raced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where compiled loops run: rows with sizes of their own."""
    monkeypatch.setattr(attending, "_flex", lambda _: {})
    grid = Grid((7, 7))
    mask, dense = attending._masks(grid, heads=2)["kernel table"]
    for row in (
        attending._multiplied("kernel table", mask, dense, grid, 2, torch.float32, backward=False, dim=16),
        attending._added(grid, 2, torch.float32, backward=False, heads=2, dim=16),
    ):
        assert row.name.endswith("49 tokens, batch 2, 2 heads of 16, float32, forward")
        check(row)


def test_flex_attention_that_does_not_compile_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no compiler\nof C++")

    monkeypatch.setattr(attending, "flexible", refuse)
    row = attending._added(Grid((3, 3)), 1, torch.float32, backward=False)
    assert "FlexAttention" not in row.others
    assert capsys.readouterr().err == "FlexAttention does not compile, so it is not raced: no compiler\n"


def test_packages_that_are_not_installed_are_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in MODULES.values():
        monkeypatch.setitem(sys.modules, module, None)
    assert public.peers(*torch.randn(3, 1, 2, 8, 8), torch.rand(2)) == {}
    assert {*convolutions.peers(torch.randn(1, 7), Grid(4), torch.randn(1, 1, 4, 2))} == {
        "scipy oaconvolve",
        "scipy matmul_toeplitz",
    }
    assert bench.peers.missing(["products", "retaining"]) == sorted(MODULES)
    assert bench.peers.missing(["products"]) == ["linear-operator", "nvsubquadratic", "pylops"]
    assert bench.peers.missing(["conversions", "starting"]) == []


def test_command_names_what_it_does_not_race(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in MODULES.values():
        monkeypatch.setitem(sys.modules, module, None)
    for part in bench.peers.PARTS:
        monkeypatch.setitem(bench.peers.PARTS, part, lambda: iter(()))
    monkeypatch.setattr(bench, "report", lambda *_, **__: None)
    result = CliRunner().invoke(main, ["peers", "--part", "products", "--rounds", "1"])
    assert result.exit_code == 0, result.output
    assert "not installed, so not raced: linear-operator, nvsubquadratic, pylops\n" in result.stderr


def test_another_result_is_refused() -> None:
    with pytest.raises(DisagreementError, match="half differs from retconv"):
        check(Row("x", lambda: torch.ones(2), {"half": lambda: torch.ones(2) / 2}))


def test_runs_are_added_and_summed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges over runs at different times; a row is ahead where every run has it so."""
    ratios = iter([0.5, 1.2, 0.4, 0.9])

    def once(part: str, rounds: int) -> pd.DataFrame:
        rows = [{"part": part, "row": name, "ms": 2.0, "best": "theirs", "ratio": next(ratios)} for name in "ab"]
        rows = [
            row | {"verdict": "ahead" if row["ratio"] < 1 else "behind", "n": rounds, "over copy": 3.0} for row in rows
        ]
        return pd.DataFrame(rows)

    monkeypatch.setattr(bench.peers, "bench", once)
    for _ in range(2):
        call = ["peers", "--part", "products", "--rounds", "5", "--threads", "1", "--out", str(tmp_path)]
        assert CliRunner().invoke(main, call).exit_code == 0
    stored = pd.read_csv(tmp_path / "peers_products.csv")
    assert len(stored) == 4
    text = CliRunner().invoke(main, ["peers", "--summary", "--out", str(tmp_path)]).stdout
    assert "## Masks as operators" in text
    assert "| a | 2 | theirs | 0.4–0.5 | ahead | 3 |" in text
    assert "| b | 2 | theirs | 0.9–1.2 | equal | 3 |" in text
    assert "threads: 1, rounds: 5." in text
