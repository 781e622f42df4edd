"""Law 11's verdicts with their reasons, and the classification of kernels as filters."""

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from retconv.analysis.reading import resolve
from retconv.analysis.spectrum import definiteness, passband
from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.kernels import euclidean_decay, gaussian, manhattan_decay
from retconv.masks import DecayMask, RetNetMask
from retconv.memory import dense_limit
from tests.analysis.cases import f64, mixture
from tests.strategies import every_grid, kernel_of, mask_of

# --- law 11: definiteness -------------------------------------------------------------------------------------------


@every_grid
def test_law_11_verdict_agrees_with_the_eigenvalues(shape: tuple[int, ...], seed: int) -> None:
    kernel, free = kernel_of(shape, seed), mask_of(shape, seed)
    even = kernel + kernel.flip(tuple(range(1, kernel.ndim)))
    for source in (even, free + free.mT, free @ free.mT):
        values = torch.linalg.eigvalsh(resolve(source, shape).entries)
        for verdict, own in zip(definiteness(source, shape), values, strict=True):
            assert [verdict.lowest, verdict.highest] == pytest.approx([float(own[0]), float(own[-1])], abs=1e-12)
            signs = {"indefinite": {-1, 1}, "positive definite": {1}, "negative definite": {-1}}
            assert set(own.sign().tolist()) == signs.get(verdict.verdict, set(own.sign().tolist()))


def verdicts(source: object, grid: object) -> list[tuple[str, str]]:
    return [(d.verdict, d.reason) for d in definiteness(source, grid)]  # type: ignore[arg-type]


def test_law_11_reasons() -> None:
    """By form where the form decides, by two tokens where two suffice, else by eigenvalues."""
    cases = [
        (mixture([[2.0, 0.2]], [[0.6, 0.8]]), (8, 8), "positive definite", "every α is positive.*law 11"),
        (mixture([[2.0, 0.2]], [[-0.6, -0.8]]), (8, 8), "negative definite", "every α is negative"),
        (
            mixture([[2.0, 0.2]], [[0.6, -0.8]]),
            (8, 8),
            "indefinite",
            r"self-weight -0\.2 .* 0\.5295 at offset \(1, 0\)",
        ),
        (mixture([[0.2, 2.0]], [[1.0, -0.1]]), 16, "positive definite", r"nearest to 0 is 0\.[4-9]"),
        (mixture([[1.0, 3.0]], [[1.0, -0.5]]), 40, "indefinite", "eigenvalues run from -.* to "),
        (DecayMask(1).double(), (8, 8), "positive definite", "symbol is positive.*law 7"),
        (DecayMask(1, "euclidean").double(), (8, 8), "positive definite", "Fourier transform"),
        (RetNetMask(1, gamma=0.5).double(), 8, "not symmetric", "opposite offset differ by up to 0.5$"),
        (torch.ones(1, 15, dtype=torch.float64), 8, "positive semidefinite", "nearest to 0 is .* all that is known"),
        (-torch.ones(1, 15, dtype=torch.float64), 8, "negative semidefinite", "all that is known"),
        (torch.zeros(1, 15, dtype=torch.float64), 8, "zero", "every weight is 0"),
    ]
    for source, grid, verdict, reason in cases:
        ((actual, why),) = verdicts(source, grid)
        assert (actual, bool(re.search(reason, why))) == (verdict, True), why


def test_law_11_on_a_large_grid_by_lanczos() -> None:
    """1,600 tokens, never formed: a Ritz value below 0 proves a negative eigenvalue."""
    grid = Grid((40, 40))
    wide = mixture([[1.0, 3.0]], [[1.0, -0.5]]).kernel(grid).detach()
    positive = euclidean_decay(grid.offsets(), f64([0.5]))
    nearly_singular = gaussian(grid.offsets(), f64([3.0]))
    cases = {"indefinite": wide, "positive definite": positive, "positive semidefinite": nearly_singular}
    for verdict, kernel in (*cases.items(), ("negative definite", -positive)):
        with dense_limit(2**20):
            (found,) = definiteness(kernel, grid)
        values = torch.linalg.eigvalsh(kernel_to_mask(kernel, grid))[0]
        assert found.verdict == verdict
        assert [found.lowest, found.highest] == pytest.approx([float(values[0]), float(values[-1])], abs=1e-3)


# --- passbands ------------------------------------------------------------------------------------------------------


@given(sigma=st.floats(0.6, 3.0), gamma=st.floats(0.3, 0.9))
def test_half_power_frequency_is_the_closed_form(sigma: float, gamma: float) -> None:
    """Gaussian of vanishing images: s θ = √(ln 2); decay: cos θ = (1 + γ² − √2 (1 − γ)²) / 2γ."""
    grid = Grid((40, 41))
    wide = passband(gaussian(grid.offsets(), f64([sigma])))
    if sigma > 1.7:
        expected = math.sqrt(math.log(2) / (sigma**2 + 1e-5))
        assert wide.half_power.tolist() == [[pytest.approx(expected, rel=1e-10)] * 2]
    line = passband(manhattan_decay(Grid(400).offsets(), f64([gamma])))
    cosine = (1 + gamma**2 - math.sqrt(2) * (1 - gamma) ** 2) / (2 * gamma)
    expected = math.acos(cosine) if cosine > -1 else math.pi
    assert float(line.half_power) == pytest.approx(expected, rel=1e-10)
    assert wide.kind == ("low-pass",)


def test_kinds_of_filters() -> None:
    """Binomial filters on a line and a plane, by name, gains and band edges."""
    smooth, same, edge = f64([0, 0.25, 0.5, 0.25, 0]), f64([0, 0, 1, 0, 0]), f64([-0.25, 0, 0.5, 0, -0.25])
    detail, notch = f64([0, -0.25, 0.5, -0.25, 0]), f64([0.25, 0, 0.5, 0, 0.25])
    found = passband(torch.stack([smooth, same, edge, detail, notch, 0 * same]))
    assert found.kind == ("low-pass", "all-pass", "band-pass", "high-pass", "band-stop", "zero")
    assert found.dc.tolist() == pytest.approx([1, 1, 0, 0, 1, 0])
    assert found.nyquist.tolist() == pytest.approx([0, 1, 0, 1, 1, 0])
    assert found.peak.tolist() == pytest.approx([1, 1, 1, 1, 1, 0])
    # cos²(θ/2) = 1/√2 for the low-pass, sin²(θ/2) for the high-pass, sin²θ for the band-pass.
    half = 2 * math.acos(2**-0.25)
    band = found.band[:, 0].tolist()
    assert band[0] == pytest.approx([0, half])
    assert band[1] == pytest.approx([0, math.pi])
    assert band[2] == pytest.approx([math.pi / 2 - half / 2, math.pi / 2 + half / 2])
    assert band[3] == pytest.approx([math.pi - half, math.pi])
    assert found.half_power[3].item() == pytest.approx(math.pi - half)
    assert float(found.peak_frequency[2]) == pytest.approx(math.pi / 2)
    plane = passband(torch.einsum("a,b->ab", smooth, detail)[None])
    assert plane.kind == ("band-pass",)
    assert plane.peak_frequency.tolist() == [[pytest.approx(0), pytest.approx(math.pi)]]
    assert plane.band[0].tolist() == [pytest.approx([0, half]), pytest.approx([math.pi - half, math.pi])]


@pytest.mark.parametrize("n", [2, 64, 300, 512, 513, 1024])
def test_no_ripple_is_missed(n: int) -> None:
    """``1 + 2 cos((n − 1) θ)`` of two taps at the ends of a line, whose first ripple is the narrowest that there is."""
    kernel = torch.zeros(2, 2 * n - 1, dtype=torch.float64)
    kernel[:, [0, n - 1, -1]] = f64([1.0, 1.0, 1.0])
    edge = math.acos((3 / math.sqrt(2) - 1) / 2) / (n - 1)
    assert passband(kernel).band[:, 0].tolist() == [[0.0, pytest.approx(edge, rel=1e-9)]] * 2


def test_a_definite_formula_says_what_rounding_made_of_it() -> None:
    """A module and its own table in float32 are of one mind where an eigenvalue is no more than rounding."""
    mask, grid = mixture([[5.0]], [[1.0]]).float(), (8, 8)
    (formula,), (table,) = (definiteness(m, grid) for m in (mask, mask.kernel(grid).detach()))
    assert formula.verdict == "positive definite"
    assert "as rounded in float32 it has an eigenvalue of -" in formula.reason
    assert table.verdict == "positive semidefinite"
    assert formula.lowest == table.lowest < 0
    (negative,) = definiteness(mixture([[1.0]], [[-1.0]]), grid)
    assert (negative.verdict, "rounded" in negative.reason) == ("negative definite", False)


def test_law_10_extroversion_is_low_pass_minus_identity() -> None:
    found = passband(mixture([[2.0, 0.2]], [[0.6, -0.8]]).kernel((16, 16)).detach())
    assert found.kind == ("low-pass",)
    assert float(found.nyquist) == pytest.approx(-0.8, abs=1e-4)
    assert float(found.dc) == pytest.approx(0.6 * 2 * math.pi * 4 - 0.8, rel=1e-3)
