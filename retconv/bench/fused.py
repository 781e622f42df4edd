"""``retconv bench fused``: on a GPU, what a mask costs against fused attention without one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from retconv.attention import attend
from retconv.bench.turns import Outcome, race_ready
from retconv.grid import Grid

PLAIN = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION}
PASSES = ("forward", "both")
#: Most entries of a tensor of scores.
SCORES = 200_000_000


@dataclass(frozen=True)
class Case:
    """Attention of one size, with a learnt kernel table in one place.

    Attributes:
        shape: Of the grid.
        dim: Channels of a head.
        width: Channels in all.
        tokens: In all, over the batch.
        dtype: Of q, k and v.
        placement: Where the mask acts.
        forms: Of the command's ``FORMS``.
    """

    shape: tuple[int, ...]
    dim: int
    width: int
    tokens: int
    dtype: str
    placement: str
    forms: tuple[str, ...]

    @property
    def heads(self) -> int:
        """Heads that share the width."""
        return max(1, self.width // self.dim)

    @property
    def batch(self) -> int:
        """Of so many tokens, or as many as keep a tensor of scores below ``SCORES``."""
        length = math.prod(self.shape)
        return max(1, min(self.tokens // length, SCORES // (self.heads * length**2)))


class _Attention:
    """The forms on random inputs: forward, and forward with backward, each as a captured graph where that can be."""

    def __init__(self, case: Case, device: torch.device) -> None:
        self.case, self.device, self.grid = case, device, Grid(case.shape)
        size = (4, case.batch, case.heads, self.grid.length, case.dim)
        *leaves, self.upstream = torch.randn(*size, device=device).to(getattr(torch, case.dtype)).unbind()
        self.leaves = [x.clone().requires_grad_() for x in leaves]
        self.table = torch.rand(case.heads, *self.grid.kernel_shape, device=device).add(0.5).requires_grad_()
        self.outputs: dict[str, object] = {}
        self.facts_of: dict[str, dict[str, Any]] = {}

    def runs(self) -> Mapping[str, Callable[[], object]]:
        runs: dict[str, Callable[[], object]] = {}
        for form in (*PLAIN, *self.case.forms):
            try:
                before = 0
                if self.device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats(self.device)
                    before = torch.cuda.memory_allocated(self.device)  # by other forms, whose graphs keep it
                call = self._form(form)
                forward, both = partial(self._forward, call), partial(self._both, call, form in PLAIN)
                graphs = {(form, "forward"): self._graph(forward), (form, "both"): self._graph(both)}
                facts: dict[str, Any] = {}
                if self.device.type == "cuda":
                    facts["memory_gb"] = (torch.cuda.max_memory_allocated(self.device) - before) / 1e9
                    facts["captured"] = all(getattr(run, "__name__", "") == "replay" for run in graphs.values())
                facts |= {} if form in PLAIN else {"error": self._error(call)}
                runs |= {" ".join(name): run for name, run in graphs.items()}
            except Exception as error:
                facts = {"fault": f"{type(error).__name__}: {error}".partition("\n")[0][:200]}
            self.facts_of[form] = facts
        return runs

    def facts(self) -> Mapping[str, Any]:
        return self.facts_of

    def _form(self, form: str) -> Callable[[], Tensor]:
        q, k, v = self.leaves
        if form in PLAIN:

            def plain() -> Tensor:
                with sdpa_kernel(PLAIN[form]):
                    return F.scaled_dot_product_attention(q, k, v)

            return plain
        call: Callable[..., Tensor] = partial(attend, placement=self.case.placement)
        if form == "compiled":
            call = torch.compile(call, dynamic=False)
        return partial(call, q, k, v, self.table, self.grid, backend="reference" if form == "compiled" else form)

    @staticmethod
    def _forward(call: Callable[[], Tensor]) -> object:
        with torch.no_grad():
            return call()

    def _both(self, call: Callable[[], Tensor], plain: bool) -> object:
        return torch.autograd.grad(call(), self.leaves if plain else [*self.leaves, self.table], self.upstream)

    def _graph(self, run: Callable[[], object]) -> Callable[[], object]:
        """The replay of what was captured; on a CPU, or where capturing fails, the call itself."""
        if self.device.type != "cuda":
            run()
            return run
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(3):
                run()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self.outputs[str(len(self.outputs))] = run()
        except RuntimeError:
            torch.cuda.synchronize()
            return run

        def replay() -> None:
            graph.replay()

        return replay

    @torch.no_grad()
    def _error(self, call: Callable[[], Tensor]) -> float:
        """Relative error of the first element's output against the formula in float64."""
        if self.grid.length > 1024:
            return float("nan")
        q, k, v = (x[:1].double() for x in self.leaves)
        table = self.table.double()
        exact = attend(q, k, v, table, self.case.shape, backend="reference", placement=self.case.placement)
        return float((call()[:1] - exact).norm() / exact.norm())


def bench(cases: list[Case], rounds: int, device: torch.device, limit: float, lock: Path | None = None) -> pd.DataFrame:
    """Race forms of attention, those of one size and placement in one process.

    Returns:
        Two rows for each form, forward and forward with backward: ``us``, microseconds (median over rounds); ``ratio``,
        the time relative to the faster fused attention without a mask (median of ratios within rounds); ``tflops`` of
        the products and their gradients; ``memory_gb``, the most that the form held itself; ``error`` of the output
        against float64; ``fault``.
    """
    by_name = {f"{case.shape} {case.dim} {case.placement}": case for case in cases}
    outcomes = race_ready(
        {name: partial(_Attention, case, device) for name, case in by_name.items()}, rounds, device, limit, lock
    )
    rows = []
    for name, case in by_name.items():
        for passed in PASSES:
            rows += [_row(case, form, passed, outcomes[name]) for form in (*PLAIN, *case.forms)]
    return pd.DataFrame(rows)


def _row(case: Case, form: str, passed: str, outcome: Outcome) -> dict[str, Any]:
    nothing = [float("nan")]
    seconds = np.array(outcome.seconds.get(f"{form} {passed}", nothing))
    plain = [outcome.seconds[f"{one} {passed}"] for one in PLAIN if f"{one} {passed}" in outcome.seconds]
    ratio = seconds / np.min(plain, axis=0) if plain else np.array(nothing)
    length = math.prod(case.shape)
    work = 4 * case.batch * case.heads * length**2 * case.dim * (1 if passed == "forward" else 3)
    facts: dict[str, Any] = {"shape": "×".join(map(str, case.shape)), "dim": case.dim, "batch": case.batch}
    facts |= {"dtype": case.dtype, "placement": case.placement, "kind": passed, "form": form}
    facts |= {"us": 1e6 * np.median(seconds), "ratio": np.median(ratio), "ratio_min": ratio.min()}
    facts |= {"ratio_max": ratio.max(), "n": len(seconds), "tflops": work / np.median(seconds) / 1e12}
    return facts | {"ready": outcome.ready, "fault": outcome.fault} | outcome.facts.get(form, {})
