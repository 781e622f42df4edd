"""The paper's small models: size and cost as published, in timm's registry, saved, loaded and exported."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import timm
import torch
from click.testing import CliRunner
from safetensors.torch import load_model, save_model
from torch import nn
from torch.export import ExportedProgram
from torch.nn import functional as F

from retconv.checks import relative_error
from retconv.grid import Grid
from retconv.models import MASKS, SMALL_MODELS, grids_of, load_masked, masks_of, save_masked
from retconv.models.__main__ import main
from retconv.models.count import count
from retconv.models.t2t import TokensToTokens, TokenTransformer, sinusoids
from retconv.models.table import NOTES, PUBLISHED, table
from retconv.stored import TABLES
from tests.compare import assert_close, assert_exact
from tests.strategies import normal

PAPER = sorted(PUBLISHED)


def create(name: str, **arguments: Any) -> nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, **arguments).eval()


@pytest.fixture(scope="module")
def counted() -> pd.DataFrame:
    return table()


def few_blocks(name: str) -> dict[str, Any]:
    """Options of a model with a few blocks of each kind."""
    stages = {"swin": {"depths": (2, 1), "num_heads": (3, 6)}, "pit": {"depth": (1, 1, 1)}}
    return stages.get(name.split("_")[1], {"depth": 2})


@functools.cache
def exported(name: str) -> tuple[nn.Module, ExportedProgram]:
    """A masked model of a few blocks, and its program for any batch."""
    model = create(name, mask="gmm", **few_blocks(name))
    batch = torch.export.Dim("batch", min=1, max=64)
    return model, torch.export.export(model, (torch.zeros(2, 3, 32, 32),), dynamic_shapes=({0: batch},))


def test_size_and_cost_equal_the_published_figures_at_their_printed_precision(counted: pd.DataFrame) -> None:
    assert counted["agrees"].all(), counted
    assert set(counted["model"]) == set(PUBLISHED) == set(NOTES)
    assert dict(zip(counted["model"], counted["gmm_parameters"], strict=True)) == {
        "retconv_vit_tiny": 9 * 12 * 10,
        "retconv_swin_tiny": (2 * 3 + 6 * 6 + 4 * 12) * 10,
        "retconv_cait_tiny": 24 * 4 * 10,
        "retconv_pit_tiny": (2 * 2 + 6 * 4 + 4 * 8) * 10,
        "retconv_t2t_tiny": 12 * 4 * 10,
    }


def test_count_against_the_sum_written_out() -> None:
    """The ViT layer by layer: every weight once for each token, every bias once for each output; Q Kᵀ and A V."""
    tokens, dim, depth = 64, 192, 9
    layer = 3 * dim * dim + (dim * dim + dim) + (2 * dim * dim + 2 * dim) + (2 * dim * dim + dim)
    expected = depth * tokens * layer + tokens * (48 * dim + dim) + (100 * dim + 100)
    for mask in (None, "gmm"):
        cost = count(create("retconv_vit_tiny", mask=mask))
        assert cost.layer_macs == expected
        assert cost.attention_macs == depth * 2 * tokens * tokens * dim
        assert cost.macs == cost.layer_macs + cost.attention_macs
    # With a class token, as the notes of the table say.
    assert f"{count(create('retconv_vit_tiny', pooling='token')).layer_macs / 1e6:.1f}M" in NOTES["retconv_vit_tiny"]


def test_what_makes_a_mask_is_no_product_of_attention() -> None:
    plain = count(create("retconv_vit_tiny", depth=1)).attention_macs
    for name in MASKS:
        made = create("retconv_vit_tiny", depth=1, mask=name)
        assert count(made).attention_macs == plain, name


def test_transposed_convolutions_are_layers() -> None:
    """Each input meets each weight once: 16 of 8 channels, with 8 × 4 / 2 × 2 × 2 weights in two groups."""
    model = nn.Sequential(nn.Conv2d(3, 8, 4, 4, bias=False), nn.ConvTranspose2d(8, 4, 2, 2, groups=2))
    cost = count(model, torch.zeros(1, 3, 16, 16))
    assert cost.attention_macs == 0
    assert cost.layer_macs == 16 * 8 * 3 * 16 + 16 * 8 * 2 * 4 + 64 * 4


def test_the_command_prints_the_table(tmp_path: Path) -> None:
    out = tmp_path / "models.csv"
    result = CliRunner().invoke(main, ["--mask", "manhattan", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert result.output.count("yes") == 5
    assert "retconv_pit_tiny: with a class token" in result.output
    assert out.read_text().count("\n") == 6


def test_stored_table_is_the_one_that_is_counted(counted: pd.DataFrame) -> None:
    """The figure of parameters and costs reads it: ``retconv models --out`` writes it anew."""
    stored = pd.read_csv(TABLES / "models.csv")
    pd.testing.assert_frame_equal(stored, counted)


@pytest.mark.parametrize("name", SMALL_MODELS)
@pytest.mark.parametrize("img_size", [32, 64])
def test_registered_models_run_at_both_sizes_with_masks(name: str, img_size: int) -> None:
    """64 pixels have patches twice as large: the grids are the same, whatever the depth."""
    model = create(name, mask="gmm", img_size=img_size, num_classes=7, **(few_blocks(name) if img_size == 64 else {}))
    with torch.no_grad():
        assert model(normal(0, 1, 3, img_size, img_size, dtype=torch.float32)).shape == (1, 7)
    shapes = {grid.shape for grid in grids_of(model).values()}
    assert shapes == {"swin": {(4, 4)}, "pit": {(16, 16), (8, 8), (4, 4)}}.get(name.split("_")[1], {(8, 8)})


@pytest.mark.parametrize("name", [name for name in PAPER if "swin" not in name])
@pytest.mark.parametrize("pooling", ["token", "avg"])
def test_pooling_is_the_same_for_masked_and_plain_models(name: str, pooling: str) -> None:
    """The mask changes neither what the model ends in nor any of its own weights; token pooling has a prefix token."""
    plain, masked = create(name, pooling=pooling), create(name, pooling=pooling, mask="table")
    own = {key: value for key, value in masked.state_dict().items() if ".mask." not in key}
    assert own.keys() == plain.state_dict().keys()
    assert all(torch.equal(value, own[key]) for key, value in plain.state_dict().items())
    prefix = {grid.prefix for grid in grids_of(masked).values()}
    assert prefix == {1 if pooling == "token" and "cait" not in name else 0}
    x = normal(0, 2, 3, 32, 32, dtype=torch.float32)
    with torch.no_grad():
        assert_close(masked(x), plain(x))


@pytest.mark.parametrize("name", PAPER)
def test_every_parameter_trains(name: str) -> None:
    """One step reaches every parameter, so none is dead weight in the count; CaiT's averaged class token is none."""
    model = create(name, mask="gmm", pooling="avg" if "cait" not in name else "token").train()
    F.cross_entropy(model(normal(0, 4, 3, 32, 32, dtype=torch.float32)), torch.tensor([1, 2, 3, 4])).backward()
    dead = [key for key, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert dead == []


def test_token_transformer_is_its_formula() -> None:
    """``t = v + W softmax(q kᵀ / √c) v`` with c the channels of the input, then ``t + MLP(norm(t))``."""
    layer = TokenTransformer(6, 4).double()
    x = normal(0, 2, 5, 6)
    q, k, v = (layer.norm1(x) @ layer.qkv.weight.mT).chunk(3, dim=-1)
    t = v + layer.proj(torch.softmax(q @ k.mT / 6**0.5, dim=-1) @ v)
    assert_close(layer(x), t + layer.mlp(layer.norm2(t)))


def test_soft_splits_keep_tokens_in_row_major_order() -> None:
    """A pixel far from the border reaches exactly the tokens whose 3×3 windows hold it, at their grid positions."""
    embed = TokensToTokens(img_size=(16, 24), patch_size=2, embed_dim=5).double()
    x = torch.zeros(1, 3, 16, 24, dtype=torch.float64)
    x[0, :, 8, 13] = 1
    with torch.no_grad():
        moved = (embed(x) - embed(torch.zeros_like(x)))[0].abs().sum(dim=-1).reshape(embed.grid_size)
    # Window centres lie on even rows and columns: row 8 is a centre, column 13 lies between 12 and 14.
    assert moved.nonzero().tolist() == [[4, 6], [4, 7]]


def test_sinusoids_are_their_formula() -> None:
    table = sinusoids(5, 6)
    for i in range(5):
        for j in range(3):
            angle = i / 10000 ** (2 * j / 6)
            assert float(table[0, i, 2 * j]) == pytest.approx(np.sin(angle), abs=1e-6)
            assert float(table[0, i, 2 * j + 1]) == pytest.approx(np.cos(angle), abs=1e-6)


@pytest.mark.parametrize("share", ["head", "model"])
def test_safetensors_give_back_every_bit(tmp_path: Path, share: str) -> None:
    x = normal(0, 1, 3, 32, 32, dtype=torch.float32)
    saved, loaded = (timm.create_model("retconv_vit_tiny", mask="gmm", share=share).eval() for _ in range(2))
    save_model(saved, str(tmp_path / "model.safetensors"))
    load_model(loaded, str(tmp_path / "model.safetensors"))
    with torch.no_grad():
        assert_exact(loaded(x), saved(x))


@pytest.mark.parametrize("name", ["retconv_vit_tiny", "retconv_swin_tiny"])
def test_a_folder_gives_back_the_model_bit_for_bit(tmp_path: Path, name: str) -> None:
    """Also of one that was made with its masks."""
    model = timm.create_model(name, mask="gmm", mask_options={"components": 3}, num_classes=10).eval()
    for mask in masks_of(model).values():
        for parameter in mask.parameters():
            parameter.data.add_(1)
    loaded = load_masked(save_masked(model, tmp_path)).eval()
    x = normal(0, 1, 3, 32, 32, dtype=torch.float32)
    with torch.no_grad():
        assert_exact(loaded(x), model(x))
    assert [repr(mask) for mask in masks_of(loaded).values()] == [repr(mask) for mask in masks_of(model).values()]


@pytest.mark.parametrize("name", PAPER)
def test_exported_program_takes_any_batch(name: str) -> None:
    model, program = exported(name)
    x = normal(0, 5, 3, 32, 32, dtype=torch.float32)
    with torch.no_grad():
        assert_close(program.module()(x), model(x))


@pytest.mark.parametrize("name", ["retconv_vit_tiny", "retconv_swin_tiny"])
def test_onnx_takes_any_batch(name: str, tmp_path: Path) -> None:
    """The masks become constants of the graph; onnxruntime agrees within the tolerance of float32."""
    model, program = exported(name)
    path = tmp_path / "model.onnx"
    torch.onnx.export(program, f=str(path), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for size in (1, 5):
        x = normal(size, size, 3, 32, 32, dtype=torch.float32)
        (out,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        with torch.no_grad():
            assert relative_error(torch.from_numpy(out), model(x)) < 1e-5


def test_a_vit_grows_deeper_at_nearly_the_same_size() -> None:
    """The series of depths 6 to 60 keeps 2.5 to 3.2 million parameters."""
    names = ("retconv_vit_d6", "retconv_vit_d9", "retconv_vit_d15", "retconv_vit_d30_dim108", "retconv_vit_d60")
    models = [create(name) for name in names]
    assert [len(model.blocks) for model in models] == [6, 9, 15, 30, 60]
    sizes = [sum(p.numel() for p in model.parameters()) for model in models]
    assert 2.5e6 < min(sizes) <= max(sizes) < 3.2e6
    assert {grid for model in models for grid in grids_of(model).values()} <= {Grid((8, 8))}
