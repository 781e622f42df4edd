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
# # Retention is convolution
#
# **Claim.** Retention is attention without softmax under a mask, `(S ⊙ M) V` with `S = Q Kᵀ / √d`. If the mask has a
# kernel, retention is a depthwise convolution of the outer products `k_j v_jᵀ`, contracted with the query; and if the
# kernel is a sum of exponentials, the convolution is a recurrence with a state of fixed size.
#
# Change the grid, the mask or the sizes below and run everything again.

# %%
import torch
import torch.nn.functional as F

import retconv
from retconv import approximate, checks, kernels
from retconv.figures import FIGURES
from retconv.retention import Conventions, MultiScaleRetention, chunkwise, recurrent, retention, rotate, rotation_angles

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
batch, heads, d, e = 2, 3, 4, 5

# %% [markdown]
# ## Law 14: retention is convolution
#
# `o_n = q_n · Σ_δ K[δ] k_{n+δ} v_{n+δ}ᵀ`. Below, literally: the outer products as images, `torch`'s own convolution,
# and the contraction. It holds for any kernel on any grid.

# %%
grid = retconv.Grid((5, 7))
K = torch.randn(heads, *grid.kernel_shape)
q, k = torch.randn(2, batch, heads, grid.size, d)
v = torch.randn(batch, heads, grid.size, e)

images = torch.einsum("bhnd,bhne->bdehn", k, v).reshape(batch * d * e, heads, *grid.shape)
convolved = F.conv2d(images, K[:, None], padding=grid.center, groups=heads).reshape(batch, d, e, heads, grid.size)
by_convolution = torch.einsum("bhnd,bdehn->bhne", q, convolved) / d**0.5

scores = q @ k.mT / d**0.5
as_written = (scores * retconv.kernel_to_mask(K, grid)) @ v
print(f"relative error {checks.relative_error(by_convolution, as_written):.1e}")

# %% [markdown]
# ## Every form
#
# `retention` has one name for all of them: `parallel` forms scores and mask, `tiled` a few rows at a time, `fft` and
# `convolution` use law 14 in blocks of bounded memory, and for decays there are recursions. `auto` chooses the fastest.

# %%
manhattan = retconv.DecayMask(heads)
expected = retention(q, k, v, manhattan, grid, method="parallel")
for method in ("auto", "tiled", "scan", "fft", "convolution"):
    error = checks.relative_error(retention(q, k, v, manhattan, grid, method=method), expected)
    print(f"{method:12s} relative error {error:.1e}")

# %% [markdown]
# The forms agree, so what is left to compare is time. Look at the slopes above, which say how time grows with the
# number of tokens, and below at whether any error comes near the dotted line.

# %%
FIGURES["retention_forms"]

# %% [markdown]
# The parallel form grows like the square of the number of tokens and soon has no memory left; chunkwise, scan and
# convolution grow about linearly. Below, all errors stay within what the tests allow, in both precisions.

# %% [markdown]
# ## Law 15: parallel = recurrent = chunkwise
#
# RetNet's decay on a line. The recurrence keeps a state, which can be stored and continued: bit for bit the same.

# %%
N, cut = 100, 37
retnet = retconv.RetNetMask(heads)
q, k = torch.randn(2, batch, heads, N, d)
v = torch.randn(batch, heads, N, e)

expected = retention(q, k, v, retnet, N, method="parallel")
for method in ("recurrent", "chunkwise"):
    error = checks.relative_error(retention(q, k, v, retnet, N, method=method), expected)
    print(f"{method:12s} relative error {error:.1e}")

whole, _ = recurrent(q, k, v, retnet)
first, state = recurrent(q[:, :, :cut], k[:, :, :cut], v[:, :, :cut], retnet)
second, state = recurrent(q[:, :, cut:], k[:, :, cut:], v[:, :, cut:], retnet, state)
print("cut and continued, same bits:", torch.equal(torch.cat([first, second], dim=2), whole))
print("state", tuple(state.memory.shape), "after", state.position, "tokens")

# %% [markdown]
# A prompt is read in chunks, at the speed of matrix products; then the recurrence goes on from its state.

# %%
_, state = chunkwise(q[:, :, :cut], k[:, :, :cut], v[:, :, :cut], retnet)
further, _ = recurrent(q[:, :, cut:], k[:, :, cut:], v[:, :, cut:], retnet, state)
print(f"relative error {checks.relative_error(further, whole[:, :, cut:]):.1e}")

# %% [markdown]
# ## Rotation is a complex pole
#
# xPos turns pairs of features of q and k by an angle that grows with the position. A pair, read as a complex number,
# then decays with the complex pole `γ e^{iθ}`; no form changes.

# %%
angles = rotation_angles(d)
turned_q, turned_k = rotate(q, angles), rotate(k, angles)
rotated = retention(turned_q, turned_k, v, retnet, N, method="chunkwise", scale=1.0)

distance = (torch.arange(N)[:, None] - torch.arange(N)).clamp(min=0)
poles = retnet.gamma[:, None] * torch.exp(-1j * angles)
powers = (poles[..., None, None] ** distance).tril()
q_hat, k_hat = torch.view_as_complex(q.unflatten(-1, (-1, 2))), torch.view_as_complex(k.unflatten(-1, (-1, 2)))
with_poles = torch.einsum("bhnp,bhmp,hpnm->bhnm", q_hat.conj(), k_hat, powers).real @ v
print(f"relative error {checks.relative_error(rotated, with_poles):.1e}")

# %% [markdown]
# ## RetNet's layer
#
# Its conventions are options by name: rotation, `D / √Σ D`, `max(|Σ|, 1)`, norm, gate. The three forms agree whatever
# is chosen. Leaving the division of scores out of one form, as public code does, is undone by the norm for ε = 0 only.

# %%
x = torch.randn(batch, N, 24)
own = Conventions(rotation="half", normalize_scores=True, norm="group")
for name, conventions in {"plain": "plain", "torchscale": "torchscale", "my own": own}.items():
    layer = MultiScaleRetention(24, heads, conventions=conventions)
    out = layer(x, "parallel")
    errors = [checks.relative_error(layer(x, form), out) for form in ("chunkwise", "recurrent")]
    print(f"chunkwise {errors[0]:.1e}, recurrent {errors[1]:.1e}: {name}")

layer = MultiScaleRetention(24, heads, conventions="torchscale")
discrepancy = layer.norm_discrepancy(layer.raw(x), 0.5).detach()
median, most = float(discrepancy.median()), float(discrepancy.max())
print(f"of a factor 0.5 the norm lets through {median:.1%} (median) to {most:.1%} (most)")

# %% [markdown]
# ## Raster order on a plane
#
# RetNet's decay along the tokens of an image, row after row, does have a kernel on its own grid, since the offset fixes
# the raster distance; it wraps around the rows and belongs to one width only. Every other row read backwards, it has
# none, and is refused with its residual.

# %%
dense = retnet(grid.size)
print("raster, residual:", checks.shift_invariance_residual(dense, grid))
order = torch.arange(grid.size).reshape(grid.shape)
order[1::2] = order[1::2].flip(-1)
place = order.flatten()
try:
    retconv.mask_to_kernel(dense[:, place[:, None], place], grid)
except retconv.NotAConvolutionError as error:
    print(error)

# %% [markdown]
# ## Law 16: any 1-D kernel is nearly a RetNet
#
# A Gaussian is no sum of exponentials, but four conjugate pairs of poles come far within 1e-3, and the ℓ1 distance
# certifies what that costs (law 12). It then runs as four retention heads, by recursions forwards and backwards.

# %%
offsets = torch.arange(1 - N, N)[:, None]
gaussian = kernels.gaussian(offsets, torch.tensor([2.0, 5.0, 8.0]))
nearly = approximate.exponentials(gaussian, order=4)
relative = nearly.certificate / gaussian.abs().sum(dim=-1)
print("relative certificate:", [f"{float(r):.1e}" for r in relative])
print("poles of head 0:", [f"{abs(p):.3f} ∠ {float(p.angle()):.3f}" for p in nearly.exponentials.past_poles[0]])

exact = retention(q, k, v, gaussian, N, method="parallel")
scanned = retention(q, k, v, nearly.exponentials, N, method="scan")
print(f"retention with the exponentials instead: relative error {checks.relative_error(scanned, exact):.1e}")

# %% [markdown]
# The bound on the operator norm, head by head: true norm of the difference of the masks, and certificate.

# %%
difference = retconv.kernel_to_mask(gaussian - nearly.kernel, N)
for head in range(heads):
    norm = float(torch.linalg.matrix_norm(difference[head], 2))
    print(f"head {head}: ‖M − M'‖₂ = {norm:.2e} ≤ ‖K − K'‖₁ = {float(nearly.certificate[head]):.2e}")

# %% [markdown]
# How many poles does a kernel need? Look at where the errors in (c) and (f) cross the line at 10⁻³, and at the gap
# between the certificate and the true error below it.

# %%
FIGURES["gaussian_as_retention"]

# %% [markdown]
# The Gaussian needs two pairs of poles and the signed mixture three, and each further pair takes a factor of ten or
# more off the error. The certificate is never below the true error, and stays within a factor of ten of it.
