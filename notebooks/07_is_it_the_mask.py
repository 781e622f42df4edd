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
# # Is it the mask?
#
# **Claim under test.** A mask in front of the softmax makes a small ViT more accurate. The published evidence is one
# seed, the best epoch on the test set, and a plain ViT that ends in a class token against a masked one that ends in
# mean pooling; and a mask that multiplies logits is also a temperature. Here pooling is equal but where it is what
# is tested, seeds are eight and paired, nothing is chosen by an accuracy, and the test images serve once for a run.
# (A thousand of them serve again in the figure of convolved heads.)
#
# **What it is not.** A ViT of 64 channels and 4 layers sees CIFAR-10 eight times, on one core. That says what a mask is
# worth when training is short and the model small; it does not repeat the published training, whose 100 epochs are 300
# passes over the images: the studies `short` (30 passes) and `main` (100) ask for a GPU.
#
# This notebook holds no number: cells read them from stored tables. What can be concluded was fixed as rules in the
# study files before their runs, after a pilot that the first of them tells of, and is repeated here only as those rules
# decide it.

# %%
import pandas as pd
from IPython.display import Markdown

from retconv.figures import FIGURES
from retconv.studies import load_tables, markdown, results_table
from retconv.studies.published import PUBLISHED_TOP1
from retconv.sweep import load_study

pd.set_option("display.precision", 2)
planned = ["cifar_small", "cifar_small_controls", "cifar_small_data", "cifar_small_cutmix"]
tables = load_tables()
studies = {name: load_study(name) for name in planned}
verdicts = tables["study_verdicts"]
verdicts = verdicts[verdicts["study"].isin(planned)].set_index("study", drop=False)

# %% [markdown]
# ## What was asked, and what has been run
#
# The studies share runs: each arm of one that stands in another is the same run. They train arm by arm, in this order.

# %%
for name, study in studies.items():
    stored = tables[f"study_{name}"]["run"].nunique() if f"study_{name}" in tables else 0
    print(f"{name}, {stored} of {len(study.configs)} runs: {study.hypothesis}")

# %% [markdown]
# ## Does a mask help?
#
# Every mask against plain attention, seed by seed; the dots are seeds, and their scatter is what a single pair of runs
# would have been drawn from. Look at whether an interval lies beyond the grey band, which holds differences too small
# to matter.

# %%
FIGURES["accuracy"]

# %% [markdown]
# No interval lies beyond the band on the right, so no mask is seen to gain what matters. The published mask, a Gaussian
# mixture started as its reference starts it, loses; the learnt decay and the kernel table may gain it, which these
# seeds do not decide.

# %%
Markdown(markdown(verdicts.loc[["cifar_small"]]))

# %% [markdown]
# How small a gain can these seeds show? The half-width of an interval is the distance from the threshold at which a
# rule would just be decided; `needed` is the number of seeds that would decide it if mean and spread stayed as they
# are, for it where the mean is on the wanted side of the threshold, else against it.

# %%
power = verdicts[verdicts["metric"] == "test_accuracy"].dropna(subset="sd")
power = power.assign(half_width=(power["high"] - power["low"]) / 2)
power[["arm", "against", "at", "n", "planned", "difference", "sd", "half_width", "threshold", "needed", "verdict"]]

# %% [markdown]
# ## What of it is something else?
#
# Placement, shape, a temperature, a masked diagonal, pooling: each costs nothing, and each could pass for a mask's
# gain. Look at whether any of them does as much as a mask does above.

# %%
FIGURES["controls"]

# %% [markdown]
# Whether a decay is better added as a logarithm or multiplied the rule leaves undecided, and neither is seen to gain
# what matters; no more does a fixed decay with RetNet's γ, on both sides of the raster line. One Gaussian gains most,
# on the test images; on those that were held out it gains less (the last table). A temperature, with or without a
# masked diagonal (LSA), changes little. Pooling does: a class token costs more than any mask gains, though its interval
# is wide. And a kernel that mixes tokens alone, without attention, costs far more than all of these. The verdicts below
# say it rule by rule.

# %%
Markdown(markdown(verdicts.loc[["cifar_small_controls"]]))

# %% [markdown]
# ## When there are few images
#
# A mask is a prior, and a prior should be worth more the fewer the images. Look at whether the gains fall as the share
# of the images grows.

# %%
FIGURES["data_size"]

# %% [markdown]
# The mixture's do: started local, it is worth nothing on all images, and gains more than what matters on a tenth of
# them, in every seed more than on all. Of the learnt decay eight seeds do not decide it: on the test images it gains
# more on a tenth in six of them, on those that were held out in three. The verdicts below say it rule by rule.

# %%
Markdown(markdown(verdicts.loc[["cifar_small_data"]]))

# %% [markdown]
# ## Once CutMix is on
#
# CutMix alone has been found to make early heads local (arXiv 2605.16390), and every full-scale recipe of vision
# transformers has it on. Look at whether masks are worth anything beside it.

# %%
FIGURES["cutmix"]

# %% [markdown]
# The learnt decay gains with CutMix in every seed, and is not seen to gain less than without; the published mask loses
# in both. The next figure asks what CutMix does to attention: look at whether it shortens the distance of the most
# local head.

# %%
FIGURES["cutmix_distance"]

# %% [markdown]
# Hardly: in eight passes the most local head of plain attention looks as far with CutMix as without, and those with
# masks a little less far. The verdicts below say it rule by rule.

# %%
Markdown(markdown(verdicts.loc[["cifar_small_cutmix"]]))

# %% [markdown]
# ## Does a mask make attention local?
#
# Here is how far each head attends, layer by layer; the dotted line is a head that attends to all alike. Look at
# whether the marks of a mask lie below those of plain attention, and by how much.

# %%
FIGURES["attention_distance"]

# %% [markdown]
# With the learnt decay attention is shorter in every layer than without a mask. The mean over layers falls by nearly
# the amount that was said to matter, and the interval holds it, so the rule does not decide.

# %% [markdown]
# ## Does a free mask become a convolution?
#
# The element-wise mask has a number for every pair of tokens. If it used them as a convolution does, the projection of
# what it learnt onto masks with a kernel (law 3) would hold all of its energy; look at how far below that the lines
# stay. Where the answer is known, in notebook 08, it does.

# %%
FIGURES["elm_becomes_convolution"]

# %% [markdown]
# In the first and the last layer the share falls before it grows; it stays above chance, and ends far below half on
# average in every layer. So the free mask, one for all heads of a layer, does not become a
# convolution, although the kernel table, which is one for each head, does no worse (above).

# %% [markdown]
# Which kernels are learnt? Look at the free ones, of the kernel table and the element-wise mask, and at whether they
# resemble the decay or the Gaussian that a mask usually is.

# %%
FIGURES["learned_masks"]

# %% [markdown]
# They do not: the nearest decay or Gaussian leaves most of what they learnt, measured by the norm of what differs from
# 1. Several are not even symmetric, and look up and down differently.

# %% [markdown]
# How small are the learnt kernels? Cut to k × k, with no further training, they lose accuracy; look at the size from
# which on the curves are within the grey band.

# %%
FIGURES["truncated"]

# %% [markdown]
# Cut to 5×5 all models lose more than matters. This does not tell the size of what a mask learnt from that of what
# attention uses: a mask of ones, cut so, would change the same keys, and was not measured. The element-wise mask loses
# accuracy even uncut, for it must first become a kernel.

# %% [markdown]
# ## Is trained attention a convolution?
#
# Softmax attention has an effective kernel and an explained variance, nothing more (law 17). Look at the shares below
# the kernels, and at what changes with a learnt decay.

# %%
FIGURES["effective_kernels"]

# %% [markdown]
# A kernel explains little of the variance, in no layer as much as a quarter. With a decay it explains more, above all
# in the first layers, where the kernels are crosses around the query.

# %% [markdown]
# What is lost when a model is made to live with the kernel alone? Look first at single layers, then at all of them
# together.

# %%
FIGURES["attention_is_more"]

# %% [markdown]
# As its kernel alone the first layer loses least. With all layers replaced, more than half of the accuracy is gone.

# %% [markdown]
# ## On another grid
#
# A mask of the offset moves to a larger grid by itself, without training. Look at whether accuracy falls less with one
# than it does in plain attention.

# %%
FIGURES["grid_transfer"]

# %% [markdown]
# All arms lose much, and beside that the curves lie close together; yet on the largest grid every masked arm ends below
# plain attention, in the mean by more than matters. On no size is the learnt decay seen to lose less than plain
# attention by an amount that matters.

# %% [markdown]
# ## So: is it the mask?
#
# All of it in one table, beside what was published for CIFAR-10. Intervals here are of 95 % each; those of the verdicts
# above are wider where several rules read the same table. They cover seeds, not the choice of images: all seeds share
# those to train on, and the difference on the images that were held out says how much the choice of test images does.

# %%
Markdown(results_table())

# %%
for (model, data), (plain, masked) in PUBLISHED_TOP1.items():
    if data == "cifar10":
        print(f"published, {model}: {plain} → {masked} ({masked - plain:+.2f} points, one seed)")

# %%
pd.crosstab(verdicts.index.rename("study"), verdicts["verdict"].to_numpy(), margins=True)

# %% [markdown]
# ## Where a number comes from
#
# Each row of a table names its run, by the hash of everything that the run depends on, and commit, version and device.
# The runs are stored without their weights, with what was measured on them: `retconv results merge
# retconv/stored/archives/*.zip` puts them below `runs/`, `retconv studies STUDY` makes the tables from them, and
# without them `retconv sweep STUDY` trains and measures them again.

# %%
runs = tables["study_cifar_small"]
runs[["study", "arm", "seed", "run", "test_accuracy", "validation_accuracy", "commit", "torch", "device"]]
