"""Cases of systems with a mask."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from retconv.masks import GaussianMixtureMask, Mask
from retconv.operators import operator
from tests.public.case import HEADS, SHAPE, SIZE, Case, decay, kernel, normal, of, positive, retnet


def cases() -> Iterator[tuple[str, Case]]:
    # Cubed, since a mask and a right side that are scaled alike have the same solution.
    y, line = normal(17, HEADS, SIZE, 3), kernel((SIZE,))
    line[:, SIZE - 1] += 3
    heavy = kernel()
    heavy[:, SHAPE[0] - 1, SHAPE[1] - 1] += 3
    narrow = GaussianMixtureMask.from_parameters(positive(5, HEADS, 1) / 2, positive(6, HEADS, 1))
    sources: dict[str, tuple[Tensor | Mask, tuple[int, ...]]] = {
        "dense": (heavy, SHAPE),
        "separable": (narrow, SHAPE),
        "recursive": (decay(), SHAPE),
        "levinson": (line, (SIZE,)),
        "cg": (decay("euclidean"), SHAPE),
    }
    for method, (source, shape) in sources.items():
        run = of(lambda s, y, shape, method: operator(s, shape).solve(y**3, method, 1e-12), shape, method)
        yield f"solve {method}", Case(run, (source, y), roundings=8, by_value=True)
    run = of(lambda s, y: operator(s, SIZE).T.solve(y**3))
    yield "solve of the adjoint", Case(run, (retnet(), y), roundings=8, by_value=True)
    yield "solution", Case(lambda s, y: operator(s, SHAPE).solution(y**3).x, (heavy, y), roundings=8, by_value=True)
    for name in ("dense", "separable", "recursive"):
        source, _ = sources[name]
        yield f"logdet {name}", Case(lambda s: operator(s, SHAPE).logdet(), (source,), roundings=8, by_value=True)
