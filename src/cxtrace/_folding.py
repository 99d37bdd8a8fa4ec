"""Text as it is meant: without the disguises of Unicode, of addresses and of program text."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from unicodedata import category, decimal, normalize

from attrs import frozen

_ESCAPES: Final = re.compile(
    r"(?:%[0-9A-Fa-f]{2})+|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|\\[nrt]"
    r"|&#(?:[0-9]{1,7}|[xX][0-9A-Fa-f]{1,6});"
)
_MARKS: Final = ("%", "\\", "&#")
_DEEPEST: Final = 3
"""How often a text may be escaped over and over."""

_WHITE: Final = {"n": "\n", "r": "\r", "t": "\t"}
_UNSEEN: Final = frozenset(("Cf", "Mn", "Me"))
_DROPPED: Final = frozenset("\u115f\u1160")
_MEANT: Final = {
    **dict.fromkeys("\u3002\u00b7\u2022\u2027\u2219", "."),
    **dict.fromkeys("\u2044\u2215", "/"),
    **dict.fromkeys("\u2212", "-"),
    **dict.fromkeys("\u2800", " "),
}


@frozen
class Folded:
    """A text as it is meant, and where each character of it stands in the text as it came.

    Attributes:
        text: Digits are ASCII, what is invisible is gone, and escapes are read.
        origins: Of each character, the place it came from; None where nothing has changed.
        length: Of the text as it came.
    """

    text: str
    origins: Sequence[int] | None
    length: int

    def whole(self, start: int, end: int) -> tuple[int, int]:
        """A part that is not empty, with all of each sign that stands for several characters."""
        origins = self.origins
        if origins is not None:
            first, last = origins[start], origins[end - 1]
            while start and origins[start - 1] == first:
                start -= 1
            while end < len(origins) and origins[end] == last:
                end += 1
        return start, end

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where a part of the folded text stands in the text as it came, invisible rest included.

        Args:
            start: First character of a part that is not empty, and whole.
            end: One past its last.
        """
        origins = self.origins
        if origins is None:
            return start, end
        return origins[start], origins[end] if end < len(origins) else self.length


def fold(text: str) -> Folded:
    """Read a text. Takes time in proportion to its length, and never raises."""
    is_plain = text.isascii()
    if is_plain and not any(mark in text for mark in _MARKS):
        return Folded(text, None, len(text))
    origins: Sequence[int] = range(len(text))
    found = text
    for _ in range(_DEEPEST):
        read, places = _unescaped(found)
        if len(read) == len(found):
            break
        found, origins = read, [origins[place] for place in places]
    if not found.isascii():
        found, origins = _seen(found, origins)
    return Folded(found, origins, len(text))


def _unescaped(text: str) -> tuple[str, list[int]]:
    parts: list[str] = []
    places: list[int] = []
    done = 0
    for escape in _ESCAPES.finditer(text):
        start, end = escape.span()
        parts.append(text[done:start])
        places.extend(range(done, start))
        for char, at in _characters(escape[0]):
            parts.append(char)
            places.append(start + at)
        done = end
    parts.append(text[done:])
    places.extend(range(done, len(text)))
    return "".join(parts), places


def _characters(escape: str) -> list[tuple[str, int]]:
    """The characters that an escape stands for, and where in it."""
    if escape[0] == "%":
        return _of_bytes(bytes.fromhex(escape.replace("%", "")))
    if escape[0] == "&":
        number = escape[2:-1]
        code = int(number[1:], 16) if number[0] in "xX" else int(number)
        return [(chr(code) if code < 0x110000 else " ", 0)]
    kind = escape[1]
    return [(_WHITE[kind] if kind in _WHITE else chr(int(escape[2:], 16)), 0)]


def _of_bytes(raw: bytes) -> list[tuple[str, int]]:
    found, at = [], 0
    for char in raw.decode("utf-8", "surrogateescape"):
        found.append((char, at))
        at += 3 * len(char.encode("utf-8", "surrogateescape"))
    return found


def _seen(text: str, origins: Sequence[int]) -> tuple[str, list[int]]:
    parts: list[str] = []
    places: list[int] = []
    for char, place in zip(text, origins, strict=True):
        plain = char if char < "\x80" else _plain(char)
        parts.append(plain)
        places.extend([place] * len(plain))
    return "".join(parts), places


@lru_cache(maxsize=4_096)
def _plain(char: str) -> str:
    """What a character beyond ASCII looks like; nothing where it cannot be seen."""
    return "".join(_meant(each) for each in normalize("NFKC", char))


def _meant(char: str) -> str:
    kind = category(char)
    if kind in _UNSEEN or char in _DROPPED:
        return ""
    if kind == "Nd":
        return str(decimal(char))
    if kind == "Pd":
        return "-"
    return " " if kind == "Zs" else _MEANT.get(char, char)
