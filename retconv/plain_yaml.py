"""YAML that may come from anywhere, read into plain values: strictly, and in bounded time."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

#: Most bytes of a file, values with every alias written out, mappings and lists inside one another, digits of a number.
_BYTES, _VALUES, DEPTH, _DIGITS = 2**18, 20_000, 64, 64
_INT = "tag:yaml.org,2002:int"
#: libyaml's parser is ten times as fast; PyYAML is also built without it.
_SAFE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlError(ValueError):
    """Text is not valid YAML, or more than a recipe can need; the message names source, line and column."""


class _Loader(_SAFE):  # type: ignore[misc]
    """``SafeLoader`` that says where a value stands which cannot be made, such as the 31st of February."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            if node.tag == _INT and len(node.value) > _DIGITS:
                raise ValueError(f"it has {len(node.value)} digits")
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, ValueError) as error:
            kind = node.tag.rpartition(":")[2]
            problem = f"{reprlib.repr(node.value)} is no {kind} that can be read ({error})"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from error


@dataclass
class _Open:
    """A mapping or list that is not closed yet."""

    anchor: str | None = None
    is_mapping: bool = False
    keys: set[str] = field(default_factory=set)
    children: int = 0
    size: int = 1

    @property
    def expects_key(self) -> bool:
        return self.is_mapping and self.children % 2 == 0


def load_file(path: Path | Traversable, source: str = "") -> Any:
    """The plain values of a YAML file; ``load_text`` says which are refused.

    Args:
        path: A file on disk or of a package.
        source: What it is called in a message; its path by default.

    Raises:
        YamlError: If it is not valid YAML, or too large.
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        return load_text(file.read(_BYTES + 1), source or str(path))


def load_text(text: str | bytes, source: str) -> Any:
    r"""The plain values of YAML text: numbers, text, truth values, dates, lists and mappings.

    What PyYAML takes silently or at any cost is refused: a key that stands twice in one mapping, which would lose the
    first value, an alias inside of what it names, and more depth, values or digits than a file written by hand has.

    Args:
        text: In UTF-8, if it is bytes.
        source: What it is called in a message.

    Raises:
        YamlError: Naming source, line and column.

    Example:
        >>> from retconv.plain_yaml import load_text
        >>> load_text("optim: {lr: 1.0e-3}", "a recipe")
        {'optim': {'lr': 0.001}}
        >>> load_text("seed: 1\nseed: 2", "a recipe")
        Traceback (most recent call last):
        retconv.plain_yaml.YamlError: a recipe is not valid YAML: line 2, column 1: key 'seed' stands twice: remove one
    """
    if len(text) > _BYTES:
        raise YamlError(f"{source} is not read: it has more than {_BYTES:,} bytes, the most that such a file may have")
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        for mark, problem in _problems(decoded):
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
        return yaml.load(decoded, _Loader)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        byte = error.object[error.start]
        fault = f"line {line}: byte 0x{byte:02x} is not UTF-8: save it as UTF-8"
        cause: Exception = error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        fault, cause = where + str(error.problem or error.context), error
    except yaml.YAMLError as error:  # such as an odd character, which comes without a line
        fault, cause = " ".join(str(error).split()), error
    raise YamlError(f"{source} is not valid YAML: {fault}") from cause


def _problems(text: str) -> Iterator[tuple[yaml.Mark, str]]:
    """What PyYAML would take silently, or at any cost, seen in its events, which come one by one."""
    sizes: dict[str | None, int] = {}
    stack = [_Open()]
    for event in yaml.parse(text, _Loader):
        mark, parent = event.start_mark, stack[-1]
        if isinstance(event, yaml.CollectionStartEvent):
            stack.append(_Open(event.anchor, isinstance(event, yaml.MappingStartEvent)))
            if len(stack) > DEPTH:
                yield mark, f"mappings and lists more than {DEPTH} deep: write it flatter"
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            closed, parent = stack.pop(), stack[-1]
            sizes[closed.anchor] = size = closed.size
        elif isinstance(event, yaml.AliasEvent):
            if any(event.anchor == outer.anchor for outer in stack):
                yield mark, f"alias *{event.anchor} stands inside of what it names: write out what is meant"
            size = sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            sizes[event.anchor] = size = 1
            if parent.expects_key:
                if event.value in parent.keys:
                    yield mark, f"key {event.value!r} stands twice: remove one"
                parent.keys.add(event.value)
        else:
            continue
        parent.children += 1
        parent.size += size
        if parent.size > _VALUES:
            yield mark, f"more than {_VALUES:,} values, aliases written out: use fewer"
