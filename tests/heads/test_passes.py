"""Images that are convolved by, pass after pass."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from retconv.heads import convolve
from retconv.models.surgery import masked_modules
from tests.compare import assert_close, assert_exact
from tests.models.cases import images, plain

FIRST = "blocks.0.attn"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_images_are_taken_to_the_models_dtype(dtype: torch.dtype) -> None:
    model, x = plain("ViT").to(dtype), images("ViT", 3).float()
    report = convolve(model, images=x, heads={FIRST: [1]}, rounds=0)
    assert report.images == 3
    assert next(model.parameters()).dtype == dtype


def test_a_refused_loader_leaves_the_model_as_it_was() -> None:
    model, x = plain("ViT"), images("ViT", 4)
    before = model(x)
    loader = DataLoader(TensorDataset(x), batch_size=1, shuffle=True, generator=torch.Generator().manual_seed(3))
    with pytest.raises(ValueError, match="neither shuffles nor"):
        convolve(model, images=loader, heads={FIRST: [1]}, rounds=0)
    assert_exact(model(x), before)
    assert not list(masked_modules(model))


def test_images_may_be_a_loader_and_do_not_depend_on_its_batches() -> None:
    model, x = plain("ViT"), images("ViT", 3)
    whole = convolve(model, images=x, heads={FIRST: [1]}, rounds=0)
    whole.remove()
    loader = DataLoader(TensorDataset(x, torch.zeros(3)), batch_size=2)
    parts = convolve(model, images=loader, heads={FIRST: [1]}, rounds=0)
    assert (parts.images, parts.heads) == (3, whole.heads)
    assert_close(parts.error[FIRST], whole.error[FIRST], torch.float32)
    assert_close(parts.worst[FIRST], whole.worst[FIRST], torch.float32)
