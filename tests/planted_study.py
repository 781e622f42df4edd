"""Planted tables of the study: the shape of the stored ones, with effects that are known, for tests of figures."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

#: Planted gain over plain of each arm, in points.
MAIN = {
    "plain": 0.0,
    "elm": -0.4,
    "table": 0.9,
    "gmm_1": 0.5,
    "gmm_2": 0.8,
    "gmm_3": 1.0,
    "gmm_5": 1.2,
    "gmm_8": 1.1,
    "manhattan_fixed": 0.7,
    "manhattan_learnt": 1.3,
    "manhattan_bias": 1.0,
    "two_sided": 0.3,
}
CONTROLS = {
    "token": -0.6,
    "plain": 0.0,
    "temperature": 0.1,
    "lsa": 0.4,
    "gmm": 1.2,
    "gmm_positive": 1.1,
    "gmm_local": 1.4,
    "gmm_decayed": 1.0,
    "gaussian_bias": 0.9,
    "plain_no_cutmix": -0.5,
    "gmm_no_cutmix": 0.8,
    "bias_no_cutmix": 0.6,
}
PLACEMENTS = {
    "plain": 0.0,
    "multiply_logits": 1.2,
    "bias_logits": 1.4,
    "multiply_weights": 1.0,
    "retention": -3.0,
    "convolution": -6.0,
}
FRACTIONS = (0.01, 0.03, 0.1, 0.3, 1.0)
MODELS = ("vit", "swin", "cait", "pit", "t2t")
ANALYSED = ("plain", "elm", "table", "gmm_5", "manhattan_learnt")
SIZES = {"small": (8, 10, 12, 16), "full": (32, 40, 48, 64)}


class Planted:
    """The tables of one scale.

    Args:
        scale: ``small`` or ``full``.
        seeds: How many.
        side: Of the grid.
        layers: How many.
        heads: How many.
    """

    def __init__(self, scale: str = "small", seeds: int = 5, side: int = 5, layers: int = 3, heads: int = 2) -> None:
        self.scale, self.seeds, self.side, self.layers, self.heads = scale, range(seeds), side, range(layers), heads
        self.random = np.random.default_rng(7)
        self.data = "digits" if scale == "small" else "cifar10"
        self.origin = {
            "scale": scale,
            "data": self.data,
            "commit": "1a2b3c4",
            "torch": "2.15.0",
            "device": "a planted CPU",
            "threads": 1,
            "replicas": seeds,
        }
        #: What all arms of a seed share, so that pairing matters.
        self.shared = {seed: float(self.random.normal(0, 1.5)) for seed in self.seeds}

    def write(self, folder: Path) -> None:
        """All tables, added to those that stand there."""
        for name, rows in self.tables().items():
            path = folder / f"study_{name}.csv"
            table = pd.DataFrame(rows)
            if path.is_file():
                table = pd.concat([pd.read_csv(path), table], ignore_index=True).drop_duplicates()
            table.to_csv(path, index=False)

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Rows by table."""
        return {
            "main": self._runs("main", MAIN),
            "controls": self._runs("controls", CONTROLS),
            "placement": self._runs("placement", PLACEMENTS),
            "data_size": [row for fraction in FRACTIONS for row in self._fraction(fraction)],
            "models": self._models(),
            "elm": list(self._elm()),
            "masks": list(self._masks()),
            "gaussians": list(self._gaussians()),
            "mask_kernels": list(self._kernels(("elm", "table", "gmm_5"), 1.0)),
            "elm_masks": list(self._elm_masks()),
            "effective": list(self._effective()),
            "effective_kernels": list(self._kernels(ANALYSED, 0.05)),
            "kernel_swap": list(self._swaps()),
            "grid_transfer": list(self._transfer()),
            "verdicts": self._verdicts(),
        }

    def _begin(self, study: str, arm: str, seed: int) -> dict[str, Any]:
        return {
            "study": study,
            "arm": arm,
            "seed": seed,
            "run": f"{zlib.crc32(f'{study} {arm}'.encode()):015x}{seed:x}",
        }

    def _noise(self, sd: float = 0.3) -> float:
        return float(self.random.normal(0, sd))

    def _runs(self, study: str, gains: dict[str, float], base: float = 90.0, fraction: float = 1.0) -> list[dict]:
        rows = []
        for place, (arm, gain) in enumerate(gains.items()):
            for seed in self.seeds:
                accuracy = base + gain + self.shared[seed] + self._noise()
                numbers = {
                    "recipe": "small" if self.scale == "small" else "standard",
                    "model": f"retconv_{arm.split('_')[0]}_tiny" if study == "models" else "retconv_vit_tiny",
                    "mask": arm.split("_")[0],
                    "components": int(arm[4:]) if arm[4:].isdigit() else None,
                    "placement": arm if study == "placement" and arm != "plain" else "multiply_logits",
                    "pooling": "token" if arm.endswith("token") else "avg",
                    "fraction": fraction,
                    "epochs": 8,
                    "test_accuracy": accuracy,
                    "test_loss": 0.4,
                    "validation_accuracy": accuracy - 1,
                    "best_epoch": 8,
                    "parameters": 20000 + 100 * place,
                    "mask_parameters": 100 * place,
                    "macs": 1_000_000 + 10_000 * place,
                    "seconds": 40.0,
                    "images_per_second": 250.0 - 10 * place,
                }
                rows.append(self._begin(study, arm, seed) | numbers | self.origin)
        return rows

    def _fraction(self, fraction: float) -> list[dict]:
        low = -20 * np.log10(1 / fraction)
        gains = {"plain": low, "gmm": low + 2 - 2 * fraction, "manhattan_learnt": low + 4 - 3 * fraction}
        return self._runs("data_size", gains, fraction=fraction)

    def _models(self) -> list[dict]:
        gains = {f"{model}_{mask}": i + (mask == "gmm") for i, model in enumerate(MODELS) for mask in ("plain", "gmm")}
        gains |= {"vit_reference_token": 1.0, "vit_reference_plain": 2.0, "vit_reference_gmm": 3.0}
        return self._runs("models", gains)

    def _elm(self):
        chance = (2 * self.side - 1) ** 2 / self.side**4
        for seed in self.seeds:
            for layer in self.layers:
                for epoch in range(1, 9):
                    share = chance + 0.05 * epoch / (1 + layer) * (1 + self._noise(0.05))
                    numbers = {"layer": layer, "module": f"blocks.{layer}.attn", "epoch": epoch, "last": epoch == 8}
                    numbers |= {"residual": float(np.sqrt(1 - share)), "convolution": share, "chance": chance}
                    yield self._begin("main", "elm", seed) | numbers | self.origin

    def _masks(self):
        for arm in ("elm", "table", "gmm_5"):
            for seed in self.seeds:
                for layer in self.layers:
                    for head in range(1 if arm == "elm" else self.heads):
                        own = self._noise(0.5)
                        numbers = {"layer": layer, "module": f"blocks.{layer}.attn", "head": head}
                        numbers |= {"residual": 0.8 if arm == "elm" else 0.0, "self_weight": own}
                        numbers |= {"neighbour_weight": 0.5, "extroversion": (0.5 - own) / (0.5 + abs(own))}
                        numbers |= {"mean_distance": 2.0, "radius_half": 2.0, "radius_95": 4.0, "size_95": 7}
                        numbers |= {"entropy": 3.0, "anisotropy": 0.1, "negative_center": own < 0}
                        yield self._begin("main", arm, seed) | numbers | self.origin

    def _gaussians(self):
        for count in (1, 2, 3, 5, 8):
            for seed in self.seeds:
                for layer in self.layers:
                    for head in range(self.heads):
                        for component in range(count):
                            numbers = {"components": count, "layer": layer, "head": head, "component": component}
                            numbers |= {"sigma": abs(10 + self._noise(10)), "alpha": self._noise(2)}
                            yield self._begin("main", f"gmm_{count}", seed) | numbers | self.origin

    def _kernels(self, arms: tuple[str, ...], height: float):
        last = self.side - 1
        for arm in arms:
            for layer in self.layers:
                for head in range(1 if arm == "elm" else self.heads):
                    for down in range(-last, last + 1):
                        for right in range(-last, last + 1):
                            squared = down**2 + right**2
                            value = height * (np.exp(-squared / 8) - 0.8 * (squared == 0)) + self._noise(0.05 * height)
                            where = {"layer": layer, "head": head, "offset_1": down, "offset_2": right, "value": value}
                            yield self._begin("main", arm, 0) | where | {"scale": self.scale, "commit": "1a2b3c4"}

    def _elm_masks(self):
        size = self.side**2
        for layer in self.layers:
            for query in range(size):
                for key in range(size):
                    squared = (key // self.side - query // self.side) ** 2 + (key % self.side - query % self.side) ** 2
                    value = np.exp(-squared / 8) - 0.8 * (squared == 0) + self._noise(0.3)
                    where = {"layer": layer, "query": query, "key": key, "value": value}
                    yield self._begin("main", "elm", 0) | where | {"scale": self.scale, "commit": "1a2b3c4"}

    def _effective(self):
        for arm in ANALYSED:
            for seed in self.seeds:
                for layer in self.layers:
                    for head in range(self.heads):
                        explained, position = 0.3 + 0.05 * layer + self._noise(0.02), 0.2 + self._noise(0.02)
                        numbers = {"layer": layer, "module": f"blocks.{layer}.attn", "head": head, "images": 360}
                        numbers |= {"explained": explained, "position": position, "content": 1 - explained - position}
                        numbers |= {"self_weight": 0.1, "extroversion": 0.1, "mean_distance": 2.0, "size_95": 7}
                        yield self._begin("main", arm, seed) | numbers | self.origin

    def _swaps(self):
        for arm in ANALYSED:
            for seed in self.seeds:
                begin, whole = self._begin("main", arm, seed), 90 + self.shared[seed]
                sides = [] if arm == "plain" else range(1, 2 * self.side, 2)
                swaps: list[tuple[str, int | None, Any, float]] = [("whole", None, "all", 0.0)]
                swaps += [("truncated", k, "all", -0.3 * (2 * self.side - 1 - k)) for k in sides]
                swaps += [("effective", None, layer, -2.0 - layer) for layer in self.layers]
                swaps += [("effective", None, "all", -20.0)]
                for kind, k, layer, change in swaps:
                    change += 0 if kind == "whole" or k == 2 * self.side - 1 else self._noise()
                    numbers = {"kind": kind, "k": k, "layer": layer, "test_accuracy": whole + change, "change": change}
                    yield begin | numbers | self.origin

    def _transfer(self):
        first = SIZES[self.scale][0]
        for arm, gain in MAIN.items():
            for seed in self.seeds:
                for size in SIZES[self.scale]:
                    stuck = arm == "elm" and size > first
                    change = 0.0 if size == first else -2.0 * (size / first - 1) * (3 if arm == "plain" else 1)
                    change += self._noise(0.1 * (size > first))
                    numbers: dict[str, Any] = {
                        "size": size,
                        "factor": size / first,
                        "tokens": (self.side * size // first) ** 2,
                    }
                    numbers |= {"test_accuracy": None if stuck else 90 + gain + self.shared[seed] + change}
                    numbers |= {"test_loss": None if stuck else 0.4, "change": None if stuck else change}
                    numbers |= {"note": f"cannot move: its mask is for {self.side}×{self.side}" if stuck else None}
                    yield self._begin("main", arm, seed) | numbers | self.origin

    def _verdicts(self) -> list[dict]:
        rules = [
            ("main", "main", "test_accuracy", "gmm_5", "plain", 0.0, 1.2, 0.9, 1.5, "supported"),
            ("main", "main", "test_accuracy", "gmm_8", "gmm_5", 0.0, -0.1, -0.5, 0.3, "undecided at this n"),
            ("main", "elm", "convolution", "elm", None, 0.5, 0.3, 0.2, 0.4, "refuted"),
            ("main", "kernel_swap", "change", "gmm_5", None, -1.0, -0.4, -0.6, -0.2, "supported"),
            ("main", "masks", "negative_center", "gmm_5", None, 0.5, 0.5, 0.2, 0.8, "undecided at this n"),
            ("controls", "controls", "test_accuracy", "lsa", "plain", 0.0, 0.4, 0.1, 0.7, "supported"),
            ("placement", "placement", "test_accuracy", "bias_logits", "multiply_logits", 0, 0.2, -1, 1, "not run"),
            ("data_size", "data_size", "test_accuracy", "gmm", "plain", 0.0, 2.0, 1.0, 3.0, "supported"),
            ("models", "models", "test_accuracy", "swin_gmm", "swin_plain", 0.0, 1.0, 0.5, 1.5, "supported"),
        ]
        return [
            {
                "study": study,
                "claim": f"The rule on {arm} against {against or 'a number'} in {table} holds",
                "table": f"study_{table}",
                "metric": metric,
                "arm": arm,
                "against": against,
                "at": "fraction=0.1" if study == "data_size" else None,
                "versus": "fraction=1.0" if study == "data_size" else None,
                "expect": "above",
                "threshold": threshold,
                "alpha": 0.05,
                "confidence": 0.975,
                "n": len(self.seeds),
                "difference": None if verdict == "not run" else difference,
                "low": None if verdict == "not run" else low,
                "high": None if verdict == "not run" else high,
                "p": 0.0625,
                "verdict": verdict,
                "scale": None if verdict == "not run" else self.scale,
            }
            for study, table, metric, arm, against, threshold, difference, low, high, verdict in rules
        ]
