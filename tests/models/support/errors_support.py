"""Errors of the table of support."""

import click

from retconv.models.__main__ import main
from retconv.models.support.case import Case
from retconv.models.support.survey import cases
from tests.error_table import Error

SUPPORT: dict[str, Error] = {
    "a model that is not in the table": (
        lambda: cases(only="vit_tiny_patch16_22"),
        ValueError,
        "no model is called 'vit_tiny_patch16_22': did you mean 'vit_tiny_patch16_224'?",
    ),
    "a pattern that no model matches": (
        lambda: main(["--support", "--library", "torchvision", "--only", "vit_*"], standalone_mode=False),
        click.UsageError,
        r"no model is called 'vit_\*': did you mean",
    ),
    "a library that is not there": (
        lambda: Case("transformers", "ViT", (1, 3, 8, 8), factory="no_library_of_models.ViTModel").build(),
        ModuleNotFoundError,
        "the table of support needs no_library_of_models, which is not installed: pip install no_library_of_models",
    ),
}

TABLES = {"support": SUPPORT}
