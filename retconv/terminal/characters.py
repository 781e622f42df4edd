"""Text for terminals that lack a character: an ASCII twin stands for it."""

from __future__ import annotations

import codecs
import sys
import unicodedata

#: ASCII for what is no letter and decomposes into none.
TWINS = {
    **{"√": "sqrt", "−": "-", "–": "-", "—": "-", "×": "x", "·": "*", "⊙": "*", "⊗": "(x)", "‖": "||", "±": "+-"},
    **{"→": "->", "←": "<-", "↦": "->", "≤": "<=", "≥": ">=", "≠": "!=", "≈": "~", "≡": "==", "∞": "inf"},
    **{"∏": "prod", "∑": "sum", "∂": "d", "⌊": "floor(", "⌋": ")", "⌈": "ceil(", "⌉": ")", "⟨": "<", "⟩": ">"},
    **{"⋯": "...", "‘": "'", "’": "'", "“": '"', "”": '"', "✓": "yes", "✗": "no", "⁻": "-", "⁺": "+"},
}


def twin(character: str) -> str:
    """ASCII for a character: its twin, the name of a Greek letter, or the letters that it is made of.

    Example:
        >>> "".join(map(twin, "√σ₁"))
        'sqrtsigma1'
    """
    kind, _, letter = unicodedata.name(character, "").partition(" LETTER ")
    if character in TWINS:
        return TWINS[character]
    if kind in ("GREEK SMALL", "GREEK CAPITAL"):
        name = letter.split()[0]
        return name.lower() if kind == "GREEK SMALL" else name.capitalize()
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"


def _twins(error: UnicodeError) -> tuple[str, int]:
    """What an encoder that lacks characters writes instead."""
    assert isinstance(error, UnicodeEncodeError)
    return "".join(map(twin, error.object[error.start : error.end])), error.end


def write_any_character() -> None:
    """Let standard output and error write every character, whatever their encoding."""
    codecs.register_error("retconv", _twins)
    for stream in (sys.stdout, sys.stderr):
        # A notebook's streams, and those that a caller replaced, take any character.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="retconv")
