"""The explorer in a notebook: sliders beside the picture."""

from __future__ import annotations

import time
from base64 import b64encode
from typing import Any

import ipywidgets as widgets  # type: ignore[import-untyped]

from retconv.explorer.choice import PARAMETERS, Choice
from retconv.explorer.plate import Plate

_RANGES: dict[str, tuple[float, float, float, str]] = {
    "gamma": (0.05, 0.99, 0.01, "γ (per token)"),
    "alpha_1": (-2.0, 2.0, 0.05, "α₁ (weight)"),
    "sigma_1": (0.1, 8.0, 0.1, "σ₁ (tokens)"),
    "alpha_2": (-2.0, 2.0, 0.05, "α₂ (weight)"),
    "sigma_2": (0.1, 8.0, 0.1, "σ₂ (tokens)"),
}


def _held(value: float, low: float, high: float) -> dict[str, float]:
    """A slider's value and ends: one that lies beyond them moves them, where the slider would move it."""
    return {"value": value, "min": min(low, value), "max": max(high, value)}


class Explorer:
    """Sliders for grid, mask and parameters; under them mask, kernel, symbol, locality and a photograph.

    Shown by being the last value of a notebook cell. Needs the ``notebooks`` extra.

    Args:
        start: What to show first.

    Attributes:
        controls: The widgets by field of ``Choice``.
        picture: The image that follows them.
        status: The line under it: tokens, self-weight, and how long the last update took.
        widget: All of them, laid out.

    Example:
        >>> explorer = Explorer()
        >>> explorer.controls["sigma_1"].value = 3.0  # what a reader does with the mouse
    """

    def __init__(self, start: Choice | None = None) -> None:
        start = start or Choice()
        self._plate = Plate()
        self.controls: dict[str, Any] = {
            "kind": widgets.Dropdown(options=list(PARAMETERS), value=start.kind, description="mask"),
            "rows": widgets.IntSlider(**_held(start.rows, 2, 20), description="tokens down"),
            "columns": widgets.IntSlider(**_held(start.columns, 2, 20), description="tokens across"),
        }
        for name, (low, high, step, label) in _RANGES.items():
            self.controls[name] = widgets.FloatSlider(
                **_held(getattr(start, name), low, high), step=step, description=label, readout_format=".2f"
            )
        for control in self.controls.values():
            control.style.description_width = "8em"
            control.observe(self._changed, names="value")
        self.picture = widgets.Image(format="png")
        self.status = widgets.Label()
        rows = (("kind", "rows", "columns"), tuple(_RANGES))
        boxes = [widgets.VBox([self.controls[name] for name in names]) for names in rows]
        self.widget = widgets.VBox([widgets.HBox(boxes), self.picture, self.status])
        self.update()

    def draw(self, choice: Choice) -> bytes:
        """The picture of any choice as PNG, without the sliders."""
        return self._plate.draw(choice)

    def choice(self) -> Choice:
        """What the controls say."""
        return Choice(**{name: control.value for name, control in self.controls.items()})

    def update(self) -> None:
        """Draw what the controls say."""
        start = time.perf_counter()
        choice = self.choice()
        for name in _RANGES:
            self.controls[name].layout.display = None if name in PARAMETERS[choice.kind] else "none"
        self.picture.value = self.draw(choice)
        self_weight = f"{float(choice.kernel()[(0, *choice.grid.center)]):.3g}".replace("-", "−")
        milliseconds = 1000 * (time.perf_counter() - start)
        self.status.value = (
            f"{choice.rows * choice.columns} tokens, self-weight {self_weight}; drawn in {milliseconds:.0f} ms"
        )

    def _changed(self, change: object) -> None:
        self.update()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        # Where there is no kernel, as on a page of a stored notebook, the picture stands for the sliders.
        still = {"image/png": b64encode(self.picture.value).decode(), "text/plain": repr(self.choice())}
        return self.widget._repr_mimebundle_(**options) | still
