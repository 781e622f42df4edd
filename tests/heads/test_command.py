"""The command ``retconv look``: what it writes, and which images and weights it takes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import timm
import torch
import transformers
from click.testing import CliRunner
from PIL import Image

from retconv.__main__ import main
from retconv.heads.sources import SourceError, check_model, image_files, load_model, read
from retconv.heads.verdicts import NOT_A_CONVOLUTION

MODEL = "retconv_vit_tiny"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of three images, and what is none."""
    generator = torch.Generator().manual_seed(0)
    for i in range(6):
        path = tmp_path / "images" / "ab"[i // 3] / f"{i}.PNG"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = torch.randint(0, 256, (40, 36, 3), generator=generator, dtype=torch.uint8)
        Image.fromarray(noise.numpy()).save(path)
    (tmp_path / "images" / "notes.txt").write_text("no image")
    return tmp_path / "images"


def test_the_command_writes_table_picture_and_page(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "looked"
    words = ["look", "--model", f"timm/{MODEL}", "--untrained", "--images", str(folder), "--limit", "4"]
    result = CliRunner().invoke(main, [*words, "--where", "blocks.0.*", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "VisionTransformer: 12 heads in 1 layers, 4 images of 32×32 pixels" in result.output
    assert "blocks.0.attn head 11: " in result.output
    assert sorted(path.name for path in out.iterdir()) == ["heads.csv", "heads.html", "heads.png"]
    assert len(pd.read_csv(out / "heads.csv")) == 12
    assert Image.open(out / "heads.png").width > 1000
    assert NOT_A_CONVOLUTION in (out / "heads.html").read_text(encoding="utf-8")


def test_images_are_spread_over_all_classes(folder: Path) -> None:
    assert [path.name for path in image_files(folder, 64)] == [f"{i}.PNG" for i in range(6)]
    assert [path.name for path in image_files(folder, 3)] == ["0.PNG", "2.PNG", "4.PNG"]
    (folder / "a" / "0.PNG").write_bytes(b"no image")
    with pytest.raises(SourceError, match=r"0\.PNG is no image that can be read"):
        list(read(image_files(folder, 6), lambda image: torch.zeros(3, 4, 4)))


def test_a_checkpoint_is_loaded_without_its_classifier_and_never_into_another_model(tmp_path: Path) -> None:
    options = {"num_classes": 7}
    model = timm.create_model(MODEL, **options)
    file = tmp_path / "weights.pt"
    torch.save(model.state_dict(), file)
    check_model(f"timm/{MODEL}", file)
    loaded, _ = load_model(f"timm/{MODEL}", file, untrained=False)
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])
    torch.save({k: v for k, v in model.state_dict().items() if ".8." not in k}, file)
    with pytest.raises(SourceError, match=r"is not of retconv_vit_tiny: it lacks \['blocks\.8"):
        load_model(f"timm/{MODEL}", file, untrained=False)
    file.write_bytes(b"nothing")
    with pytest.raises(SourceError, match="does not load into retconv_vit_tiny"):
        load_model(f"timm/{MODEL}", file, untrained=False)


def test_random_weights_are_the_same_at_each_call_and_leave_the_generator_alone() -> None:
    state = torch.random.get_rng_state()
    one, other = (load_model(f"timm/{MODEL}", None, untrained=True)[0].state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_folder_of_transformers(folder: Path, tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    own = tmp_path / "vit"
    config = transformers.ViTConfig(**sizes, image_size=32, patch_size=8)
    transformers.ViTModel(config).save_pretrained(own)
    transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(own)
    result = CliRunner().invoke(main, ["look", "--model", f"hf/{own}", "--images", str(folder), "--limit", "3"])
    assert result.exit_code == 0, result.output
    assert "ViTModel: 2 heads in 1 layers, 3 images of 32×32 pixels" in result.output
    assert "4×4+1" in result.output


def test_an_unknown_command_is_told_which_one_is_near() -> None:
    result = CliRunner().invoke(main, ["loook"])
    assert result.exit_code == 2
    assert "unknown command 'loook': did you mean 'look'?" in result.output
    assert "look" in CliRunner().invoke(main, ["--help"]).output
