"""RetNet's layer: projections, retention with one decay for each head, norm and gate, in three forms that agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from retconv.grid import Grid, kept
from retconv.kernels.parameters import compute_dtype
from retconv.masks import RetNetMask
from retconv.names import unknown
from retconv.retention.conventions import PRESETS, Conventions
from retconv.retention.functional import chunkwise, recurrent, retention
from retconv.retention.recurrence import RetentionState
from retconv.retention.rotation import rotate, rotation_angles

Form = Literal["parallel", "chunkwise", "recurrent"]


class MultiScaleRetention(nn.Module):
    """Multi-scale retention: ``Y = Norm(Retention(X W_Q, X W_K, X W_V))``, gated and projected back (eq. 8).

    Its three forms compute the same numbers up to rounding: with ``raw`` the output before the norm, with or without
    each normalisation, and hence everything after it.

    Public implementations do not agree with themselves, by percents. Their recurrent form leaves out the division of
    scores by ``max(|Σ|, 1)`` or replaces it by another number for each chunk, on the ground that a norm over features
    follows, which no factor of a row can change. That holds for epsilon = 0 only: RMSNorm maps c x to
    ``x / √(mean x² + ε / c²)``, so rows whose mean square is not large against ε, as those of early tokens and of
    layers at their start are, come out smaller by ``√((m + ε/c²) / (m + ε))`` with m = mean x². ``norm_discrepancy``
    gives that bound; it vanishes with ε.

    Args:
        dim: Width of the input and the output.
        heads: Number of heads.
        value_dim: Width of all values together; ``dim`` by default (RetNet's language models use 2 · dim).
        gamma: As for ``RetNetMask``: a schedule by name, a number, or ``(heads,)``.
        learnable: Whether gamma trains.
        conventions: A name in ``PRESETS`` or a ``Conventions``.

    Raises:
        ValueError: If heads does not divide the widths, the preset is unknown, or the head size is odd under rotation.

    Source:
        Sun et al. 2023 (arXiv 2307.08621), eq. (8); weights and names as in torchscale's ``MultiScaleRetention``
        (``q_proj``, ``k_proj``, ``v_proj``, ``g_proj``, ``out_proj``, no biases), whose weights load by name.

    Example:
        >>> layer = MultiScaleRetention(dim=64, heads=4)
        >>> layer(torch.rand(2, 10, 64)).shape
        torch.Size([2, 10, 64])
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        value_dim: int | None = None,
        gamma: str | float | Tensor = "retnet",
        learnable: bool = False,
        conventions: str | Conventions = "torchscale",
    ) -> None:
        super().__init__()
        value_dim = dim if value_dim is None else value_dim
        if heads < 1 or dim % heads or value_dim % heads:
            raise ValueError(f"heads must divide dim and value_dim, got {heads} heads, {dim} and {value_dim}")
        if isinstance(conventions, str):
            if conventions not in PRESETS:
                raise ValueError(f"{unknown('preset', conventions, PRESETS)}, or give Conventions")
            conventions = PRESETS[conventions]
        self.heads, self.conventions = heads, conventions
        self.mask = RetNetMask(heads, gamma, learnable)
        self.q_proj = nn.Linear(dim, dim, bias=False)
        self.k_proj = nn.Linear(dim, dim, bias=False)
        self.v_proj = nn.Linear(dim, value_dim, bias=False)
        self.g_proj = nn.Linear(dim, value_dim, bias=False) if conventions.gate else None
        self.out_proj = nn.Linear(value_dim, dim, bias=False)
        if conventions.rotation != "none":
            rotation_angles(dim // heads)  # refuses an odd head size here, not at the first call
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start as torchscale does: Xavier with gain 2^(−2.5) for what enters retention, and 1 for the way out."""
        for projection in (self.q_proj, self.k_proj, self.v_proj, self.g_proj):
            if projection is not None:
                nn.init.xavier_uniform_(projection.weight, gain=2**-2.5)
        nn.init.xavier_uniform_(self.out_proj.weight)

    def forward(self, x: Tensor, form: Form = "chunkwise") -> Tensor:
        """Apply the layer to a whole sequence.

        Args:
            x: ``(batch, N, dim)``.
            form: ``"parallel"``, ``"chunkwise"`` or ``"recurrent"``.

        Returns:
            ``(batch, N, dim)``.
        """
        return self._finish(x, self.raw(x, form))

    def step(self, x: Tensor, state: RetentionState | None = None) -> tuple[Tensor, RetentionState]:
        """Apply the layer to the next tokens of a sequence, one or many, token by token.

        Args:
            x: ``(batch, N, dim)``.
            state: What the last call returned, or ``prefill``; None before the first token.

        Returns:
            The output ``(batch, N, dim)`` and the state after its last token.
        """
        return self._continue(x, state, recurrent)

    def prefill(self, x: Tensor, state: RetentionState | None = None) -> tuple[Tensor, RetentionState]:
        """As ``step``, in chunks: for a long prompt."""
        return self._continue(x, state, chunkwise)

    def raw(self, x: Tensor, form: Form = "chunkwise") -> Tensor:
        """The output of retention before the norm, ``(batch, heads, N, value_dim / heads)``."""
        q, k, v = self._project(x, 0)
        grid = Grid(x.shape[1])
        out = retention(q, k, v, self.mask, grid, method=form, scale=self.conventions.scale)
        return self._normalized(out, 0)

    def norm_discrepancy(self, x: Tensor, factor: float | Tensor) -> Tensor:
        """How much the norm lets through of a factor c on a row: ``|√((m + ε) / (m + ε / c²)) − 1|``, m = mean x².

        Args:
            x: Rows before the norm, ``(…, d)``.
            factor: c, a number or ``(…,)``: for instance ``1 / max(|Σ|, 1)``.

        Returns:
            ``(…,)``: the relative difference of ``RMSNorm(c x)`` from ``RMSNorm(x)``; 0 where ε = 0.
        """
        square = x.square().mean(dim=-1)
        epsilon = self.conventions.epsilon
        squared = torch.as_tensor(factor, dtype=x.dtype, device=x.device).square()
        return (((square + epsilon) / (square + epsilon / squared)).sqrt() - 1).abs()

    def extra_repr(self) -> str:
        """The conventions."""
        return str(self.conventions)

    def _continue(
        self, x: Tensor, state: RetentionState | None, run: Callable[..., tuple[Tensor, RetentionState]]
    ) -> tuple[Tensor, RetentionState]:
        position = 0 if state is None else state.position
        q, k, v = self._project(x, position)
        out, state = run(q, k, v, self.mask, state, scale=self.conventions.scale)
        return self._finish(x, self._normalized(out, position)), state

    def _project(self, x: Tensor, position: int) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v by heads; v with a feature of ones where scores are normalised by their sum."""
        q, k, v = (
            p(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        if self.conventions.rotation != "none":
            # Not a buffer: casting the module would round the angles, and far tokens would turn by wrong amounts.
            angles = _angles(q.shape[-1], self.conventions.rotation_endpoint, q.device)
            q, k = (rotate(t, angles, position, self.conventions.rotation) for t in (q, k))
        if self.conventions.normalize_scores:
            v = F.pad(v, (0, 1), value=1.0)
        return q, k, v

    def _normalized(self, out: Tensor, position: int) -> Tensor:
        """Divide rows by the mask's ``√Σ D`` and the scores' ``max(|Σ|, 1)``."""
        if self.conventions.normalize_mask:
            out = out * self._mask_factor(position, out.shape[2]).to(out.dtype)
        if self.conventions.normalize_scores:
            out, total = out[..., :-1], out[..., -1:]
            out = out / total.detach().abs().clamp(min=1)
        return out

    def _mask_factor(self, position: int, size: int) -> Tensor:
        """``1 / √Σ_{j ≤ n} γ^j = √((1 − γ) / (1 − γ^(n+1)))`` for each head and token, ``(heads, N, 1)``."""
        rate = self.mask.gamma.log()[:, None, None]
        seen = torch.arange(position + 1, position + size + 1, device=rate.device, dtype=rate.dtype)[:, None]
        return (torch.expm1(rate) / torch.expm1(rate * seen)).sqrt()

    def _finish(self, x: Tensor, out: Tensor) -> Tensor:
        """Norm, gate and projection."""
        if self.conventions.norm == "group":
            out = F.layer_norm(out, out.shape[-1:], eps=self.conventions.epsilon)
        elif self.conventions.norm == "rms":
            out = F.rms_norm(out, out.shape[-1:], eps=self.conventions.epsilon)
        out = out.transpose(1, 2).flatten(2)
        if self.g_proj is not None:
            out = F.silu(self.g_proj(x)) * out
        return self.out_proj(out)


@kept
def _angles(head_size: int, endpoint: bool, device: torch.device) -> Tensor:
    """The rotation's angles where ``rotate`` needs them."""
    return rotation_angles(head_size, endpoint=endpoint).to(device, compute_dtype(device))
