"""Which token moves when a patch of the image is changed, while no token sees another."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import torch
from torch import Tensor

from retconv.ambient import noise
from retconv.models.checking.report import Outcome, Verdict
from retconv.models.checking.subject import Subject, run, whispering
from retconv.models.places import Window

#: Where patches are changed, as fractions of the image: no symmetry of a rectangle maps one upon another.
SPOTS = ((0.1, 0.35), (0.35, 0.9), (0.62, 0.12), (0.85, 0.7), (0.3, 0.62))
#: The same for windows, each with the patches beside it.
STARTS = ((0.08, 0.3), (0.4, 0.06), (0.55, 0.6))
#: Grids of at most so many tokens are asked at every token.
SMALL = 12
#: By how many tokens what moves may be off: convolutions before attention overlap.
REACH = 1
#: So many keys of each row of weights are looked at.
KEYS = 64
#: A change of which less is in one token has been spread by something else than attention, and says less.
SHARP = 1 / 3
#: The same where two changes are compared.
SHARP_PAIR = 1 / 2
#: Colours of a video, by which its axis of frames is known.
CHANNELS = 3
#: A change smaller than this, in units of rounding, is no change.
ROUNDINGS = 1e3

Token = tuple[int, ...]
#: First and last pixel but one along each axis.
Box = tuple[tuple[int, int], ...]
#: The token that moved most, and whether it alone has most of the change.
Moved = tuple[Token, bool]
#: Change of each token of each window: ``(windows, n_1, …, n_D)``.
Moves = dict[str, Tensor]


@dataclass(frozen=True)
class _Vote:
    """What two neighbouring patches say of a window along an axis: whether it is in raster order, and how surely."""

    axis: int
    right: bool
    sharp: bool
    text: str


def position_outcomes(subject: Subject) -> list[Outcome]:
    """The token that moves is at the place of the patch that was changed.

    With masks that let no token see another, and convolutions of stride 1 that pass only their middle, tokens mix only
    by other convolutions, pooled or cross attention and means. The mask leaves ``10⁻⁹`` of the other weights, so little
    that nothing is mixed and enough to be read: from them ``movement`` tells whose query has moved.
    """
    image = subject.image
    if image.ndim not in (4, 5) or image.shape[0] != 1:
        detail = f"an input {tuple(image.shape)} is no image or video"
        return [Outcome("position", "inconclusive", detail, name) for name in subject.modules]
    with torch.no_grad(), subject.pointwise(), subject.given(whispering, "multiply_weights") as weights:
        still = _read(subject, subject.example, weights)

        @cache
        def move(box: tuple[tuple[int, int], ...]) -> Moves:
            changed = _changed(image, tuple(slice(*ends) for ends in box))
            moved = _read(subject, subject.with_image(changed), weights)
            return {
                name: movement(still[name], value).unflatten(1, _shape(subject, name)) for name, value in moved.items()
            }

        groups: dict[tuple[Token, int], list[str]] = {}
        for name, value in still.items():
            shape, windows = _shape(subject, name), value.shape[0]
            # A window may be padded, and then says little of where a token lies in the image.
            whole = windows == 1 and not isinstance(subject.modules[name].place.source, Window)
            whole |= image.ndim == 5 and len(shape) == 2 and windows in image.shape[1:3]
            groups.setdefault((shape, 0 if whole else windows), []).append(name)
        outcomes = {name: _unread(subject, name) for name in subject.modules if name not in still}
        for (shape, windows), names in groups.items():
            outcomes |= (_in_windows if windows else _on_maps)(subject, shape, windows, names, move)
    return [outcomes[name] for name in subject.modules]


def spots(shape: Sequence[int]) -> list[Token]:
    """Tokens of a grid that are asked: all of a small one, else such as no symmetry maps upon one another."""
    if math.prod(shape) <= SMALL:
        return list(product(*(range(n) for n in shape)))
    turned = [spot + spot[:1] if len(shape) == 3 else spot for spot in SPOTS]
    return [tuple(int(f * n) for f, n in zip(spot, shape, strict=False)) for spot in turned]


def box_of(token: Sequence[float], shape: Sequence[float], sides: Sequence[int]) -> Box:
    """The middle half of a token's cell, in pixels: ``[(i + 1/4) s / n, (i + 3/4) s / n)`` along each axis."""
    return tuple(
        (low := int((i + 0.25) * s / n), max(low + 1, int((i + 0.75) * s / n)))
        for i, n, s in zip(token, shape, sides, strict=True)
    )


def _on_maps(
    subject: Subject, shape: Token, windows: int, names: list[str], move: Callable[[Box], Moves]
) -> dict[str, Outcome]:
    sides = _sides(subject.image, len(shape))
    if sides is None:
        return {n: Outcome("position", "inconclusive", f"no axis of the image for a grid {shape}", n) for n in names}
    seen: dict[str, list[tuple[Token, Moved | None]]] = {name: [] for name in names}
    for spot in spots(shape):
        moves = move(box_of(spot, shape, sides))
        for name in names:
            seen[name].append((spot, _most(moves[name].sum(dim=0), subject.epsilon, SHARP)))
    return {name: _of_map(name, shape, pairs) for name, pairs in seen.items()}


def _of_map(name: str, shape: Token, pairs: list[tuple[Token, Moved | None]]) -> Outcome:
    moved = [(spot, move[0], move[1]) for spot, move in pairs if move is not None]
    if len(moved) < len(pairs):
        detail = f"of {len(pairs)} patches {len(pairs) - len(moved)} move no token"
        return Outcome("position", "inconclusive", detail, name)
    wrong = [(spot, token, sharp) for spot, token, sharp in moved if _apart(spot, token) > REACH]
    turns = {kind: sum(_apart(turn(spot), token) for spot, token, _ in moved) for kind, turn in _turns(shape)}
    error = sum(_apart(spot, token) for spot, token, _ in moved)
    if wrong:
        spot, token, _ = wrong[0]
        verdict: Verdict = "failed" if any(sharp for *_, sharp in wrong) else "inconclusive"
        detail = f"{len(wrong)} of {len(moved)} patches move another token: the one at {spot} moves {token} of {shape}"
        detail += "".join(f"; the tokens are {kind}" for kind, far in turns.items() if far == 0)
        detail += "" if verdict == "failed" else ", spread by convolutions"
        return Outcome("position", verdict, detail, name)
    alike = [kind for kind, far in turns.items() if far <= error]
    if alike:
        verdict = "failed" if 0 == turns[alike[0]] < error else "inconclusive"
        return Outcome("position", verdict, f"the tokens of {shape} may as well be {alike[0]}", name)
    return Outcome("position", "passed", f"{len(moved)} patches move the token at their place", name)


def _turns(shape: Token) -> Iterator[tuple[str, Callable[[Token], Token]]]:
    """Orders of tokens that are taken for raster order by mistake, where they differ from it."""
    if len(shape) != 2:
        return
    rows, columns = shape
    if rows > 1 and columns > 1:
        yield "transposed", lambda t: divmod(t[1] * rows + t[0], columns)
    if rows > 1:
        yield "upside down", lambda t: (rows - 1 - t[0], t[1])
    if columns > 1:
        yield "mirrored", lambda t: (t[0], columns - 1 - t[1])
    if rows > 1 and columns > 1:
        yield "turned by 180°", lambda t: (rows - 1 - t[0], columns - 1 - t[1])
    if rows % 2 == 0 and columns % 2 == 0 and rows * columns > 4:

        def unrolled(t: Token) -> Token:
            block = (t[0] % 2 * 2 + t[1] % 2) * (rows * columns // 4)
            return divmod(block + t[0] // 2 * (columns // 2) + t[1] // 2, columns)

        yield "in unrolled order", unrolled


def _in_windows(
    subject: Subject, shape: Token, windows: int, names: list[str], move: Callable[[Box], Moves]
) -> dict[str, Outcome]:
    """Patches beside one another in one window move tokens that lie so in it, by rows, along both axes.

    Windows may be shifted, padded, and take tokens that lie apart: a step is one token, or the number of windows.
    """
    sides = _sides(subject.image, len(shape))
    if sides is None or len(shape) != 2:
        detail = f"windows {shape} are not those of a plane image"
        return {n: Outcome("position", "inconclusive", detail, n) for n in names}
    cell = math.sqrt(math.prod(sides) / (windows * math.prod(shape)))
    tokens = tuple(max(1, round(side / cell)) for side in sides)
    votes: dict[str, list[_Vote]] = {name: [] for name in names}
    for spot in STARTS:
        start = tuple(int(f * n) for f, n in zip(spot, tokens, strict=True))
        first = move(box_of(start, tokens, sides))
        for axis, step in sorted({(a, s) for a in range(2) for s in (1, max(1, tokens[a] // shape[a]))}):
            beside = tuple(i + step * (a == axis) for a, i in enumerate(start))
            if beside[axis] >= tokens[axis]:
                continue
            second = move(box_of(beside, tokens, sides))
            for name in names:
                vote = _vote(axis, *(_most(moves[name], subject.epsilon, SHARP_PAIR) for moves in (first, second)))
                votes[name] += [] if vote is None else [vote]
        if all(_of_window(name, shape, votes[name]).verdict == "passed" for name in names):
            break
    return {name: _of_window(name, shape, votes[name]) for name in names}


def _vote(axis: int, before: Moved | None, after: Moved | None) -> _Vote | None:
    """Of two patches along an axis, if they move two tokens of one window."""
    if before is None or after is None or before[0][0] != after[0][0] or before[0] == after[0]:
        return None
    steps = [b - a for a, b in zip(before[0][1:], after[0][1:], strict=True)]
    right = steps[axis] > 0 and not any(step for a, step in enumerate(steps) if a != axis)
    text = f"patches beside one another along axis {axis} move tokens {before[0][1:]} and {after[0][1:]}"
    return _Vote(axis, right, before[1] and after[1], text)


def _of_window(name: str, shape: Token, votes: list[_Vote]) -> Outcome:
    wrong = [vote for vote in votes if not vote.right]
    if any(vote.sharp for vote in wrong) or 2 * len(wrong) > len(votes):
        verdict: Verdict = "failed" if 2 * sum(vote.sharp for vote in wrong) > len(votes) else "inconclusive"
        detail = f"{len(wrong)} of {len(votes)} pairs are not raster order: {wrong[0].text} of a window {shape}"
        return Outcome("position", verdict, detail, name)
    missing = {axis for axis in range(2) if shape[axis] > 1} - {vote.axis for vote in votes if vote.right}
    if missing:
        detail = f"no two patches in one window {shape} were seen along axis {', '.join(map(str, sorted(missing)))}"
        return Outcome("position", "inconclusive", detail, name)
    detail = f"{len(votes) - len(wrong)} pairs of patches move tokens of one window that lie as they do"
    return Outcome("position", "passed", detail, name)


def _read(subject: Subject, example: Any, weights: dict[str, list[Tensor]]) -> dict[str, Tensor]:
    """Logarithms of the softmax of each module's first call, ``(windows, heads, N, keys)``, without prefix tokens."""
    for calls in weights.values():
        calls.clear()
    run(subject.masked, example)
    logs = {}
    for name, module in subject.modules.items():
        calls = weights[name]
        if calls and calls[0].shape[-1] == calls[0].shape[-2]:
            grid = module.place.grid()
            inside = calls[0][..., grid.prefix :, grid.prefix :: max(1, grid.size // KEYS)]
            logs[name] = inside.clamp_min(torch.finfo(inside.dtype).tiny).log()
    return logs


def movement(before: Tensor, after: Tensor) -> Tensor:
    """How much each token's query has moved, told from logarithms of weights.

    A query that moves changes its row of scores, each number in another way; a key that moves changes one number of
    every row, and the softmax's denominator all of a row alike. So the measure is ``Σ_h (median_k |d_k − median d|)²``
    with the change d of row i of head h: 0 for every row but those whose own query has moved.

    Args:
        before: ``(windows, heads, N, keys)``.
        after: The same of the changed image.

    Returns:
        ``(windows, N)``.
    """
    change = after - before
    change = change - change.median(dim=-1, keepdim=True).values
    return change.abs().median(dim=-1).values.square().sum(dim=1)


def _changed(image: Tensor, box: tuple[slice, ...]) -> Tensor:
    """The image with noise in a box of its last axes; of a video with a box of all three, in those frames."""
    other = noise(0, *image.shape).to(image)
    inside = torch.zeros_like(image)
    plane: tuple[Any, ...] = (..., *box)
    if len(box) == 3 and image.shape[1] == CHANNELS:  # (1, channels, frames, height, width)
        inside[:, :, *box] = 1
    elif len(box) == 3:
        inside[:, box[0], :, *box[1:]] = 1
    else:
        inside[plane] = 1
    return image + 2 * image.std().clamp_min(0.5) * other * inside


def _sides(image: Tensor, axes: int) -> tuple[int, ...] | None:
    """Pixels of the image, and frames of a video, along the axes of a grid; None if it has no such axes."""
    if axes == 2:
        return tuple(image.shape[-2:])
    if axes == 3 and image.ndim == 5 and CHANNELS in image.shape[1:3]:
        return (image.shape[2 if image.shape[1] == CHANNELS else 1], *image.shape[-2:])
    return None


def _most(change: Tensor, epsilon: float, share: float) -> Moved | None:
    """Where a change is largest, and whether that is a share of all; None if it is nowhere more than rounding."""
    largest = float(change.max())
    if not largest > (ROUNDINGS * epsilon) ** 2:
        return None
    token = tuple(int(i) for i in torch.unravel_index(change.argmax(), change.shape))
    return token, largest >= share * float(change.sum())


def _apart(a: Token, b: Token) -> int:
    return max(abs(i - j) for i, j in zip(a, b, strict=True))


def _shape(subject: Subject, name: str) -> Token:
    return tuple(subject.modules[name].place.grid().shape)


def _unread(subject: Subject, name: str) -> Outcome:
    return Outcome(
        "position", "inconclusive", "the model does not run it, or its keys are not its queries' tokens", name
    )
