"""Every public operation under everything that may watch it: it gives what it gives plainly, or refuses by name.

The rows are the cases of ``device_cases`` and some that hold an operator, the columns the ``TRANSFORMS``. A cell runs
and equals the plain result unless ``REFUSED`` has its message. Tracing takes seconds: ``TRACED`` rows stand for others.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FrameType, ModuleType
from typing import Any

import pytest
import torch

from retconv import attention, convert, kernels, masks, operators, retention
from retconv.attention import PLACEMENTS, attend, backends, bias_logits
from retconv.attention.cuts import Cuts
from retconv.convert import kernel_to_mask
from retconv.grid import Grid
from retconv.kernels import Exponentials
from retconv.operators import METHODS, operator
from retconv.retention.mirrored import MirroredProduct
from tests.compare import assert_close, assert_exact
from tests.public.case import HEADS, SHAPE, SIZE, Case, kernel, normal, qkv
from tests.public.cases import CASES
from tests.public.transforms import TRACERS, TRANSFORMS, Row, at_once, plain
from tests.retention.cases import even_kernel

METHODS_OF_A_KERNEL = operator(kernel(), SHAPE).methods
EVEN = (4, 6)
EVEN_CASE = "retention of an even kernel"


def _held(method: str) -> Case:
    op = operator(kernel(), SHAPE, method)
    return Case(lambda x: op(x), (normal(7, 3, HEADS, SIZE, 2),))


#: Operators that are made once, and a kernel of which classes of tokens are taken one after another.
HELD = {f"held operator {method}": functools.partial(_held, method) for method in METHODS_OF_A_KERNEL}
NAMES = [*CASES, *HELD, EVEN_CASE]
#: Refusals, as parts of the names of rows and columns, and what the message matches.
NO_FORWARD = "no derivative in forward mode or by torch.func"
HIDDEN = "decides by the entries of a mask"
REFUSED: dict[tuple[str, tuple[str, ...]], str] = {
    ("by recompute", ("grad", "jvp", "dual", "hessian")): NO_FORWARD,
    ("by recompute", ("double_backward",)): "'recompute' has no second derivative: use backend='reference'",
    ("multiply_logits by auto", ("double_backward",)): "'recompute' has no second derivative",
    ("bias_logits by auto", ("double_backward",)): "_for_cpu_backward is not implemented",
    ("multiply_weights by auto", ("double_backward",)): "'recompute' has no second derivative",
    ("retention by auto", ("double_backward",)): "'recompute' has no second derivative",
    ("with a bias", ("double_backward",)): "'recompute' has no second derivative",
    ("bias_logits by channels", ("double_backward",)): "_for_cpu_backward is not implemented",
    ("extended_attention", ("double_backward",)): "_for_cpu_backward is not implemented",
    ("mask_to_kernel", ("vmap", "grad", "compiled", "exported")): HIDDEN,
    ("kernel of elm", ("vmap", "grad", "compiled", "exported")): HIDDEN,
    ("project", ("vmap", "grad", "compiled", "exported")): HIDDEN,
    ("decoder", ("vmap", "grad", "jvp", "dual", "hessian")): "Decoder.step overwrites its memory",
    ("operator online", ("vmap", "grad", "jvp", "dual", "hessian")): "OnlineConvolution.step overwrites its memory",
    ("kernel_to_conv", ("vmap", "grad", "jvp", "dual", "hessian")): "a module with a weight of its own",
    ("kernel_to_conv", ("compiled",)): "torch.nn.Parameter",
    ("solve levinson", ("vmap", "grad", "jvp", "dual", "hessian")): "method 'levinson' decides by values",
    ("solve cg", ("vmap", "grad", "jvp", "dual", "hessian", "compiled", "exported")): "method 'cg' decides by values",
}
#: One row of each kind, which tracers see.
TRACED = (
    *("mask gmm", "mask elm", "mask retnet", "kernel of table", "kernel of elm"),
    *("operator fft of kernel", "operator toeplitz of gmm", "operator separable of gmm"),
    *("operator recursive of manhattan", "operator auto of retnet", "held operator toeplitz"),
    *("retention parallel of kernel", "retention tiled of gmm", "retention scan of manhattan"),
    *("retention recurrent of retnet", "retention auto of two_sided", "chunkwise from a state", "layer chunkwise"),
    *("multiply_logits by auto", "bias_logits by sdpa", "bias_logits by channels", "multiply_weights by recompute"),
    *("retention by auto", "convolution by operator", "kerple_power", "gaussian_mixture", "Exponentials"),
    *("mask_to_kernel", "project", "mask_to_bank", "kernel_to_conv"),
    *("solve dense", "solve recursive", "solve cg", "logdet separable"),
    *("shifted_gaussian_channels", "extended_attention", "bias_logits by channels of a decay"),
    *("retention chunkwise of causal gates", "bias_logits of a forget gate by reference", "mask read by PolylineGate"),
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the small grids of the cases were large: every shortcut that is worth it for long axes is taken."""
    monkeypatch.setattr("retconv.attention.backends.CUTS", Cuts(block=60, table=1))
    monkeypatch.setattr("retconv.retention.mirrored.MIRROR_FROM", 2)
    monkeypatch.setattr("retconv.operators.toeplitz.HALVE_FROM", 2)
    monkeypatch.setattr("retconv.operators.one_sided.LEAF", 4)
    monkeypatch.setattr("retconv.operators.recursive.LONG", 2)
    monkeypatch.setattr("retconv.operators.recursive.STEP", 1)
    monkeypatch.setitem(operators.method_cost.SECONDS, "toeplitz", (0.0, 0.0))


@functools.cache
def row(name: str) -> Row:
    if name == EVEN_CASE:
        even = even_kernel(EVEN, 0)
        assert MirroredProduct.applies(even[0], Grid(EVEN))
        run = functools.partial(retention.retention, mask=even, grid=EVEN, method="convolution")
        return Row(Case(run, qkv(24)))
    return Row(HELD[name]() if name in HELD else CASES[name])


def refusal(name: str, transform: str) -> str | None:
    """What the message of a cell matches that refuses."""
    return next((m for (part, columns), m in REFUSED.items() if part in name and transform in columns), None)


def check(name: str, transform: Callable[[Row], None]) -> None:
    match = refusal(name, transform.__name__)
    if match is None:
        transform(row(name))
    else:
        with pytest.raises(Exception, match=match):
            transform(row(name))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda t: t.__name__)
def test_every_operation_under_every_transform(name: str, transform: Callable[[Row], None]) -> None:
    check(name, transform)


@pytest.mark.parametrize("name", TRACED)
@pytest.mark.parametrize("transform", TRACERS, ids=lambda t: t.__name__)
def test_an_operation_of_each_kind_is_traced(name: str, transform: Callable[[Row], None]) -> None:
    check(name, transform)


#: Public names that compute nothing of tensors that can be followed: schedules by name, and records of settings.
NOT_OPERATIONS = {
    *("gammas", "slopes", "Conventions", "Placement", "NotAConvolutionError", "SolveError", "MaskLike"),
    # Masks of ones and zeros, and indices, by place alone.
    *("block_causal", "dilated_segments", "neighbourhood", "same_window", "causal_window", "strided_window"),
    "t5_bucket",
}


def public() -> Iterator[tuple[str, Any]]:
    for package in (attention, convert, kernels, masks, operators, retention):
        for name in package.__all__:
            value = getattr(package, name)
            if callable(value) and name not in NOT_OPERATIONS:
                yield f"{package.__name__}.{name}", value


def bodies(value: Any) -> set[CodeType]:
    """The code of a function, of a partial of one, or of the methods that a class itself has."""
    if inspect.isclass(value):
        own = (getattr(member, "__func__", member) for member in vars(value).values())
        return {member.__code__ for member in own if inspect.isfunction(member)}
    return {inspect.unwrap(value.func if isinstance(value, functools.partial) else value).__code__}


def test_every_public_operation_is_a_row() -> None:
    """The rows run every public function, and some method of every public class; each placement is a row by name."""
    reached: set[CodeType] = set()

    def see(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            reached.add(frame.f_code)

    sys.setprofile(see)
    try:
        for name in NAMES:
            Row(row(name).case)
    finally:
        sys.setprofile(None)
    assert [name for name, value in public() if not bodies(value) & reached] == []
    partials = {value.keywords["placement"] for _, value in public() if isinstance(value, functools.partial)}
    assert partials == set(PLACEMENTS) == {name.split(" by ")[0] for name in CASES if name.endswith(" by auto")}


def test_every_method_is_a_row() -> None:
    """By name, of operators and of retention."""
    for package, methods in (("operator", METHODS), ("retention", retention.METHODS)):
        assert {name.split()[1] for name in CASES if name.startswith(f"{package} ")} >= {*methods, "auto"}


def test_no_refusal_is_idle() -> None:
    """Each is of a row and a column."""
    columns = {t.__name__ for t in (*TRANSFORMS, *TRACERS)}
    for part, transforms in REFUSED:
        assert any(part in name for name in NAMES)
        assert set(transforms) <= columns


def modules() -> Iterator[ModuleType]:
    yield from (m for name, m in sys.modules.items() if name.startswith("retconv.") and name != "retconv.watching")


def test_only_one_module_asks_who_watches() -> None:
    """Autograd, ``torch.func``, tracers and inference mode are asked in ``retconv.watching`` alone."""
    words = ("is_grad_enabled", "_functorch", "is_compiling", "is_exporting", "forward_ad", "inference_mode")
    asked = [m.__name__ for m in modules() if any(word in inspect.getsource(m) for word in words)]
    assert asked == []


@pytest.mark.parametrize("method", METHODS_OF_A_KERNEL)
def test_an_operator_made_in_inference_mode_trains(method: str) -> None:
    """Even of a kernel that was made there."""
    with torch.inference_mode():
        op = operator(kernel() * 2, SHAPE, method)
        op @ normal(7, HEADS, SIZE, 3)
    x = normal(7, HEADS, SIZE, 3)
    (found,), (expected,) = (
        plain(lambda x: (op @ x).square().sum(), [x]),
        plain(lambda x: (kernel_to_mask(kernel() * 2, SHAPE) @ x).square().sum(), [x]),
    )
    assert_close(found, expected)


@pytest.mark.parametrize("method", [*METHODS_OF_A_KERNEL, "auto"])
def test_an_operator_serves_threads(method: str) -> None:
    """Of several sizes at once, for which it keeps memory."""
    op = operator(kernel((6, 8)), (6, 8), method)
    x = normal(7, HEADS, 48, 50)
    at_once(lambda: op @ x + (op @ x[..., :20]).sum(), op @ x + (op @ x[..., :20]).sum(), times=20)


@pytest.mark.parametrize(
    "size", [(0, HEADS, SIZE, 3), (2, HEADS, SIZE, 0), (HEADS, SIZE, 0), (SIZE, 0), (0, 2, HEADS, SIZE, 3)]
)
@pytest.mark.parametrize("method", [*METHODS_OF_A_KERNEL, "auto"])
def test_an_operator_takes_nothing(method: str, size: tuple[int, ...]) -> None:
    """An empty batch, or no features; the kernel's gradient is 0."""
    table, x = kernel().requires_grad_(), torch.zeros(*size, dtype=torch.float64)
    out = operator(table, SHAPE, method) @ x
    assert out.shape == (size if len(size) > 2 else (HEADS, *size))
    assert_exact(torch.autograd.grad(out.sum(), table)[0], torch.zeros_like(table))


def test_exponentials_of_several_gammas() -> None:
    """Mapped over poles and weights, in every form of retention that reads them."""
    q, k, v = qkv()
    gammas = torch.tensor([[0.5, 0.9], [0.7, 0.8]], dtype=torch.float64)

    def run(gamma: torch.Tensor, method: str) -> torch.Tensor:
        poles = gamma[:, None]
        return retention.retention(q, k, v, Exponentials(torch.ones_like(poles), poles), SIZE, method=method)

    for method in ("recurrent", "chunkwise", "fft", "parallel"):
        one = functools.partial(run, method=method)
        assert_close(torch.vmap(one)(gammas), torch.stack([one(g) for g in gammas]))


@pytest.mark.parametrize("placement", [name for name, rules in PLACEMENTS.items() if rules.scores])
def test_auto_takes_no_blocks_where_they_have_no_derivative(placement: str) -> None:
    """Blocks are chosen otherwise, and named they say why not."""
    q, k, v = qkv()
    assert q[:, :, :, 0].numel() * SIZE > backends.CUTS.block
    call = functools.partial(attend, placement=placement)

    def slope(backend: str) -> torch.Tensor:
        return torch.func.jvp(lambda q: call(q, k, v, kernel(), SHAPE, backend=backend), (q,), (k,))[1]

    assert_close(slope("auto"), slope("reference"))
    with pytest.raises(ValueError, match=r"backend 'recompute' does not apply: .* no derivative in forward mode"):
        slope("recompute")


@pytest.mark.parametrize("backend", ["auto", "sdpa", "recompute", "reference"])
def test_several_biases_are_learnt_at_once(backend: str) -> None:
    """``vmap`` and then backward, as stacked models are trained."""
    table = torch.stack([kernel(), 2 * kernel()])
    loss = functools.partial(lambda t, x: bias_logits(x, x, x, t, SHAPE, backend=backend).square().sum(), x=qkv()[0])
    (found,) = plain(lambda t: torch.vmap(loss)(t).sum(), [table])
    assert_close(found, torch.stack([plain(loss, [t])[0] for t in table]))
