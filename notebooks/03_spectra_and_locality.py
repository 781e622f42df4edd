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
# # Spectra and locality
#
# [![Open in Colab][badge]][colab]
#
# [badge]: https://colab.research.google.com/assets/colab-badge.svg
# [colab]: https://colab.research.google.com/github/retconv/retconv/blob/main/notebooks/03_spectra_and_locality.ipynb
#
# A mask that has a kernel is a filter. What does it do to frequencies, how far does it look, and what is left of that
# once a softmax, real attention or a stack of layers comes in between?

# %%
import subprocess
import sys

if "google.colab" in sys.modules:  # there the package is installed first
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "git+https://github.com/retconv/retconv"], check=True)

# %%
import functools
import math

import torch

import retconv
from retconv.analysis import describe, effective, locality, spectrum
from retconv.figures import FIGURES

torch.manual_seed(0)
torch.set_printoptions(precision=5)
grid = retconv.Grid((14, 14))
mask = retconv.GaussianMixtureMask.from_parameters(
    sigma=torch.tensor([[2.0, 0.2]], dtype=torch.float64),
    alpha=torch.tensor([[0.6, -0.8]], dtype=torch.float64),
)
kernel = mask.kernel(grid).detach()

# %% [markdown]
# ## Everything at once
#
# `describe` collects what the rest of this notebook derives. The same table is printed at a terminal by `retconv
# describe gmm --grid 14x14 --sigma 2 0.2 --alpha 0.6 -0.8`.

# %%
description = describe(mask, grid)
print(description)

# %%
description.plot()

# %% [markdown]
# ## The symbol
#
# A plane wave `x[p] = exp(iθ·p)` goes through the mask as `M x = a(θ) x`, away from the border: the symbol `a(θ) =
# Σ_δ K[δ] exp(iδ·θ)` is the mask's gain by frequency. Of the two-sided decay it is `(1 − γ²) / (1 − 2γ cos θ + γ²)`
# (law 7); of a Gaussian it is a sum of Gaussians, by Poisson summation (law 9).

# %%
theta = spectrum.frequencies(9)
line = retconv.Grid(200)
decay = retconv.DecayMask(1, "two_sided", gamma=0.8).double()
sampled = spectrum.symbol(decay.kernel(line), theta).real
closed = spectrum.manhattan_decay_symbol(theta, decay.gamma)
print("largest difference of sample and closed form:", float((sampled - closed).abs().max()))

wave = torch.exp(1j * (line.coordinates().double() @ theta[6]))
middle = line.size // 2
gain = (decay(line)[0, middle].to(wave.dtype) @ wave) / wave[middle]
print(f"gain of a plane wave {gain:.10f}, symbol {closed[0, 6]:.10f}")

# %% [markdown]
# Here are the symbols of the masks of this package, on lines above and on planes below. Compare closed forms (curves)
# with samples (dots), and the shapes of the two decays on a plane.

# %%
FIGURES["symbols"]

# %% [markdown]
# Curves go through the dots: the closed forms are right. Manhattan decay passes more along the axes than across,
# Euclidean decay and Gaussians treat all directions alike, and the mixture is a low-pass filter less a constant.

# %% [markdown]
# ## Which frequencies pass
#
# Locality plus extroversion (law 10) is low-pass minus identity: the gain of a constant image is large, that of a
# checkerboard is −0.8.

# %%
band = spectrum.passband(kernel)
print(f"{band.kind[0]}: DC {float(band.dc):.3f}, Nyquist {float(band.nyquist):.3f}, half power at {band.half_power}")

# %% [markdown]
# Follow the black line, the sum of the two Gaussians, from the kernel to its symbol and to the eigenvalues of the
# mask. Look for the value −0.8, the weight of the narrow one.

# %%
FIGURES["locality_extroversion"]

# %% [markdown]
# The narrow Gaussian is −0.8 times the identity in all but name, so it moves the symbol and every eigenvalue down by
# about 0.8. Most eigenvalues are then negative, and only the few of low frequency stay above 0.

# %% [markdown]
# ## Bounds of the norm
#
# `‖M‖₂ ≤ ‖symbol‖_∞ ≤ ‖K‖₁` (law 12): three numbers, from a singular value decomposition, a Fourier transform and a
# sum.

# %%
bounds = spectrum.norm_bounds(mask, grid)
print(f"‖M‖ = {float(bounds.norm):.4f} ≤ ‖a‖ = {float(bounds.symbol):.4f} ≤ ‖K‖₁ = {float(bounds.l1):.4f}")

# %% [markdown]
# On 64×64 tokens the dense mask would take 128 MiB; Lanczos iteration on the fast operator never forms it. For
# Manhattan decay the answer is known: products of the lines' singular values (law 8).

# %%
side = 64
manhattan = retconv.DecayMask(1, gamma=0.9).double()
top = spectrum.singular_values(manhattan, (side, side), k=4)
values = spectrum.singular_values(retconv.DecayMask(1, "two_sided", gamma=0.9).double(), side)[0]
known = torch.outer(values, values).flatten().sort(descending=True).values[:4]
print(f"relative error {float((top[0] / known - 1).abs().max()):.1e} of", top[0])

# %% [markdown]
# The ℓ1 norm is a sum, so it can certify before anything is computed. Look at how far the marks lie from the line on
# which the true error would be as large as the certificate.

# %%
FIGURES["truncation_certificate"]

# %% [markdown]
# No mark is above the line, whatever the kernel. Where what is cut away has one sign and the window is small beside
# the grid, the certificate is nearly attained; a random kernel may do much better.

# %% [markdown]
# ## Szegő's law
#
# Eigenvalues of growing grids distribute like samples of the symbol (law 13). Their distance falls like 1/n: the
# share of tokens that see a border.

# %%
for n in (16, 64, 256):
    print(n, float(spectrum.szego(decay, n).distance))

# %% [markdown]
# Look at how eigenvalues (dots) approach the quantiles of the symbol (black line) as the grid grows. In (c),
# compare their distance with the dotted slope 1/n.

# %%
FIGURES["szego"]

# %% [markdown]
# Already at modest sizes the dots lie on the line, but for the few of the largest gain. The distance falls about like
# 1/n for all four masks, on lines and on planes.

# %% [markdown]
# ## Is it positive?
#
# With every α > 0 a mixture is positive definite, and stays so in a Hadamard product with scores that are (law 11).
# With a negative α it need not be, and two tokens may suffice to show it.

# %%
positive = retconv.GaussianMixtureMask.from_parameters(torch.tensor([[2.0, 0.2]]), torch.tensor([[0.6, 0.8]]))
for other in (mask, positive, manhattan):
    (verdict,) = spectrum.definiteness(other, grid)
    print(f"{verdict.verdict}: {verdict.reason}")

# %% [markdown]
# ## How local
#
# Mass is `|weight|`. At the border a query has fewer keys, and each row is measured over those that it has; without
# the border, the kernel is measured as a whole.

# %%
for border in (True, False):
    found = locality.locality(mask, grid, border=border)
    print(
        f"border {border}: mean distance {float(found.mean_distance):.3f}, half of the mass within "
        f"{float(found.radius_half):.3f}, 95 % within {float(found.radius_95):.3f}, extroversion "
        f"{float(found.extroversion):.2f}"
    )
print("share within 1, 2, 4 tokens:", locality.mass_within(mask, grid, torch.tensor([1.0, 2.0, 4.0])))

# %% [markdown]
# ## Softmax breaks it
#
# A row-normalised mask has no kernel on a finite grid (law 17). Attention has an *effective* kernel, the mean over
# images and pairs of equal offset, and a share of variance that it explains; nothing more. Here attention is made of
# a Gaussian bias, a term of each image, and softmax.

# %%
bias = torch.log(retconv.kernels.gaussian(grid.offsets(), torch.tensor([2.0, 1.0], dtype=torch.float64)))
position = retconv.kernel_to_mask(bias, grid)
stream = effective.EffectiveKernel(grid)
for _ in range(4):
    stream.update(torch.softmax(position + 0.7 * torch.randn(8, 2, grid.size, grid.size), dim=-1))
attention = stream.result()
print("images", attention.count)
print("explained by offset   ", attention.explained)
print("by position beyond it ", attention.position)
print("by content            ", attention.content)
print("residual of the corner's row", attention.residual[:, 0, 0], "and of the middle one", attention.residual[:, 7, 7])

# %% [markdown]
# Its best mask of the field, with a certificate: a Gaussian of σ near 2 and 1 comes back.

# %%
fit = attention.gaussian_mixture(components=1)
print("σ", fit.mask.sigma.detach().abs().flatten(), "relative ℓ1 error", fit.relative)

# %% [markdown]
# Uniform attention has a flat kernel and no variance to explain; on shuffled tokens only the weight of a token for
# itself is left of a kernel.

# %%
order = torch.randperm(grid.size)
whole = torch.softmax(position, dim=-1)[None]
print("shuffled:", effective.effective_kernel(whole[..., order, :][..., order], grid).explained)
print("uniform: ", effective.effective_kernel(torch.full_like(whole, 1 / grid.size), grid).explained)

# %% [markdown]
# How much of a normalised mask is no convolution? Look at where each curve has its top, and at the map of queries,
# (d).

# %%
FIGURES["normalisation_breaks_it"]

# %% [markdown]
# Most curves rise and fall: the residual is largest where the kernel is about as wide as the grid, and goes only on
# grids that are much larger. By query the corners are worst, because their rows lost the most keys.

# %% [markdown]
# ## Depth
#
# Gaussian masks compose as `σ_eff² = Σ σ_l²` away from the border (law 19), so the reach grows like the root of the
# depth. The gradient of the middle output token with respect to the input agrees.

# %%
gauss = retconv.kernels.gaussian(retconv.Grid((12, 12)).offsets(), torch.tensor([1.0], dtype=torch.float64))
for layers in (1, 4, 9):
    print(layers, effective.spread(effective.compose([gauss] * layers), 2)[0], math.sqrt(layers))

# %%
large = retconv.Grid((25, 25))
M = retconv.kernel_to_mask(retconv.resize(gauss, large), large)[0]
four_layers = functools.partial(torch.matmul, torch.linalg.matrix_power(M, 4))
field = effective.gradient_field(four_layers, torch.randn(1, large.size, 2, dtype=torch.float64), large)
print("four layers, by gradient:", effective.spread(field, 2))

# %% [markdown]
# What happens when there is more than masks in a stack? Compare dots, by gradient, with curves, by theory, first for
# masks alone and then with channel mixing and GELU between them.

# %%
FIGURES["depth"]

# %% [markdown]
# Masks alone follow theory, and their reach grows like the root of the depth until the border cuts it. With mixing and
# GELU the field is rough and not symmetric, but it grows at about the same rate.
