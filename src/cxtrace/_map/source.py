"""A TOML file with the line of every key.

``tomllib`` decides what the text means; it gives no lines. Once it has accepted a text, where its
statements, keys and elements begin can be told from brackets, quotes and line ends alone, in one
pass. This module makes that pass.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

import attrs

from cxtrace._map.text import shown
from cxtrace.exceptions import MapError, Problem

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEEPEST: Final = 50
"""Tables and arrays inside one another; no map needs ten, and none may exhaust the stack."""

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys and indexes from the top of a file down to a value."""


@attrs.frozen
class Source:
    """One file of a journey map, parsed."""

    name: str
    data: Mapping[str, Any]
    lines: Mapping[KeyPath, int]

    def line(self, path: KeyPath) -> int:
        """The line on which the value begins, or the nearest table around it."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]


def read(name: str, raw: bytes) -> Source:
    """Parse one file.

    Raises:
        MapError: The bytes are not a TOML document with something in it.
    """
    text = _decode(name, raw)
    try:
        data = tomllib.loads(text)
        lines = _Walk(text).lines
    except RecursionError:
        raise _error(name, 0, "arrays or tables are nested too deeply; flatten them") from None
    except ValueError as error:
        raise _syntax_error(name, text, str(error)) from None
    if not data:
        message = 'the file holds no map; begin it with schema = "cxtrace.map/1"'
        raise _error(name, 1, message)
    return Source(name, data, lines)


def _error(name: str, line: int, message: str) -> MapError:
    return MapError([Problem(name, line, "", message)])


def _decode(name: str, raw: bytes) -> str:
    if raw.startswith(b"\xef\xbb\xbf"):
        message = "the file begins with a byte order mark; save it as UTF-8 without BOM"
        raise _error(name, 1, message)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        message = f"byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise _error(name, line, message) from None


_WHERE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_HINTS = {
    "Invalid value": "text needs double quotes",
    "Cannot overwrite": "this key stands twice in its table; remove one",
    "Cannot declare": "this table is already there; write its keys together",
    "Expected '='": 'write key = "value"',
    "Unclosed array": "close it with ]",
    "Illegal character '\\n'": "the text has no closing quote on its line",
}


def _syntax_error(name: str, text: str, reason: str) -> MapError:
    where = _WHERE.search(reason)
    what = reason[: where.start()] if where else reason
    hint = next((f"; {hint}" for start, hint in _HINTS.items() if what.startswith(start)), "")
    if where is None:
        return _error(name, 0, f"not valid TOML: {what}{hint}")
    line = int(where[1] or text.rstrip("\n").count("\n") + 1)
    written = shown(text.split("\n")[line - 1].strip())
    return _error(name, line, f"not valid TOML in {written}: {what}{hint}")


_TOKEN = re.compile(
    r'''
      (?P<newline>\n)
    | (?P<blank>[ \t\r]+|\#[^\n]*)
    | (?P<mark>[\[\]{},=])
    | (?P<word>
          """(?:\\.|[^\\])*?"""(?:"{0,2})
        | \'\'\'.*?\'\'\'(?:\'{0,2})
        | "(?:\\.|[^"\\])*"
        | '[^']*'
        | [^\s\[\]{},=\#"']+
      )
    ''',
    re.VERBOSE | re.DOTALL,
)


@attrs.frozen
class _Token:
    kind: str
    text: str
    line: int


def _tokens(text: str) -> Iterator[_Token]:
    line = 1
    for match in _TOKEN.finditer(text):
        kind = str(match.lastgroup)
        if kind != "blank":
            yield _Token(match[0] if kind == "mark" else kind, match[0], line)
        line += match[0].count("\n")
    yield _Token("newline", "\n", line)


class _Walk:
    """Walks over the tokens of a valid text and notes on which line each key and element begins."""

    def __init__(self, text: str) -> None:
        self.lines: dict[KeyPath, int] = {(): 1}
        self._tokens = list(_tokens(text))
        self._at = 0
        self._tables: dict[KeyPath, int] = {}
        prefix: KeyPath = ()
        while self._at < len(self._tokens):
            if self._skip("newline"):
                continue
            if self._kind == "[":
                prefix = self._header()
            else:
                self._pair(prefix)

    @property
    def _kind(self) -> str:
        return self._tokens[self._at].kind

    @property
    def _line(self) -> int:
        return self._tokens[self._at].line

    def _skip(self, *kinds: str) -> bool:
        found = self._kind in kinds
        self._at += found
        return found

    def _header(self) -> KeyPath:
        line = self._line
        depth = 2 if self._tokens[self._at + 1].kind == "[" else 1
        self._at += depth
        keys = self._key()
        self._at += depth
        path: KeyPath = ()
        for number, key in enumerate(keys, start=1):
            path = (*path, key)
            self._note(path, line)
            if depth == 2 and number == len(keys):
                self._tables[path] = self._tables.get(path, 0) + 1
            if path in self._tables:
                path = (*path, self._tables[path] - 1)
                self._note(path, line)
        return path

    def _note(self, path: KeyPath, line: int) -> None:
        if len(path) > DEEPEST:
            raise RecursionError
        self.lines.setdefault(path, line)

    def _key(self) -> list[str]:
        words: list[str] = []
        while self._kind == "word":
            words.append(self._tokens[self._at].text)
            self._at += 1
        text = "".join(words)
        return _quoted_key(text) if '"' in text or "'" in text else text.split(".")

    def _pair(self, path: KeyPath) -> None:
        line = self._line
        for key in self._key():
            path = (*path, key)
            self._note(path, line)
        self._skip("=")
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        if self._skip("["):
            self._elements(path)
        elif self._skip("{"):
            self._fields(path)
        else:
            while self._skip("word"):
                pass

    def _elements(self, path: KeyPath) -> None:
        index = 0
        while not self._skip("]"):
            if not self._skip("newline", ","):
                self._note((*path, index), self._line)
                self._value((*path, index))
                index += 1

    def _fields(self, path: KeyPath) -> None:
        while not self._skip("}"):
            if not self._skip("newline", ","):
                self._pair(path)


def _quoted_key(text: str) -> list[str]:
    keys = []
    table: Any = tomllib.loads(f"{text} = 0")
    while table != 0:
        [(key, table)] = table.items()
        keys.append(key)
    return keys
