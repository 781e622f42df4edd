"""Laws 15 and 18 to 20: what is proved is what is computed; and no closed form is left without numbers."""

import ast
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.kernels import GAUSSIAN_EPSILON, Exponentials, gaussian, gpsa
from retconv.masks import RetNetMask
from retconv.operators import operator
from retconv.proofs import PROOFS
from tests.proofs.closed_forms import angles, assert_same, drawn, f64, form, gammas, line, sigmas, width
from tests.strategies import normal, seeds

# --- law 15 ---------------------------------------------------------------------------------------------------------


def retained(gamma: float, theta: float, w: Tensor) -> Tensor:
    """The parallel sum ``Σ_{t≤n} λ^(n−t) w_t``, through the mask of a complex pole, its real and imaginary part."""
    pole = torch.tensor([[gamma * complex(math.cos(theta), math.sin(theta))]], dtype=torch.complex128)
    weights = (torch.ones_like(pole), torch.full_like(pole, -1j))
    real, imaginary = (kernel_to_mask(Exponentials(one, pole).kernel(len(w)), len(w))[0] for one in weights)
    return torch.complex(real, imaginary) @ w.to(torch.complex128)


@drawn
@given(gamma=gammas, theta=angles, seed=seeds)
def test_law_15_recurrent_and_chunkwise(gamma: float, theta: float, seed: int) -> None:
    w, pole = normal(seed, 12), gamma * complex(math.cos(theta), math.sin(theta))
    expected = retained(gamma, theta, w)
    update, states, state = form("recurrent", "update", "lambda", "S_{n-1}", "w_n"), [], 0j
    for token in w.tolist():
        states.append(state := update(pole, state, token))
    assert_same(states, expected)

    size, place = 4, np.arange(4)
    inner = form("chunkwise", "inner", "lambda", "i", "j")
    cross = form("chunkwise", "cross", "lambda", "i")
    new = form("chunkwise", "new", "lambda", "B", "j")
    carry = form("chunkwise", "carry", "lambda", "B")
    outputs, carried = [], 0j
    for chunk in w.numpy().reshape(-1, size):
        within = np.where(place[:, None] >= place, inner(pole, place[:, None], place), 0)
        outputs.extend(within @ chunk + cross(pole, place) * carried)
        carried = new(pole, size, place) @ chunk + carry(pole, size) * carried
    assert_same(outputs, expected)


@drawn
@given(gamma=gammas, theta=angles, n=st.integers(0, 9))
def test_law_15_rotation(gamma: float, theta: float, n: int) -> None:
    unit = F.one_hot(torch.arange(10), 10).double()
    weights = form("rotation", "weight", "gamma", "theta", "n", "m")(gamma, theta, n, np.arange(n + 1))
    assert_same(weights, retained(gamma, theta, unit)[n, : n + 1])


@drawn
@given(gamma=gammas, seed=seeds)
def test_law_15_row_normalisation(gamma: float, seed: int) -> None:
    raw, normalised = (RetNetMask(1, gamma=gamma, normalize=n).double() for n in (False, True))
    gamma, sums, w = float(raw.gamma), raw(9)[0].sum(dim=1).numpy(), normal(seed, 9)
    assert_same(form("row_normalisation", "row", "gamma", "n")(gamma, np.arange(9)), sums)
    keep, add = (form("row_normalisation", name, "gamma", "a_{n-1}") for name in ("keep", "add"))
    states = [float(w[0])]
    for before, token in zip(sums, w[1:].tolist(), strict=False):
        states.append(keep(gamma, before) * states[-1] + add(gamma, before) * token)
    assert_same(states, normalised(9)[0] @ w)


@drawn
@given(gamma=gammas, seed=seeds)
def test_law_15_score_and_group_normalisation(gamma: float, seed: int) -> None:
    query, key = normal(seed, 9), normal(seed + 1, 9)
    decay = RetNetMask(1, gamma=gamma).double()(9)[0]
    total = form("score_normalisation", "sum", "q[n]", "S_n")(query.numpy(), (decay @ key).numpy())
    assert_same(total, (torch.outer(query, key) * decay).sum(dim=1))
    x = normal(seed, 1, 16)
    normed = form("group_norm", "normed", "x[j]", "mu", "V")
    assert_same(
        normed(x.numpy(), float(x.mean()), float(x.var(correction=0))), F.group_norm(3.7 * x, 1, eps=0.0).numpy()
    )


# --- laws 18 to 20 --------------------------------------------------------------------------------------------------


@drawn
@given(seed=seeds, sigma=sigmas)
def test_law_18_log_form(seed: int, sigma: float) -> None:
    mask, scores = gaussian(Grid((2, 3)).offsets(), f64([sigma])), normal(seed, 6, 6)
    weight = kernel_to_mask(mask, (2, 3))[0]
    numerator = form("log_form", "numerator", "m_k", "s_k")(weight.numpy(), scores.numpy())
    assert_same(numerator / numerator.sum(axis=1, keepdims=True), torch.softmax(scores + weight.log(), dim=1))


@drawn
@given(first=st.floats(1.5, 4.0), second=st.floats(1.5, 4.0))
def test_law_19_depth(first: float, second: float) -> None:
    """Away from the border a product of masks is the Gaussian of the summed variance; from σ = 1.5 on to 1e-10."""
    grid, offset = Grid(101), line(51)[:, None]
    masks = [gaussian(grid.offsets(), f64([s])) for s in (first, second)]
    unit = torch.zeros(1, 101, 1, dtype=torch.float64)
    unit[0, 50] = 1
    response = (operator(masks[1], grid) @ (operator(masks[0], grid) @ unit))[0, :, 0]
    variance = form("gaussian_depth", "variance", "sigma_L", r"\sigma_{L+1}")(width(first), width(second))
    expected = gaussian(offset, f64([math.sqrt(variance - GAUSSIAN_EPSILON)]))[0]
    assert_same(response / response.sum(), expected / expected.sum())


@drawn
@given(seed=seeds, depth=st.integers(1, 6))
def test_law_19_variances_add(seed: int, depth: int) -> None:
    """Of any positive kernels, composed by convolution."""
    layers = normal(seed, depth, 5).exp()
    layers = layers / layers.sum(dim=1, keepdim=True)
    composed = layers[0]
    for layer in layers[1:]:
        composed = f64(np.convolve(composed, layer))
    variances = np.array([spread(layer) for layer in layers])
    layer = form("variance_adds", "layer", "sigma[l]")
    assert_same(layer(np.sqrt(variances)).sum(), spread(composed))
    equal = form("variance_adds", "equal", "sigma", "n")(math.sqrt(variances[0]), depth)
    repeated = layers[0]
    for _ in range(depth - 1):
        repeated = f64(np.convolve(repeated, layers[0]))
    assert_same(equal**2, spread(repeated))


def spread(kernel: Tensor) -> float:
    """Variance of the offset."""
    place = torch.arange(len(kernel), dtype=torch.float64)
    return float((kernel * place**2).sum() - (kernel * place).sum() ** 2)


@drawn
@given(sigma=st.floats(0.4, 4.0), q=st.integers(0, 9), k=st.integers(0, 9))
def test_law_20_quadratic_encoding(sigma: float, q: int, k: int) -> None:
    channel = form("quadratic_encoding", "channel", "sigma", "p_q", "p_k")(sigma, q, k)
    last = form("quadratic_encoding", "last", "sigma", "p_k")(sigma, k)
    row = form("quadratic_encoding", "row", "sigma", "p_q")(sigma, q)
    assert_same(channel + last - row, gpsa(f64([[k - q]]), f64([0.5 / sigma**2]))[0, 0])


def names_in_tests() -> list[set[str]]:
    """The strings that each test of closed forms holds, decorators included."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in Path(__file__).parent.glob("*.py")]
    functions = [node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [
        {c.value for c in ast.walk(f) if isinstance(c, ast.Constant) and isinstance(c.value, str)} for f in functions
    ]


@pytest.mark.parametrize(
    ("proof", "claimed"), [(name, form) for name, state in PROOFS.items() for form in state().claim]
)
def test_every_closed_form_is_tied_to_numbers(proof: str, claimed: str) -> None:
    """Some test asks for it by the names of the proof and of the form."""
    assert any({proof, claimed} <= names for names in names_in_tests())
