"""The explorer's picture: six panels that are made once and only change their data."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from retconv.colours import scale
from retconv.explorer.choice import FREQUENCIES, Choice, View, view
from retconv.figures.photograph import photograph
from retconv.figures.style import BLUE, ORANGE, house_style

#: Pixels of the photograph along each side.
PIXELS = 96
_WIDTH, _HEIGHT, _DPI = 7.6, 5.0, 110
_LEFT, _BOTTOM, _SIDE = (0.065, 0.395, 0.725), (0.57, 0.075), 0.255


class Plate:
    """Draws a choice as PNG bytes: mask, kernel and symbol above, locality and the photograph below.

    Laying out and making artists takes most of a figure's time, so both are done once, here.
    """

    def __init__(self) -> None:
        self.pixels = photograph(PIXELS, grey=True)
        with house_style():
            self.figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=_DPI)
            FigureCanvasAgg(self.figure)
            self.mask = _Image(self._panel(0, 0), "key", "query")
            # Between the ticks at both ends there is room for the labels.
            self.mask.ax.xaxis.labelpad = self.mask.ax.yaxis.labelpad = -5
            self.kernel = _Panel(self._panel(0, 1), self._panel(0, 1), "offset")
            self.symbol = _Panel(self._panel(0, 2), self._panel(0, 2), "θ")
            self.locality = self._panel(1, 0)
            self._start_locality()
            original = self._panel(1, 1)
            original.imshow(self.pixels, cmap="gray", vmin=0, vmax=1)
            original.set(xticks=[], yticks=[], title=f"photograph, {PIXELS}×{PIXELS} tokens")
            self.result = _Image(self._panel(1, 2), "", "")

    def _panel(self, row: int, column: int) -> Axes:
        height = _SIDE * _WIDTH / _HEIGHT
        return self.figure.add_axes((_LEFT[column], _BOTTOM[row], _SIDE, height))

    def _start_locality(self) -> None:
        (self.curve,) = self.locality.plot([], [], drawstyle="steps-post", color=BLUE)
        self.half = self.locality.axvline(0, color=ORANGE, linestyle="--", label="half")
        self.most = self.locality.axvline(0, color=ORANGE, linestyle=":", label="95 %")
        self.radii = self.locality.legend(loc="lower right", frameon=True, framealpha=1, edgecolor="none").get_texts()
        self.locality.set(ylim=(0, 1.04), xlabel="radius (tokens)", ylabel="share of ℓ1 mass within", title="locality")
        self.locality.spines[["top", "right"]].set_visible(False)

    def draw(self, choice: Choice) -> bytes:
        """The picture of a choice, as PNG."""
        scene = view(choice, self.pixels)
        with house_style():
            self._update(choice, scene)
            buffer = io.BytesIO()
            # Light compression: the picture goes to a browser once, and writing it counts towards its delay.
            self.figure.savefig(buffer, format="png", dpi=_DPI, pil_kwargs={"compress_level": 1})
        return buffer.getvalue()

    def _update(self, choice: Choice, scene: View) -> None:
        last = len(scene.mask) - 1
        self.mask.show(scene.mask, (-0.5, last + 0.5, last + 0.5, -0.5), f"mask, {last + 1}×{last + 1}")
        self.mask.ticks([0, last], [0, last])
        sides = "×".join(str(n) for n in scene.kernel.shape)
        self.kernel.show(scene.kernel, choice.grid.center, f"kernel, {sides}", "tokens", "weight")
        name = "symbol" if scene.kernel.ndim == 2 else "modulus of the symbol"
        edge = (float(np.pi),) * scene.kernel.ndim
        self.symbol.show(scene.symbol, edge, name, "rad/token", name)
        half, most = scene.radius_of(0.5), scene.radius_of(0.95)
        self.curve.set_data(scene.radius, scene.share)
        self.half.set_xdata([half, half])
        self.most.set_xdata([most, most])
        self.locality.set_xlim(-0.02 * scene.radius[-1], max(1.0, float(scene.radius[-1])))
        self.radii[0].set_text(f"half within {half:.3g}")
        self.radii[1].set_text(f"95 % within {most:.3g}")
        self.result.show(scene.image, (-0.5, PIXELS - 0.5, PIXELS - 0.5, -0.5), "under the mask", grey=True)


def _titled(title: str, low: float, high: float) -> str:
    return f"{title}: {low:.3g} … {high:.3g}".replace("-", "−")


class _Image:
    """A panel of an image, its range in its title."""

    def __init__(self, ax: Axes, across: str, down: str) -> None:
        self.ax = ax
        self.image: AxesImage = ax.imshow(np.zeros((2, 2)), aspect="auto")
        ax.set(xticks=[], yticks=[], xlabel=across, ylabel=down)

    def show(
        self, values: np.ndarray, extent: tuple[float, float, float, float], title: str, grey: bool = False
    ) -> None:
        low, high = float(values.min()), float(values.max())
        self.image.set_data(values)
        self.image.set_extent(extent)
        if grey:
            self.image.set(cmap="gray", clim=(low, high if high > low else low + 1))
        else:
            shade = scale(values, signed=low < 0)
            self.image.set_cmap(shade["cmap"])
            self.image.set_clim(shade["norm"].vmin, shade["norm"].vmax or 1.0)
        self.ax.set_title(_titled(title, low, high))

    def ticks(self, across: list[float], down: list[float], labels: list[str] | None = None) -> None:
        self.ax.set_xticks(across, labels)
        self.ax.set_yticks(down, labels)


class _Panel:
    """A quantity over offsets or frequencies: an image of a board, a curve of a line, in the same place."""

    def __init__(self, board: Axes, line: Axes, variable: str) -> None:
        self.board = _Image(board, f"{variable} across", f"{variable} down")
        self.line, self.variable = line, variable
        (self.curve,) = line.plot([], [], color=BLUE)
        line.axhline(0, color="0.6", linewidth=0.5, zorder=0)
        line.spines[["top", "right"]].set_visible(False)

    def show(self, values: np.ndarray, reach: tuple[float, ...], title: str, unit: str, quantity: str) -> None:
        """Show values whose indices run from ``−reach`` to ``reach`` along each axis."""
        self.board.ax.set_visible(values.ndim == 2)
        self.line.set_visible(values.ndim == 1)
        angle = len(values) == FREQUENCIES and unit == "rad/token"
        if values.ndim == 2:
            down, right = reach
            # Of a single token along an axis there is no step: it is as wide as one.
            step_down, step_right = (r / max(1, n - 1) or 0.5 for r, n in zip(reach, values.shape, strict=True))
            extent = (-right - step_right, right + step_right, down + step_down, -down - step_down)
            self.board.show(values, extent, title)
            self.board.ticks([-right, 0, right], [-down, 0, down], ["−π", "0", "π"] if angle else None)
            return
        (end,) = reach
        self.curve.set_data(np.linspace(-end, end, len(values)), values)
        low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
        margin = 0.04 * (high - low or 1.0)
        self.line.set(xlim=(-end - 0.5, end + 0.5) if not angle else (-end, end), ylim=(low - margin, high + margin))
        self.line.set_xticks([-end, 0, end], ["−π", "0", "π"] if angle else None)
        self.line.set(xlabel=f"{self.variable} ({unit})", title=_titled(title, values.min(), values.max()))
