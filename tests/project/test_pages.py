"""Pages for newcomers: what they show runs, and what is computed stands as computed."""

import re
from pathlib import Path

import pytest
import torch

from retconv.grid import Grid
from retconv.models import MASKS
from tests.project import methods_page

DOCS = Path(__file__).parents[2] / "docs"


def blocks(name: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / name).read_text(encoding="utf-8"), flags=re.DOTALL)


def runs(code: str, name: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        exec(compile(code, f"docs/{name}", "exec"), {"__name__": name})


@pytest.mark.parametrize("number", range(len(blocks("faq.md"))))
def test_every_answer_runs_by_itself(number: int) -> None:
    runs(blocks("faq.md")[number], "faq.md")


def test_every_question_is_answered_in_code() -> None:
    _, *answers = re.split(r"^## ", (DOCS / "faq.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [answer.splitlines()[0] for answer in answers if "```python" not in answer] == []


def test_masks_by_name_are_all_told_and_which_of_them_learn() -> None:
    rows = re.findall(
        r"^\| (`.+?`) \| .+? \| (.+?) \|", (DOCS / "faq.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    told = {name: learns for names, learns in rows for name in re.findall(r"`(\w+)`", names)}
    assert set(told) == set(MASKS)
    for name, make in MASKS.items():
        learnt = any(p.requires_grad for p in make(Grid((4, 4)), 2).parameters())
        assert (told[name] == "yes") == learnt
        if told[name] == "if `learnable=True`":
            assert any(p.requires_grad for p in make(Grid((4, 4)), 2, learnable=True).parameters())


def test_the_mask_that_is_added_works_from_top_to_bottom() -> None:
    runs("\n".join(blocks("adding_a_mask.md")), "adding_a_mask.md")


def test_the_matrix_of_methods_is_what_masks_have() -> None:
    """As ``python -m tests.project.methods_page`` writes it."""
    assert methods_page.PAGE.read_text(encoding="utf-8") == methods_page.page()
