"""Errors of YAML from anywhere; ``test_errors`` raises each."""

from collections.abc import Callable

from retconv.plain_yaml import YamlError, load_text
from tests.error_table import Error


def text(content: str | bytes) -> Callable[[], object]:
    return lambda: load_text(content, "a recipe")


#: 9^20 values.
BOMB = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}' if i else '1'] * 9)}]\n" for i in range(20))

TABLES: dict[str, dict[str, Error]] = {
    "plain YAML": {
        "key twice": (
            text("optim: {lr: 1,\n  'lr': 2}"),
            YamlError,
            "a recipe is not valid YAML: line 2, column 3: key 'lr' stands twice: remove one",
        ),
        "other key twice": (text("{1: a, 1: b}"), YamlError, "key '1' stands twice"),
        "not UTF-8": (
            text("a: 1\nb: é".encode("latin1")),
            YamlError,
            "line 2: byte 0xe9 is not UTF-8: save it as UTF-8",
        ),
        "UTF-16": (text("a: 1".encode("utf-16")), YamlError, "line 1: byte 0xff is not UTF-8"),
        "deep": (text("{a: " * 3000 + "1" + "}" * 3000), YamlError, "line 1, column 253: .* more than 64 deep"),
        "deep without end": (text("[" * 200_000), YamlError, "more than 64 deep: write it flatter"),
        "cycle": (text("a: &a [*a]"), YamlError, r"column 8: alias \*a stands inside of what it names"),
        "longer cycle": (text("&a {b: {c: *a}}"), YamlError, r"column 12: alias \*a stands inside"),
        "cycle of merging": (text("a: &a {<<: *a}"), YamlError, r"alias \*a stands inside"),
        "bomb": (text(BOMB), YamlError, "line 5, column .*more than 20,000 values, aliases written out: use fewer"),
        "no such alias": (text("a: *b"), YamlError, "column 4: found undefined alias"),
        "large": (text(b" " * 300_000), YamlError, "a recipe is not read: it has more than 262,144 bytes"),
        "digits": (
            text("a: " + "1" * 5000),
            YamlError,
            r"'1+\.\.\.1+' is no int that can be read \(it has 5000 digits",
        ),
        "hexadecimal digits": (text("a: 0x" + "f" * 5000), YamlError, "it has 5002 digits"),
        "date": (text("a: 1\nb: 2024-02-31"), YamlError, "line 2, column 4: '2024-02-31' is no timestamp"),
        "tags": (text("!!bool maybe"), YamlError, "'maybe' is no bool that can be read"),
        "code": (text("!!python/object/apply:os.getcwd []"), YamlError, "column 1: .*constructor for the tag"),
        "key of a list": (text("? [a]\n: 1"), YamlError, "column 3: found unhashable key"),
        "two documents": (text("a: 1\n---\nb: 2"), YamlError, "line 2, column 1: .*another document"),
        "odd character": (text("a: \0"), YamlError, "#x0000: .* characters are not allowed"),
    }
}
