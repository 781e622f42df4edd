"""The backends of attention that run on every device: Triton's has tests of its own, in ``test_triton``."""

from retconv.attention import BACKENDS

PORTABLE = {placement: tuple(name for name in names if name != "triton") for placement, names in BACKENDS.items()}
