"""Refusals of transforms; ``test_transforms`` has the whole table."""

import torch

from retconv.attention import multiply_logits
from retconv.convert import kernel_to_conv, mask_to_kernel
from tests.error_table import Error

KERNEL = torch.ones(1, 3)


def second_derivative_of_blocks() -> None:
    q = torch.ones(1, 1, 2, 2, requires_grad=True)
    out = multiply_logits(q, q, q, KERNEL, 2, backend="recompute")
    (gradient,) = torch.autograd.grad(out.sum(), q, create_graph=True)
    gradient.sum().backward()


TRANSFORMS: dict[str, Error] = {
    "blocks, second derivative": (
        second_derivative_of_blocks,
        NotImplementedError,
        "backend 'recompute' has no second derivative: use backend='reference'",
    ),
    "mask_to_kernel, vmap": (
        lambda: torch.vmap(lambda m: mask_to_kernel(m, 2))(torch.ones(3, 1, 2, 2)),
        ValueError,
        "mask_to_kernel decides by the entries of a mask, which torch.vmap.* hide: call it outside",
    ),
    "kernel_to_conv, jvp": (
        lambda: torch.func.jvp(lambda k: kernel_to_conv(k, 2).weight, (KERNEL,), (KERNEL,)),
        ValueError,
        r"through which torch.func and forward mode do not reach: use retconv.operator\(kernel, grid\)",
    ),
}

TABLES = {"transforms": TRANSFORMS}
