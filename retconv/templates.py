"""Pages of HTML from the templates of a package."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import PIL.Image
from jinja2 import Environment, PackageLoader, StrictUndefined

from retconv.colours import scale


def render(package: str, template: str, **values: Any) -> str:
    """The page of a template in the folder ``templates`` of a package; what a template lacks is an error."""
    environment = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        keep_trailing_newline=True,
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template(template).render(**values)


def matrix_address(values: np.ndarray) -> str:
    """A matrix, a pixel an entry, as a PNG in an address, for pages with nothing outside of them."""
    colours = scale(values, bool(values.min() < 0))
    file = io.BytesIO()
    PIL.Image.fromarray(colours["cmap"](colours["norm"](values), bytes=True)).save(file, format="png")
    return address(file.getvalue())


def address(png: bytes) -> str:
    """A PNG in an address."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
