"""Runs the Python of a document, each block by itself; text that follows a block is the error that it raises."""

from __future__ import annotations

import re
import sys
from pathlib import Path

_BLOCK = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)


def outcome(code: str) -> str:
    """The error that code raises, as an interpreter prints it without its module; empty if it raises none."""
    try:
        exec(compile(code, "example", "exec"), {})
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


for code, refusal in _BLOCK.findall(Path(sys.argv[1]).read_text(encoding="utf-8")):
    if (error := outcome(code)) != " ".join(refusal.split()):
        sys.exit(f"{code}\nends in {error or 'no error'}\nbut is said to end in {refusal or 'none'}")
