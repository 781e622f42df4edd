"""Names of the small models, in timm's registry once ``retconv.models`` is imported, and of masks in them."""

from __future__ import annotations

#: Width and depth of the ViT of 12 heads by name: the authors' series of growing depth.
VITS: dict[str, tuple[int, int]] = {
    "retconv_vit_tiny": (192, 9),
    "retconv_vit_d6": (252, 6),
    "retconv_vit_d9": (192, 9),
    "retconv_vit_d15": (144, 15),
    "retconv_vit_d30": (72, 30),
    "retconv_vit_d30_dim108": (108, 30),
    "retconv_vit_d30_dim192": (192, 30),
    "retconv_vit_d60": (72, 60),
}
OTHERS = ("retconv_swin_tiny", "retconv_cait_tiny", "retconv_pit_tiny", "retconv_t2t_tiny")
#: The paper's.
FIVE = ("retconv_vit_tiny", *OTHERS)
SMALL_MODELS = (*VITS, *OTHERS)
#: Masks by name, as ``models.named.MASKS`` makes them.
MASK_NAMES = (
    *("gmm", "elm", "table", "manhattan", "euclidean", "two_sided", "off_diagonal", "retnet"),
    *("alibi", "kerple_log", "kerple_power", "gpsa", "window", "swin_table"),
)
