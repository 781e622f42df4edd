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
# # Train a masked ViT
#
# **Question.** A small ViT learns to read handwritten digits. What does a Gaussian mixture mask in front of its softmax
# change, and which kernels does it learn?
#
# Two arms, plain and masked, each from three seeds: a difference between two single runs may be luck, and without
# several seeds nobody can tell. The whole takes about a minute. The runs are stored below
# `runs/notebook_06`: run this again and they are read, not trained.

# %%
import matplotlib.pyplot as plt
import torch
import yaml

from retconv import data, stats
from retconv.colours import SEQUENTIAL
from retconv.figures import FIGURES
from retconv.figures.style import BLUE, ORANGE
from retconv.results import Store
from retconv.train import load, train

torch.set_num_threads(1)  # matrices this small are not worth sharing
digits = data.load("digits")
print(digits)
figure, axes = plt.subplots(1, 8, figsize=(8, 1.2))
for ax, image in zip(axes, digits.train_images, strict=False):
    ax.imshow(image[0], cmap="gray_r")
    ax.axis("off")

# %% [markdown]
# ## The recipe
#
# `smoke` is a recipe of the package. Any option can be set by its dotted key; here training is shorter, and the mask
# is what varies. A wrong key or value is refused, with the nearest right one named.

# %%
shorter = ["schedule.epochs=6", "schedule.warmup_epochs=1"]
arms = {
    name: [load("smoke", [*shorter, f"model.options.mask={mask}", f"seed={seed}"]) for seed in (0, 1, 2)]
    for name, mask in (("plain", "null"), ("masked", "gmm"))
}
example = arms["masked"][0]
print("name of the run:", example.id)
print(yaml.safe_dump({part: example.as_dict()[part] for part in ("model", "augment", "optim", "schedule")}))

# %% [markdown]
# ## Train
#
# The three seeds of an arm train as one stacked model, as *replicas*: every parameter has a leading axis for the seed,
# and the forward pass is vmapped over it. Each seed has a start, an order of the images and an augmentation of its own,
# and its numbers are those it would have had alone. A tenth of the training images is held out for validation; the test
# images are looked at once, at the end.
#
# What is killed half-way goes on from its last checkpoint, to the same bits.

# %% tags=["machine"]
for name, configs in arms.items():
    for run in train(configs, "runs/notebook_06", data=digits, device="cpu", progress=False):
        accuracy, size = run.result()["test_accuracy"], run.result()["parameters"]
        print(f"{name}, seed {run.config.seed}: test accuracy {accuracy:.2%}, {size:,} parameters")

# %% [markdown]
# ## Learning curves
#
# Stored runs come back as one tidy table: a row for each epoch of each run, and a column for every option.

# %%
store = Store("runs/notebook_06")
wanted = [config for configs in arms.values() for config in configs]
names = {config.id: name for name, configs in arms.items() for config in configs}
metrics = store.metrics(wanted)
metrics["arm"] = metrics["run"].map(names)
figure, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
for ax, column in zip(axes, ("train_loss", "validation_accuracy"), strict=True):
    curves = metrics.pivot(index="epoch", columns=["arm", "seed"], values=column)
    for name, colour in (("plain", BLUE), ("masked", ORANGE)):
        ax.plot(curves[name], color=colour, linewidth=0.6)
        ax.plot(curves[name].mean(axis=1), color=colour, linewidth=2, label=name)
    ax.set(xlabel="epoch", ylabel=column.replace("_", " "))
_ = axes[0].legend()

# %% [markdown]
# ## Plain against masked, seed by seed
#
# Runs of one seed see the same images in the same order, so the arms are compared in pairs. The table has the mean
# difference of the test accuracy with its t interval (`low`, `high`), and an exact p-value by sign flips beside the
# least one that so few seeds can give at all (`p_least`).

# %% tags=["machine"]
results = store.frame(wanted)
results["arm"] = results["run"].map(names)
comparison = stats.compare(results, "test_accuracy", reference="plain")
row = comparison.iloc[0]
print(f"masked − plain: {row['difference']:+.2%}, from {row['low']:+.2%} to {row['high']:+.2%}, n = {row['n']} seeds")
print("the interval holds 0:", row["low"] <= 0 <= row["high"])
comparison

# %% [markdown]
# An interval from three seeds is wide, and a p-value that cannot fall below `p_least` cannot convince. For a claim,
# take the recipe at full length, a larger data set, and more seeds: `retconv sweep` trains whatever is
# missing.

# %% [markdown]
# ## The kernels, by epoch
#
# A mask is a kernel, `M[q, k] = K[k − q]`, and the runs keep it for every epoch; epoch 0 is the start. A Gaussian
# mixture depends on the distance alone, so a cut through the centre shows all of it. Below are the heads (columns) of
# every layer (rows) of seed 0, from the start (bright) to the last epoch (dark). A weight near 0 mutes the logits
# between tokens at that offset, and above 1 it strengthens them.

# %%
kernels = store.kernels(arms["masked"][:1])
cut = kernels[kernels["offset_1"] == 0]
layers, heads, last = cut["mask"].unique(), cut["head"].unique(), cut["epoch"].max()
shown = (0, 1, last // 2, last)
figure, axes = plt.subplots(
    len(layers), len(heads), figsize=(8, 5.4), layout="constrained", sharex=True, sharey=True, squeeze=False
)
for row_of_axes, layer in zip(axes, layers, strict=True):
    for ax, head in zip(row_of_axes, heads, strict=True):
        part = cut[(cut["mask"] == layer) & (cut["head"] == head)]
        curves = part.pivot(index="offset_2", columns="epoch", values="value")
        for epoch in shown:
            ax.plot(curves[epoch], ".-", color=SEQUENTIAL(0.3 + 0.7 * epoch / last), label=f"epoch {epoch}")
        ax.set_title(f"{layer}, head {head}", fontsize=8)
        ax.axhline(0, color="0.7", linewidth=0.5)
_ = figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(shown))
figure.supxlabel("offset key − query (tokens)", fontsize=9)
_ = figure.supylabel("weight", fontsize=9)

# %% [markdown]
# How far have the kernels of each layer moved? The distance from the start, relative to the norm of the start.

# %% tags=["machine"]
vectors = kernels.pivot(index=["mask", "head", "offset_1", "offset_2"], columns="epoch", values="value")
moved = vectors.sub(vectors[0], axis=0).pow(2).groupby("mask").sum().pow(0.5)
size = vectors[0].pow(2).groupby("mask").sum().pow(0.5)
moved.div(size, axis=0)[list(shown)].round(3)

# %% [markdown]
# ## Where the numbers come from
#
# Every run keeps the command, commit, versions and device that made it.

# %% tags=["machine"]
store.provenance(wanted)[["run", "seed", "torch", "device", "threads", "replicas"]]

# %% [markdown]
# ## How fast
#
# Here are the paper's five small models, measured on two cores. Compare one replica with three, and look at the share
# of a step that is spent on making its batch.

# %%
FIGURES["throughput"]

# %% [markdown]
# On a processor this small a stack of models trains about as fast as its models one after the other. Data take next to
# nothing of a step, and less than a DataLoader with transforms sample by sample.
