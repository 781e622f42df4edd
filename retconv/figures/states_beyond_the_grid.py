"""Figure: four recurrences of one kernel, on the grid and beyond it (law 24)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from torch import Tensor

from retconv.approximate import Realisation, balanced_truncation, decay_sum, real_poles, roots_of_unity
from retconv.figures.labels import name_ends
from retconv.figures.panels import headline, letters
from retconv.figures.registry import Drawn, register
from retconv.figures.style import BLUE, GREEN, ORANGE, RED, SINGLE, new_figure

_N, _TOKENS, _SIGMA = 512, 4 * 512, 40.0
_DISTANCE = torch.arange(_TOKENS, dtype=torch.float64)
#: Values at the distances 0, 1, …, and the line's style.
_KERNELS: dict[str, tuple[Tensor, str]] = {
    "Gaussian, σ = 40": (torch.exp(-(_DISTANCE**2) / (2 * _SIGMA**2)), "-"),
    "power law, (1 + m/8)⁻²": ((1 + _DISTANCE / 8) ** -2.0, "--"),
}
_GAUSSIAN, _ = _KERNELS
_ROOTS, _BALANCED, _REAL, _DECAYS = "roots of unity", "balanced truncation", "real poles", "certified decays"
_COLOURS = {_ROOTS: RED, _REAL: ORANGE, _BALANCED: BLUE, _DECAYS: GREEN}
_TOLERANCES = tuple(10.0**-digits for digits in range(2, 9))
#: Of the upper panel; states beyond which the lower one does not look; smallest weight that is drawn.
_TARGET, _MOST, _LEAST = 1e-4, 64, 1e-9


def _causal(values: Tensor) -> Tensor:
    taps = values[:_N]
    return torch.cat([taps.flip(0), torch.zeros(_N - 1, dtype=taps.dtype)])[None]


def _fits(kernel: Tensor) -> dict[str, Callable[[int], Realisation]]:
    """By the number of terms that may be used."""
    return {
        _BALANCED: lambda count: balanced_truncation(kernel, states=count),
        _REAL: lambda count: real_poles(kernel, states=count),
        _DECAYS: lambda count: decay_sum(kernel, order=count),
    }


def _states(name: str, values: Tensor) -> Iterator[dict[str, object]]:
    """States for each tolerance, and what they cost beyond the grid."""
    kernel = _causal(values)
    whole = _row(name, _ROOTS, 0.0, roots_of_unity(kernel), values)
    yield from (whole | {"tolerance": tolerance} for tolerance in _TOLERANCES)
    for way, fit in _fits(kernel).items():
        wanted = list(_TOLERANCES)
        for count in range(1, _MOST + 1):
            realisation = fit(count)
            if int(realisation.states) > _MOST or not wanted:
                break
            while wanted and float(realisation.relative) <= wanted[0]:
                yield _row(name, way, wanted.pop(0), realisation, values)


def _row(name: str, way: str, tolerance: float, fit: Realisation, values: Tensor) -> dict[str, object]:
    return {
        "quantity": "states",
        "kernel": name,
        "recurrence": way,
        "tolerance": tolerance,
        "states": int(fit.states),
        "error_on_grid": float(fit.relative),
        "error_to_2n": float(fit.beyond(values[None, : 2 * _N])),
        "error_to_4n": float(fit.beyond(values[None])),
    }


def _responses(values: Tensor) -> Iterator[dict[str, object]]:
    """Moduli of the true kernel and of each recurrence."""
    kernel = _causal(values)
    fits = {_ROOTS: roots_of_unity(kernel)}
    fits[_BALANCED] = balanced_truncation(kernel, tolerance=_TARGET)
    fits[_REAL] = real_poles(kernel, tolerance=_TARGET)
    fits[_DECAYS] = decay_sum(kernel, tolerance=_TARGET)
    lines = {"kernel": values} | {name: fit.response(_TOKENS)[0] for name, fit in fits.items()}
    for name, line in lines.items():
        for m, value in enumerate(line.tolist()):
            # Every fourth token, and the one at which the roots of unity end.
            if m % 4 == 0:
                yield {"quantity": "weight", "kernel": _GAUSSIAN, "recurrence": name, "distance": m, "value": value}


def _draw_responses(ax: Axes, data: pd.DataFrame) -> None:
    weights = data[data["quantity"] == "weight"]
    ax.axvspan(_N, _TOKENS, color="0.94", linewidth=0, zorder=0)
    for name, rows in weights.groupby("recurrence", sort=False):
        size = np.maximum(rows["value"].abs(), _LEAST / 10)
        style = {"color": "0.75", "linewidth": 3.0} if name == "kernel" else {"color": _COLOURS[str(name)]}
        ax.plot(rows["distance"], size, zorder=2 if name == "kernel" else 3, **style)
    ax.text(_N / 2, 3e4, "grid", ha="center", va="top")
    ax.text(_N + (_TOKENS - _N) / 2, 3e4, "beyond", ha="center", va="top")
    ax.set_yscale("log")
    ax.set(xlabel="distance (tokens)", ylabel="|weight|", xlim=(0, _TOKENS), ylim=(_LEAST, 1e5))
    ax.set(xticks=[0, _N, 2 * _N, _TOKENS], yticks=[1e-8, 1e-4, 1, 1e4])
    ax.minorticks_off()
    names = {"real poles": (1500, 150), "roots of unity": (1250, 8), "Gaussian": (110, 2)}
    for name, place in names.items():
        ax.text(*place, name, color=_COLOURS.get(name, "0.5"))


def _draw_states(ax: Axes, data: pd.DataFrame) -> None:
    states = data[data["quantity"] == "states"]
    for (name, way), rows in states.groupby(["kernel", "recurrence"], sort=False):
        colour, style = _COLOURS[str(way)], _KERNELS[str(name)][1]
        ax.plot(rows["tolerance"], rows["states"], color=colour, linestyle=style, marker="o", markersize=2.2)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.invert_xaxis()
    ax.set(xlabel="tolerance on the grid", ylabel="states", xticks=[1e-2, 1e-5, 1e-8], ylim=(1.6, 800))
    ax.set_yticks([2, 8, 32, 128, 512], ["2", "8", "32", "128", "512"])
    ax.minorticks_off()
    last = states[states["kernel"] == _GAUSSIAN].groupby("recurrence").last()
    ends = [
        (row["tolerance"], row["states"], str(way).replace(" ", "\n", 1), _COLOURS[str(way)])
        for way, row in last.iterrows()
    ]
    name_ends(ax, ends, 0.22)


def finding(data: pd.DataFrame) -> str:
    """Largest weight beyond the grid of each recurrence of the Gaussian, and the states that it took."""
    weights = data[(data["quantity"] == "weight") & (data["distance"] >= _N)]
    largest = weights.groupby("recurrence")["value"].agg(lambda values: values.abs().max())
    states = data[(data["quantity"] == "states") & (data["kernel"] == _GAUSSIAN)]
    counts = states[np.isclose(states["tolerance"], _TARGET)].set_index("recurrence")["states"]
    parts = [f"{name} {int(counts[name])} states, {largest[name]:.1e}" for name in _COLOURS]
    return "largest weight of a Gaussian beyond the grid: " + "; ".join(parts)


@register("states_beyond_the_grid", 155, finding)
def draw() -> Drawn:
    """Recurrences of one kernel beyond the grid.

    (a) A causal Gaussian of σ = 40 on 512 tokens (grey) as four recurrences with a relative ℓ1 error of at most 10⁻⁴ on
    the grid, in modulus, run on to 2,048 tokens. ETSC's roots of unity begin again after −ΣK = −50.6 at distance 512,
    fixed real poles (SpectraLDS) no longer cancel; balanced truncation (Laughing Hyena) and certified decays die away
    as the Gaussian does. (b) States by tolerance, for the Gaussian (solid) and a power law (dashed); lines end where 64
    states do not suffice, and roots of unity take 512 always.
    """
    rows = [*_responses(_KERNELS[_GAUSSIAN][0])]
    rows += [row for name, (values, _) in _KERNELS.items() for row in _states(name, values)]
    data = pd.DataFrame(rows)
    # Fits differ in their last digits with the number of threads: nothing below what is drawn, and three digits of it.
    for name in ("value", "error_on_grid", "error_to_2n", "error_to_4n"):
        digits = 3 if name == "value" else 1
        data[name] = [float(f"{v:.{digits}g}") if not abs(v) < _LEAST else 0.0 for v in data[name]]
    figure = new_figure(SINGLE, 4.3)
    above, below = figure.subplots(2, 1)
    headline(
        figure,
        "Recurrences that agree on the grid part beyond it: only balanced truncation and certified decays "
        "die away with the Gaussian",
        "σ = 40 on 512 tokens; (a) colours as in (b); (b) solid: Gaussian, dashed: power law (1 + m/8)⁻².",
    )
    _draw_responses(above, data)
    _draw_states(below, data)
    letters((above, below))
    return figure, data.astype({"distance": "Int64", "states": "Int64"})
