"""Planted tables of the studies: the shape of the stored ones, with effects that are known, for tests of figures."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

#: Planted gain over plain of each arm, in points, by study.
GAINS: dict[str, dict[str, float]] = {
    "cifar_small": {"plain": 0, "manhattan_bias": 1.5, "gmm": -2.5, "table": 0, "elm": -0.1, "gmm_local": 0.1},
    "cifar_small_controls": {
        "plain": 0, "manhattan_bias": 1.5, "manhattan": 0.0, "gaussian_bias": 1.6, "lsa": 0.1, "temperature": 0.0,
        "token": -1.6, "retnet": -0.1, "convolution": -12,
    },
    "main": {"plain": 0, "elm": -0.1, "gmm_1": 0.1, "gmm_5": 1.5},
    "controls": {"plain": 0, "token": -1.6, "plain_no_cutmix": -3, "gmm_no_cutmix": -1.5},
    "placement": {"plain": 0, "multiply_logits": 1.5, "convolution": -6},
    "models": {"vit_plain": 0, "vit_gmm": 1.5, "swin_plain": -5, "swin_gmm": -5.1},
    "tiny_imagenet": {"plain": 0, "gmm_5": 0.1},
}  # fmt: skip
#: By study, the option that varies, and at each of its settings the gains.
VARIED: dict[str, tuple[str, dict[float, dict[str, float]]]] = {
    "cifar_small_data": ("fraction", {
        0.1: {"plain": 0, "manhattan_bias": 4, "gmm_local": 0.1}, 1.0: {"plain": 0, "manhattan_bias": 1, "gmm_local": 0}
    }),
    "cifar_small_cutmix": ("cutmix", {
        0.0: {"plain": 0, "manhattan_bias": 1.5, "gmm": -2}, 1.0: {"plain": 0, "manhattan_bias": 1.6, "gmm": -2}
    }),
    "short": ("cutmix", {
        0.0: {"plain": 0, "manhattan_bias": 1.5, "gmm": 1}, 1.0: {"plain": 0, "manhattan_bias": 0.2, "gmm": 1.1}
    }),
    "data_size": ("fraction", {
        share: {"plain": 0, "gmm": 3 * (1 - share)} for share in (0.01, 0.03, 0.1, 0.3, 1.0)
    }),
}  # fmt: skip
#: Planted mean attention distance of each arm, in tokens; a free decay is nearer.
DISTANCES = {"plain": 3.8, "manhattan_bias": 2.6, "gmm": 3.7, "table": 3.8, "elm": 3.8, "gmm_local": 3.0}
#: Rows of which only the run is named beside the values.
_SHORT = ("effective_kernels", "mask_kernels")
_FULL = {"data": "cifar10", "torch": "2.15.0", "device": "a planted CPU", "threads": 1, "replicas": 1}


class Planted:
    """Tables whose effects are known.

    Args:
        seeds: How many.
        noise: Spread of every number over seeds.
        scale: ``full``, or ``small``, which no figure shows.
    """

    side, layers, heads = 8, range(4), range(4)

    def __init__(self, seeds: int = 5, noise: float = 0.1, scale: str = "full") -> None:
        self.seeds, self.noise, self.scale = range(seeds), noise, scale
        self.random = np.random.default_rng(7)
        #: What all arms of a seed share, so that pairing matters.
        self.shared = {seed: float(self.random.normal(0, 1.5)) for seed in self.seeds}

    def write(self, folder: Path) -> None:
        """All tables."""
        for name, rows in self.tables().items():
            pd.DataFrame(rows).to_csv(folder / f"study_{name}.csv", index=False)

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Rows by table."""
        tables = {study: list(self._runs(study, gains)) for study, gains in GAINS.items()}
        for study, (option, settings) in VARIED.items():
            runs = [self._runs(study, gains, {option: value}) for value, gains in settings.items()]
            tables[study] = [row for rows in runs for row in rows]
        tables["cifar_small_cutmix_distance"] = [
            row for value in (0.0, 1.0) for row in self._distances("cifar_small_cutmix", {"cutmix": value}, value)
        ]
        makers = {
            "distance": self._distances, "effective": self._effective, "effective_kernels": self._attention,
            "kernel_swap": self._swaps, "grid_transfer": self._transfer, "elm": self._elm, "masks": self._masks,
            "mask_kernels": self._kernels,
        }  # fmt: skip
        return tables | {f"cifar_small_{name}": list(make("cifar_small")) for name, make in makers.items()}

    def _row(self, study: str, arm: str, seed: int, values: Mapping[str, Any], short: bool = False) -> dict[str, Any]:
        varied = {key: value for key, value in values.items() if key in ("fraction", "cutmix")}
        run = f"{zlib.crc32(f'{study} {arm} {varied}'.encode()):015x}{seed:x}"
        begin = {"study": study, "arm": arm, "seed": seed} | varied | {"run": run}
        end = {"scale": self.scale, "commit": "1a2b3c4"}
        return begin | dict(values) | end | ({} if short else _FULL)

    def _measured(self, study: str, arm: str, seed: int, values: Mapping[str, Any]) -> dict[str, Any]:
        return self._row(study, arm, seed, dict(values) | {"images": 5000, "part": "validation", "measured": "1a2b3c4"})

    def _noise(self, scale: float = 1.0) -> float:
        return float(self.random.normal(0, scale * self.noise))

    def _runs(self, study: str, gains: Mapping[str, float], varied: Mapping[str, float] | None = None) -> Iterator:
        for arm, gain in gains.items():
            for seed in self.seeds:
                accuracy = 66 + gain + self.shared[seed] + self._noise()
                yield self._row(study, arm, seed, dict(varied or {}) | {"epochs": 8, "test_accuracy": accuracy})

    def _distances(self, study: str, varied: Mapping[str, float] | None = None, mixed: float = 0.0) -> Iterator:
        arms = VARIED[study][1][0.0] if varied else DISTANCES
        for arm, distance in ((arm, DISTANCES[arm]) for arm in arms):
            for seed in self.seeds:
                for layer in (*self.layers, "all"):
                    own = distance + self._noise()
                    values = {"layer": layer, "distance": own, "least_distance": own - 0.3 - mixed * (arm == "plain")}
                    yield self._measured(study, arm, seed, dict(varied or {}) | values)

    def _effective(self, study: str) -> Iterator:
        for arm, distance in DISTANCES.items():
            for seed in self.seeds:
                for layer in self.layers:
                    for head in self.heads:
                        shares = {"explained": 0.05 + 0.01 * layer + self._noise(0.02), "mean_distance": 0.0}
                        shares["mean_distance"] = distance + 0.3 * (head - 1.5) + self._noise()
                        yield self._measured(study, arm, seed, {"layer": layer, "head": head} | shares)

    def _grid(self, study: str, arm: str, decay: float, noise: float, start: float) -> Iterator:
        """Kernels: a start and a decay, with noise, of the first seed."""
        last = self.side - 1
        for layer in self.layers:
            for head in self.heads[: 1 if arm == "elm" else None]:
                for down in range(-last, last + 1):
                    for right in range(-last, last + 1):
                        value = start + decay * 0.7 ** (abs(down) + abs(right)) + float(self.random.normal(0, noise))
                        at = {"layer": layer, "head": head, "offset_1": down, "offset_2": right, "value": value}
                        yield self._row(study, arm, 0, at, short=True)

    def _attention(self, study: str) -> Iterator:
        for arm in DISTANCES:
            yield from self._grid(study, arm, 0.05 if arm == "plain" else 0.1, 0.002, 0.01)

    def _kernels(self, study: str) -> Iterator:
        for arm, start in (("manhattan_bias", 0.0), ("gmm", 0.5), ("table", 1.0), ("elm", 1.0)):
            yield from self._grid(study, arm, 1.0 if start < 1 else 0.3, 0.0 if start < 1 else 0.1, start)

    def _masks(self, study: str) -> Iterator:
        """Fits that leave a tenth of the norm of a free kernel, and nothing of a decay."""
        for arm in ("manhattan_bias", "gmm", "table", "elm"):
            for seed in self.seeds:
                for layer in self.layers:
                    for head in self.heads[: 1 if arm == "elm" else None]:
                        left = 0.0 if arm == "manhattan_bias" else 0.1
                        fits = {"gamma": 0.8, "gamma_residual": left, "sigma": 2.0, "sigma_residual": left + 0.05}
                        yield self._measured(study, arm, seed, {"layer": layer, "head": head} | fits)

    def _swaps(self, study: str) -> Iterator:
        for arm in GAINS[study]:
            for seed in self.seeds:
                sides = [] if arm == "plain" else range(1, 2 * self.side, 2)
                swaps: list[tuple[str, int | None, Any, float]] = [("whole", None, "all", 0.0)]
                # A cut of masks costs the more the smaller, a mixture most; at 5×5 the decay loses nothing.
                costs = {"manhattan_bias": 4.0, "gmm": 30.0}
                swaps += [("truncated", k, "all", -costs.get(arm, 15.0) * max(0, 5 - k) / 4) for k in sides]
                swaps = [(kind, k, at, by - 3 * (arm == "gmm" and k == 5)) for kind, k, at, by in swaps]
                swaps += [("effective", None, layer, -4.0 - 3 * layer) for layer in self.layers]
                swaps += [("effective", None, "all", -38.0)]
                for kind, k, layer, change in swaps:
                    change += 0 if kind == "whole" or k == 2 * self.side - 1 else self._noise()
                    values = {"kind": kind, "k": k, "layer": layer, "accuracy": 66 + change, "change": change}
                    yield self._measured(study, arm, seed, values)

    def _transfer(self, study: str) -> Iterator:
        for arm in GAINS[study]:
            for seed in self.seeds:
                for factor in (1.0, 1.25, 1.5, 2.0):
                    stuck = arm == "elm" and factor > 1
                    change = -(20.0 if arm == "manhattan_bias" else 34.0) * (factor - 1)
                    change += self._noise() if factor > 1 else 0.0
                    values = {"size": round(32 * factor), "factor": factor, "tokens": round(8 * factor) ** 2}
                    values |= {"accuracy": None if stuck else 66 + change, "change": None if stuck else change}
                    yield self._measured(study, arm, seed, values | {"note": "cannot move" if stuck else None})

    def _elm(self, study: str) -> Iterator:
        chance = (2 * self.side - 1) ** 2 / self.side**4
        for seed in self.seeds:
            for layer in self.layers:
                for epoch in range(1, 9):
                    learnt = 0.2 + 0.02 * layer + 0.01 * epoch + self._noise(0.1)
                    values = {"layer": layer, "epoch": epoch, "last": epoch == 8, "residual": 0.1, "convolution": 0.99}
                    yield self._measured(study, "elm", seed, values | {"learnt": learnt, "chance": chance})
