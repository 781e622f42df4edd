"""A look at all heads of a model: as text, table, picture and page."""

from __future__ import annotations

import textwrap
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from retconv.heads.layer import LayerLook
from retconv.heads.verdicts import NOT_A_CONVOLUTION

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_WIDTH = 110


@dataclass(frozen=True)
class Look:
    """The heads of a model as convolutions; ``print`` it, or take ``to_frame()``, ``plot()`` or ``to_html()``.

    Layers and heads are counted from 0, as modules are.

    Attributes:
        model: The class of the model.
        images: How many images were looked at.
        size: Their height and width.
        confidence: Of the intervals over images.
        layers: Every attention that was looked at by the module's name, in the order of the model's modules.
        notes: What was said of attention that could not be looked at.

    Example:
        >>> import timm
        >>> model = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=1).eval()
        >>> retconv.look(model, torch.rand(4, 3, 32, 32)).to_frame().shape[0]  # a row for each head
        3
    """

    model: str
    images: int
    size: tuple[int, ...]
    confidence: float
    layers: dict[str, LayerLook]
    notes: tuple[str, ...]

    @property
    def kernels(self) -> dict[str, Tensor]:
        """The effective kernels by the name of the attention module, each ``(heads, 2 n_1 − 1, …)`` in float64."""
        return {name: layer.kernel for name, layer in self.layers.items()}

    @property
    def title(self) -> str:
        """The model, and what was looked at."""
        heads = sum(len(layer.kernel) for layer in self.layers.values())
        size = "×".join(map(str, self.size))
        images = f"{self.images} image{'s' * (self.images > 1)}"
        return f"{self.model}: {heads} heads in {len(self.layers)} layers, {images} of {size} pixels"

    def rows(self) -> list[dict[str, Any]]:
        """A row of numbers and words for each head, in order."""
        return [{"layer": i} | row for i, layer in enumerate(self.layers.values()) for row in layer.rows]

    def to_frame(self) -> pd.DataFrame:
        """One row for each head.

        Shares are those of the weights' variance (``explained``, ``explained_low``, ``explained_high``,
        ``explained_estimate``, ``circulant``, ``position``, ``content``, ``gamma_explained``, ``sigma_explained``),
        ``prefix_share`` that of the weight itself; distances, radii and σ are in tokens, ``mean_distance_px`` in
        pixels, ``entropy`` in nats. What is not defined is missing.
        """
        # Whoever only prints a look need not wait for pandas.
        import pandas as pd

        return pd.DataFrame(self.rows())

    def plot(self, width: float | None = None) -> Figure:
        """The atlas of heads: effective kernels by layer and head, above the share that each explains.

        Args:
            width: In inches; by default 3.35, one column, up to six heads, and 0.56 for each further head.
        """
        # Nor for matplotlib.
        from retconv.heads.plots import plot_heads

        return plot_heads(list(self.layers.values()), self.title, width)

    def to_html(self, whole: bool = True) -> str:
        """The look with a picture of every kernel: a page that stands by itself, or the part of one."""
        # Nor for jinja and pillow.
        from retconv.heads.pages import page, part

        body = part(list(self.layers.values()), self.title, self.confidence, self.notes)
        return page(self.title, body) if whole else body

    def _repr_html_(self) -> str:
        return self.to_html(whole=False)

    def __repr__(self) -> str:
        return "\n".join([self.title, "", *self._table(), "", *textwrap.wrap(NOT_A_CONVOLUTION, _WIDTH)])

    def __str__(self) -> str:
        verdicts = [
            f"{name} head {head}: {verdict.text}"
            for name, layer in self.layers.items()
            for head, verdict in enumerate(layer.verdicts)
        ]
        return "\n".join([repr(self), "", *verdicts, *[f"\nnote: {note}" for note in self.notes]])

    def _table(self) -> list[str]:
        """A line for each layer: means over its heads, and how many there are of each kind."""
        wide = max([len("layer"), *map(len, self.layers)])
        columns = ("explained", "circulant", "position", "content", "prefix_share", "mean_distance")
        header = f"{'layer':<{wide}}  {'tokens':>9}" + "".join(f"{name.split('_')[-1]:>11}" for name in columns)
        lines = [header.replace("     share", "    prefix") + "  heads"]
        for layer in self.layers.values():
            grid = "×".join(map(str, layer.grid.shape)) + (f"+{layer.grid.prefix}" if layer.grid.prefix else "")
            means = [_mean([row[name] for row in layer.rows]) for name in columns]
            kinds = Counter(verdict.kind for verdict in layer.verdicts)
            words = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
            lines.append(f"{layer.name:<{wide}}  {grid:>9}" + "".join(f"{mean:>11}" for mean in means) + f"  {words}")
        return lines


def _mean(values: list[float]) -> str:
    """The mean over heads for which a number is defined."""
    defined = [value for value in values if value == value]
    return f"{sum(defined) / len(defined):.2f}" if defined else "–"
