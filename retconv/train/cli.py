"""What the commands of training, sweeps and studies have in common."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

#: Of every command: ``-h`` beside ``--help``, and defaults shown.
SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True}


class Refusal(click.ClickException):
    """What is wrong with what was asked for, without a traceback, and exit code 2."""

    exit_code = 2


def meaning(option: dataclasses.Field[Any]) -> str:
    """What an ``option`` field means, with its choices."""
    choices = option.metadata.get("choices")
    return str(option.metadata["help"]) + (f" [{'|'.join(choices)}]" if choices else "")
