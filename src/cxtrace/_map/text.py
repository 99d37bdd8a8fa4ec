"""Plain data as TOML text, and the words of error messages."""

import difflib
import math
import re
from collections.abc import Collection, Mapping
from typing import Any

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SHORT = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
_CONTROLS = {chr(code): f"\\u{code:04x}" for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}
_ESCAPES = str.maketrans({**_CONTROLS, **_SHORT, '"': '\\"', "\\": "\\\\"})

_LONGEST_DECIMAL = 8192
"""Bits of a number; Python refuses to write much longer ones as decimals."""

LONGEST_SHOWN = 60
"""Characters of a wrong value that a message shows."""

MOST_LISTED = 8
"""Names that a message lists when it cannot guess which one was meant."""


def key_text(key: str) -> str:
    """A key as TOML, quoted where it must be."""
    return key if _BARE_KEY.fullmatch(key) else literal(key)


def literal(value: Any) -> str:
    """A value as TOML on one line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value.translate(_ESCAPES)}"'
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{key_text(key)} = {literal(item)}" for key, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, int) and value.bit_length() > _LONGEST_DECIMAL:
        return hex(value)
    return str(value)


def shown(value: Any) -> str:
    """A wrong value as a message shows it: TOML, cut where it is long."""
    text = literal(value)
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def guess(wrong: str, names: Collection[str]) -> str | None:
    """The name that was probably meant, if one is near."""
    short = wrong[:LONGEST_SHOWN].lower()
    swapped = [name for name in names if sorted(name) == sorted(short)]
    close = swapped or difflib.get_close_matches(short, names, n=1)
    return close[0] if close else None


def choices(names: Collection[str]) -> str:
    """The names that may be written, to follow a message; empty if there are none."""
    listed = ", ".join(list(names)[:MOST_LISTED])
    more = ", …" if len(names) > MOST_LISTED else ""
    return f"; write one of: {listed}{more}" if listed else ""


def finite(value: Any) -> float | None:
    """A number as a float; ``None`` for what is no number, is too large, infinite or NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
