"""A mask as a linear operator on token features."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from retconv import showing
from retconv.grid import Grid, GridLike
from retconv.kernels import Decay, Separable
from retconv.masks import Forms, MaskLike
from retconv.names import unknown
from retconv.operators.compiled import serves
from retconv.operators.fft import FFTProduct
from retconv.operators.method_cost import ON_RINGS, Problem, choose
from retconv.operators.one_sided import product_by_sides
from retconv.operators.recursive import RecursiveProduct
from retconv.operators.separable import SeparableProduct
from retconv.operators.simple import DenseProduct, DirectProduct
from retconv.operators.solve import Solvable
from retconv.operators.toeplitz import ToeplitzProduct
from retconv.operators.tokens import apart, require_tokens, side_by_side
from retconv.precision import as_written, autocast_dtype, entering
from retconv.watching import is_inference, is_traced, is_transformed, is_watched, outliving, unwatched

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Method = Literal["dense", "direct", "fft", "toeplitz", "separable", "recursive"]

#: The methods by name; ``"auto"`` chooses among them.
METHODS: tuple[str, ...] = get_args(Method)

_PRODUCTS: dict[str, Callable[[Tensor, Grid], Callable[[Tensor], Tensor]]] = {
    "direct": DirectProduct,
    "fft": FFTProduct,
    "toeplitz": ToeplitzProduct,
}


class MaskOperator(Solvable):
    """The linear operator ``x ↦ M x`` of a mask that has a kernel: ``op @ x`` equals ``kernel_to_mask(kernel) @ x``.

    Only ``method="dense"`` forms the ``(heads, N, N)`` mask. All methods are differentiable in x and in the source
    (kernel, factors, or the mask module's parameters). Tensors that it is given are not copied, and what is prepared of
    them is kept: leave them as they are while it is used, and make a new one after an optimiser step. Use
    ``retconv.operator`` to make one. ``op.solve(y)`` and ``op.logdet()`` are of ``retconv.operators.solve``.

    Attributes:
        forms: The mask, which has a kernel.
        grid: The grid, without prefix tokens.
        method: ``"auto"`` or a name in ``METHODS``.
        kernel: ``(heads, *grid.kernel_shape)``.
        decay: The decay that the kernel is, or None.

    Example:
        >>> op = retconv.operator(retconv.GaussianMixtureMask(heads=3), (14, 14))
        >>> op.method, op.T.shape
        ('auto', (3, 196, 196))
    """

    def __init__(self, forms: Forms, method: str, mirrored: Decay | None = None) -> None:
        forms = forms.convolution()
        assert forms.kernel is not None
        # Made now: the parameters of a module may change.
        self.kernel, self.decay = outliving(forms.kernel), forms.decay
        if self.decay is not None and is_inference(self.decay.gamma):
            self.decay = Decay(outliving(self.decay.gamma), self.decay.causal)
        self._factors = forms.factors if self.decay is None else None
        if self._factors is not None and is_inference(self._factors.factors[0]):
            self._factors = Separable(tuple(map(outliving, self._factors.factors)))
        self.mirrored = mirrored
        self._sources = [self.kernel] if self._recursion is None else [self.kernel, self._recursion.gamma]
        self._sources += [] if self._factors is None else [self._factors.factors[0]]
        self.forms, self.grid, self.method = forms, forms.grid, method
        self._chosen: dict[tuple[int, torch.dtype, torch.device, bool], str] = {}
        self._prepared: dict[tuple[str, torch.dtype], Callable[[Tensor], Tensor]] = {}
        self._solvers = {}

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(heads, N, N)``."""
        return (self.kernel.shape[0], self.grid.size, self.grid.size)

    @property
    def factors(self) -> Separable | None:
        """The kernel as a sum of outer products, or None; of a decay they are made when they are wanted."""
        return self._factors if self.decay is None else self.decay.factors(self.grid)

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of the methods that apply to this kernel and grid."""
        if not self.grid.is_open:
            return ON_RINGS
        missing = {"toeplitz"} if self.grid.ndim == 1 else set()
        missing |= {"recursive"} if self._recursion is None else set()
        missing |= {"separable"} if self.decay is None and self._factors is None else set()
        return tuple(m for m in METHODS if m not in missing)

    @property
    def T(self) -> MaskOperator:
        """The adjoint: ``Mᵀ`` is the operator of the flipped kernel (law 5)."""
        return self.adjoint()

    def __repr__(self) -> str:
        return f"MaskOperator{self.shape} on {self.grid}, method={self.method!r}"

    def plot(self) -> Figure:
        """Kernel, modulus of the symbol and the row of the token in the middle, of up to six heads."""
        return showing.plot(self.forms.picture(repr(self)))

    def _repr_html_(self) -> str:
        return showing.html(self.forms.picture(repr(self)))

    def adjoint(self) -> MaskOperator:
        """The operator of ``Mᵀ``, which is the mask of the flipped kernel."""
        forms = self.forms.transposed()
        if self.mirrored is not None:
            # Turned back, it is the causal decay again.
            forms = replace(forms, given={**forms.given, "decay": self.mirrored})
        return MaskOperator(forms, self.method, self.decay if forms.decay is None else None)

    def to_dense(self) -> Tensor:
        """The mask ``(heads, N, N)`` itself.

        Raises:
            DenseLimitError: If it would exceed the memory limit.
        """
        return self.forms.entries

    def choose(self, x: Tensor) -> str:
        """The name of the method that ``op @ x`` uses.

        ``"auto"`` follows a cost model. Where one application takes milliseconds and the model finds several methods
        close, they are tried once in a process, so the choice, and the last bits of the result with it, may differ
        between machines and runs: name a method where bits must not. By FFT these are bits of the loudest token:
        ``"dense"``, ``"direct"`` and ``"recursive"`` keep the digits of quiet ones far from it.
        """
        if self.method != "auto":
            return self.method
        dtype = _computing("recursive", x.dtype)
        compiled = self._recursion is not None and serves(self._recursion.gamma, dtype, x)
        key = (x.numel(), x.dtype, x.device, compiled)
        method = self._chosen.get(key)
        if method is None:
            heads, size, _ = self.shape
            rank = 1 if self.decay is not None else 0 if self._factors is None else self._factors.rank
            columns = max(1, x.numel() // (heads * size))
            decay = self._recursion is not None
            problem = Problem(self.grid, heads, columns, rank, decay, x.dtype, x.device, compiled)
            timed = not (is_traced() or is_transformed(self.kernel))
            trial = partial(self._try, problem=problem) if timed else None
            method = self._chosen[key] = choose(problem, trial)
            # What a trial prepared for other methods is not kept. Other threads may add to both meanwhile.
            used = set(self._chosen.copy().values())
            self._prepared = {k: product for k, product in self._prepared.copy().items() if k[0] in used}
        return method

    def _try(self, method: str, problem: Problem) -> None:
        """Apply a method to zeros of the problem's size; ended by reading one entry, so that a device has finished."""
        dtype = _computing(method, problem.dtype)
        with unwatched():
            zeros = torch.zeros(problem.heads, self.grid.size, problem.columns, dtype=dtype, device=problem.device)
            self._product(method, dtype)(zeros)[0, 0, 0].item()

    def __matmul__(self, x: Tensor) -> Tensor:
        """``op @ x`` is ``op(x)``; ``torch.compile`` reads only the latter."""
        return self(x)

    def __call__(self, x: Tensor) -> Tensor:
        """``M @ x`` along the token axis.

        Args:
            x: ``(…, heads, N, d)``, or ``(N, d)`` for all heads alike; an operator of one head applies to any number.

        Returns:
            ``(…, heads, N, d)`` in x's dtype, under autocast in its dtype (see ``retconv.precision``).

        Raises:
            ValueError: If the heads or the number of tokens disagree, or x is not floating.
        """
        heads = self.kernel.shape[0]
        x = require_tokens(x, "x", heads, self.grid)
        if x.shape[-3] == heads and math.prod(x.shape[:-3]) == 1 and autocast_dtype(x.device) is None:
            # The shortest way, for the smallest grids: of one element of the batch nothing is brought side by side.
            return self._apply(x, x) if x.ndim == 3 else self._apply(x.flatten(0, -3), x).reshape(x.shape)
        x = entering(x)
        with as_written(x.device):
            if heads == 1 and x.numel() and self.choose(x) == "dense":
                # One matrix serves the whole batch as it lies in memory.
                product = self._product("dense", x.dtype)
                return product(x.reshape(-1, *x.shape[-2:])).reshape(x.shape)
            return apart(self._apply(side_by_side(x, heads), x), x)

    def _apply(self, columns: Tensor, x: Tensor) -> Tensor:
        """Apply to ``(heads, N, columns)``, the features of all elements of the batch of ``x`` side by side."""
        if not columns.numel():
            # Nothing to choose by: no columns, which depend on the kernel all the same.
            return (columns * self.kernel.flatten(1).sum(dim=1)[:, None, None]).to(x.dtype)
        method = self.choose(x)
        dtype = _computing(method, x.dtype)
        product = self._product(method, dtype)
        # To ask for the dtype that it has takes a microsecond.
        return product(columns) if x.dtype == dtype else product(columns.to(dtype)).to(x.dtype)

    def _product(self, method: str, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        if is_watched(*self._sources):
            return self._prepare(method, dtype)
        product = self._prepared.get((method, dtype))
        if product is None:
            with unwatched():
                product = self._prepared[method, dtype] = self._prepare(method, dtype)
        return product

    def _prepare(self, method: str, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        if method == "separable" and (factors := self.factors) is not None:
            return SeparableProduct(Separable(tuple(f.to(dtype) for f in factors.factors)), self.grid)
        if self._recursion is not None and method == "recursive":
            return RecursiveProduct(self._recursion.gamma, self.grid, self._kind, dtype)
        if method == "dense":
            return DenseProduct(self.kernel.to(torch.promote_types(dtype, torch.float32)), self.grid, dtype)
        if method == "fft" and self.grid.is_open:
            return product_by_sides(self.kernel.to(dtype), self.grid)
        return _PRODUCTS[method](self.kernel.to(dtype), self.grid)


def _computing(method: str, dtype: torch.dtype) -> torch.dtype:
    """Methods of several steps would round half types at each of them: they compute in float32 and are cast last."""
    return torch.float32 if dtype.itemsize < 4 and method not in ("dense", "direct") else dtype


def operator(mask: MaskLike, grid: GridLike, method: str = "auto") -> MaskOperator:
    """The mask as a linear operator, ``operator(mask, grid) @ x``, without forming the ``(N, N)`` mask.

    Args:
        mask: A kernel ``(heads, *grid.kernel_shape)``, or a mask that has one in any other form: see
            ``retconv.masks.Forms``.
        grid: The grid, without prefix tokens: they take part in no convolution. With a periodic axis the methods are
            ``"dense"`` and ``"fft"``, whose transform is of n places there, with no padding.
        method: ``"dense"`` (product with M), ``"direct"`` (``convNd``), ``"fft"`` (real FFTs of the smallest sufficient
            size; of a constant kernel on a line, on a CPU, that is 0 on one side in blocks: nothing leaks to it),
            ``"toeplitz"`` (a DFT of the last axis, Toeplitz products along the others), ``"separable"`` (one pass for
            each axis and outer product), ``"recursive"`` (decay, O(N)), or ``"auto"``: the fastest by a measured cost
            model (see ``MaskOperator.choose``).

    Returns:
        The operator.

    Raises:
        ValueError: If the method is unknown or does not apply, the kernel is not the grid's, or the grid has a prefix.
        NotAConvolutionError: If the mask has no kernel.

    Example:
        >>> op = operator(retconv.DecayMask(heads=2, gamma=0.5), 100_000)
        >>> (op @ torch.ones(2, 100_000, 1))[0, 50_000].item()  # Σ 2^−|δ|
        3.0
    """
    grid = Grid.of(grid)
    if grid.prefix:
        raise ValueError(
            f"operator: prefix tokens take part in no convolution, got {grid}: use grid.without_prefix() and leave "
            f"the first {grid.prefix} token(s) of x out"
        )
    if method not in ("auto", *METHODS):
        raise ValueError(unknown("method", method, ("auto", *METHODS)))
    op = MaskOperator(Forms.of(mask, grid), method)
    if method != "auto" and method not in op.methods:
        raise ValueError(
            f"method {method!r} does not apply to this kernel on {grid}: choose one of {', '.join(op.methods)}"
        )
    return op
