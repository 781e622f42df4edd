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
# [![Open in Colab][badge]][colab]
#
# [badge]: https://colab.research.google.com/assets/colab-badge.svg
# [colab]: https://colab.research.google.com/github/retconv/retconv/blob/main/notebooks/01_masks_are_kernels.ipynb
#
# **Claim.** An attention mask that depends only on the offset `δ = key − query` is a convolution:
# `M[q, k] = K[k − q]`, so `M @ x` is the zero-padded cross-correlation of `x` with `K`.
#
# Change the grid below to one of your own (one, two or three axes, not necessarily square) and run everything again.
# Each figure is one line, and `retconv figures` draws all of them.

# %%
import subprocess
import sys

if "google.colab" in sys.modules:  # there the package is installed first
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "git+https://github.com/retconv/retconv"], check=True)

# %% [markdown]
# ## Five masks
#
# Each line below is a mask, with a row for each query, and beside it its kernel, with a weight for each offset. Compare
# the fifth with the others: its entries are random, and its kernel is only the nearest one there is.

# %%
from retconv.figures import FIGURES

FIGURES["masks_and_kernels"]

# %% [markdown]
# The first four masks hold no more than their kernels do: what is left over, the residual, is exactly 0. The random
# mask is nearly all left over, so not every mask is a convolution.

# %% [markdown]
# ## A mask of your own
#
# The rest of this notebook takes one mask apart. Change its grid, its widths or its weights.

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
# Follow one colour from top to bottom: the frame lies on the kernel, then on the tokens, and then it is a row of the
# mask. The dot is the query itself, and it always lies on offset 0 of the kernel.

# %%
FIGURES["windows"]

# %% [markdown]
# The three frames of a colour hold the same numbers, on a line and on a plane. A query in the corner sees a corner of
# the kernel, for its other neighbours do not exist.

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
# ## On a photograph
#
# Each patch of the photograph is a token. Look at which patches a query sees, and how far: RetNet's decay knows only
# the order in which patches are read, the other two know the plane.

# %%
FIGURES["masked_photograph"]

# %% [markdown]
# RetNet's query sees whole rows above itself and nothing that comes after, however near. The other masks see a
# neighbourhood, a diamond for Manhattan decay and a disc for Gaussians.
#
# The same mask can be applied as a matrix or as a convolution. Look at the last column, which is the difference of the
# two before it, and at its scale.

# %%
FIGURES["convolved_photograph"]

# %% [markdown]
# The pictures are alike to the last digits of float64, so the difference is rounding. Locality blurs; with extroversion
# beside it only edges are left, which is law 10 seen by eye.

# %% [markdown]
# ## The mask as an operator
#
# `operator(mask, grid) @ x` takes the fastest method, which on large grids forms no mask; its adjoint is that of the
# flipped kernel.

# %%
tokens = torch.randn(mask.heads, grid.size, 8, dtype=torch.float64)
op = retconv.operator(mask, grid)
checks.dot_test(op)
for method in op.methods:
    error = checks.relative_error(retconv.operator(mask, grid, method) @ tokens, M @ tokens)
    print(f"{method:10s} relative error {error:.1e}, tolerance {checks.tolerance(tokens.dtype):g}")

# %% [markdown]
# One error at one grid says little, so here is the worst over several masks, on grids of one, two and three axes. Look
# for a mark above the dashed line, which is what the tests allow.

# %%
FIGURES["equivalence"]

# %% [markdown]
# There is none: every method agrees with the dense product to rounding, in both precisions. So which one to use is a
# question of time alone.
