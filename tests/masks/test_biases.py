"""Position biases as masks beyond what every mask must do: starts, logarithms, tables of checkpoints."""

from __future__ import annotations

import math

import pytest
import torch
from timm.models.convit import GPSA
from timm.models.swin_transformer import WindowAttention

from retconv.attention import attend
from retconv.cross import Cross
from retconv.grid import Grid
from retconv.kernels import slopes
from retconv.masks import BiasMask, BiasTableMask, Mask, between
from retconv.models import MASKS
from tests import naive
from tests.compare import assert_close, assert_exact
from tests.strategies import DTYPES, HEADS, every_grid, normal, uniform

NUMBERS = {
    "kerple_log": lambda seed: {"scale": uniform(seed, 0.1, 2, HEADS), "rate": uniform(seed + 1, 0.1, 2, HEADS)},
    "kerple_power": lambda seed: {
        "scale": uniform(seed, 0.1, 2, HEADS),
        "exponent": uniform(seed + 1, 0.1, 1.9, HEADS),
    },
}
LOOPS = {
    "kerple_log": lambda d, scale, rate: naive.kerple_log(d, scale, rate),
    "kerple_power": lambda d, scale, exponent: naive.kerple_power(d, scale, exponent),
}


def wide(mask: Mask) -> Mask:
    return mask.double()


@pytest.mark.parametrize("name", LOOPS)
@every_grid
def test_logarithm_is_the_bias_by_loops(name: str, shape: tuple[int, ...], seed: int) -> None:
    """At every grid: the closed form, not the logarithm of a kernel that may have underflowed."""
    mask = BiasMask(HEADS, name, **NUMBERS[name](seed)).double()  # type: ignore[arg-type]
    numbers = {key: value.tolist() for key, value in mask.numbers().items()}
    loops = [
        naive.mask(lambda q, k, h=h: LOOPS[name](naive.difference(q, k), *(n[h] for n in numbers.values())), shape)
        for h in range(HEADS)
    ]
    assert_close(mask.forms(shape).log.entries, loops)


@pytest.mark.parametrize("dtype", DTYPES)
def test_far_away_the_logarithm_stands_where_the_kernel_is_0(dtype: torch.dtype) -> None:
    mask = BiasMask(1, "kerple_power", scale=20.0, exponent=1.9).to(dtype)
    kernel, log = mask.kernel(200), mask.log_kernel(200)
    assert float(kernel.detach()[0, 0]) == 0
    assert log is not None
    scale, exponent = (float(n.detach()) for n in mask.numbers().values())
    assert_close(log[:, :1], [[-scale * 199**exponent]])


def test_numbers_start_where_they_are_put_and_move_by_gradients_within_their_range() -> None:
    mask = wide(BiasMask(2, "kerple_power", scale=torch.tensor([0.5, 2.0]), exponent=torch.tensor([0.25, 1.75])))
    assert_close(mask.numbers()["scale"], [0.5, 2.0], torch.float32)
    assert_close(mask.numbers()["exponent"], [0.25, 1.75], torch.float32)
    with torch.no_grad():
        for parameter in mask.parameters():
            parameter.sub_(1e3)
    mask(5).sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in mask.parameters() if p.grad is not None)
    assert all(bool((n > 0).all()) for n in mask.numbers().values())


@pytest.mark.parametrize("bias", ["kerple_log", "kerple_power"])
def test_starts_of_kerple_are_the_authors(bias: str) -> None:
    """Uniform, and no nearer to 0 than where their code clamps."""
    generator = torch.Generator().manual_seed(0)
    highs = {"scale": 2.0 if bias == "kerple_log" else 1.0, "rate": 1.0, "exponent": 2.0}
    for name, value in BiasMask(4000, bias, generator=generator).numbers().items():  # type: ignore[arg-type]
        assert float(value.min()) == pytest.approx(0.01, rel=1e-5)
        assert float(value.max()) == pytest.approx(highs[name], rel=0.01)
        assert float(value.mean()) == pytest.approx(highs[name] / 2, rel=0.05)


@pytest.mark.parametrize("heads", [4, 9])
def test_start_of_gpsa_is_that_of_convit(heads: int) -> None:
    """By timm 1.0.31's ``local_init`` and relative indices, at heads that are a square."""
    theirs = GPSA(dim=3 * heads, num_heads=heads).double()
    theirs.local_init()
    side = 4
    scores = theirs.get_rel_indices(side**2).double() @ theirs.pos_proj.weight.detach().T
    ours = BiasMask(heads, "gpsa").double().forms((side, side)).log.entries
    assert_close(ours, scores[0].permute(2, 0, 1))


def test_heads_beyond_the_square_begin_it_anew() -> None:
    center = BiasMask(6, "gpsa").numbers()["center"]
    assert center.tolist() == [[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5], [-0.5, -0.5], [0.5, -0.5]]
    assert BiasMask(3, "gpsa", axes=1).numbers()["center"].tolist() == [[-1.0], [0.0], [1.0]]


@pytest.mark.parametrize("heads", [1, 2, 8, 12])
def test_alibi_is_its_decay(heads: int) -> None:
    """−m|δ| with the published slopes, or a slope that is given; beyond a line in either metric."""
    published = slopes("alibi", heads).tolist()
    mask = wide(MASKS["alibi"](Grid(7), heads))
    by_loops = [naive.mask(lambda q, k, m=m: naive.alibi(naive.difference(q, k), m), (7,)) for m in published]
    assert_close(mask.forms(7).log.entries, by_loops, torch.float32)
    euclidean = MASKS["alibi"](Grid((3, 4)), heads, metric="euclidean", slope=0.5, learnable=True)
    assert float(euclidean.forms((3, 4)).log.values.detach()[0, 0, 0]) == pytest.approx(-0.5 * math.hypot(2, 3))
    assert len(list(euclidean.parameters())) == 1


def test_a_table_of_a_checkpoint_is_its_window_bias() -> None:
    """As timm gathers the same table, bit for bit; and cropped to a smaller window."""
    theirs = WindowAttention(dim=8, num_heads=2, window_size=(3, 4))
    torch.nn.init.normal_(theirs.relative_position_bias_table)
    mask = BiasTableMask.from_table(theirs.relative_position_bias_table, (3, 4))
    assert_exact(mask.forms((3, 4)).log.entries, theirs._get_rel_pos_bias()[0])
    assert_exact(mask.log_kernel((2, 4)), mask.log_kernel((3, 4))[:, 1:-1])
    assert not bool(BiasTableMask(3, 2, std=0.0).log_kernel(3).any())


@pytest.mark.parametrize("name", ["kerple_log", "kerple_power", "gpsa", "swin_table"])
def test_bias_logits_adds_the_bias_itself(name: str) -> None:
    """As attention with the bias added by hand."""
    torch.manual_seed(0)
    grid = Grid((3, 4))
    mask = wide(MASKS[name](grid, HEADS))
    q, k, v = (normal(i, 2, HEADS, grid.size, 4) for i in range(3))
    log = mask.forms(grid).log.entries
    plain = (q @ k.mT / 2 + log).softmax(dim=-1) @ v
    assert_close(attend(q, k, v, mask, grid, placement="bias_logits"), plain)


@pytest.mark.parametrize("name", ["kerple_log", "kerple_power", "gpsa", "window"])
def test_between_two_grids(name: str) -> None:
    """At the offsets of one grid they are its kernel; to pooled keys their closed form between tokens."""
    torch.manual_seed(0)
    mask = MASKS[name](Grid((4, 3)), HEADS)
    mask, grid = wide(mask), Grid((4, 3))
    assert_close(mask.at(grid.offsets()), mask.kernel(grid))  # type: ignore[operator]
    forms = between(mask, Cross((4, 6), (2, 2)))  # type: ignore[arg-type]
    corner = torch.tensor([[0.5, 1.0]], dtype=torch.float64)
    assert_close(forms.entries[:, 0, 0], mask.at(corner)[:, 0])  # type: ignore[operator]
    assert_close(forms.log.entries[:, 0, 0], mask.log_at(corner)[:, 0])  # type: ignore[operator]


def test_a_fixed_bias_has_buffers_alone() -> None:
    mask = BiasMask(2, "kerple_log", learnable=False)
    assert [*mask.parameters()] == []
    assert set(mask.state_dict()) == {"log_scale", "log_rate"}
    assert mask.bfloat16()(3).dtype == torch.bfloat16
