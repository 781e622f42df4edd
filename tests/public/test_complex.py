"""No public function drops an imaginary part: those that take a kernel refuse it (``errors_complex``), or carry it."""

import inspect
from types import ModuleType

import torch

from retconv import approximate, attention, checks, convert, kernels, operators, retention
from retconv.analysis import description, effective, locality, spectrum
from retconv.grid import Grid
from tests.public.errors_complex import COMPLEX
from tests.strategies import normal

MODULES = (
    convert,
    kernels,
    operators,
    checks,
    retention,
    attention,
    approximate,
    description,
    spectrum,
    locality,
    effective,
)
#: What a kernel or mask is called where one is given.
NAMES = {"kernel", "kernels", "mask", "source", "bank", "table", "weights"}
#: Plain sums and gathers, right for every dtype, and a spread of moduli.
CARRIED = {"fold", "unfold", "window_sums", "spread"}


def functions(module: ModuleType) -> set[str]:
    """The public functions of a part that take a kernel, mask or table."""
    public = getattr(module, "__all__", None) or [n for n in vars(module) if not n.startswith("_")]
    found = ((name, getattr(module, name)) for name in public)
    return {
        name
        for name, value in found
        if inspect.isfunction(value)
        and (value.__module__.startswith(module.__name__) or "__all__" in vars(module))
        and NAMES & set(inspect.signature(value).parameters)
    }


def test_every_public_function_refuses_or_carries() -> None:
    """A new one needs a line in ``errors_complex``."""
    refused = {name.split()[0].rpartition(".")[-1] for name in COMPLEX}
    assert set().union(*map(functions, MODULES)) - refused == CARRIED


def test_sums_and_gathers_carry_imaginary_parts() -> None:
    """Of real and imaginary part alike."""
    real, imag = normal(0, 2, 2, 5, 7)
    mask = normal(1, 2, 2, 3, 4, 3, 4)
    for function, pair in ((convert.unfold, (real, imag)), (convert.fold, mask)):
        both = function(torch.complex(*pair), (3, 4))
        assert torch.equal(torch.view_as_real(both), torch.stack([function(p, (3, 4)) for p in pair], dim=-1))
    sums = locality.window_sums(torch.complex(real, imag), Grid((3, 4)))
    assert torch.equal(sums.imag, locality.window_sums(imag, Grid((3, 4))))
    spread = effective.spread(torch.complex(real, imag), 2)
    assert torch.equal(spread, effective.spread(torch.complex(real, imag).abs(), 2))
