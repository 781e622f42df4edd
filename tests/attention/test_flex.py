"""FlexAttention is the reference: compiled on a GPU, and by torch's own formula on a CPU.

Torch refuses gradients on a CPU, though its formula has them. The tests of this backend lift that, to see its change of
scores derived without a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func
from torch._inductor.kernel.flex.flex_attention import validate_joint_graph
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import flex_attention

from retconv.attention import BACKENDS, PLACEMENTS, attend, backends, flex_backend, multiply_logits
from retconv.attention.inputs import Call
from retconv.grid import Grid
from retconv.masks import Forms
from tests.attention import fused
from tests.attention.cases import kernel_for
from tests.attention.fused import check_parameters, every_learnt_mask, inputs, results
from tests.compare import assert_close
from tests.strategies import HEADS, normal

F64 = torch.float64
check = partial(fused.check, backend="flex")
every_placement = pytest.mark.parametrize("placement", [name for name, names in BACKENDS.items() if "flex" in names])
#: Shape and prefix of a grid, channels of a key and of a value, and heads of the mask.
CASES: dict[str, tuple[Any, ...]] = {
    "one token": ((1,), 0, 16, 16, HEADS),
    "one token of a plane": ((1, 1), 3, 16, 16, HEADS),
    "row": ((1, 7), 0, 5, 20, 1),
    "oblong": ((3, 5), 0, 16, 32, HEADS),
    "oblong with a prefix": ((3, 5), 2, 24, 7, HEADS),
    "box": ((2, 3, 4), 1, 3, 16, 1),
    "box with masks of its own": ((2, 3, 4), 0, 3, 4, HEADS),
}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Programs of other tests are let go, of which only so many are kept."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture
def derived(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if FlexAttention had a backward pass on a CPU, which its formula has."""
    monkeypatch.setattr(flex_attention, "_validate_device", lambda *tensors: None)
    monkeypatch.setattr(flex_backend, "refusal", lambda call: None)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def place(request: pytest.FixtureRequest) -> str:
    """A device on which it has a backward pass."""
    if request.param == "cpu":
        request.getfixturevalue("derived")
    return str(request.param)


def call_of(leaves: dict[str, Tensor], grid: Grid, placement: str = "multiply_logits") -> Call:
    q, k, v, mask = leaves.values()
    return Call(PLACEMENTS[placement], q, k, v, Forms.of(mask, grid), 1.0, None, 0.0)


@every_placement
@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("derived")
def test_it_is_the_reference(placement: str, name: str) -> None:
    """Output, and gradients in q, k, v and the kernel."""
    check(placement, inputs(placement, CASES[name], F64), Grid(*CASES[name][:2]))


@every_placement
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.usefixtures("derived")
def test_it_keeps_the_tolerance_of_each_dtype(placement: str, dtype: torch.dtype) -> None:
    case = CASES["oblong with a prefix"]
    check(placement, inputs(placement, case, dtype), Grid(*case[:2]))


@every_learnt_mask
@pytest.mark.usefixtures("derived")
def test_parameters_of_every_mask_learn(name: str) -> None:
    check_parameters(name, "flex", "cpu", torch.float32)


@pytest.mark.cuda
@every_placement
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("channels", "prefix", "heads"), [(16, 0, HEADS), (64, 1, 1), (80, 1, HEADS)])
@pytest.mark.parametrize("shape", [(8, 8), (14, 14), (32, 32)])
def test_compiled_it_is_the_reference(
    shape: tuple[int, ...], channels: int, prefix: int, heads: int, dtype: torch.dtype, placement: str
) -> None:
    """Output and gradients on a GPU, of tokens that fill tiles of 128 or not."""
    check(placement, inputs(placement, (shape, prefix, channels, channels, heads), dtype, "cuda"), Grid(shape, prefix))


@pytest.mark.cuda
@every_learnt_mask
def test_parameters_of_every_mask_learn_on_a_gpu(name: str) -> None:
    check_parameters(name, "flex", "cuda", torch.float32)


def test_rows_without_any_key_are_0(place: str) -> None:
    """With finite gradients."""
    leaves = inputs("bias_logits", ((20,), 0, 16, 16, HEADS), torch.float32, place)
    with torch.no_grad():
        leaves["mask"][:, 10:] = 0  # a token sees what is more than half of all tokens before it
    check("bias_logits", leaves, Grid(20))
    out, *gradients = results("bias_logits", leaves, Grid(20), leaves["v"], "flex")
    assert not out[:, :, :10].any()
    assert not gradients[0][:, :, :10].any()
    assert out[:, :, 10:].all()


def test_an_empty_batch_has_an_empty_result(place: str) -> None:
    leaves = inputs("multiply_logits", ((5,), 1, 16, 16, 1), torch.float32, place, batch=0)
    out, *gradients = results("multiply_logits", leaves, Grid(5, 1), leaves["v"], "flex")
    assert out.shape == leaves["v"].shape
    assert not gradients[-1].any()


@every_placement
@pytest.mark.parametrize("prefix", [0, 1])
@pytest.mark.usefixtures("derived")
def test_the_table_is_indexed_once(placement: str, prefix: int) -> None:
    """Inductor makes no kernel of a gradient that is added to one table at two indices, and says so here as there."""
    added: list[int] = []

    def see(graph: torch.fx.GraphModule, given: list[Tensor]) -> Any:
        joint = [part for name, part in graph.named_children() if "joint" in name]
        for part in joint:
            validate_joint_graph(part.graph)
            added.append(sum("zeros_and_scatter" in str(node.target) for node in part.graph.nodes))
        # The backward pass is looked at, not run: torch 2.11 cannot run it like this.
        (results,) = graph.graph.output_node().args
        return make_boxed_func((lambda *_: [None] * len(results)) if joint else graph.forward)

    grid = Grid((2, 3), prefix)
    leaves = inputs(placement, ((2, 3), prefix, 16, 16, HEADS), torch.float32)
    call = partial(attend, grid=grid, placement=placement, backend="flex")
    run = torch.compile(call, fullgraph=True, backend=aot_autograd(fw_compiler=see))
    run(*leaves.values()).sum().backward()
    assert added == [1]


@pytest.mark.parametrize("tracer", ["compiled", "exported"])
def test_it_is_traced(tracer: str) -> None:
    """As a part of the user's own program."""
    grid = Grid((3, 5), 1)
    given = tuple(x.detach().double() for x in inputs("bias_logits", (*CASES["oblong"][:1], 1, 4, 4, 1), F64).values())

    class Model(torch.nn.Module):
        def forward(self, *given: Tensor) -> Tensor:
            return attend(*given, grid, placement="bias_logits", backend="flex")

    if tracer == "compiled":
        run = torch.compile(Model(), fullgraph=True, backend="eager")
    else:
        run = torch.export.export(Model(), given).module()
    assert_close(run(*given), attend(*given, grid, placement="bias_logits", backend="reference"))


def test_what_requires_gradients_that_nobody_takes_is_served() -> None:
    """Of a model that is evaluated, on a CPU."""
    leaves = inputs("multiply_logits", CASES["oblong"], F64)
    for nobody in (torch.no_grad(), torch.inference_mode()):
        with nobody:
            found, expected = (
                multiply_logits(*leaves.values(), (3, 5), backend=backend) for backend in ("flex", "reference")
            )
        assert_close(found, expected)


def test_sizes_beyond_torchs_own_limit_are_kept() -> None:
    """Torch keeps 8 programs of a function, here 1, and a pyramid of grids wants more."""
    with torch._dynamo.config.patch(recompile_limit=1):
        for n in (2, 3, 4):
            x, kernel = normal(n, 1, HEADS, n, 4), kernel_for("multiply_logits", (n,), n)
            found, expected = (
                multiply_logits(x, x, x, kernel, n, backend=backend) for backend in ("flex", "reference")
            )
            assert_close(found, expected)


def fake(channels: int = 16, dtype: torch.dtype = torch.bfloat16) -> Call:
    """A call of tensors that say they are on a GPU, and have no values."""
    grid = Grid(3)
    with FakeTensorMode():
        q = torch.empty(1, HEADS, 3, channels, dtype=dtype, device="cuda")
        return call_of({"q": q, "k": q, "v": q, "mask": torch.empty(HEADS, 5, device="cuda", requires_grad=True)}, grid)


def test_auto_never_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where our own kernels do not apply."""
    monkeypatch.setattr(backends.triton_backend, "refusal", lambda call: "no")
    assert flex_backend.refusal(fake()) is None
    assert backends.choose(fake()) == "reference"


def test_it_refuses_what_no_kernel_of_a_gpu_is_made_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert flex_backend.refusal(fake(channels=15)) == "on a GPU a head needs 16 channels, and has 15"
    wide = flex_backend.refusal(fake(dtype=F64))
    assert wide == "on a GPU it computes in float32, and q, k and v are torch.float64"
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    ordered = flex_backend.refusal(fake())
    assert ordered == "it sums the gradient of a mask in no fixed order, and deterministic algorithms are asked for"
    monkeypatch.undo()
    monkeypatch.setattr(flex_backend, "find_spec", lambda name: None)
    assert flex_backend.refusal(fake()) == "on a GPU it needs Triton: pip install 'retconv[triton]'"
