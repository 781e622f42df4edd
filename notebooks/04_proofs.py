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
# # Proofs
#
# Each law's closed form is claimed, derived step by step by computer algebra, and left with a residual of exactly 0: no
# number is evaluated. Sums of any length are compared term by term or by induction, so a proof holds for every size of
# the grid. Beside each proof stands a check that the package's numbers are those of the proved form.
#
# `retconv proofs` runs all of them at a terminal.

# %%
import numpy as np
import pandas as pd
import torch

import retconv
from retconv.figures import FIGURES
from retconv.proofs import PROOFS, find

pd.set_option("display.precision", 12)
pd.DataFrame([{"law": p.law, "proof": p.name, "statement": p.title, "residual": p.residual} for p in find()])

# %% [markdown]
# ## Law 6: causal decay is a one-pole filter
#
# The inverse of RetNet's mask has two diagonals, whatever its size: undoing it takes one neighbour.

# %%
PROOFS["causal_inverse"]()

# %%
causal = retconv.RetNetMask(1, gamma=0.8).double()
torch.linalg.inv(causal(5)[0]).numpy().round(12)

# %% [markdown]
# ## Law 7: two-sided decay
#
# Its symbol is the Poisson kernel; side by side, the proved form and the sum over the package's kernel.

# %%
proof = PROOFS["two_sided_symbol"]()
proof

# %%
two_sided = retconv.DecayMask(1, "two_sided", gamma=0.8).double()
gamma, theta = float(two_sided.gamma), np.linspace(0, np.pi, 5)
offsets, kernel = np.arange(-199, 200), two_sided.kernel(200)[0].numpy()
symbol = (kernel * np.cos(np.outer(theta, offsets))).sum(axis=1)
proved = proof.function("symbol", "gamma", "theta")(gamma, theta)
pd.DataFrame({"θ": theta, "proved": proved, "computed": symbol, "difference": proved - symbol})

# %% [markdown]
# Its eigenvalues lie strictly between the ends of that symbol on every line, by a sum of squares.

# %%
proof = PROOFS["two_sided_eigenvalues"]()
proof

# %%
lower, upper = (proof.function(end, "gamma")(gamma) for end in ("lower", "upper"))
rows = [(n, torch.linalg.eigvalsh(two_sided(n)[0])) for n in (2, 4, 16, 64, 256)]
pd.DataFrame(
    [{"n": n, "lower": lower, "least": v[0].item(), "greatest": v[-1].item(), "upper": upper} for n, v in rows]
)

# %% [markdown]
# ## Law 8: what separates
#
# Manhattan decay is an outer product; Euclidean decay has a 2×2 minor that is not 0, and so is none.

# %%
proof = PROOFS["euclidean_does_not_separate"]()
proof

# %%
k = retconv.DecayMask(1, "euclidean", gamma=0.8).double().kernel((2, 2))[0, 1:, 1:]
computed = torch.log(k[0, 0] * k[1, 1] / (k[0, 1] * k[1, 0])).item()
print(f"proved {proof.function('ratio', 'lambda')(-np.log(gamma)):.12f}, computed {computed:.12f}")

# %% [markdown]
# ## Law 9: the symbol of a Gaussian
#
# By Poisson summation: copies of a Gaussian, 2π apart.

# %%
proof = PROOFS["gaussian_symbol"]()
proof

# %%
one = torch.ones(1, 1, dtype=torch.float64)
gaussian = retconv.GaussianMixtureMask.from_parameters(0.6 * one, one)
kernel = gaussian.kernel(200)[0].detach().numpy()
symbol = (kernel * np.cos(np.outer(theta, offsets))).sum(axis=1)
copies = theta[:, None] + 2 * np.pi * np.arange(-9, 10)
width = np.sqrt(0.6**2 + retconv.kernels.GAUSSIAN_EPSILON)
proved = proof.function("transform", "sigma", "omega")(width, copies).sum(axis=1)
pd.DataFrame({"θ": theta, "proved": proved, "computed": symbol, "difference": proved - symbol})

# %% [markdown]
# ## Laws 10 and 11: extroversion and positivity
#
# Positive Gaussians give Gram matrices, hence positive semidefinite masks; a negative self-weight undoes that.

# %%
PROOFS["gaussian_gram"]()

# %%
PROOFS["signed_mixture"]()

# %%
signed = retconv.GaussianMixtureMask.from_parameters(one * torch.tensor([2.0, 0.2]), one * torch.tensor([0.6, -0.8]))
masks = {"positive": gaussian((6, 6))[0], "signed": signed((6, 6))[0]}
pd.DataFrame(
    {
        n: {"self-weight": m[0, 0].item(), "least eigenvalue": torch.linalg.eigvalsh(m)[0].item()}
        for n, m in masks.items()
    }
)

# %% [markdown]
# ## Law 12: effective size
#
# The smallest odd size beyond which at most the share ε of the mass lies.

# %%
proof = PROOFS["two_sided_tail"]()
proof

# %%
kernel = two_sided.kernel(200)[0].numpy()
mass = np.array([kernel[abs(offsets) > r].sum() for r in range(100)]) / kernel.sum()
epsilons = [0.5, 0.1, 0.01, 0.001]
radius = proof.function("radius", "gamma", "epsilon")
proved = [2 * max(0, int(np.ceil(radius(gamma, e)))) + 1 for e in epsilons]
pd.DataFrame({"ε": epsilons, "proved": proved, "by trial": [2 * int((mass > e).sum()) + 1 for e in epsilons]})

# %% [markdown]
# The same comparison for many parameters, for decays and for Gaussians. Look at whether the marks, which are measured,
# lie on the curves, and at where the dotted line of a ViT's grid leaves them.

# %%
FIGURES["effective_size"]

# %% [markdown]
# For decays all marks lie on the curves, and for Gaussians the closed form is at most one step too large, never too
# small. A slow decay or a wide Gaussian is larger than a grid of 14×14 tokens, so there nothing can be cut.

# %% [markdown]
# ## Law 15: parallel, recurrent and chunkwise retention are one
#
# With a complex pole λ = γ exp(iθ) as well, which is xPos rotation.

# %%
PROOFS["chunkwise"]()

# %%
proof = PROOFS["recurrent"]()
proof

# %%
update = proof.function("update", "lambda", "S_{n-1}", "w_n")
w, state, states = np.random.default_rng(0).normal(size=6), 0.0, []
for token in w:
    states.append(state := update(float(causal.gamma), state, token))
pd.DataFrame({"recurrent": states, "parallel": (causal(6)[0] @ torch.from_numpy(w)).numpy()})

# %% [markdown]
# ## Laws 18 to 20: inside softmax, and in depth

# %%
PROOFS["log_form"]()

# %%
M, S = gaussian((2, 3))[0].detach(), torch.randn(6, 6, dtype=torch.float64, generator=torch.manual_seed(0))
weighted = torch.softmax(S, dim=1) * M
difference = torch.softmax(S + M.log(), dim=1) - weighted / weighted.sum(dim=1, keepdim=True)
print(f"bias_logits against normalised multiply_weights: {difference.abs().max():.1e}")

# %% [markdown]
# A proved formula can still be computed badly. Look at (a), where a published formula for Gaussians and ours are
# the same function on paper.

# %%
FIGURES["underflow"]

# %% [markdown]
# The published formula takes an exponential before it applies σ, so beyond a distance of about ten tokens it is 0 in
# float32 whatever σ is. On larger grids its wide Gaussians are wrong in the first digit; ours stay right to rounding.

# %% [markdown]
# In depth, Gaussians stay Gaussians, and a quadratic position encoding is one.

# %%
PROOFS["gaussian_depth"]()

# %%
PROOFS["quadratic_encoding"]()

# %% [markdown]
# ## A wrong claim fails
#
# The argument is kept, the claim is changed: some step is then left with something other than 0.

# %%
proof = PROOFS["two_sided_inverse"]()
wrong = proof.claiming({"corner": 2 * proof.claim["corner"]})
steps = zip(proof.steps, wrong.steps, strict=True)
pd.DataFrame([{"step": s.reason, "left over": s.residual, "left over if wrong": w.residual} for s, w in steps])
