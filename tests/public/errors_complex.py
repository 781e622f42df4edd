"""A complex kernel, mask or table is refused by name wherever one is given: a cast would drop its imaginary part."""

import torch

from retconv import approximate, attention, checks, convert, kernels, retention
from retconv.analysis import describe, effective, locality, spectrum
from retconv.cross import Cross
from retconv.grid import Grid
from retconv.masks import DecayMask, KernelTableMask, Mask
from retconv.operators import operator
from tests.error_table import Error

N, PLANE = 3, Grid(3).offsets()
KERNEL = torch.complex(torch.ones(1, 2 * N - 1), torch.ones(1, 2 * N - 1))
MASK = torch.complex(torch.ones(1, N, N), torch.ones(1, N, N))
TOKENS = torch.ones(1, 1, N, 2)
QKV = (TOKENS, TOKENS, TOKENS)


class Wave(Mask):
    """A mask of the user's own, ``K[δ] = e^{iδ}``."""

    def kernel(self, grid: Grid | int | tuple[int, ...]) -> torch.Tensor:
        return torch.exp(1j * Grid.of(grid).offsets()[..., 0].float())[None]


def refused(call: object, name: str) -> Error:
    return call, ValueError, rf"{name} must be real, got torch\.complex64: give its real and its imaginary part"  # type: ignore[return-value]


COMPLEX: dict[str, Error] = {
    name: refused(call, what)
    for name, (call, what) in {
        "bank_to_mask": (lambda: convert.bank_to_mask(MASK.repeat(1, 1, 2)[..., :5], N), "bank"),
        "conv_to_kernel": (
            lambda: convert.conv_to_kernel(torch.nn.Conv1d(1, 1, 3, padding=1, bias=False, dtype=torch.complex64), N),
            "kernel",
        ),
        "crop": (lambda: convert.crop(KERNEL, 2), "kernel"),
        "extend": (lambda: convert.extend(KERNEL, 4), "kernel"),
        "resize": (lambda: convert.resize(KERNEL, N), "kernel"),
        "kernel_to_conv": (lambda: convert.kernel_to_conv(KERNEL, N), "kernel"),
        "kernel_to_mask": (lambda: convert.kernel_to_mask(KERNEL, N), "kernel"),
        "mask_to_bank": (lambda: convert.mask_to_bank(MASK, N), "mask"),
        "mask_to_kernel": (lambda: convert.mask_to_kernel(MASK, N), "mask"),
        "project": (lambda: convert.project(MASK, N), "mask"),
        "windows": (lambda: convert.windows(KERNEL, N), "kernel"),
        "Separable": (lambda: kernels.Separable((KERNEL[:, None],)), "factor"),
        "beit_table": (lambda: kernels.beit_table(torch.ones(8, 1) * 1j, 3), "table"),
        "t5": (lambda: kernels.t5(PLANE, torch.ones(32, 1) * 1j), "table"),
        "unroll": (lambda: convert.unroll(KERNEL, N), "kernel"),
        "wrap": (lambda: convert.wrap(KERNEL, N), "kernel"),
        "rectangular": (lambda: convert.rectangular(KERNEL, Cross(N, N)), "kernel"),
        "project_rectangular": (lambda: convert.project_rectangular(MASK, Cross(N, N)), "mask"),
        "channels": (lambda: approximate.channels(KERNEL, N), "kernel"),
        "torus_symbol": (lambda: spectrum.torus_symbol(KERNEL[:, :N], Grid(N, periodic=True)), "kernel"),
        "relative_table": (lambda: kernels.relative_table(PLANE, KERNEL), "table"),
        "swin_table": (lambda: kernels.swin_table(KERNEL.T, N), "table"),
        "a parameter": (lambda: kernels.causal_decay(PLANE, torch.tensor(0.5 + 0.5j)), "gamma"),
        "a mask's parameter": (lambda: DecayMask(1, gamma=torch.tensor(0.5 + 0.5j)), "gamma"),
        "from_kernel": (lambda: KernelTableMask.from_kernel(KERNEL), "kernel"),
        "a mask": (lambda: Wave(1)(N), "kernel"),
        "operator": (lambda: operator(KERNEL, N), "kernel"),
        "operator of a mask": (lambda: operator(Wave(1), N), "kernel"),
        "assert_equivalent": (lambda: checks.assert_equivalent(MASK, KERNEL, N), "kernel"),
        "assert_forms": (lambda: checks.assert_forms(Wave(1), N), "kernel"),
        "shift_invariance_residual": (lambda: checks.shift_invariance_residual(MASK, N), "mask"),
        "retention.retention": (lambda: retention.retention(*QKV, KERNEL, N), "kernel"),
        "retention.recurrent": (lambda: retention.recurrent(*QKV, KERNEL), "kernel"),
        "retention.chunkwise": (lambda: retention.chunkwise(*QKV, KERNEL), "kernel"),
        "retention of a mask": (lambda: retention.retention(*QKV, Wave(1), N), "kernel"),
        "attention.bias_logits": (lambda: attention.bias_logits(*QKV, KERNEL, N), "kernel"),
        "attention.convolution": (lambda: attention.convolution(*QKV, KERNEL, N), "kernel"),
        "attention.multiply_logits": (lambda: attention.multiply_logits(*QKV, MASK, N), "mask"),
        "attention.multiply_weights": (lambda: attention.multiply_weights(*QKV, MASK, N), "mask"),
        "attention.attend": (lambda: attention.attend(*QKV, MASK, N, placement="bias_logits"), "mask"),
        "attention.retention": (lambda: attention.retention(*QKV, Wave(1), N), "kernel"),
        "effective_size": (lambda: approximate.effective_size(KERNEL, 0.1), "kernel"),
        "exponentials": (lambda: approximate.exponentials(KERNEL, order=1), "kernel"),
        "fit_decay": (lambda: approximate.fit_decay(KERNEL), "kernel"),
        "fit_gaussian_mixture": (lambda: approximate.fit_gaussian_mixture(KERNEL, 1), "kernel"),
        "separate": (lambda: approximate.separate(KERNEL, rank=1), "kernel"),
        "balanced_truncation": (lambda: approximate.balanced_truncation(KERNEL, states=1), "kernel"),
        "decay_sum": (lambda: approximate.decay_sum(KERNEL, order=1), "kernel"),
        "real_poles": (lambda: approximate.real_poles(KERNEL, states=1), "kernel"),
        "roots_of_unity": (lambda: approximate.roots_of_unity(KERNEL), "kernel"),
        "truncate": (lambda: approximate.truncate(KERNEL, size=1), "kernel"),
        "describe": (lambda: describe(KERNEL, N), "kernel"),
        "definiteness": (lambda: spectrum.definiteness(KERNEL, N), "kernel"),
        "eigenvalues": (lambda: spectrum.eigenvalues(Wave(1), N), "kernel"),
        "norm_bounds": (lambda: spectrum.norm_bounds(KERNEL, N), "kernel"),
        "operator_norm": (lambda: spectrum.operator_norm(KERNEL, N), "kernel"),
        "passband": (lambda: spectrum.passband(KERNEL), "kernel"),
        "sampled_symbol": (lambda: spectrum.sampled_symbol(KERNEL, 4), "kernel"),
        "singular_values": (lambda: spectrum.singular_values(KERNEL, N), "kernel"),
        "symbol": (lambda: spectrum.symbol(KERNEL, torch.zeros(4, 1)), "kernel"),
        "szego": (lambda: spectrum.szego(KERNEL, N), "kernel"),
        "locality": (lambda: locality.locality(MASK, N), "mask"),
        "locality of a batch": (lambda: locality.locality(MASK[None], N), "mask"),
        "mass_within": (lambda: locality.mass_within(Wave(1), N, 1.0), "kernel"),
        "compose": (lambda: effective.compose([KERNEL.real, KERNEL]), "kernel"),
    }.items()
} | {
    # Two whose text is older and says as much.
    "semiseparable_rank": (
        lambda: approximate.semiseparable_rank(MASK, 0.1),
        ValueError,
        r"mask must be a real \(heads, N, N\), got torch\.complex64",
    ),
    "effective_kernel": (
        lambda: effective.effective_kernel(MASK[None], N),
        ValueError,
        r"must be a floating \(batch, heads, 3, 3\) .* got torch\.complex64",
    ),
}

TABLES = {"complex": COMPLEX}
