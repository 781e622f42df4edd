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
# # Explorer: one mask, seen from every side
#
# Run all cells and move the sliders. A mask in front of attention depends on the offset `key − query` alone, so it is a
# convolution kernel, and a kernel is a filter:
#
# - **mask** `M[q, k]`: a row for each query, in raster order;
# - **kernel** `K[k − q]`: the same numbers by offset, red above 0 and blue below where there are both signs;
# - **symbol** `Σ K[δ] exp(i δ·θ)`: the gain by frequency, low frequencies in the middle;
# - **locality**: how much of the kernel's mass lies within a radius;
# - the **photograph** and what the mask, moved to 96×96 tokens as a convolution, makes of it.

# %%
from retconv.explorer import Choice, Explorer

explorer = Explorer(Choice(kind="Gaussian mixture", rows=14, columns=14))
explorer

# %% [markdown]
# ## Things to try
#
# - `α₂ = −0.8, σ₂ = 0.2` (the start): *extroversion*. The self-weight is −0.2 and the symbol is low-pass minus the
#   identity: −0.8 wherever the wide Gaussian's symbol has died out (law 10).
# - `α₂ = 0`: a plain Gaussian. Its symbol is a Gaussian too, as wide as 1/σ (law 9).
# - `α₁ = 1, σ₁ = 1, α₂ = −0.25, σ₂ = 2`: a band-pass, dark at frequency 0, where the two Gaussians cancel (α σ² is the
#   same but for its sign).
# - *Manhattan decay* against *Euclidean decay*: diamonds against discs; only the diamond separates (law 8).
# - *RetNet decay*: causal along the tokens in raster order, so a photograph is smeared to the right, and past the end
#   of each row into the next.
# - Few rows and many columns: the kernel is an oblong, the mask a band of blocks.
#
# Every update is one call, here without sliders:

# %%
from IPython.display import Image

Image(explorer.draw(Choice(kind="Manhattan decay", rows=8, columns=12, gamma=0.7)))
