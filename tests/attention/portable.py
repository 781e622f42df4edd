"""The backends of attention with gradients on every device: loops, Triton's and FlexAttention have own tests."""

from retconv.attention import BACKENDS

PORTABLE = {
    placement: tuple(name for name in names if name not in ("compiled", "triton", "flex"))
    for placement, names in BACKENDS.items()
}
