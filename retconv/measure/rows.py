"""Rows of tables whose values JSON holds as they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

Row = dict[str, Any]
#: Significant digits that are kept, as many as tables have.
_DIGITS = 7


def plain(values: Mapping[str, Any]) -> Row:
    """A row whose numbers are rounded as tables are; one that is not finite is missing, and a tensor nested lists."""
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        value = value.detach().double().cpu().tolist()
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value
