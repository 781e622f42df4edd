"""A mask on a grid, in every form that it has: the one boundary at which masks are read and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import torch
from torch import Tensor

from retconv import showing
from retconv.convert import kernel_to_mask, mask_to_kernel, unroll
from retconv.convert.boundary import flipped
from retconv.convert.shapes import check_kernel
from retconv.grid import Grid, GridLike
from retconv.kernels import Decay, Exponentials, Gates, PolylineGates, QueryGaussian, Separable
from retconv.kernels.parameters import check, check_real
from retconv.masks.parts import KERNELS, ON_OPEN_GRIDS, part, read
from retconv.masks.shown import picture
from retconv.watching import is_differentiated, is_enabled, is_readable, lasting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NO_LOGARITHM = (
    "must not be negative: a negative weight has no logarithm (law 10), use multiply_logits, or for what is a bias "
    "already Forms.of_log(bias, grid)"
)


class HasForms(Protocol):
    """What names its own forms, as every mask module does."""

    def forms(self, grid: GridLike) -> Forms:
        """All forms on a grid."""
        ...


_T = TypeVar("_T")


def _once(make: Callable[[Any], _T]) -> _T:
    """A form as an attribute, made when it is first asked for; functools' own holds a lock, which cannot be traced."""
    name = make.__name__

    def form(self: Forms) -> _T:
        # What is made while autograd is off serves only while it is off.
        key = name if name in self._cache or is_enabled() else f"{name}, unrecorded"
        if key not in self._cache:
            with lasting():
                self._cache[key] = make(self)
        return cast(_T, self._cache[key])

    return cast(_T, property(form, doc=make.__doc__))


@dataclass(frozen=True)
class Forms:
    """A mask on a grid, ``M[q, k] = K[k − q]`` where it has a kernel, in every form that it has.

    A form is made when it is first asked for, and is None where the mask does not have it. Nothing that works on a mask
    asks what it was given as: it takes the form that it needs. A new mask gains recurrences, separable passes or a
    logarithm by naming the form (``Mask.decay``, ``Mask.separable``, ``Mask.log_kernel``).

    Heads are the first axis of a kernel, the third from last of entries: what reads data may put a batch before those.

    Attributes:
        grid: The grid, prefix tokens included.
        heads: Of the mask; 1 serves any number.
        given: Forms by name, or functions that make them: ``kernel``, ``entries``, ``factors``, ``decay``,
            ``exponentials``, ``log`` (the logarithm, of the kernel's shape where there is one, else the entries'),
            ``gaussian``, ``gates``, and ``exact``, the kernel of entries, which raises if they have none.
        neutral: What rows and columns of prefix tokens hold: 1 where masks multiply, 0 where they are added.
        handed_in: Whether it was given as values, not by a module, which may learn them: such values are looked at.

    Example:
        >>> forms = retconv.RetNetMask(heads=2).forms(8)
        >>> forms.kernel.shape, forms.entries.shape
        (torch.Size([2, 15]), torch.Size([2, 8, 8]))
    """

    grid: Grid
    heads: int
    given: Mapping[str, Any]
    neutral: float = 1.0
    handed_in: bool = False
    _cache: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(cls, mask: MaskLike, grid: GridLike) -> Forms:
        """Read a mask in whatever form it is given.

        Raises:
            ValueError: If it does not belong on the grid.
            TypeError: If it is no mask.
        """
        return cast(Forms, read(mask, Grid.of(grid)))

    @classmethod
    def of_log(cls, log: Tensor, grid: GridLike) -> Forms:
        """The mask of a bias on logits: what multiplies is its exponential, and its logarithm is the bias itself.

        Args:
            log: A kernel ``(heads, 2 n_1 − 1, …)`` or entries ``(heads, length, length)``, −∞ where a key is hidden.
            grid: The grid.

        Raises:
            ValueError: If it does not belong on the grid.
        """
        read = cls.of(log, grid)
        name = "kernel" if read.kernel is not None else "entries"
        return replace(read, given={name: log.exp(), "log": log})

    def __repr__(self) -> str:
        return f"Forms(heads={self.heads} on {self.grid}, given as {', '.join(self.given)})"

    def picture(self, title: str | None = None) -> showing.Picture:
        """What is drawn of it."""
        return picture(self, title or str(self))

    def plot(self) -> Figure:
        """Kernel, modulus of the symbol and the row of the query in the middle, of up to six heads."""
        return showing.plot(self.picture())

    def _repr_html_(self) -> str:
        return showing.html(self.picture())

    @_once
    def kernel(self) -> Tensor | None:
        """``(heads, *grid.kernel_shape)``; None if the mask is known by its entries alone."""
        kernel = self._made("kernel")
        for name, of in KERNELS.items() if kernel is None else ():
            form = self._made(name)
            if form is not None:
                kernel = of(form, self.grid.without_prefix())
                break
        if kernel is not None:
            check_kernel(kernel, self.grid)
        return cast("Tensor | None", kernel)

    @_once
    def entries(self) -> Tensor:
        """The mask itself, ``(heads, length, length)``, rows are queries.

        Raises:
            DenseLimitError: If it would exceed the memory limit.
        """
        if self.kernel is None:
            entries = cast(Tensor, self._made("entries"))
            check_real(entries, "mask")
            return entries
        return kernel_to_mask(self.kernel, self.grid, self.neutral)

    @_once
    def decay(self) -> Decay | None:
        """The decay that it is, which recursions run in O(N)."""
        return cast("Decay | None", self._made("decay"))

    @_once
    def factors(self) -> Separable | None:
        """The kernel as a sum of outer products (laws 8 and 9)."""
        factors = self._made("factors")
        if factors is None and self.decay is not None:
            factors = self.decay.factors(self.grid.without_prefix())
        return cast("Separable | None", factors)

    @_once
    def exponentials(self) -> Exponentials | None:
        """On one axis, the kernel as a sum of exponentials, which recurrences run: a decay is one with a real pole."""
        exponentials = self._made("exponentials")
        if exponentials is None and self.grid.ndim == 1 and self.decay is not None:
            exponentials = self.decay.exponentials()
        return cast("Exponentials | None", exponentials)

    @_once
    def gaussian(self) -> tuple[Tensor, Tensor] | None:
        """σ and α, ``(heads,)`` each, of a mask that is one Gaussian a head."""
        return cast("tuple[Tensor, Tensor] | None", self._made("gaussian"))

    @_once
    def gates(self) -> Gates | None:
        """The gates that it is made of, on a line, which recurrences run (law 22)."""
        return cast("Gates | None", self._made("gates"))

    @property
    def values(self) -> Tensor:
        """The kernel if there is one, else the entries: every weight off the prefix is one of these."""
        return self.entries if self.kernel is None else self.kernel

    @_once
    def log(self) -> Forms:
        """Its logarithm, which is added to logits; a weight of 0 gives −∞, through which no gradient flows.

        By a closed form where there is one: of a kernel that has underflowed there is no logarithm to take.

        Raises:
            ValueError: If a weight is negative; where what is learnt is not to be looked at, it gives NaN instead.
        """
        log = self._made("log")
        if log is None:
            values = self.values
            if self.handed_in or is_readable(values):
                check(values, "bias_logits: the mask", ~(values < 0), _NO_LOGARITHM)
            hidden = values == 0
            # log(0) would be right, but its gradient, 1/0 · 0, is NaN: such entries leave the graph.
            log = values.masked_fill(hidden, 1.0).log().masked_fill(hidden, -torch.inf)
        elif is_readable(log) and bool(log.isnan().any()):
            check(self.values, "bias_logits: the mask", ~log.isnan(), _NO_LOGARITHM)
        name = "entries" if "entries" in self.given else "kernel"
        return Forms(self.grid, self.heads, {name: log}, neutral=0.0)

    def convolution(self) -> Forms:
        """The same mask with a kernel.

        Raises:
            NotAConvolutionError: If it has none.
            ValueError: If it would be read off entries in which autograd wants a derivative.
        """
        if self.kernel is not None:
            return self
        exact = self.given.get("exact")
        if exact is None and is_differentiated(self.entries):
            raise ValueError(
                "a kernel that is read off the entries of a mask takes their whole gradient to one pair of tokens for "
                "each offset: compute mask(grid) @ x where entries are learnt, learn a mask that has a kernel, or call "
                "this under torch.no_grad() or of mask.detach()"
            )
        return replace(self, given={"kernel": mask_to_kernel(self.entries, self.grid) if exact is None else exact()})

    def without_prefix(self) -> Forms:
        """The mask of the grid's tokens alone."""
        prefix = self.grid.prefix
        if not prefix:
            return self
        parts = dict(self.given)
        if parts.get("entries") is not None:
            parts |= self._entries_as(lambda entries: entries[..., prefix:, prefix:])
        if self._cache.get("kernel") is not None:
            parts["kernel"] = self.kernel  # which is made already
        return replace(self, grid=self.grid.without_prefix(), given=parts)

    def sample(self, index: int) -> Forms:
        """The mask of one element of the batch that entries have in front of their heads."""
        return replace(self, given=self._entries_as(lambda entries: entries[index]))

    def opened(self) -> Forms:
        """The same mask on the open grid, for what knows no rings: a circulant mask is a Toeplitz one (law 23)."""
        if self.grid.is_open:
            return self
        forms = {name: partial(self._opened, name) for name in ("kernel", "log", "entries") if name in self.given}
        return replace(self, grid=self.grid.opened(), given=forms)

    def _opened(self, name: str) -> Any:
        form = self._made(name) if name == "log" else getattr(self, name)
        return form if form is None or "entries" in self.given else unroll(form, self.grid)

    def part(self, heads: slice) -> Forms:
        """The mask of some heads."""
        forms = {name: partial(self._part, name, heads) for name in self.given if name != "exact"}
        return replace(self, heads=len(range(self.heads)[heads]), given=forms)

    def _part(self, name: str, heads: slice) -> Any:
        form = self._made(name) if name == "log" else getattr(self, name)
        if form is not None and name in ("entries", "log") and "entries" in self.given:
            return form[..., heads, :, :]  # a batch may stand before them
        return None if form is None else part(form, heads)

    def transposed(self) -> Forms:
        """``Mᵀ``, of which the kernel is flipped (law 5); RetNet's decay runs the other way then, and is none."""
        forms: dict[str, Any] = {}
        if self.kernel is None:
            forms = self._entries_as(lambda entries: entries.mT)
        else:
            forms["kernel"] = flipped(self.kernel, self.grid)
            # Not of the flipped kernel, which may have underflowed.
            log = self._made("log")
            forms |= {} if log is None or "entries" in self.given else {"log": flipped(log, self.grid)}
        if self.factors is not None:
            forms["factors"] = Separable(tuple(f.flip(-1) for f in self.factors.factors))
        if self.decay is not None and not self.decay.causal:
            forms["decay"] = self.decay
        return replace(self, given=forms)

    def _entries_as(self, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """Entries, and their logarithm where it is a form of its own, changed alike."""
        return {
            "entries": change(self.entries),
            "log": lambda: None if self._made("log") is None else change(self.log.entries),
        }

    def _made(self, name: str) -> Any:
        form = None if name in ON_OPEN_GRIDS and not self.grid.is_open else self.given.get(name)
        return form() if callable(form) and not isinstance(form, Tensor) else form


#: A mask module, or its ``Forms``; a kernel ``(heads, 2 n_1 − 1, …)`` or a mask ``(heads, length, length)``; a decay, a
#: sum of outer products, or on one axis of exponentials; gates, or a Gaussian for each query.
MaskLike = Tensor | HasForms | Forms | Decay | Separable | Exponentials | Gates | PolylineGates | QueryGaussian
