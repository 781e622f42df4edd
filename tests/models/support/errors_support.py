"""Errors of the table of support."""

from retconv.models.support.case import Case
from retconv.models.support.survey import cases
from tests.error_table import Error

SUPPORT: dict[str, Error] = {
    "a model that is not in the table": (
        lambda: cases(only="vit_tiny_patch16_22"),
        ValueError,
        "no model is called 'vit_tiny_patch16_22': did you mean 'vit_tiny_patch16_224'?",
    ),
    "a library that is not there": (
        lambda: Case("transformers", "ViT", (1, 3, 8, 8), factory="no_library_of_models.ViTModel").build(),
        ModuleNotFoundError,
        "the table of support needs no_library_of_models, which is not installed: pip install no_library_of_models",
    ),
}

TABLES = {"support": SUPPORT}
