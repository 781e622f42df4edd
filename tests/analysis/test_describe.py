"""``describe``: its numbers are those of the functions beneath, for every mask, in every form it is given out in."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from retconv.analysis import describe
from retconv.analysis.locality import locality, mass_within
from retconv.analysis.spectrum import definiteness, norm_bounds, operator_norm, passband
from retconv.approximate import effective_size
from retconv.convert import kernel_to_mask, project
from retconv.describe import main
from retconv.grid import Grid
from retconv.kernels import gpsa, manhattan_decay, window
from retconv.masks import DecayMask, GaussianMixtureMask, Mask, RetNetMask
from tests import naive
from tests.analysis.cases import f64
from tests.compare import assert_close
from tests.masks.cases import MASKS, Case, build


def mixture() -> GaussianMixtureMask:
    return GaussianMixtureMask.from_parameters(f64([[2.0, 0.2]]), f64([[0.6, -0.8]]))


@pytest.mark.parametrize("case", MASKS.values(), ids=MASKS.keys())
def test_numbers_are_those_of_the_functions_beneath(case: Case) -> None:
    grid = Grid(case.shapes[-1])
    mask = build(case, grid)
    found = describe(mask, Grid(grid.shape, prefix=1))
    kernel, residual = project(mask(grid).detach(), grid)
    assert_close(found.kernel, kernel)
    assert bool(((residual == 0) == (found.residual == 0)).all())
    expected = {
        "mean distance": locality(mask, grid).mean_distance,
        "radius of 50 % mass": locality(mask, grid).radius_half,
        "radius of 95 % mass": locality(mask, grid).radius_95,
        "entropy (nats)": locality(mask, grid).entropy,
        "extroversion": locality(mask, grid).extroversion,
        "mass within √2": mass_within(mask, grid, math.sqrt(2)),
        "kernel size, 95 %": effective_size(kernel, 0.05),
        "kernel size, 99 %": effective_size(kernel, 0.01),
        "norm ‖M‖₂": operator_norm(mask, grid),
        "DC gain": passband(kernel).dc,
        "Nyquist gain": passband(kernel).nyquist,
        "peak gain": passband(kernel).peak,
    }
    rows = found.rows()
    for name, values in expected.items():
        assert rows[name] == pytest.approx(values.tolist(), rel=1e-12), name
    assert rows["filter"] == list(passband(kernel).kind)
    assert rows["definite"] == [d.verdict for d in definiteness(mask, grid)]
    if case.has_kernel:
        assert rows["bound ‖K‖₁"] == pytest.approx(norm_bounds(kernel, grid).l1.tolist())
    assert ("bound ‖K‖₁" in rows) == (found.bounds is not None) == case.has_kernel


def test_text_names_every_quantity_and_the_reason() -> None:
    found = describe(mixture(), (14, 14))
    text = str(found)
    assert text.startswith("GaussianMixtureMask(heads=1, components=2, sigma=0.2…2, alpha=-0.8…0.6) on 14×14 tokens")
    assert [name for name in found.rows() if name not in text] == []
    assert "head 0 is indefinite: the self-weight -0.2 is outweighed by 0.5295 at offset (1, 0)" in text
    line = next(line for line in text.splitlines() if line.startswith("self-weight"))
    assert line.split()[-1] == "-0.2"
    assert max(map(len, text.splitlines()[1:-1])) < 120


def test_many_heads_are_printed_below_each_other() -> None:
    text = str(describe(DecayMask(8).double(), (5, 5), name="decays"))
    assert text.startswith("decays on 5×5 tokens, 8 heads: kernel 9×9, exact")
    assert text.count("\nself-weight") == 2
    assert "head 7" in text


def test_frame_and_json_hold_the_same_numbers() -> None:
    found = describe(DecayMask(3).double(), (4, 6))
    frame = found.to_frame()
    assert list(frame.columns) == list(found.rows())
    assert frame.index.name == "head"
    assert frame["entropy (nats)"].tolist() == found.rows()["entropy (nats)"]
    stored = json.loads(json.dumps(found.to_dict()))
    assert stored["grid"] == [4, 6]
    assert [head["entropy (nats)"] for head in stored["heads"]] == frame["entropy (nats)"].tolist()
    assert stored["heads"][2]["reason"] == found.definiteness[2].reason
    nothing = describe(torch.zeros(1, 7), 4).to_dict()
    assert nothing["heads"][0]["mean distance"] is None


def test_a_mask_without_kernel_says_so() -> None:
    found = describe(RetNetMask(2, gamma=0.8, normalize=True).double(), 9)
    assert "no kernel; nearest one 17, see residual" in str(found)
    assert found.to_dict()["has_kernel"] is False
    assert float(found.residual.min()) > 0.01


@pytest.mark.parametrize("shape", [(9,), (5, 6), (2, 3, 4)])
def test_plot_shows_kernel_symbol_and_mass(shape: tuple[int, ...]) -> None:
    """In one column, for every head; the mass is that of the kernel, without a border, within whole radii."""
    description = describe(DecayMask(2, gamma=torch.tensor([0.5, 0.8])).double(), shape, name="decay")
    figure = description.plot()
    assert figure.get_figwidth() == pytest.approx(3.35)
    assert figure.get_suptitle() == "decay"
    assert {"kernel", "|symbol|", "ℓ1 mass within"} <= {ax.get_title() for ax in figure.axes}
    radii, share = description.picture().mass  # type: ignore[misc]
    lengths = [math.hypot(*offset) for offset in naive.offsets(shape)]
    for head, kernel in enumerate(description.kernel.flatten(1).abs().tolist()):
        within = [sum(k for k, length in zip(kernel, lengths, strict=True) if length <= r) for r in radii.tolist()]
        assert_close(share[head], [part / sum(kernel) for part in within])
        assert within[-1] == sum(kernel) > within[-2]


# --- the command ----------------------------------------------------------------------------------------------------


def run(text: str) -> str:
    result = CliRunner().invoke(main, text.split())
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(
    ("arguments", "source", "shape"),
    [
        ("gmm --sigma 2 0.2 --alpha 0.6 -0.8 --grid 14x14", mixture(), (14, 14)),
        ("gmm --grid 14x14 --sigma 2 --sigma 0.2 --alpha=0.6 --alpha -0.8", mixture(), (14, 14)),
        ("manhattan --grid 5x6 --gamma 0.5 0.9", DecayMask(2, gamma=f64([0.5, 0.9])).double(), (5, 6)),
        ("manhattan --grid 5x6 --gamma rmt --heads 3", DecayMask(3, gamma="rmt").double(), (5, 6)),
        ("euclidean --grid 5x6 --gamma 0.5", DecayMask(1, "euclidean", gamma=0.5).double(), (5, 6)),
        ("two-sided --grid 9 --gamma 0.5", DecayMask(1, "two_sided", gamma=0.5).double(), (9,)),
        ("retnet --grid 9 --gamma 0.5", RetNetMask(1, gamma=0.5).double(), (9,)),
        ("retnet --grid 9 --gamma 0.5 --normalize", RetNetMask(1, gamma=0.5, normalize=True).double(), (9,)),
        ("gaussian --grid 5 --sigma 2 0.2", GaussianMixtureMask.from_parameters(f64([[2], [0.2]]), f64([[1], [1]])), 5),
        ("gpsa --grid 5x6 --alpha 0.3", gpsa(Grid((5, 6)).offsets(), f64([0.3])).exp(), (5, 6)),
        ("window --grid 5x6 --radius 1 2", window(Grid((5, 6)).offsets(), f64([1, 2])), (5, 6)),
    ],
)
def test_command_describes_each_mask(arguments: str, source: Mask | Tensor, shape: tuple[int, ...]) -> None:
    stored = json.loads(run(arguments + " --json"))
    expected = describe(source, shape).to_dict()
    assert stored["has_kernel"] == expected["has_kernel"]
    assert len(stored["heads"]) == len(expected["heads"])
    for actual, head in zip(stored["heads"], expected["heads"], strict=True):
        assert actual.keys() == head.keys()
        for name, value in head.items():
            assert actual[name] == (pytest.approx(value, rel=1e-6, abs=1e-9) if isinstance(value, float) else value), (
                name
            )


def test_command_prints_the_table_and_saves_a_figure(tmp_path: Path) -> None:
    output = run(f"gmm --grid 7x7 --sigma 2 0.2 --alpha 0.6 -0.8 --plot {tmp_path / 'gmm.png'}")
    assert output == str(describe(mixture(), (7, 7))) + "\n"
    assert [path.name for path in tmp_path.iterdir()] == ["gmm.png"]
    assert (tmp_path / "gmm.png").read_bytes().startswith(b"\x89PNG")


def test_command_reads_kernels_and_masks_from_files(tmp_path: Path) -> None:
    kernel = manhattan_decay(Grid((3, 4)).offsets(), f64([0.6, 0.7]))
    for name, values in {
        "kernel": kernel,
        "mask": kernel_to_mask(kernel, (3, 4)),
        "one head": kernel[0],
        "one mask": kernel_to_mask(kernel, (3, 4))[0],
    }.items():
        np.save(tmp_path / f"{name.replace(' ', '_')}.npy", values.numpy())
        stored = json.loads(run(f"file --grid 3x4 --json --file {tmp_path / name.replace(' ', '_')}.npy"))
        assert len(stored["heads"]) == (1 if "one" in name else 2)
        assert stored["heads"][0]["bound ‖K‖₁"] == pytest.approx(float(kernel[0].sum()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("gmm --grid 14by14 --sigma 2 --alpha 1", "expected a form like '14x14'"),
        ("gmm --grid 14x14 --sigma 2 1 --alpha 1", r"one shape, got \(1, 2\) and \(1, 1\)"),
        ("gaussian --grid 14x14", "give --sigma"),
        ("gpsa --grid 14x14", "give --alpha"),
        ("window --grid 14x14", "give --radius"),
        ("file --grid 14x14", "give --file"),
        ("manhattan --grid 14x14", "give --gamma: numbers .* or one of retnet, retnet_linspace, rmt"),
        ("manhattan --grid 14x14 --gamma fast", "unknown gamma schedule 'fast'"),
        ("retnet --grid 14x14 --gamma 0.9", "use DecayMask"),
        ("fourier --grid 14x14", "'fourier' is not one of"),
    ],
)
def test_command_refuses_with_the_remedy(arguments: str, message: str) -> None:
    result = CliRunner().invoke(main, arguments.split())
    assert result.exit_code == 2
    assert re.search(message, " ".join(result.output.split())), result.output


def test_help_teaches_by_example() -> None:
    output = run("--help")
    assert "retconv describe gmm --grid 14x14 --sigma 2 0.2 --alpha 0.6 -0.8" in output
    for mask in ("retnet", "two-sided", "manhattan", "euclidean", "gaussian", "gmm", "gpsa", "window", "file"):
        assert f"\n    {mask} " in output or f"\n  {mask} " in output
