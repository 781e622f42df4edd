"""Arrays that the authors' own code gave, each with repository, commit and call beside it, against ours.

They were computed in float32, where the code does so, and are compared by its tolerance; indices exactly.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from retconv import kernels
from retconv.atlas import ENTRIES
from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.masks import Forms
from tests.compare import assert_close, assert_exact

FOLDER = Path(__file__).parent / "oracles"
ORACLES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}
F32 = torch.float32


def values(name: str) -> Any:
    return ORACLES[name]["values"]


def entry(name: str, shape: tuple[int, ...]) -> Forms:
    """A row of the atlas, with its published parameters."""
    grid = Grid(shape)
    return Forms.of(ENTRIES[name].build(grid), grid)


def sines(*sizes: tuple[int, ...]) -> list[Tensor]:
    """Weights ``sin 1, sin 2, …`` of these sizes, one after the other."""
    total = sum(torch.Size(size).numel() for size in sizes)
    parts = torch.arange(1.0, total + 1).sin().split([torch.Size(size).numel() for size in sizes])
    return [part.reshape(size).double() for part, size in zip(parts, sizes, strict=True)]


@pytest.mark.parametrize("name", ORACLES)
def test_oracle_names_its_origin(name: str) -> None:
    assert set(ORACLES[name]) == {"repository", "commit", "path", "call", "values"}
    assert (FOLDER / f"{name}.json").stat().st_size < 8192


def test_alibi_slopes() -> None:
    for heads, slopes in values("alibi_slopes").items():
        assert_close(kernels.slopes("alibi", int(heads)), slopes)


@pytest.mark.parametrize(
    ("name", "row", "shape"),
    [("croma", "alibi_2d", (2, 2)), ("rmt", "manhattan_bias", (2, 3))],
)
def test_biases_on_planes(name: str, row: str, shape: tuple[int, ...]) -> None:
    assert_close(entry(row, shape).log.entries, values(name), F32)


@pytest.mark.parametrize("name", ["retnet_normalised", "vir"])
def test_decays(name: str) -> None:
    expected = torch.tensor(values(name))
    shape = (len(expected[0]),) if name == "retnet_normalised" else (2, 3)
    assert_close(entry(name, shape).entries, expected, F32)


def test_xpos() -> None:
    """Queries that come after their keys; before them xPos grows, and a causal mask hides it."""
    expected = torch.tensor(values("xpos"))
    assert_close(entry("xpos", (6,)).entries, expected.tril(), F32)


def test_cosformer_divided_by_its_rows() -> None:
    mask = entry("cosformer", (5,)).entries[0]
    assert_close(mask / mask.sum(dim=-1, keepdim=True), values("cosformer"), F32)


@pytest.mark.parametrize("kind", ["log", "power"])
def test_kerple(kind: str) -> None:
    bias = entry(f"kerple_{kind}", (6,)).log.entries
    assert_close(bias.masked_fill(bias.isinf(), 0), values("kerple")[kind], F32)


def test_fire() -> None:
    """The code adds 1e-6 to the denominator, which float32 and a threshold of 3 make no more than 1e-5 of."""
    hidden, shift, out, bias = sines((4,), (4,), (2, 4), (2,))
    assert_close(kernels.fire(6, 0.1, 3.0, hidden, shift, out, bias), values("fire"), F32)


@pytest.mark.parametrize("degrees", ["180", "90", "45"])
def test_look_here(degrees: str) -> None:
    rows = values("look_here")[degrees]
    expected = torch.tensor([[[-torch.inf if v is None else v for v in row] for row in head] for head in rows])
    bias = entry(f"look_here_{degrees}", (3, 3)).log.entries
    assert torch.equal(bias.isinf(), expected.isinf())
    assert_close(bias.masked_fill(bias.isinf(), 0), expected.masked_fill(expected.isinf(), 0), F32)


def test_swin_index() -> None:
    """A table of the numbers of its rows, as bias of one window, is the index."""
    kernel = kernels.swin_table(torch.arange(35.0)[:, None], (3, 4))
    assert_exact(kernel_to_mask(kernel, (3, 4))[0], values("swin_index"))


def test_swin_v2() -> None:
    hidden, shift, out = sines((5, 2), (5,), (2, 5))
    kernel = kernels.swin_v2(Grid((3, 4)).offsets(), hidden, shift, out, window=(3, 4))
    assert_close(kernel_to_mask(kernel, (3, 4)), values("swin_v2"), F32)


def test_swin_shifted_windows() -> None:
    mask = entry("swin_shifted_windows", (8, 8)).entries[0]
    assert mask.argmax(dim=-1).tolist() == values("swin_shifted")


def test_beit_index() -> None:
    """A table of the numbers of its rows, as bias with a class token, is the index."""
    index = torch.tensor(values("beit_index"))
    kernel, token = kernels.beit_table(torch.arange(38.0)[:, None], (3, 4))
    assert_exact(kernel_to_mask(kernel, (3, 4))[0], index[1:, 1:].tolist())
    row, column, corner = token[0].long().tolist()
    assert set(index[0, 1:].tolist()) == {row}
    assert set(index[1:, 0].tolist()) == {column}
    assert int(index[0, 0]) == corner


@pytest.mark.parametrize("case", values("natten"), ids=lambda c: f"{c['length']}-{c['side']}-{c['dilation']}")
def test_natten_borders(case: dict[str, Any]) -> None:
    """Where each query's window begins."""
    mask = kernels.neighbourhood(case["length"], case["side"], case["dilation"])[0]
    seen = [row.nonzero().flatten().tolist() for row in mask]
    steps = range(0, case["side"] * case["dilation"], case["dilation"])
    assert seen == [[start + step for step in steps] for start in case["starts"]]


@pytest.mark.parametrize(("name", "causal"), [("both", False), ("causal", True)])
def test_t5_buckets(name: str, causal: bool) -> None:
    """Rounding of their float32 logarithms moves no bucket of T5's own numbers."""
    offset = torch.arange(-140, 141)[:, None]
    assert kernels.t5_bucket(offset, causal=causal).tolist() == values("t5_buckets")[name]
