"""Heads whose mix of tokens is a convolution, and a fixed border of prefix tokens, beside heads that attend as before.

Of a head on ``p`` prefix tokens and N tokens of a grid the weights are ``A = [[P, R], [C, G]]``, prefix tokens first.
Those of many images have one nearest matrix whose block G has a kernel: their means of P, R and C, and the mean of G
over images and pairs of equal offset (law 3, each block by itself, as the Frobenius norm is a sum over entries). So

    out = [ P V_p + R V_g ;  C V_p + K∗V_g ]

costs O(p (p + 2 N)) beside the convolution ``(K∗V)[q] = Σ_δ K[δ] V[q + δ]``, which is exact at the border (law 1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retconv.attention import attend
from retconv.attention.inputs import four_axes, read_mask
from retconv.convert import kernel_to_mask
from retconv.grid import Grid, GridLike
from retconv.masks import KernelTableMask
from retconv.operators import operator

#: Up to so many tokens a head is one dense product: on a CPU faster than a convolution and a border of its own.
DENSE = 256


class ConvolvedHeads(nn.Module):
    """Some heads of an attention module as depthwise convolutions; it hangs in the module as ``convolved``.

    All that it holds is learnable: the kernel, and what prefix tokens give and take.

    Args:
        heads: Which heads, in ascending order; with none all attend as before.
        total: How many the module has.
        grid: The grid, with its prefix tokens.
        kernel: ``(len(heads), 2 n_1 − 1, …)``.
        rows: ``(len(heads), prefix, length)``, the blocks P and R: what each prefix token takes of all tokens. Not
            given where there is no prefix.
        columns: ``(len(heads), N, prefix)``, the block C: what each token of the grid takes of the prefix tokens.
        plain: Whether other heads attend by torch's own function, as in a model without masks.

    Attributes:
        heads: As given.
        grid: As given.
        plain: As given.
        skips: Whether queries and keys, which nobody reads where all heads are convolved, are not computed.
        kernel: The kernel as a ``KernelTableMask``: cropped on a smaller grid, 0 beyond its offsets on a larger one.
        rows: As given, or None.
        columns: As given, or None.

    Raises:
        ValueError: If heads are none of the module's, or a shape does not fit.

    Example:
        >>> heads = ConvolvedHeads([1], 3, (2, 2), torch.ones(1, 3, 3))
        >>> heads.mix(torch.ones(5, 1, 4, 8), (2, 2))[0, 0, :, 0].tolist()  # each of 4 tokens takes of all 4
        [4.0, 4.0, 4.0, 4.0]
    """

    def __init__(
        self,
        heads: Sequence[int],
        total: int,
        grid: GridLike,
        kernel: Tensor,
        rows: Tensor | None = None,
        columns: Tensor | None = None,
        plain: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.total, self.grid, self.plain = tuple(heads), total, Grid.of(grid), plain
        self.skips = False
        if list(self.heads) != sorted({h for h in self.heads if 0 <= h < total}):
            raise ValueError(f"heads must be ascending numbers from 0 to {total - 1}, each once, got {list(heads)}")
        count, prefix = len(self.heads), self.grid.prefix
        shapes: dict[str, tuple[int, ...]] = {"kernel": (count, *self.grid.kernel_shape)}
        if prefix and count:
            shapes |= {"rows": (count, prefix, self.grid.length), "columns": (count, self.grid.size, prefix)}
        given = {"kernel": kernel} | {n: x for n, x in (("rows", rows), ("columns", columns)) if x is not None}
        if {name: tuple(x.shape) for name, x in given.items()} != shapes:
            raise ValueError(
                f"{count} convolved heads on {self.grid} take {shapes}, got "
                f"{ {name: tuple(x.shape) for name, x in given.items()} }"
            )
        self.kernel = KernelTableMask.from_kernel(kernel) if count else None
        self.rows = None if rows is None else nn.Parameter(rows.detach().clone())
        self.columns = None if columns is None else nn.Parameter(columns.detach().clone())
        #: Read by nobody but who loads it: a checkpoint says of which heads it is.
        self.register_buffer("numbers", torch.tensor(self.heads, dtype=torch.int64))

    def mix(self, v: Tensor, grid: GridLike) -> Tensor:
        """The output of the convolved heads, ``[P V_p + R V_g ; C V_p + K∗V_g]``.

        Args:
            v: Their values ``(batch, len(heads), length, d)``.
            grid: The grid with its prefix tokens.

        Returns:
            As v, in its dtype, under autocast in its dtype.

        Raises:
            ValueError: If there are prefix tokens, and the grid is another than theirs.
        """
        grid, kernel = Grid.of(grid), self._kernel()
        p = grid.prefix
        if grid.length <= DENSE:
            # One product for the whole batch, whose elements stand side by side.
            columns = v.permute(1, 2, 0, 3)
            product = self.dense(grid).to(v.dtype) @ columns.flatten(2)
            return product.unflatten(2, columns.shape[2:]).permute(2, 0, 1, 3)
        body = operator(kernel, grid.without_prefix())(v[..., p:, :])
        if not p:
            return body
        rows, columns = self._border(grid)
        # Cast last to the dtype of what the operator gives, which follows autocast.
        v = v.to(body.dtype)
        return torch.cat([rows.to(v.dtype) @ v, body + columns.to(v.dtype) @ v[..., :p, :]], dim=-2)

    def table(self) -> Tensor:
        """The kernel on its own grid, ``(len(heads), 2 n_1 − 1, …)``."""
        return self._kernel().weight

    def dense(self, grid: GridLike) -> Tensor:
        """The weights themselves, ``[[P, R], [C, M]]``, as ``(len(heads), length, length)``.

        Raises:
            ValueError: As ``mix``.
            DenseLimitError: If they would exceed the memory limit.
        """
        grid = Grid.of(grid)
        grid.require_dense(len(self.heads))
        body = kernel_to_mask(self._kernel().kernel(grid), grid.without_prefix())
        if not grid.prefix:
            return body
        rows, columns = self._border(grid)
        return torch.cat([rows, torch.cat([columns, body], dim=2)], dim=1)

    def attend(
        self, module: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, dropout_p: float, scale: float | None
    ) -> Tensor:
        """Answer an attention call of a masked module, of ``(batch, heads, length, d)``; ``bias`` is added to logits.

        Weights are dropped in heads that attend, not in convolutions.
        """
        grid = module.place.grid(q.shape[2])
        watched = module.observer is not None
        rest = self._rest(module, q, k, v, bias, dropout_p, scale, grid)
        out = self._joined(lambda: self.mix(self._of(v, True), grid), None if rest is None else rest[0])
        if watched:
            dense = None if not self.heads else self.dense(grid).to(q.dtype).expand(q.shape[0], -1, -1, -1)
            module.observer(self._joined(lambda: dense, None if rest is None else rest[1]))
        return out

    def project(self, module: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """A linear map of the module; of one that makes queries, keys and values in this order only the values."""
        joint = getattr(module, "qkv", None)
        if not self.skips or joint is None or weight is not joint.weight:
            return F.linear(x, weight, bias)
        unread = 2 * weight.shape[0] // 3
        values = F.linear(x, weight[unread:], None if bias is None else bias[unread:])
        return torch.cat([values.new_zeros(()).expand(*values.shape[:-1], unread), values], dim=-1)

    def weigh(self, weights: Tensor, grid: GridLike) -> Tensor:
        """Weights ``(batch, heads, length, length)`` with those of the convolved heads in place.

        For attention that forms its own softmax.
        """
        if not self.heads:
            return weights
        dense = self.dense(grid).to(weights.dtype).expand(weights.shape[0], -1, -1, -1)
        rest = None if len(self.heads) == self.total else self._of(weights, False)
        return self._joined(lambda: dense, rest)

    def extra_repr(self) -> str:
        """Heads, grid, and who else attends how."""
        return f"heads={list(self.heads)} of {self.total}, {self.grid}, plain={self.plain}"

    def _rest(
        self,
        module: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        bias: Tensor | None,
        dropout_p: float,
        scale: float | None,
        grid: Grid,
    ) -> tuple[Tensor, Tensor | None] | None:
        """Output and, if they are watched, weights of the heads that attend; None if there are none."""
        if len(self.heads) == self.total:
            return None
        watched = module.observer is not None
        bias = bias if bias is None else four_axes(bias)
        if self.plain and not watched:
            q, k, v = (self._of(x, False) for x in (q, k, v))
            bias = bias if bias is None or bias.shape[1] == 1 else self._of(bias, False)
            return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout_p, scale=scale), None
        forms = read_mask(module.mask, grid, q.shape[1])
        options: dict[str, Any] = {"placement": module.placement, "scale": scale, "dropout_p": dropout_p}
        outs, seen = [], []
        for run in self._runs(False):
            part = forms if forms.heads == 1 else forms.part(run)
            some = bias if bias is None or bias.shape[1] == 1 else bias[:, run]
            at = (q[:, run], k[:, run], v[:, run], part, grid)
            if watched:
                out, weights = attend(*at, bias=some, return_weights=True, **options)
                seen.append(weights)
            else:
                out = attend(*at, bias=some, backend=module.backend, **options)
            outs.append(out)
        return torch.cat(outs, dim=1), torch.cat(seen, dim=1) if watched else None

    def _joined(self, convolved: Any, rest: Tensor | None) -> Tensor:
        """What convolved heads and others give, in the order of the module's heads."""
        if not self.heads:
            assert rest is not None
            return rest
        mixed: Tensor = convolved()
        if rest is None:
            return mixed
        sources, at = (rest, mixed), [0, 0]
        pieces = []
        for run, is_convolved in self._alternating():
            size, start = run.stop - run.start, at[is_convolved]
            pieces.append(sources[is_convolved][:, start : start + size].to(rest.dtype))
            at[is_convolved] += size
        return torch.cat(pieces, dim=1)

    def _of(self, x: Tensor, convolved: bool) -> Tensor:
        """The convolved heads of ``(batch, heads, …)``, or the others; slices, as an index would wait for a device."""
        runs = list(self._runs(convolved))
        return x[:, runs[0]] if len(runs) == 1 else torch.cat([x[:, run] for run in runs], dim=1)

    def _runs(self, convolved: bool) -> Iterator[slice]:
        return (run for run, is_convolved in self._alternating() if is_convolved == convolved)

    def _alternating(self) -> list[tuple[slice, bool]]:
        """All heads as runs of neighbours that are all convolved, or all not."""
        kinds = [h in self.heads for h in range(self.total)]
        starts = [h for h in range(self.total) if h == 0 or kinds[h] != kinds[h - 1]]
        return [(slice(a, b), kinds[a]) for a, b in zip(starts, [*starts[1:], self.total], strict=True)]

    def _kernel(self) -> KernelTableMask:
        assert self.kernel is not None, "there is no convolved head"
        return self.kernel

    def _border(self, grid: Grid) -> tuple[Tensor, Tensor]:
        if self.rows is None or self.columns is None or grid != self.grid:
            raise ValueError(
                f"convolved heads hold what prefix tokens take and give on {self.grid}, and cannot move to {grid}: "
                "convolve the model again with images of that size"
            )
        return self.rows, self.columns

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        numbers = state_dict.get(f"{prefix}numbers")
        errors: list[str] = args[-1]
        if numbers is not None and numbers.tolist() != list(self.heads):
            errors.append(
                f"{prefix}: the checkpoint is of convolved heads {numbers.tolist()}, this model convolves "
                f"{list(self.heads)}: convolve(model, …, heads=) those first"
            )
        super()._load_from_state_dict(state_dict, prefix, *args)
