"""MultiScaleRetention: RetNet's conventions against its code, written as loops; forms that agree; the norm's bound."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from retconv.checks import relative_error
from retconv.retention import PRESETS, Conventions, MultiScaleRetention, rotation_angles
from tests.compare import assert_close
from tests.retention import naive as naive_retention
from tests.retention.cases import AGREE
from tests.strategies import normal

DIM, HEADS, LENGTH = 12, 3, 19
FORMS = ("parallel", "chunkwise", "recurrent")
#: Every rotation with every norm and each normalisation, with and without gate.
COMBINATIONS = [
    Conventions(rotation=r, norm=n, normalize_mask=m, normalize_scores=s, gate=m != s)
    for (r, n), m, s in itertools.product(
        [("none", "none"), ("interleaved", "rms"), ("half", "group")], (False, True), (False, True)
    )
]


def layer(conventions: str | Conventions, seed: int = 0, **options: object) -> MultiScaleRetention:
    torch.manual_seed(seed)
    made = MultiScaleRetention(DIM, HEADS, 2 * DIM, conventions=conventions, **options).double()
    for p in made.parameters():
        p.data.mul_(4)  # so that sums of scores pass 1 and are divided
    return made


@pytest.mark.parametrize("conventions", COMBINATIONS, ids=str)
def test_forms_agree_before_and_after_the_norm(conventions: Conventions) -> None:
    made, x = layer(conventions), normal(1, 2, LENGTH, DIM)
    raw, out = made.raw(x, "parallel"), made(x, "parallel")
    for form in FORMS[1:]:
        assert relative_error(made.raw(x, form), raw) <= AGREE
        assert relative_error(made(x, form), out) <= AGREE


@pytest.mark.parametrize("conventions", COMBINATIONS, ids=str)
def test_prompt_then_steps_is_the_whole(conventions: Conventions) -> None:
    """Position of rotation and of the mask's row sums goes on with the state."""
    made, x = layer(conventions), normal(1, 2, LENGTH, DIM)
    out = made(x)
    first, state = made.prefill(x[:, :7])
    second, state = made.step(x[:, 7:12], state)
    third, state = made.step(x[:, 12:], state)
    assert state.position == LENGTH
    assert relative_error(torch.cat([first, second, third], dim=1), out) <= AGREE
    whole, cut = made.step(x)[1], made.step(x[:, 5:], made.step(x[:, :5])[1])[1]
    assert_close(cut.memory.detach(), whole.memory.detach())


def by_heads(x: Tensor) -> Tensor:
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


@pytest.mark.parametrize("form", FORMS)
def test_torchscale_preset_is_its_parallel_form(form: str) -> None:
    """Projections, rotation, both normalisations and RMSNorm by loops from the reference code; then gate and output."""
    made, x = layer("torchscale"), normal(2, 1, LENGTH, DIM)
    q, k, v = (by_heads(p(x)).detach()[0] for p in (made.q_proj, made.k_proj, made.v_proj))
    angles = rotation_angles(DIM // HEADS).tolist()
    heads = []
    for h in range(HEADS):
        turned = [
            [naive_retention.rotated(token, n, angles, half=False) for n, token in enumerate(t[h].tolist())]
            for t in (q, k)
        ]
        gamma = float(made.mask.gamma[h])
        heads.append(naive_retention.torchscale(*turned, v[h].tolist(), gamma, (DIM // HEADS) ** -0.5, 1e-5))
    normed = torch.tensor(heads, dtype=torch.float64).transpose(0, 1).flatten(1)
    assert made.g_proj is not None
    expected = made.out_proj(F.silu(made.g_proj(x))[0] * normed)
    assert_close(made(x, form)[0].detach(), expected.detach())


@pytest.mark.parametrize("epsilon", [0.5, 1e-5])
@pytest.mark.parametrize("norm", ["none", "group", "rms"])
def test_norm_is_that_of_each_head_alone(norm: str, epsilon: float) -> None:
    """The loop over heads and tokens, with an ε that counts: added to the mean square, under the root."""
    made = layer(Conventions(norm=norm, epsilon=epsilon))  # type: ignore[arg-type]
    made.out_proj = torch.nn.Identity()
    x = normal(6, 1, LENGTH, DIM)
    raw = made.raw(x).detach()[0].transpose(0, 1).tolist()
    expected = [[y for head in token for y in naive_retention.normed(head, norm, epsilon)] for token in raw]
    for form in FORMS:
        assert_close(made(x, form)[0].detach(), expected)


def test_norms_of_numbers_by_hand() -> None:
    """(1, 3) has mean 2 and mean square 1 about it, 5 about 0."""
    assert naive_retention.normed([1.0, 3.0], "group", 3.0) == [-0.5, 0.5]
    assert naive_retention.normed([1.0, 3.0], "rms", 4.0) == [1 / 3, 1.0]


def test_plain_preset_is_bare_retention() -> None:
    """Nothing but ``(S ⊙ M) V`` between the projections."""
    made, x = layer("plain"), normal(2, 1, LENGTH, DIM)
    q, k, v = (by_heads(p(x)).detach() for p in (made.q_proj, made.k_proj, made.v_proj))
    scores = q @ k.mT * (DIM // HEADS) ** -0.5 * made.mask(LENGTH)
    assert_close(made(x).detach(), made.out_proj((scores @ v).transpose(1, 2).flatten(2)).detach())
    assert made.g_proj is None


@pytest.mark.parametrize("epsilon", [1e-3, 1e-5, 1e-8, 0.0])
def test_norm_discrepancy_is_what_the_norm_lets_through(epsilon: float) -> None:
    """Leaving out the division of scores changes RMSNorm's output by exactly this factor, which vanishes with ε."""
    with_scores = dataclasses.replace(PRESETS["torchscale"], epsilon=epsilon)
    made, without = layer(with_scores), layer(dataclasses.replace(with_scores, normalize_scores=False))
    without.load_state_dict(made.state_dict())
    x = normal(3, 2, LENGTH, DIM)
    divided, plain = made.raw(x).detach(), without.raw(x).detach()
    factor = (divided / plain)[..., 0]
    assert float(factor.min()) < 0.9
    ours, theirs = (F.rms_norm(t, t.shape[-1:], eps=epsilon) for t in (divided, plain))
    difference = ((ours - theirs).norm(dim=-1) / theirs.norm(dim=-1)).max()
    bound = without.norm_discrepancy(plain, factor)
    assert float((difference - bound.max()).abs()) <= 1e-10
    assert float(bound.max()) <= epsilon / float(divided.square().mean(dim=-1).min())


def test_gradients_reach_every_parameter() -> None:
    """Those of gamma too, and alike in every form."""
    x = normal(4, 1, LENGTH, DIM)
    expected: dict[str, Tensor] = {}
    for form in FORMS:
        made = layer("torchscale", learnable=True)
        made(x, form).square().sum().backward()
        found = {name: p.grad for name, p in made.named_parameters()}
        assert all(g is not None and float(g.abs().max()) > 0 for g in found.values())
        expected = expected or found
        for name, gradient in found.items():
            assert relative_error(gradient, expected[name]) <= 1e-10, name


def test_angles_survive_casting() -> None:
    """A layer cast to bfloat16 still turns token 4,000 by its own angle: rounded angles would be off by whole turns."""
    conventions = Conventions(rotation="half")
    wide, narrow = layer(conventions), layer(conventions).bfloat16()
    wide.load_state_dict(narrow.double().state_dict())
    narrow.bfloat16()
    x = normal(5, 1, 40, DIM).bfloat16()
    _, state = narrow.prefill(x[:, :20])
    _, exact = wide.prefill(x[:, :20].double())
    far, _ = narrow.prefill(x[:, 20:], dataclasses.replace(state, position=4000))
    expected, _ = wide.prefill(x[:, 20:].double(), dataclasses.replace(exact, position=4000))
    assert relative_error(far, expected.detach()) <= 0.05


def test_description_names_conventions() -> None:
    assert "rotation='interleaved'" in repr(layer("torchscale"))
