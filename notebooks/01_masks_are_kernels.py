# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Masks are kernels
#
# **Claim.** An attention mask that depends only on the offset `δ = key − query` is a convolution:
# `M[q, k] = K[k − q]`, so `M @ x` is the zero-padded cross-correlation of `x` with `K`.
#
# Change the grid below to one of your own (one, two or three axes, not necessarily square) and run everything again.

# %%
import torch

import retconv
from retconv import checks

torch.manual_seed(0)
grid = retconv.Grid((5, 7))
grid.size, grid.kernel_shape

# %% [markdown]
# ## Law 1: equivalence
#
# `M x = conv(x; K)`. A mask is built from its kernel by a gather, so every entry is a bit-exact copy; and a plain
# `torch.nn.Conv` with padding `n − 1` does what the mask does, with no flip.

# %%
mask = retconv.GaussianMixtureMask.from_parameters(
    sigma=torch.tensor([[2.0, 0.2], [1.0, 0.5]], dtype=torch.float64),
    alpha=torch.tensor([[0.6, -0.8], [1.0, 0.3]], dtype=torch.float64),
)
M, K = mask(grid).detach(), mask.kernel(grid).detach()
checks.assert_equivalent(M, K, grid)

x = torch.randn(mask.heads, *grid.shape, dtype=torch.float64)
conv = retconv.kernel_to_conv(K, grid)
error = checks.relative_error(conv(x[None]).flatten(2)[0], (M @ x.flatten(1)[..., None])[..., 0])
print(f"convolution against mask: relative error {error:.1e}")

# %% [markdown]
# ## Law 2: windows
#
# Row `q` of the mask, folded to the grid, is the window of the kernel that starts at `n − 1 − q`. The mask is its
# kernel, unfolded: the paper's "element-wise convolution".

# %%
windows = retconv.windows(K, grid)
print(windows.shape, torch.equal(windows.flatten(2), M))

# %% [markdown]
# ## Law 3: characterisation
#
# A mask has a kernel iff shifting both tokens changes nothing. Averaging over pairs of equal offset is the orthogonal
# projector `P` onto such masks, and `‖M − PM‖ / ‖M‖` says how far a mask is from being a convolution.

# %%
free = torch.randn_like(M)
print("Gaussian mixture:", checks.shift_invariance_residual(M, grid))
print("free matrix:     ", checks.shift_invariance_residual(free, grid))

# %% [markdown]
# ## Law 4: every mask is a bank
#
# A mask without a kernel is refused, with its residual. On request it is projected, or converted to one kernel for each
# query: a space-varying convolution.

# %%
try:
    retconv.mask_to_kernel(free, grid)
except retconv.NotAConvolutionError as error:
    print(error)

bank = retconv.mask_to_bank(free, grid)
print(bank.shape, torch.equal(retconv.bank_to_mask(bank, grid), free))

# %% [markdown]
# ## Law 5: algebra
#
# The transpose of a mask is the flip of its kernel, exactly. The product of two masks is not the convolution of their
# kernels: at the border it is no convolution at all.

# %%
flipped = K.flip(tuple(range(1, K.ndim)))
print("transpose is flip:", torch.equal(retconv.kernel_to_mask(flipped, grid), M.mT))
print("residual of M @ M:", checks.shift_invariance_residual(M @ M, grid))

# %% [markdown]
# ## Laws 8 and 9: what separates
#
# Manhattan decay is one outer product of decays, a mixture of K Gaussians is at most K outer products; Euclidean decay
# has no such form.

# %%
for other in (retconv.DecayMask(2), mask, retconv.DecayMask(2, metric="euclidean")):
    factors = other.separable(grid)
    print(other, "→", "not separable" if factors is None else f"{factors.rank} outer product(s)")

# %% [markdown]
# ## Law 10: extroversion
#
# With `α = 0.6, σ = 2` and `α = −0.8, σ = 0.2` a query weighs itself by −0.2 and its neighbours positively: a low-pass
# filter minus the identity. Such a mask has no logarithm.

# %%
self_weight = K[(0, *grid.center)]
print(f"self-weight {self_weight:.3f}, log {torch.log(self_weight):.1f}")

# %% [markdown]
# ## The mask as an operator
#
# `operator(mask, grid) @ x` never forms the `(N, N)` mask unless asked to, and its adjoint is the flipped kernel's.

# %%
tokens = torch.randn(mask.heads, grid.size, 8, dtype=torch.float64)
op = retconv.operator(mask, grid)
checks.dot_test(op)
for method in op.methods:
    error = checks.relative_error(retconv.operator(mask, grid, method) @ tokens, M @ tokens)
    print(f"{method:10s} relative error {error:.1e}, tolerance {checks.tolerance(tokens.dtype):g}")
