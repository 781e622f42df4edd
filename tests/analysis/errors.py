"""Errors of the analysis."""

import click
import torch

from retconv.analysis.effective import EffectiveKernel, compose, effective_kernel, gradient_field
from retconv.analysis.locality import locality
from retconv.analysis.reading import resolve
from retconv.analysis.spectrum import (
    causal_decay_symbol,
    eigenvalues,
    gpsa_symbol,
    manhattan_decay_symbol,
    norm_bounds,
    sampled_symbol,
    singular_values,
    symbol,
    szego,
)
from retconv.describe import main
from retconv.masks import DecayMask
from tests.error_table import Error

LINE, PLANE = torch.zeros(4, 1), torch.zeros(4, 2)
FREE = torch.eye(3)[None].cumsum(1).cumsum(2)


def terminal(text: str) -> None:
    main(text.split(), standalone_mode=False)


def ones(*shape: int) -> torch.Tensor:
    return torch.ones(*shape)


SPECTRUM: dict[str, Error] = {
    "neither kernel nor mask": (
        lambda: resolve(ones(1, 4, 4), 3),
        ValueError,
        r"kernel must be \(heads, 5\) on Grid\(\(3,\)\), got shape \(1, 4, 4\): .*; a mask itself is \(heads, 3, 3\)",
    ),
    "infinite": (
        lambda: resolve(-ones(1, 5) / 0, 3),
        ValueError,
        "must be finite to be analysed, got 5 of 5 .*: a bias with",
    ),
    "even kernel": (lambda: symbol(ones(1, 4), LINE), ValueError, r"one to three odd sides, got shape \(1, 4\)"),
    "symbol of a mask": (lambda: symbol(DecayMask(1), PLANE), TypeError, r"got DecayMask: pass its kernel\(grid\)"),
    "sizes for theta": (lambda: symbol(ones(1, 5), (4,)), TypeError, "theta must be a torch.Tensor, got tuple"),
    "theta": (lambda: symbol(ones(1, 5), PLANE), ValueError, r"last axis of 1, .* got shape \(4, 2\)"),
    "sizes": (lambda: sampled_symbol(ones(1, 5), (3, 3)), ValueError, r"1 positive integers, .* got \(3, 3\)"),
    "gamma of 1": (lambda: manhattan_decay_symbol(LINE, 1.0), ValueError, r"gamma must lie in \(0, 1\).*got 1"),
    "causal plane": (lambda: causal_decay_symbol(PLANE, 0.5), ValueError, "on lines, got theta with 2 axes"),
    "gpsa of 0": (lambda: gpsa_symbol(LINE, 0.0), ValueError, "alpha must be positive for a symbol, got 0"),
    "gpsa centre": (lambda: gpsa_symbol(LINE, 1.0, ones(1, 2)), ValueError, r"\(heads, 1\), got \(1, 2\)"),
    "k of 0": (lambda: singular_values(ones(1, 5), 3, k=0), ValueError, "between 1 and the 3 tokens .*, got 0"),
    "eigenvalues far from normal": (
        lambda: eigenvalues(torch.exp(-(torch.arange(-47.0, 48.0) - 2).square() / 2)[None], 48),
        ValueError,
        "unsymmetric mask of head 0 are ill-conditioned: rounding moves one by up to .*, and the largest is about",
    ),
    "large and unsymmetric": (
        lambda: eigenvalues(torch.arange(2599.0)[None], 1300, k=2),
        ValueError,
        "1300 tokens are ill-conditioned.*use singular_values",
    ),
    "norm without kernel": (lambda: norm_bounds(FREE, 3), ValueError, "no kernel, hence no symbol: use operator_norm"),
    "a limit of other heads": (
        lambda: szego(ones(3, 5), 3, limit=lambda theta: ones(2, len(theta))),
        ValueError,
        r"symbol of each of 3 heads or one of all, \(3, \d+\), got shape \(2, \d+\)",
    ),
    "szego without kernel": (lambda: szego(FREE, 3), ValueError, r"no symbol: use retconv\.project"),
}

LOCALITY: dict[str, Error] = {
    "no masks": (lambda: locality(ones(0, 2, 3, 3), 3), ValueError, r"batch of masks \(0, 2, 3, 3\) is empty"),
    "no rows without border": (lambda: locality(FREE, 3, border=False), ValueError, "use border=True, or project them"),
}

EFFECTIVE: dict[str, Error] = {
    "shape": (
        lambda: effective_kernel(ones(2, 3, 3), 3),
        ValueError,
        r"\(batch, heads, 3, 3\) on Grid\(\(3,\)\), got torch.float32 of shape \(2, 3, 3\)",
    ),
    "heads": (
        lambda: effective_kernel([ones(1, 2, 3, 3), ones(1, 4, 3, 3)], 3),
        ValueError,
        "had 2 heads before, now 4",
    ),
    "logits": (lambda: effective_kernel(-ones(1, 2, 3, 3) / 0, 3), ValueError, "finite: give them after the softmax"),
    "nothing": (lambda: EffectiveKernel(3).result(), ValueError, "no attention weights: call update first"),
    "axes": (
        lambda: compose([ones(1, 3), ones(1, 3, 3)]),
        ValueError,
        r"one number of axes, got shapes \[\(1, 3\), \(1, 3, 3\)\]",
    ),
    "a constant": (lambda: gradient_field(torch.zeros_like, ones(1, 4, 2), 4), ValueError, "so that x has no gradient"),
    "query": (lambda: gradient_field(abs, ones(1, 4, 2), 4, (4,)), ValueError, r"on Grid\(\(4,\)\), got \(4,\)"),
    "tokens": (lambda: gradient_field(abs, ones(1, 5, 2), 4), ValueError, r"\(batch, 4, channels\).*\(1, 5, 2\)"),
    "function": (
        lambda: gradient_field(lambda x: x[:, :1], ones(1, 4, 2), 4),
        ValueError,
        r"keep batch and tokens \(1, 4\), got shape \(1, 1, 2\)",
    ),
}

DESCRIBE: dict[str, Error] = {
    "grid": (lambda: terminal("gmm --grid 3by4"), click.BadParameter, "expected a form like '14x14'.*'3by4'"),
    "nothing given": (lambda: terminal("gmm --grid 3x4"), click.UsageError, "give --sigma: one or several numbers"),
    "schedule": (
        lambda: terminal("manhattan --grid 3 --gamma fast"),
        click.ClickException,
        "unknown gamma schedule 'fast'",
    ),
    "picture": (
        lambda: terminal("window --grid 3 --radius 1 --plot picture.doc"),
        click.UsageError,
        "cannot save picture.doc: '.doc' is no format of it: choose one of .png",
    ),
    "no gamma": (lambda: terminal("retnet --grid 3"), click.UsageError, "give --gamma: numbers.*one of retnet"),
    "no file": (lambda: terminal("file --grid 3"), click.UsageError, "give --file: a .npy file"),
}

TABLES = {"spectrum": SPECTRUM, "locality": LOCALITY, "effective": EFFECTIVE, "describe": DESCRIBE}
