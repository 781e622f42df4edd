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
# # The atlas: what convolution is your mask?
#
# Every mask of the field, from its authors' formula, with a verdict that is computed: is it a kernel, of how many outer
# products, how many poles, how many channels of query and key, and if it is no kernel, how far is it from one?
# `retconv atlas` prints the table, and [docs/atlas.html](../docs/atlas.html) shows it with pictures.

# %%
import torch

from retconv import (
    DecayMask,
    GaussianMixtureMask,
    Grid,
    RetNetMask,
    approximate,
    atlas,
    checks,
    kernel_to_mask,
    kernels,
    operator,
    project,
)
from retconv.analysis import spectrum
from retconv.figures import FIGURES
from retconv.masks import Forms

torch.set_num_threads(1)
torch.manual_seed(0)
table = atlas.stored()
table[["title", "placement", "residual", "separable_rank", "poles", "channels"]]

# %% [markdown]
# Every picture below is a mask, or on 8×8 tokens its kernel where it has one, with its own scale: look at the colour of
# its frame. Blue frames are convolutions,
# orange ones are not. What is none either knows where a token is (windows that stop at a border, blocks, normalised
# rows) or reads the data.

# %%
FIGURES["mask_atlas"]

# %% [markdown]
# Most masks of the field are convolutions, and some of those on a plane a single outer product. Of those that are none
# FNet is farthest from one.

# %% [markdown]
# Your own mask is judged in one line; a bias on logits is the mask of its exponential.

# %%
grid = Grid((8, 8))
bias = -0.3 * grid.offsets().abs().amax(dim=-1).double()[None]  # the largest step along an axis
atlas.verdict(Forms.of_log(bias, grid), grid)

# %% [markdown]
# ## Channels (law 21)
#
# Plain attention has a bias for free if its logarithm is a product of few extra channels of query and key: one for a
# causal decay, three for a Gaussian on a plane. Manhattan decay on 8×8 tokens takes 14, where any mask has 63.

# %%
for mask, grid in ((RetNetMask(1), 64), (GaussianMixtureMask(1, 1, "local"), (8, 8)), (DecayMask(1), (8, 8))):
    extra = approximate.channels(mask, grid)
    print(f"{extra.rank} extra channels, {'fewer than' if extra.saves else 'as many as'} any mask has: {mask}")

# %% [markdown]
# ## Gates (law 22)
#
# FoX, Mamba-2 and their like make γ from data, one for each token. Where gates 2 … N are equal the mask is the decay,
# to the bit; one that differs leaves no kernel. The inverse has two diagonals either way.

# %%
gates = kernels.Gates(torch.tensor([[0.1, 0.5, 0.5, 0.5], [0.1, 0.5, 0.5, 0.25]]).double().log())
M, decay = gates.entries(Grid(4)), kernels.Decay(torch.tensor([0.5]).double(), causal=True)
assert torch.equal(M[:1], kernel_to_mask(decay.kernel(Grid(4)), 4))
print(checks.shift_invariance_residual(M, 4))
print(torch.linalg.inv(M)[1].round(decimals=12))

# %% [markdown]
# ## Boundaries (law 23)
#
# On a ring one formula makes two masks. The wrapped sum keeps positivity (law 11), the function of the distance around
# the ring need not. And of any matrix the nearest convolution on the open grid is at least as near as that on the ring.

# %%
ring, sigma = Grid(16, periodic=True), torch.tensor([[5.0]])
distance = GaussianMixtureMask.from_parameters(sigma, torch.ones(1, 1)).kernel(ring).detach()
circulant = {"distance": distance, "wrapped": kernels.wrapped_gaussian(ring, sigma)}
print({name: round(float(spectrum.torus_symbol(kernel, ring).real.min()), 3) for name, kernel in circulant.items()})
M = torch.randn(1, 16, 16)
left, left_open = (float(project(M, place).residual) for place in (ring, ring.opened()))
print(f"left on the ring {left:.3f}, on the open grid {left_open:.3f}")

# %% [markdown]
# ## Beyond the grid (law 24)
#
# Recurrences of one kernel may agree to every digit on the grid, and go on differently.

# %%
offsets = Grid(512).offsets()
K = kernels.gaussian(offsets, torch.tensor([40.0]).double()) * (offsets[:, 0] <= 0)
truth = torch.exp(-(torch.arange(2048).double()[None] ** 2) / 3200)
few = (approximate.balanced_truncation, approximate.real_poles, approximate.decay_sum)
fits = {"roots of unity": approximate.roots_of_unity(K)} | {fit.__name__: fit(K, tolerance=1e-4) for fit in few}
for name, fit in fits.items():
    print(f"{name:20} {int(fit.states):4} states, error on the grid {float(fit.relative):.0e}", end=", ")
    print(f"beyond {float(fit.beyond(truth)):.0e}")

# %% [markdown]
# All four fits are within the tolerance on the grid. Look at what they do beyond it, in grey in (a), and in (b) at how
# many states they need.

# %%
FIGURES["states_beyond_the_grid"]

# %% [markdown]
# Roots of unity begin again at each multiple of the grid and real poles no longer cancel, so both are useless beyond
# it. Balanced truncation and certified decays die away as the Gaussian does, with a handful of states.

# %% [markdown]
# ## Backwards
#
# A mask is a linear operator, and a system with it is solved without forming it: by recursions where it is a decay,
# else by conjugate gradients, with the residual stated.

# %% tags=["machine"]
plane, one = Grid((128, 128)), torch.ones(1, dtype=torch.float64)
y = torch.randn(1, plane.size, 1, dtype=torch.float64)
euclidean, gaussian = kernels.euclidean_decay(plane.offsets(), 0.9 * one), kernels.gaussian(plane.offsets(), one)
for mask in (kernels.Decay(0.9 * one), euclidean, gaussian):
    solution = operator(mask, plane).solution(y)
    print(f"{solution.method}: {solution.iterations} steps, residual {float(solution.residual):.0e}", end=", ")
    print(f"condition at most {float(solution.condition):.2g}")
