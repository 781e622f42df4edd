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
# # Masks in your ViT
#
# [![Open in Colab][badge]][colab]
#
# [badge]: https://colab.research.google.com/assets/colab-badge.svg
# [colab]: https://colab.research.google.com/github/retconv/retconv/blob/main/notebooks/05_masks_in_your_vit.ipynb
#
# **Claim.** A mask is one line away from most of timm's vision transformers: weights, their names and everything around
# the attention stay as they are.

# %%
import subprocess
import sys

if "google.colab" in sys.modules:  # there the package is installed first
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "git+https://github.com/retconv/retconv"], check=True)

# %%
import timm
import torch

from retconv.colours import scale
from retconv.figures import FIGURES
from retconv.models import add_masks, grids_of, kernels_of, masks_of, remove_masks

_ = torch.manual_seed(0)

# %% [markdown]
# ## Three lines
#
# Weights here are random, since the notebook needs no network; with `pretrained=True` the lines are the same.

# %%
model = timm.create_model("vit_tiny_patch16_224", img_size=96, depth=4).eval()
model = add_masks(model, "gmm", start="local")
model.blocks[0].attn.plot()

# %% [markdown]
# The attention modules were found by running the model once. Each has a mask of its own on its grid of 6×6 tokens; the
# class token before them is neutral.

# %%
for name, mask in masks_of(model).items():
    print(name, grids_of(model)[name], mask)

# %% [markdown]
# ## Their kernels
#
# A mask is a convolution kernel. These are the kernels of one head in each layer; train the model and draw them again.

# %%
import matplotlib.pyplot as plt

figure, axes = plt.subplots(1, 4, figsize=(9, 2.4), layout="constrained")
for ax, (name, kernel) in zip(axes, kernels_of(model).items(), strict=True):
    drawn = ax.imshow(kernel[0].detach(), extent=(-5.5, 5.5, 5.5, -5.5), **scale([1.0], signed=False))
    ax.set(title=name, xlabel="offset right (tokens)", ylabel="offset down (tokens)")
    ax.label_outer()
_ = figure.colorbar(drawn, ax=axes, label="weight")

# %% [markdown]
# ## A neutral mask is neutral
#
# A kernel table starts as ones: `M ⊙ S = S`. So the masked model gives the logits of the plain one, up to the rounding
# of the order in which attention adds up, and a checkpoint of the plain model loads into it, strictly. The plain model
# is made anew, from the same seed.

# %%
torch.manual_seed(0)
images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
plain = timm.create_model("vit_tiny_patch16_224", img_size=96, depth=4).eval()(images).detach()
checkpoint = remove_masks(model).state_dict()
neutral = add_masks(model, "table", copy=True)
print(neutral.load_state_dict(checkpoint))
print("masked − plain:", float((neutral(images) - plain).abs().max().detach()), "of", float(plain.abs().max()))
print("masks removed, equal bit for bit:", torch.equal(model(images), plain))

# %% [markdown]
# ## Another image size
#
# A mask that depends on the offset alone moves to any grid. When timm changes the image size, the masks follow.

# %%
add_masks(model, "gmm", start="local")
model.set_input_size((64, 128))
model(torch.randn(1, 3, 64, 128))
print(set(grids_of(model).values()), {tuple(kernel.shape) for kernel in kernels_of(model).values()})

# %% [markdown]
# ## Windows too
#
# In a Swin the grid is the window, shifted or not; its position bias and its shift mask are added after the mask has
# multiplied. What cannot be masked says why.

# %%
swin = add_masks(timm.create_model("retconv_swin_tiny"), "manhattan")
print(len(masks_of(swin)), "masks on", set(grids_of(swin).values()))
try:
    add_masks(timm.create_model("xcit_nano_12_p16_224", img_size=64), "gmm")
except ValueError as error:
    print(error)

# %% [markdown]
# ## What a mask costs
#
# The five small models of the paper, counted as they run, beside what was published. Look at the ticks in (b)
# and (c), and in (a) at what a mask adds, on a logarithmic scale.

# %%
FIGURES["parameters_and_macs"]

# %% [markdown]
# Our counts meet the published ones at every tick. A Gaussian mixture adds less than a thousandth of the parameters, a
# kernel table at most one per cent, and an element-wise mask up to about two.

# %% [markdown]
# Time is another matter. Look at which dots stay near 1, where a mask costs nothing, and which ones move to the
# right with the number of tokens.

# %%
FIGURES["cost_of_a_mask"]

# %% [markdown]
# In this race, on two threads, a mask of few tokens is free, or faster than attention as PyTorch fuses it; on one
# thread, forward and backward took up to a half more on 64 tokens and up to a third more on 196 (`docs/speed.md`). With
# a thousand tokens and more a learnt mask takes up to 1.8 times the time, and one Gaussian, which is extra channels of
# query and key, takes less.

# %% [markdown]
# ## From heads back to convolutions
#
# How nearly is a trained head a convolution? It is replaced by one, without training. Look at how many heads go before
# accuracy falls, and at the dashed lines, where heads are taken at random.

# %%
FIGURES["convolved_heads"]

# %% [markdown]
# One head of sixteen goes at a small loss, and three at one that matters, if those of the least error go first. When
# all have gone the models have lost most of what they learnt, so attention is more than its kernels (notebook 07).
