"""``retconv models``: the small models beside their published sizes, and which models take masks."""

from __future__ import annotations

import textwrap
from pathlib import Path

import click
import pandas as pd

from retconv import models
from retconv.files import replacing
from retconv.models import support
from retconv.models.named import MASKS
from retconv.models.support.case import LIBRARIES
from retconv.terminal import COUNT, NEW_FILE, SETTINGS, Command, allow


@click.command(cls=Command, context_settings=SETTINGS)
@click.option(
    "--mask",
    "masks",
    multiple=True,
    type=click.Choice(sorted(MASKS)),
    default=("gmm", "table", "elm"),
    help="Whose parameters to count. Repeatable.",
)
@click.option("--classes", type=COUNT, default=100, help="Number of classes; the published figures are those of 100.")
@click.option("--img-size", type=COUNT, default=32, help="Side of the image; the published costs are those of 32.")
@click.option("--out", type=NEW_FILE, help="Also write the table to this CSV file.")
@click.option(
    "--support", "tried", is_flag=True, help="Try which models take masks instead: the table of docs/models.md."
)
@click.option(
    "--library", "libraries", multiple=True, type=click.Choice(LIBRARIES), default=LIBRARIES, help="Whose. Repeatable."
)
@click.option("--only", default="", help="Only models whose names match this pattern, such as 'swin*'.")
@click.option("--page", type=NEW_FILE, help="Also write the page of the table.")
def main(
    masks: tuple[str, ...],
    classes: int,
    img_size: int,
    out: Path | None,
    tried: bool,
    libraries: tuple[str, ...],
    only: str,
    page: Path | None,
) -> None:
    """Count the five small vision transformers, or with --support try which models take masks.

    The counts are set beside the published figures; support is tried on models of timm, transformers and torchvision.

    Parameters and multiply-accumulates (MACs) are in millions; the columns of masks say how many numbers each adds.
    The published MACs count linear and convolution layers, and an added bias as one for each output; `attention` is
    what Q K^T, the weights times V and the mixing of heads add to them. `agrees` says whether both figures equal the
    published ones at their printed precision.

    \b
    Examples:
      retconv models
      retconv models --mask elm --img-size 64
      retconv models --support --library timm --only 'swin*'
    """
    if tried:
        allow("tried", "libraries", "only", "out", "page", on="--support, which tries models as they are")
        _support(libraries, only, out, page)
        return
    allow("masks", "classes", "img_size", "out", on="the table of sizes: give --support too")
    counts = models.table.table(masks, classes, img_size)
    million = counts[["parameters", "layer_macs", "attention_macs"]] / 1e6
    texts = counts[["model"]].assign(
        parameters=million["parameters"].map("{:.3f}M".format),
        published=counts["published_parameters"].map("{:.1f}M".format),
        **{mask: counts[f"{mask}_parameters"].map("+{:,}".format) for mask in masks},
        MACs=million["layer_macs"].map("{:.2f}M".format),
        published_MACs=counts["published_macs"].map("{:.1f}M".format),
        attention=million["attention_macs"].map("+{:.2f}M".format),
        agrees=counts["agrees"].map({True: "yes", False: "no"}),
    )
    click.echo(texts.to_string(index=False))
    for name, note in zip(counts["model"], counts["note"], strict=True):
        click.echo("\n" + textwrap.fill(f"{name}: {note}", 110))
    if out is not None:
        with replacing(out) as file:
            file.write(counts.to_csv(index=False).encode())


def _support(libraries: tuple[str, ...], only: str, out: Path | None, page: Path | None) -> None:
    """Try models; of a table that is there, only their rows are replaced."""
    survey = support.survey
    try:
        chosen = survey.cases(libraries, only)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    before = None if out is None or not out.exists() else survey.read(out)

    def store(rows: pd.DataFrame) -> None:
        rows = rows if before is None else survey.merged(before, rows)
        for path, text in ((out, rows.to_csv(index=False)), (page, support.page.page(rows))):
            if path is not None:
                with replacing(path) as file:
                    file.write(text.encode())

    rows = survey.survey(chosen, store)
    click.echo(rows[list(survey.COLUMNS)].to_string(index=False))


if __name__ == "__main__":
    main(prog_name="python -m retconv.models")
