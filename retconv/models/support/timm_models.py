"""The families of timm that are tried: every architecture module with every leading word of its models' names.

The rule: of timm 1.0.31's models, those of the modules whose code attends (a softmax, ``scaled_dot_product_attention``
or attention that counts as such: linear attention, pooling in attention's place), which excludes plain convolutional
families. Of each module, models are grouped by the letters that their names begin with; of each group the one of fewest
parameters is tried, 82 in all. Of ``byobnet`` only attention pools (``clip``) and ``bat`` count, of ``mobilenetv3``
only hybrids. Plain ViTs are built narrow and two layers deep, and images are as small as leaves the same attention
masked that is masked at the model's own size, on grids of four tokens a side where it can be.
"""

from __future__ import annotations

from typing import Any

from retconv.models.support.case import Case

_SMALL: dict[str, Any] = {"depth": 2, "embed_dim": 64, "num_heads": 2}
_SHALLOW: dict[str, Any] = {"depth": 2}
#: By architecture module: name, side of the image, and whether the class is told the side; what makes it small.
_FAMILIES: dict[str, tuple[tuple[str, int, bool, dict[str, Any]], ...]] = {
    "beit": (
        ("beit_base_patch16_224", 64, True, _SMALL),
        ("beitv2_base_patch16_224", 64, True, _SMALL),
    ),
    "byoanet": (
        ("botnet26t_256", 64, True, {}),
        ("eca_botnext26ts_256", 64, True, {}),
        ("halo2botnet50ts_256", 128, True, {}),
        ("halonet_h1", 256, True, {}),
        ("haloregnetz_b", 224, True, {}),
        ("lambda_resnet26t", 128, True, {}),
        ("lamhalobotnet50ts_256", 128, True, {}),
        ("sebotnet33ts_256", 64, True, {}),
        ("sehalonet33ts", 256, True, {}),
    ),
    "byobnet": (
        ("bat_resnext26ts", 256, True, {}),
        ("resnet50_clip_gap", 128, True, {}),
    ),
    "cait": (("cait_xxs24_224", 64, True, _SMALL),),
    "coat": (("coat_tiny", 128, True, {}),),
    "convit": (("convit_tiny", 64, True, _SMALL | {"local_up_to_layer": 1}),),
    "cpubone": (("cpubone_nano", 112, False, {}),),
    "crossvit": (("crossvit_tiny_240", 240, True, {}),),
    "csatv2": (("csatv2", 128, False, {}),),
    "davit": (("davit_tiny", 224, False, {}),),
    "deepseek_vit": (("deepseek_vit_412m", 112, True, _SMALL),),
    "deit": (("deit_tiny_patch16_224", 64, True, _SMALL),),
    "edgenext": (("edgenext_xx_small", 128, False, {}),),
    "efficientformer": (("efficientformer_l1", 224, True, {}),),
    "efficientformer_v2": (("efficientformerv2_s0", 128, True, {}),),
    "efficientvim": (("efficientvim_m1", 128, False, {}),),
    "efficientvit_mit": (("efficientvit_b0", 128, False, {}),),
    "efficientvit_msra": (("efficientvit_m0", 128, True, {}),),
    "eva": (
        ("eva02_tiny_patch14_224", 64, True, _SMALL),
        ("vit_tiny_patch16_dinov3_qkvb", 64, True, _SMALL),
    ),
    "fastvit": (("fastvit_t8", 128, False, {}),),
    "gcvit": (("gcvit_xxtiny", 128, True, {}),),
    "gemma4_vit": (("gemma4_vit_167m", 128, True, _SMALL),),
    "hiera": (("hiera_tiny_224", 128, True, {}),),
    "hieradet_sam2": (
        ("hieradet_small", 128, False, {}),
        ("sam2_hiera_tiny", 128, False, {}),
    ),
    "iformer": (("iformer_t", 128, False, {}),),
    "levit": (("levit_128s", 64, True, {}),),
    "lowformer": (("lowformer_b0", 224, False, {}),),
    "maxxvit": (
        ("coatnet_pico_rw_224", 64, True, {}),
        ("coatnext_nano_rw_224", 128, True, {}),
        ("maxvit_pico_rw_256", 128, True, {}),
        ("maxxvit_rmlp_nano_rw_256", 128, True, {}),
        ("maxxvitv2_nano_rw_256", 128, True, {}),
        ("test_coatnet", 64, True, {}),
    ),
    "metaformer": (
        ("caformer_s18", 64, False, {}),
        ("convformer_s18", 128, False, {}),
        ("poolformer_s12", 128, False, {}),
        ("poolformerv2_s12", 128, False, {}),
    ),
    "mobilenetv3": (("mobilenetv4_hybrid_medium_075", 128, False, {}),),
    "mobilenetv5": (("mobilenetv5_base", 128, False, {}),),
    "mobilevit": (
        ("mobilevit_xxs", 112, True, {}),
        ("mobilevitv2_050", 128, True, {}),
    ),
    "mvitv2": (("mvitv2_tiny", 128, True, {}),),
    "naflexvit": (("naflexvit_base_patch16_parfac_gap", 128, True, _SMALL),),
    "nest": (("nest_tiny", 64, True, {}),),
    "nextvit": (("nextvit_small", 112, False, {}),),
    "pit": (("pit_ti_224", 64, True, {}),),
    "pvt_v2": (("pvt_v2_b0", 112, False, {}),),
    "qwen3_vit": (("qwen3_vit_88m", 64, True, _SMALL),),
    "shvit": (("shvit_s1", 224, False, {}),),
    "swiftformer": (("swiftformer_xs", 128, True, {}),),
    "swin_transformer": (("swin_tiny_patch4_window7_224", 64, True, {}),),
    "swin_transformer_v2": (("swinv2_tiny_window8_256", 64, True, {}),),
    "swin_transformer_v2_cr": (("swinv2_cr_tiny_224", 128, True, {}),),
    "tiny_vit": (("tiny_vit_5m_224", 224, False, {}),),
    "tnt": (("tnt_s_legacy_patch16_224", 64, True, _SHALLOW),),
    "twins": (("twins_svt_small", 224, True, {}),),
    "visformer": (("visformer_tiny", 64, True, _SMALL),),
    "vision_transformer": (
        ("aimv2_large_patch14_224", 64, True, _SMALL),
        ("beit3_base_patch16_224", 64, True, _SMALL),
        ("eva_large_patch14_196", 64, True, _SMALL),
        ("flexivit_small", 64, True, _SMALL),
        ("test_vit", 64, True, _SMALL),
        ("vit_tiny_patch16_224", 64, True, _SMALL),
    ),
    "vision_transformer_hybrid": (("vit_tiny_r_s16_p8_224", 128, True, _SMALL),),
    "vision_transformer_relpos": (
        ("test_vit_relpos", 64, True, _SMALL),
        ("vit_srelpos_small_patch16_224", 64, True, _SMALL),
    ),
    "vision_transformer_sam": (("samvit_base_patch16_224", 224, True, _SMALL),),
    "vitamin": (("vitamin_small_224", 64, True, _SHALLOW),),
    "volo": (("volo_d1_224", 64, True, {}),),
    "xcit": (("xcit_nano_12_p8_224", 128, True, _SMALL),),
}
#: Grids of models that cut patches before any module sees them: 128 pixels in patches of 16.
_GRIDS = {"gemma4_vit_167m": (8, 8), "naflexvit_base_patch16_parfac_gap": (8, 8)}


def _case(name: str, side: int, sized: bool, options: dict[str, Any]) -> Case:
    sizes = {"img_size": side} if sized else {}
    return Case("timm", name, (1, 3, side, side), options | sizes, grid=_GRIDS.get(name))


TIMM: tuple[Case, ...] = tuple(_case(*family) for families in _FAMILIES.values() for family in families)
#: Architecture module of each model.
MODULES: dict[str, str] = {name: module for module, families in _FAMILIES.items() for name, *_ in families}
