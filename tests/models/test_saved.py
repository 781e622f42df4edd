"""Masked models from their folders, in a process that has not seen them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer
from transformers import AutoModel, Dinov2Config, Dinov2Model

from retconv.models import Masking, add_masks, grids_of, load_masked, masking_of, masks_of, remove_masks, save_masked
from tests.compare import assert_close, assert_exact
from tests.models.cases import VIT, images
from tests.models.interop import hugging_face

FRESH = """
import sys, retconv.model_names
assert "timm" not in sys.modules
import retconv.models, timm, torch
assert all(map(timm.is_model, retconv.models.SMALL_MODELS))
from retconv.models import load_masked
for folder in sys.argv[2:]:
    torch.save(load_masked(folder).eval()(torch.load(sys.argv[1])), f"{folder}/out.pt", pickle_protocol=4)
"""
DINO = Dinov2Config(
    hidden_size=12, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, image_size=32, patch_size=8
)


def torchvision_vit() -> nn.Module:
    return VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=12, mlp_dim=24, num_classes=5)


#: Models that name their builder: the plain one, and how it is masked.
MODELS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "timm": (
        lambda: timm.create_model("vit_tiny_patch16_224", num_classes=5, **VIT),
        {"mask": "gmm", "components": 3, "where": "blocks.1.*"},
    ),
    "timm, one mask": (
        lambda: timm.create_model(
            "swin_tiny_patch4_window7_224", img_size=32, embed_dim=8, depths=(1, 1), window_size=4
        ),
        {"mask": "table", "share": "model"},
    ),
    "ours": (
        lambda: timm.create_model("retconv_vit_d30", depth=1, pooling="token", temperature=True),
        {"mask": "kerple_log", "placement": "bias_logits"},
    ),
    "transformers": (
        hugging_face,
        {"mask": "swin_table", "placement": "bias_logits"},
    ),
    "transformers, one mask": (lambda: Dinov2Model(DINO), {"mask": "gpsa", "share": "model"}),
    "transformers, fixed": (lambda: Dinov2Model(DINO), {"mask": "alibi", "placement": "multiply_weights"}),
}


def masked(name: str) -> nn.Module:
    """One of the models with masks that have moved from their start."""
    build, options = MODELS[name]
    torch.manual_seed(3)
    model = add_masks(build(), **options).eval()
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model


def output(model: nn.Module, x: Tensor) -> Tensor:
    """What a model gives, whatever it packs it in."""
    out = model(x)
    return out if isinstance(out, Tensor) else out[0]


@pytest.mark.parametrize("name", MODELS)
def test_a_folder_gives_the_same_model(name: str, tmp_path: Path) -> None:
    """Bit for bit, of the same class, with the same masks on the same grids, and still saying what they are."""
    model, x = masked(name), images("ViT")
    loaded = load_masked(save_masked(model, tmp_path))
    assert_exact(output(loaded, x), output(model, x))
    assert type(loaded) is type(model)
    assert grids_of(loaded) == grids_of(model)
    assert [repr(mask) for mask in masks_of(loaded).values()] == [repr(mask) for mask in masks_of(model).values()]
    assert masking_of(loaded) == masking_of(model)
    assert list(loaded.state_dict()) == list(model.state_dict())


def test_in_a_fresh_process(tmp_path: Path) -> None:
    """One of each library; our models are named without timm, and with the package are in it."""
    x, expected = images("ViT"), {}
    for name in ("timm", "transformers"):
        model = masked(name)
        save_masked(model, tmp_path / name)
        expected[name] = output(model, x)
    torch.save(x, tmp_path / "x.pt")

    folders = [str(tmp_path / name) for name in expected]
    run = subprocess.run(
        [sys.executable, "-c", FRESH, str(tmp_path / "x.pt"), *folders], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "UNEXPECTED" not in run.stderr
    for name, out in expected.items():
        found = torch.load(tmp_path / name / "out.pt", weights_only=False)
        assert_exact(found if isinstance(found, Tensor) else found[0], out)


@pytest.mark.parametrize("mask", ["gmm", "table", "retnet"])
@pytest.mark.parametrize("name", ["timm", "ours"])
def test_a_folder_keeps_a_size_that_was_set_after_the_masks(name: str, mask: str, tmp_path: Path) -> None:
    """A table is that of the first grid, and moves to the one that images have now as it did before."""
    model = add_masks(MODELS[name][0](), mask).eval()
    model.set_input_size((32, 48))  # type: ignore[operator]
    x = torch.cat([images("ViT"), images("ViT")[..., :16]], dim=-1)
    expected = output(model, x)
    loaded = load_masked(save_masked(model, tmp_path))
    assert grids_of(loaded) == grids_of(model)
    assert_exact(output(loaded, x), expected)


@pytest.mark.parametrize("name", ["timm", "torchvision", "transformers"])
def test_a_folder_does_not_ask_how_weights_lie_in_memory(name: str, tmp_path: Path) -> None:
    """Channels last, and two names of one tensor; the model is left as it was."""
    build = torchvision_vit if name == "torchvision" else MODELS[name][0]

    def tied() -> Any:
        plain: Any = build()
        plain.other, plain.same = (nn.Conv2d(3, 3, 2) for _ in range(2))
        plain.same.weight = plain.other.weight
        return plain if name == "torchvision" else build()

    torch.manual_seed(5)
    model, x = add_masks(tied(), "gmm").to(memory_format=torch.channels_last).eval(), images("ViT")
    loaded = load_masked(save_masked(model, tmp_path), tied() if name == "torchvision" else None)
    assert_close(output(loaded, x), output(model, x))
    assert any(p.ndim == 4 and not p.is_contiguous() for p in model.state_dict().values())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", ["timm", "ours", "transformers", "transformers, fixed"])
def test_a_folder_keeps_the_dtype(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """Of weights and, apart from it, of masks, which are float32 in a bfloat16 model: no number is rounded."""
    build, options = MODELS[name]
    torch.manual_seed(3)
    model = add_masks(build().to(dtype), **options).eval()
    loaded, x = load_masked(save_masked(model, tmp_path)), images("ViT").to(dtype)
    assert {key: v.dtype for key, v in loaded.state_dict().items()} == {
        k: v.dtype for k, v in model.state_dict().items()
    }
    for value, other in zip(loaded.state_dict().values(), model.state_dict().values(), strict=True):
        assert_exact(value, other)
    assert_exact(output(loaded, x), output(model, x))


def test_of_transformers_its_own_means_are_enough(tmp_path: Path) -> None:
    """``save_pretrained`` writes what the masks are; a plain ``AutoModel`` loads the rest, as it would without us."""
    model, x = masked("transformers, one mask"), images("ViT")
    model.save_pretrained(tmp_path)  # type: ignore[operator]
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert Masking.read(config["retconv"]) == masking_of(model)
    assert_exact(output(load_masked(tmp_path), x), output(model, x))
    plain = AutoModel.from_pretrained(tmp_path).eval()
    assert not masks_of(plain)
    assert_exact(output(plain, x), output(remove_masks(model), x))


def test_a_model_that_nothing_names_is_given(tmp_path: Path) -> None:
    """Of torchvision's, plain, or with masks in already."""
    torch.manual_seed(4)
    model, x = add_masks(torchvision_vit(), "gmm", share="model").eval(), images("ViT")
    save_masked(model, tmp_path)
    assert_exact(load_masked(tmp_path, torchvision_vit())(x), model(x))
    other = add_masks(torchvision_vit(), "gmm", share="model")
    assert_exact(load_masked(tmp_path, other)(x), model(x))


def test_a_state_dict_does_as_well(tmp_path: Path) -> None:
    """Torch's own way, and timm's, of a checkpoint: into a model that has its masks."""
    model, x = masked("timm"), images("ViT")
    build, options = MODELS["timm"]
    torch.save(model.state_dict(), tmp_path / "checkpoint.pth")
    fresh = add_masks(build(), **options).eval()
    timm.models.load_checkpoint(fresh, str(tmp_path / "checkpoint.pth"))
    assert_exact(fresh(x), model(x))


def test_a_configuration_of_several_models_says_nothing_of_the_others() -> None:
    """Within the masked model it is still one object, as transformers has it."""
    other = Dinov2Model(DINO)
    masked_one = add_masks(Dinov2Model(DINO), "gmm")
    assert masking_of(other) is None
    assert not hasattr(DINO, "retconv")
    configs = {id(module.config) for module in masked_one.modules() if hasattr(module, "config")}
    assert len(configs) == 1


def test_removed_masks_leave_no_description() -> None:
    model = remove_masks(masked("transformers"))
    assert masking_of(model) is None
    assert "retconv" not in model.config.to_dict()  # type: ignore[union-attr,operator]


def test_nor_do_those_of_parts_that_are_removed_from_the_whole() -> None:
    parts = nn.ModuleList([masked("timm"), masked("transformers")])
    remove_masks(parts)
    assert [masking_of(part) for part in parts] == [None, None]
    assert "no_weight_decay" not in parts[0].__dict__
    assert "retconv" not in parts[1].config.to_dict()  # type: ignore[union-attr,operator]
