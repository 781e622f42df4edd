"""The backends of attention that run on every device: those that do not, Triton's and FlexAttention, have own tests."""

from retconv.attention import BACKENDS

PORTABLE = {
    placement: tuple(name for name in names if name not in ("triton", "flex")) for placement, names in BACKENDS.items()
}
