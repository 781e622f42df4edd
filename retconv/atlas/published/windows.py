"""Windows: masks of ones and zeros, which say which keys a query sees."""

from __future__ import annotations

from retconv import kernels
from retconv.atlas.entry import Entry
from retconv.atlas.published.building import LINE, PLANE, seen

ENTRIES = [
    Entry(
        "window",
        "sliding window",
        "1 for max_d |δ_d| ≤ 2, else 0",
        "Beltagy et al. 2020, Longformer (arXiv 2004.05150), section 3.1, here on a plane, as in its vision relatives",
        "bias_logits",
        PLANE,
        lambda grid: seen(kernels.window(grid.offsets(), 2), grid),
    ),
    Entry(
        "dilated_window",
        "dilated sliding window",
        "1 for δ = 2j, |j| ≤ 8, else 0",
        "Beltagy et al. 2020, Longformer (arXiv 2004.05150), section 3.1",
        "bias_logits",
        LINE,
        lambda grid: seen(kernels.window(grid.offsets(), 8, dilation=2), grid),
    ),
    Entry(
        "causal_window",
        "causal sliding window",
        "1 for −16 < δ ≤ 0, else 0",
        "Jiang et al. 2023, Mistral 7B (arXiv 2310.06825), section 2; 16 tokens where it has 4096",
        "bias_logits",
        LINE,
        lambda grid: seen(kernels.causal_window(grid.offsets(), 16), grid),
    ),
    Entry(
        "strided_window",
        "Sparse Transformer, strided",
        "1 for −8 ≤ δ ≤ 0 and δ = −8j ≤ 0, else 0",
        "Child et al. 2019 (arXiv 1904.10509), section 4.3, both patterns in one head",
        "bias_logits",
        LINE,
        lambda grid: seen(kernels.strided_window(grid.offsets(), 8), grid),
    ),
    Entry(
        "neighbourhood",
        "NAT",
        "1 for the 3 × 3 nearest keys, shifted inwards at the border, else 0",
        "Hassani et al. 2023, NAT (arXiv 2204.07143), and get_window_start of NATTEN",
        "bias_logits",
        PLANE,
        lambda grid: seen(kernels.neighbourhood(grid, 3), grid),
    ),
    Entry(
        "dilated_neighbourhood",
        "DiNAT",
        "1 for the 3 × 3 nearest keys of the same parities, else 0",
        "Hassani and Shi 2022, DiNAT (arXiv 2209.15001), and get_window_start of NATTEN; dilation 2",
        "bias_logits",
        PLANE,
        lambda grid: seen(kernels.neighbourhood(grid, 3, dilation=2), grid),
    ),
    Entry(
        "swin_windows",
        "Swin's windows",
        "1 for ⌊q/4⌋ = ⌊k/4⌋ on each axis, else 0",
        "Liu et al. 2021 (arXiv 2103.14030), section 3.2; side 4 where it has 7",
        "bias_logits",
        PLANE,
        lambda grid: seen(kernels.same_window(grid, (4,) * grid.ndim), grid),
    ),
    Entry(
        "swin_shifted_windows",
        "Swin's shifted windows",
        "1 for ⌊(q + 2)/4⌋ = ⌊(k + 2)/4⌋ on each axis, else 0",
        "Liu et al. 2021 (arXiv 2103.14030), section 3.2, and attn_mask of its code; side 4 where it has 7",
        "bias_logits",
        PLANE,
        lambda grid: seen(kernels.same_window(grid, (4,) * grid.ndim, shift=2), grid),
    ),
    Entry(
        "block_causal",
        "block-causal",
        "1 for ⌊k/8⌋ ≤ ⌊q/8⌋, else 0",
        "Tian et al. 2024, VAR (arXiv 2404.02905), section 3.2, with blocks of one size",
        "bias_logits",
        LINE,
        lambda grid: seen(kernels.block_causal(grid, 8), grid),
    ),
    Entry(
        "long_net",
        "LongNet",
        "1 for ⌊q/16⌋ = ⌊k/16⌋ and q, k ≡ h mod 2, else 0; 2 heads",
        "Ding et al. 2023 (arXiv 2307.02486), section 2.2, one pair of its segments and dilations",
        "bias_logits",
        LINE,
        lambda grid: seen(kernels.dilated_segments(grid, 2, 16, 2), grid),
    ),
]
