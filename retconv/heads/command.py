"""The command ``retconv look``."""

from __future__ import annotations

from pathlib import Path

import click

from retconv import heads
from retconv.files import replacing
from retconv.terminal import COUNT, NEW_FOLDER, SETTINGS, Command

_HELP = """What convolution is the attention of a vision transformer? Look at its heads while it sees your images.

For each head: its effective kernel, the share of the variance of its weights that the kernel explains (with a 95 %
interval over images, and beside the best circulant matrix), what position and content add, how far it reaches, the
nearest Gaussian and decay, and a verdict in words.

\b
MODEL is one of
  timm/NAME   a model of timm, with its pretrained weights, --weights FILE or --untrained
  hf/FOLDER   a folder that transformers' save_pretrained wrote, with its image processor

Images are those below FOLDER, as many as --limit, evenly spaced in the order of their names, so that every class of a
folder of classes has some. They are resized and normalised as the model's own configuration says.

With --out, heads.csv has a row for each head, heads.png is the atlas of kernels, and heads.html a page of both.

\b
Examples:
  retconv look --model timm/vit_small_patch16_224 --images photos
  retconv look --model timm/vit_small_patch16_224 --weights vit.safetensors --images photos --out looked
  retconv look --model hf/my_vit --images photos --limit 256 --where "*layer.0*"
"""


@click.command("look", cls=Command, help=_HELP, context_settings=SETTINGS)
@click.option("--model", "name", required=True, metavar="MODEL", help="timm/NAME or hf/FOLDER.")
@click.option("--images", required=True, metavar="FOLDER", type=click.Path(path_type=Path), help="A folder of images.")
@click.option("--weights", metavar="FILE", type=click.Path(path_type=Path), help="A checkpoint of a timm model.")
@click.option("--untrained", is_flag=True, help="Random weights, instead of timm's pretrained ones.")
@click.option("--limit", type=COUNT, default=64, help="Images to look at.")
@click.option("--where", default="*", help="Only attention modules whose name matches this pattern.")
@click.option("--out", metavar="DIR", type=NEW_FOLDER, help="Write table, picture and page here.")
def command(
    name: str, images: Path, weights: Path | None, untrained: bool, limit: int, where: str, out: Path | None
) -> None:
    """Look at the heads of a model."""
    files = heads.sources.image_files(images, limit)
    heads.sources.check_model(name, weights)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    model, transform = heads.sources.load_model(name, weights, untrained)
    look = heads.look(model, heads.sources.read(files, transform), where=where)
    click.echo(str(look))
    if out is not None:
        _write(look, out)
        click.echo(f"\n{out}: heads.csv, heads.png, heads.html")


def _write(look: heads.Look, out: Path) -> None:
    with replacing(out / "heads.csv") as file:
        file.write(look.to_frame().to_csv(index=False).encode())
    with replacing(out / "heads.png") as file:
        look.plot().savefig(file, format="png", dpi=200)
    with replacing(out / "heads.html") as file:
        file.write(look.to_html().encode())
