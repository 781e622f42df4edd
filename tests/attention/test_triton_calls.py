"""Triton's kernels without a GPU: what they refuse, whether they compile for one, and the tests of their numbers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from retconv.attention import PLACEMENTS, multiply_logits, triton_backend, triton_backward, triton_forward
from tests.strategies import HEADS, normal

KERNELS = {
    "forward": (triton_forward.forward, "forward", {}),
    "queries": (triton_backward.backward_queries, "backward", {}),
    "keys": (triton_backward.backward_keys, "backward", {}),
    "mask": (triton_backward.backward_mask, "mask", {"WHOLE": False, "LEARNT": True}),
    "whole": (triton_backward.backward_mask, "mask", {"WHOLE": True, "LEARNT": True}),
}
#: Memory that tiles of a program may take, by compute capability; 8.6 and 8.9 have the least of those from 8.0 on.
SHARED = {80: 99 * 2**10, 90: 227 * 2**10}


def test_they_pass_under_the_interpreter() -> None:
    """Which has to be on before the first import of Triton."""
    tests = Path(__file__).with_name("test_triton.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "interpreted", str(tests)]
    done = subprocess.run(command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]


def compiled(kernel: str, capability: int, dtype: torch.dtype, channels: int, placement: str) -> Any:
    """A kernel for a GPU that is not here, as a call of so many channels launches it."""
    function, kind, flags = KERNELS[kernel]
    options = triton_backend.sizes(4096, channels, dtype)[kind]
    shape = (options["ROWS"] // 4, 4) if flags.get("WHOLE") else (14, 14)
    q = torch.empty(1, HEADS, shape[0] * shape[1], channels, dtype=dtype, device="meta")
    table = torch.empty(HEADS, 1, device="meta")
    known = triton_backend._constants(q, q, table, placement, shape, 0, 1) | options | flags
    given = {"num_warps": known.pop("num_warps"), "num_stages": known.pop("num_stages")}
    given["enable_fp_fusion"] = known.pop("enable_fp_fusion")
    single = {"table", "peaks", "means", "dtable"}
    half = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}[dtype]
    signature, aligned = {}, {}
    for i, name in enumerate(function.arg_names):
        if name in known:
            signature[name] = "constexpr"
        elif "_" in name or name in ("heads", "together", "shares"):
            signature[name] = "i32"
        else:
            signature[name] = "fp32" if name == "scale" else "*fp32" if name in single else f"*{half}"
        if name not in known and name not in ("scale", "heads", "together", "shares"):
            aligned[(i,)] = [["tt.divisibility", 16]]
    source = ASTSource(function, signature, {(function.arg_names.index(n),): x for n, x in known.items()}, aligned)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=given)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    ("capability", "dtype", "channels", "placement"),
    [
        (80, torch.bfloat16, 128, "multiply_logits"),
        (80, torch.float32, 80, "bias_logits"),
        (90, torch.float16, 64, "multiply_weights"),
    ],
)
def test_they_compile_for_a_gpu(
    kernel: str, capability: int, dtype: torch.dtype, channels: int, placement: str
) -> None:
    """To its machine code, with tiles that fit."""
    program = compiled(kernel, capability, dtype, channels, placement)
    assert program.asm["cubin"]
    assert program.metadata.shared <= SHARED[capability]


def reason(device: str = "cpu", dtype: torch.dtype = torch.float32) -> str | None:
    return triton_backend._lacking(torch.device(device), dtype)


def test_what_is_lacking_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert reason() == "it runs on a GPU, and q, k and v are on cpu"
    monkeypatch.setattr(triton_backend, "_is_interpreted", lambda: True)
    assert reason() is None
    assert reason(dtype=torch.bfloat16) == "Triton's interpreter rounds bfloat16 wrongly"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert reason("cuda") == "it needs a GPU of compute capability 8.0, and this one has 7.5"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    assert reason("cuda", torch.bfloat16) is None
    monkeypatch.setattr(triton_backend, "find_spec", lambda name: None)
    assert reason("cuda") == "Triton is not installed: pip install 'retconv[triton]'"


def test_a_mask_is_not_learnt_where_sums_must_have_an_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    q = normal(1, 1, HEADS, 4, 16, dtype=torch.float32)
    table = torch.ones(HEADS, 7)
    for kernel, why in ((table.clone().requires_grad_(), "deterministic algorithms"), (table, "it runs on a GPU")):
        with pytest.raises(ValueError, match=f"backend 'triton' does not apply: .*{why}.*; use backend='auto'"):
            multiply_logits(q, q, q, kernel, 4, backend="triton")


def test_every_placement_of_scores_has_them() -> None:
    assert {name for name, rules in PLACEMENTS.items() if "triton" in rules.backends} == {
        name for name, rules in PLACEMENTS.items() if rules.scores
    }
