"""Position biases that learn, as masks: the exponential of a bias on logits, whose logarithm is the bias itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from retconv.grid import Grid, GridLike
from retconv.kernels import Separable
from retconv.kernels.gaussians import positional
from retconv.kernels.parameters import as_parameter, check, compute_dtype
from retconv.kernels.relative import logarithmic, power_law
from retconv.kernels.tables import offsets
from retconv.masks.base import Mask, extent
from retconv.names import unknown

Bias = Literal["kerple_log", "kerple_power", "gpsa"]
#: No start of the authors is nearer to 0, where their code clamps its parameters.
_LEAST = 1e-2
#: Beyond e^±80 a parameter is 0 or ∞ for every grid; what is 0 · ∞ would make gradients NaN.
_LOGS = 80.0


@dataclass(frozen=True)
class _Range:
    """The values of a parameter as a function of what is learnt, which is any real number."""

    prefix: str
    value: Callable[[Tensor], Tensor]
    learnt: Callable[[Tensor], Tensor]
    good: Callable[[Tensor], Tensor]
    rule: str


_POSITIVE = _Range("log_", lambda x: x.clamp(-_LOGS, _LOGS).exp(), torch.log, lambda v: v > 0, "must be positive")
_UP_TO_TWO = _Range(
    "logit_",
    lambda x: 2 * torch.sigmoid(x.clamp(-_LOGS, _LOGS)),
    lambda v: torch.logit(v / 2),
    lambda v: (v > 0) & (v < 2),
    "must lie in (0, 2)",
)
_ANY = _Range("", lambda x: x, lambda v: v, torch.isfinite, "must be finite")

#: Numbers of a start: of heads and axes, by a generator.
_Start = Callable[[int, int, "torch.Generator | None"], Tensor]


def _uniform(high: float) -> _Start:
    def draw(heads: int, axes: int, generator: torch.Generator | None) -> Tensor:
        return (high * torch.rand(heads, generator=generator, dtype=torch.float64)).clamp(min=_LEAST)

    return draw


def _square(heads: int, axes: int, generator: torch.Generator | None) -> Tensor:
    """Centres on a square (a line, a cube) of ``⌊H^(1/D)⌋`` tokens a side around the query, over and over."""
    side = int(heads ** (1 / axes) + 1e-9)
    head = torch.arange(heads) % side**axes
    return torch.stack([head // side**d % side - (side - 1) / 2 for d in range(axes)], dim=1).double()


@dataclass(frozen=True)
class _Form:
    """A bias: its value at offsets, and its parameters with their ranges and starts."""

    value: Callable[..., Tensor]
    ranges: dict[str, _Range]
    starts: dict[str, _Start]
    #: Those that have one number for each axis: such a bias belongs to grids of that many axes, open ones.
    of_axes: frozenset[str] = field(default=frozenset())


def _of_distance(value: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda offset, *numbers: value(offset.abs().sum(dim=-1), *numbers)


_FORMS: dict[str, _Form] = {
    "kerple_log": _Form(
        _of_distance(logarithmic),
        {"scale": _POSITIVE, "rate": _POSITIVE},
        {"scale": _uniform(2), "rate": _uniform(1)},
    ),
    "kerple_power": _Form(
        _of_distance(power_law),
        {"scale": _POSITIVE, "exponent": _UP_TO_TWO},
        {"scale": _uniform(1), "exponent": _uniform(2)},
    ),
    "gpsa": _Form(
        positional,
        {"strength": _POSITIVE, "center": _ANY},
        {"strength": lambda heads, axes, generator: torch.ones(heads).double(), "center": _square},
        frozenset({"center"}),
    ),
}


class BiasMask(Mask):
    """A position bias that learns, as the mask ``M[q, k] = exp(b(k − q))``: ``bias_logits`` adds b itself.

    ``"kerple_log"``: ``b = −r_1 log(1 + r_2 |δ|₁)``, numbers ``scale`` r_1 and ``rate`` r_2 > 0.
    ``"kerple_power"``: ``b = −r_1 |δ|₁^r_2``, ``scale`` r_1 > 0 and ``exponent`` r_2 in (0, 2).
    ``"gpsa"``: ``b = −α (‖δ − Δ‖² − ‖Δ‖²)``, ``strength`` α > 0 in tokens⁻² and ``center`` Δ, ``(heads, D)`` in tokens.

    What is learnt is the logarithm of a positive number, and the logit of half an exponent: every step stays in range.

    Args:
        heads: Number of heads.
        bias: One of the three.
        learnable: Whether its numbers train (they are parameters then, else buffers).
        axes: Of the grids that a ``"gpsa"`` serves, which has a direction.
        generator: Source of the random numbers of a start.
        **numbers: Where to start instead, each a number or ``(heads,)``, ``center`` ``(heads, axes)``. By default as
            in the authors' code: KERPLE's scale uniform in (0, 2) (power: (0, 1)), rate in (0, 1), exponent in (0, 2),
            each at least 0.01; ConViT's strength 1, and its centres on a square of ⌊√H⌋ tokens a side around the query.
            Heads beyond the square, which there start at random, begin it anew.

    Raises:
        ValueError: If the bias or a number is unknown, or a number is out of range or of another shape.

    Source:
        Chi et al. 2022, KERPLE (arXiv 2205.09921), section 4, and its code's ``ParallelKerpleLog`` and
        ``ParallelKerplePower``, which are causal and clamp r_1 and r_2 at 0.01 after each step. d'Ascoli et al. 2021,
        ConViT (arXiv 2103.10697), section 2, and ``local_init`` of its code; ConViT's gate, which mixes the softmax of
        b with that of the scores, is another thing: here b is added to the scores, or multiplies.

    Example:
        >>> BiasMask(1, "kerple_log", scale=1.0, rate=1.0).kernel(retconv.Grid(3)).detach()
        tensor([[0.3333, 0.5000, 1.0000, 0.5000, 0.3333]])
    """

    def __init__(
        self,
        heads: int,
        bias: Bias,
        learnable: bool = True,
        axes: int = 2,
        generator: torch.Generator | None = None,
        **numbers: float | Tensor,
    ) -> None:
        super().__init__(heads)
        if bias not in get_args(Bias):
            raise ValueError(unknown("bias", bias, get_args(Bias)))
        self.bias: Bias = bias
        self.learnable = learnable
        self.axes = axes
        form = _FORMS[bias]
        if set(numbers) - set(form.ranges):
            raise ValueError(f"bias {bias!r} has the numbers {sorted(form.ranges)}, got {sorted(numbers)}")
        for name, span in form.ranges.items():
            shape = (heads, axes) if name in form.of_axes else (heads,)
            start = form.starts[name](heads, axes, generator)
            if name in numbers:
                start = as_parameter(numbers[name], name, axes=len(shape)).detach().double()
                check(start, name, form.ranges[name].good(start), span.rule)
                if any(given not in (1, wanted) for given, wanted in zip(start.shape, shape, strict=True)):
                    raise ValueError(f"{name} must be a number or of shape {shape}, got shape {tuple(start.shape)}")
            learnt = span.learnt(start).expand(shape).to(torch.get_default_dtype()).clone()
            if learnable:
                self.register_parameter(span.prefix + name, nn.Parameter(learnt))
            else:
                self.register_buffer(span.prefix + name, learnt)

    def numbers(self) -> dict[str, Tensor]:
        """The bias's numbers by name, ``(heads,)`` or ``(heads, axes)``, in the computing dtype, differentiable."""
        wide, ranges = compute_dtype(self._device), _FORMS[self.bias].ranges
        return {name: ranges[name].value(x.to(wide)) for name, x in self._learnt.items()}

    def kernel(self, grid: GridLike) -> Tensor:
        """``(heads, 2 n_1 − 1, …, 2 n_D − 1)``, ``K[δ] = exp(b(δ))``.

        Raises:
            ValueError: If the bias has a direction, and the grid other axes, or rings.
        """
        return self._cast(self._at(offsets(self._allowed(grid), self._device)).exp())

    def log_kernel(self, grid: GridLike) -> Tensor | None:
        """The bias itself, ``b(δ)``.

        Raises:
            ValueError: If the bias has a direction, and the grid other axes, or rings.
        """
        return self._cast(self._at(offsets(self._allowed(grid), self._device)))

    def at(self, offset: Tensor) -> Tensor:
        """``exp(b(δ))`` at any offsets ``(*S, D)``, in tokens and between them: ``(heads, *S)``, for ``rectangular``.

        Raises:
            ValueError: If the bias has a direction, and the offsets other axes.
        """
        return self._cast(self._at(offset.to(self._device, compute_dtype(self._device))).exp())

    def log_at(self, offset: Tensor) -> Tensor:
        """``b(δ)`` at any offsets, as in ``at``."""
        return self._cast(self._at(offset.to(self._device, compute_dtype(self._device))))

    def separable(self, grid: GridLike) -> Separable | None:
        """One outer product if the bias is ``"gpsa"``, a sum over the axes (law 9), else None; None on rings."""
        if self.bias != "gpsa":
            return None
        grid, numbers = Grid.of(grid), self.numbers()
        if not grid.is_open or grid.ndim != self.axes:
            return None
        along = enumerate(offsets(Grid(n), self._device) for n in grid.shape)
        logs = [positional(offset, numbers["strength"], numbers["center"][:, d : d + 1]) for d, offset in along]
        return Separable(tuple(self._cast(log.exp())[:, None] for log in logs))

    def extra_repr(self) -> str:
        """Heads, the bias, the ranges of its numbers, and whether they are learnt."""
        ranges = ", ".join(f"{name}={extent(x)}" for name, x in self.numbers().items())
        return f"heads={self.heads}, {self.bias}, {ranges}, {'learnable' if self.learnable else 'fixed'}"

    @property
    def _learnt(self) -> dict[str, Tensor]:
        return {name: getattr(self, span.prefix + name) for name, span in _FORMS[self.bias].ranges.items()}

    @property
    def _device(self) -> torch.device:
        return next(iter(self._learnt.values())).device

    def _cast(self, values: Tensor) -> Tensor:
        return values.to(next(iter(self._learnt.values())).dtype if self.learnable else self._made)

    def _at(self, offset: Tensor) -> Tensor:
        form = _FORMS[self.bias]
        if form.of_axes and offset.shape[-1] != self.axes:
            raise ValueError(
                f"this BiasMask of {self.bias!r} has directions on {self.axes} axes, and the grid has "
                f"{offset.shape[-1]}: make one with axes={offset.shape[-1]}"
            )
        return form.value(offset, *self.numbers().values())

    def _allowed(self, grid: GridLike) -> Grid:
        grid = Grid.of(grid).without_prefix()
        if _FORMS[self.bias].of_axes:
            grid.require_open("a BiasMask with a direction", "on a ring it has no side, use GaussianMixtureMask")
        return grid
