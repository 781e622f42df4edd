"""Modules that read data give what their authors' code gives."""

import torch
from torch import Tensor

from retconv.grid import Grid
from retconv.masks import Forms, LocAt, PolylineGate
from tests.compare import assert_close
from tests.masks import authors


def exact(rows: tuple[tuple[float, ...], ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def test_ppma_is_its_authors() -> None:
    """The path mask L, which their code adds to logits, and its transpose."""
    module = PolylineGate(4, 2, both=False).double()
    module.project.weight.data = exact(authors.PPMA_WEIGHT)
    module.step_bias.data, module.log_rate.data = exact(authors.PPMA_STEP_RATE)
    forms = Forms.of(module(exact(authors.PPMA_TOKENS)[None], (2, 3)), Grid((2, 3)))
    expected = exact(authors.PPMA_LOG).view(1, 2, 6, 6)
    assert_close(forms.log.entries, expected)
    assert_close(forms.transposed().log.entries, expected.mT)


def test_locat_is_its_authors() -> None:
    """With a class token, to which and from which nothing is added."""
    module, grid = LocAt(2, (2, 3)).double(), Grid((2, 3), prefix=1)
    module.project.weight.data, module.project.bias.data = exact(authors.LOCAT_WEIGHT), exact(authors.LOCAT_BIAS)[0]
    gaussians = module(exact(authors.LOCAT_QUERIES)[None, None], grid)
    assert_close(Forms.of(gaussians, grid).log.entries[0, 0], exact(authors.LOCAT_LOG))
