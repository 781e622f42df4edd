"""The page of heads as convolutions: its blocks run."""

import re
from pathlib import Path

import pytest
import torch

PAGE = (Path(__file__).parents[2] / "docs" / "look.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_blocks_run(number: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        exec(compile(BLOCKS[number], f"docs/look.md, block {number + 1}", "exec"), {})
