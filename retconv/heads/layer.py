"""One layer's heads as convolutions: all that is measured of them, by head."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from retconv.analysis.effective import Effective
from retconv.analysis.locality import Locality, locality
from retconv.approximate import DecayFit, GaussianMixtureFit
from retconv.grid import Grid
from retconv.heads.columns import fit_columns, fits, locality_columns
from retconv.heads.stream import Streamed
from retconv.heads.verdicts import Verdict, judge


@dataclass(frozen=True)
class LayerLook:
    """The attention of one layer.

    Attributes:
        name: The attention module's name in the model.
        grid: The grid of its tokens, with prefix tokens.
        windows: Attention matrices of one image: windows, or 1 where it attends over the whole map.
        pixels: Image pixels from one token to the next, NaN where that is not known (windows; steps that differ).
        streamed: Effective kernel, mean attention, shares, interval.
        locality: Of the mean attention, with its border; ``mean_distance`` is the mean attention distance in tokens.
        decay: The Manhattan decay nearest to the kernel, least squares over all offsets.
        gaussian: The Gaussian nearest to the kernel, likewise.

    Example:
        >>> import timm
        >>> model = timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=1).eval()
        >>> layer = retconv.look(model, torch.rand(4, 3, 32, 32)).layers["blocks.0.attn"]
        >>> layer.grid
        Grid((4, 4), prefix=1)
    """

    name: str
    grid: Grid
    windows: int
    pixels: float
    streamed: Streamed
    locality: Locality
    decay: DecayFit
    gaussian: GaussianMixtureFit

    @classmethod
    def of(cls, name: str, grid: Grid, windows: int, pixels: float, streamed: Streamed) -> LayerLook:
        """Measure what a stream amounts to."""
        effective = streamed.effective
        measures = locality(effective.mean, effective.grid)
        return cls(name, grid, windows, pixels, streamed, measures, *fits(effective.kernel))

    @property
    def effective(self) -> Effective:
        """Effective kernel, mean attention and shares of variance (law 17)."""
        return self.streamed.effective

    @property
    def kernel(self) -> Tensor:
        """The effective kernel, ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``."""
        return self.effective.kernel

    def explained_by(self, kernel: Tensor) -> Tensor:
        """The share of the weights' variance that any kernel in place of the effective one explains.

        ``1 − Σ (A − M')² / Σ (A − ā)²`` over images and pairs; negative where it is worse than the mean weight.

        Args:
            kernel: ``(heads, 2 n_1 − 1, …, 2 n_D − 1)``.

        Returns:
            ``(heads,)``, NaN where the weights do not vary.
        """
        pairs = self.effective.grid.pair_count(self.kernel.device)
        missed = (pairs * (self.kernel - kernel.to(self.kernel.device)).square()).flatten(1).sum(dim=1)
        flat, variance = self.effective.explained.isnan(), self.streamed.variance
        return self.effective.explained - torch.where(flat, torch.nan, missed / torch.where(flat, 1.0, variance))

    @cached_property
    def rows(self) -> tuple[dict[str, Any], ...]:
        """One row of numbers and words for each head."""
        streamed, effective = self.streamed, self.effective
        of_decay, of_gaussian = (self.explained_by(fit.kernel) for fit in (self.decay, self.gaussian))
        rows = []
        for head in range(len(self.kernel)):
            at = {"module": self.name, "head": head}
            shares = {
                "explained": effective.explained,
                "explained_low": streamed.interval.low,
                "explained_high": streamed.interval.high,
                "explained_estimate": streamed.interval.estimate,
                "circulant": streamed.circulant,
                "position": effective.position,
                "content": effective.content,
                "prefix_share": streamed.prefix,
                "variation": streamed.variation,
            }
            measures = locality_columns(self.locality, head)
            fitted = fit_columns(self.decay, self.gaussian, head)
            fitted |= {"gamma_explained": float(of_decay[head]), "sigma_explained": float(of_gaussian[head])}
            row = at | {name: float(values[head]) for name, values in shares.items()} | measures | fitted
            row["mean_distance_px"] = measures["mean_distance"] * self.pixels
            place = {"grid": "×".join(map(str, self.grid.shape)), "prefix": self.grid.prefix, "windows": self.windows}
            row |= place
            verdict = judge(row, measures["mean_distance"] / self._uniform if self._uniform else 0.0, self._peak(head))
            rows.append(row | {"kind": verdict.kind, "verdict": verdict.text})
        return tuple(rows)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What each head is, in words."""
        return tuple(Verdict(row["kind"], row["verdict"]) for row in self.rows)

    @cached_property
    def _uniform(self) -> float:
        """Mean distance of two tokens of the grid, each as likely as any other."""
        grid = self.effective.grid
        pairs = grid.pair_count().double()
        return float((pairs * grid.offsets().double().norm(dim=-1)).sum() / pairs.sum())

    def _peak(self, head: int) -> list[int]:
        place = int(self.kernel[head].argmax())
        return [int(d) for d in self.effective.grid.offsets().flatten(0, -2)[place]]


def pixels_of(grid: Grid, windows: int, size: tuple[int, ...]) -> float:
    """Pixels from one token to the next where the tokens of an attention cover the image once, and evenly.

    Args:
        grid: The grid of the tokens.
        windows: Attention matrices of one image.
        size: Height and width of the image.
    """
    if windows != 1 or grid.ndim != len(size):
        return math.nan
    steps = {side / tokens for side, tokens in zip(size, grid.shape, strict=True)}
    return steps.pop() if len(steps) == 1 else math.nan
