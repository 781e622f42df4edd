"""The site: documents, notebooks and docstrings as they stand in the repository, which is the source folder."""

import re
import sys
from importlib import import_module
from pathlib import Path

from sphinx.application import Sphinx

import retconv
from retconv.figures.registry import GROUPS

SITE = Path(__file__).parent
sys.path.insert(0, str(SITE))
pages = import_module("pages")

project = "retconv"
author = copyright = "The retconv authors"
extensions = ["myst_nb", *(f"sphinx.ext.{name}" for name in ("autodoc", "autosummary", "napoleon", "mathjax"))]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "docs/site/*.*", "docs/site/api/*.rst", "notebooks/*.ipynb"]
exclude_patterns = [".*", "build", "docs/site/contents.md", "**/.ipynb_checkpoints", "runs", "data", "shared"]

html_theme = "furo"
html_title = "retconv"
html_extra_path = ["extra"]  # index.html, which leads to README.html
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
templates_path = [str(SITE / "_templates")]

nb_execution_mode = "off"  # their stored outputs are those that a test compares
myst_enable_extensions = ["colon_fence", "dollarmath", "html_image"]
myst_heading_anchors = 3

autosummary_ignore_module_all = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_custom_sections = ["Source"]
napoleon_use_ivar = True  # attributes that a docstring lists and a class declares stand once

#: Where each name of the package itself is documented: in the part that defines it.
LISTED = re.findall(r"^   (retconv\.\w+)$", (SITE / "api.rst").read_text(encoding="utf-8"), flags=re.MULTILINE)
PARTS = [import_module(name) for name in LISTED]
HOMES = {name: part.__name__ for part in reversed(PARTS) for name in getattr(part, "__all__", vars(part))}
OFFERED = [name for name in retconv.__all__ if f"retconv.{name}" not in sys.modules]  # parts have pages of their own
autosummary_context = {"names": [f"{HOMES[name]}.{name}" for name in OFFERED]}


def read(app: Sphinx, name: str, text: list[str]) -> None:
    """Contents follow the README, pages of the site are filled, anchors that GitHub reads become targets."""
    if name == root_doc:
        text[0] += (SITE / "contents.md").read_text(encoding="utf-8")
    if name in ("docs/site/gallery", "docs/site/benchmarks"):
        filling = {"groups": GROUPS, "figures": [*pages.figures()], "runs": pages.runs().to_dict("records")}
        text[0] = app.builder.templates.render_string(text[0], filling)
    if not name.startswith("notebooks/"):
        text[0] = re.sub(r'<a id="([\w-]+)"></a>', r"(\1)=", text[0])


def close_literals(app: Sphinx, what: str, name: str, of: object, options: object, lines: list[str]) -> None:
    """A literal that letters follow, as in the plural of a name, ends for reStructuredText at an escaped space only."""
    text = re.sub(r"``[^`]+``(?=(\w)?)", lambda literal: literal[0] + ("\\ " if literal[1] else ""), "\n".join(lines))
    lines[:] = text.split("\n")


def setup(app: Sphinx) -> None:
    """What Sphinx calls."""
    app.connect("source-read", read)
    app.connect("autodoc-process-docstring", close_literals)
