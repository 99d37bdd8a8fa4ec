"""Kinds of values that a journey map is made of.

Each shape can ``read`` a value, which notes problems and gives the value in the form of the model,
or ``BAD``; and each can tell its JSON ``schema``, so that editors and our checks say the same.
"""

import re
import unicodedata
from collections.abc import Collection, Mapping
from typing import Any, Final, Protocol

import attrs

from cxtrace._map_source import KeyPath, Source
from cxtrace._map_text import choices, finite, guess, key_text, literal, shown
from cxtrace._model import Place
from cxtrace.exceptions import Problem

BAD: Final[Any] = attrs.NOTHING
"""What a shape gives for a value that it cannot accept."""

NAME: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
"""What names look like: they become values of span attributes and labels of metrics."""

LONGEST_NAME: Final = 64
LONGEST_TEXT: Final = 1000
LARGEST_WHOLE: Final = 1_000_000

MOST_GUESSES: Final = 100
"""Problems of one map that come with a guess; later ones list names, so that a map that is all
wrong fails in seconds.
"""


@attrs.frozen
class At:
    """A place in a file, and the list in which the problems of that place are noted."""

    source: Source
    problems: list[Problem]
    path: KeyPath = ()
    label: str = ""

    @property
    def place(self) -> Place:
        """File and line."""
        return Place(self.source.name, self.source.line(self.path))

    def key(self, key: str) -> "At":
        """The place of a key in this table."""
        name = key_text(key)
        label = f"{self.label}.{name}" if self.label else name
        return attrs.evolve(self, path=(*self.path, key), label=label)

    def element(self, index: int, value: Any) -> "At":
        """The place of an element of this array; a table in it is called by its name."""
        called = str(index)
        if isinstance(value, dict):
            name = value.get("name")
            called = name if isinstance(name, str) and is_name(name) else f"#{index + 1}"
        return attrs.evolve(self, path=(*self.path, index), label=f"{self.label}[{called}]")

    def wrong(self, message: str) -> Any:
        """Note a problem here and give ``BAD``."""
        place = self.place
        self.problems.append(Problem(place.file, place.line, self.label, message))
        return BAD

    def advice(self, wrong: Any, names: Collection[str]) -> str:
        """What to write instead of a wrong name, to follow a message; empty if there is nothing."""
        guessing = isinstance(wrong, str) and len(self.problems) < MOST_GUESSES
        near = guess(wrong, names) if guessing else None
        return choices(names) if near is None else f'; did you mean "{near}"?'


class Shape(Protocol):
    """A kind of value."""

    @property
    def example(self) -> str:
        """A right value as TOML, for messages."""
        ...

    def read(self, value: Any, at: At) -> Any:
        """Give the value in the form of the model, or note a problem and give ``BAD``."""
        ...

    def schema(self) -> dict[str, Any]:
        """Describe the value for editors."""
        ...


@attrs.frozen
class Text:
    """Words for people, or the name of something outside of the map."""

    sample: str
    allowed_controls: str = ""

    @property
    def example(self) -> str:
        """The sample, quoted."""
        return literal(self.sample)

    def read(self, value: Any, at: At) -> Any:
        """Refuse what is no text, is empty, is endless or would upset a terminal."""
        if not isinstance(value, str):
            write = literal(str(value)) if isinstance(value, int | float) else self.example
            return at.wrong(f"{shown(value)} is not text; write {write}")
        if not value.strip():
            return at.wrong(f"{shown(value)} is empty; write text such as {self.example}")
        if len(value) > LONGEST_TEXT:
            message = f"{shown(value)} has {len(value)} characters"
            return at.wrong(f"{message}; shorten it to at most {LONGEST_TEXT}")
        control = next(filter(self._forbidden, value), None)
        if control is not None:
            message = f"{shown(value)} holds the control character U+{ord(control):04X}"
            return at.wrong(f"{message}; remove it")
        return value

    def _forbidden(self, char: str) -> bool:
        return char not in self.allowed_controls and unicodedata.category(char) in _CONTROLS

    def schema(self) -> dict[str, Any]:
        """A string."""
        return {"type": "string", "minLength": 1, "maxLength": LONGEST_TEXT}


_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})


def is_name(text: str) -> bool:
    """Whether the text can be the name of something in a map."""
    return len(text) <= LONGEST_NAME and NAME.fullmatch(text) is not None


@attrs.frozen
class Name:
    """A name that the map gives to something."""

    sample: str

    @property
    def example(self) -> str:
        """The sample, quoted."""
        return literal(self.sample)

    def read(self, value: Any, at: At) -> Any:
        """Refuse what could not stand in a span attribute or a metric label."""
        if not isinstance(value, str):
            return at.wrong(f"{shown(value)} is not text; write a name such as {self.example}")
        if len(value) > LONGEST_NAME:
            message = f"{shown(value)} has {len(value)} characters"
            return at.wrong(f"{message}; shorten it to at most {LONGEST_NAME}")
        if is_name(value):
            return value
        near = _as_name(value)
        meant = f'did you mean "{near}"?' if near else f"write a name such as {self.example}"
        rule = "lower-case letters, digits and _, with dots between words"
        return at.wrong(f"{shown(value)} is not a name ({rule}); {meant}")

    def schema(self) -> dict[str, Any]:
        """A string of the form of names."""
        return {"type": "string", "pattern": f"^{NAME.pattern}$", "maxLength": LONGEST_NAME}


def _as_name(text: str) -> str | None:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = (re.sub(r"[^a-z0-9]+", "_", word).strip("_") for word in plain.split("."))
    near = ".".join(filter(None, words))
    return near if is_name(near) else None


@attrs.frozen
class OneOf:
    """A value of a closed set."""

    what: str
    choices: tuple[str, ...]

    @property
    def example(self) -> str:
        """The first of the set."""
        return literal(self.choices[0])

    def read(self, value: Any, at: At) -> Any:
        """Refuse every other value."""
        if isinstance(value, str) and value in self.choices:
            return value
        return at.wrong(f"{shown(value)} is not {self.what}{at.advice(value, self.choices)}")

    def schema(self) -> dict[str, Any]:
        """An enumeration."""
        return {"enum": list(self.choices)}


@attrs.frozen
class Number:
    """A finite number."""

    sample: float

    @property
    def example(self) -> str:
        """The sample."""
        return literal(self.sample)

    def read(self, value: Any, at: At) -> Any:
        """Refuse text, booleans, infinity and NaN."""
        number = finite(value)
        if number is not None:
            return number
        kind = "finite number" if type(value) in {int, float} else "number"
        return at.wrong(f"{shown(value)} is not a {kind}; write one such as {self.example}")

    def schema(self) -> dict[str, Any]:
        """A number."""
        return {"type": "number"}


@attrs.frozen
class Weight:
    """A number from 0 to 1."""

    example: str = "0.5"

    def read(self, value: Any, at: At) -> Any:
        """Refuse what is no number from 0 to 1."""
        number = Number(0.5).read(value, at)
        if number is BAD or 0 <= number <= 1:
            return number
        return at.wrong(f"{shown(value)} is not between 0 and 1; write a share such as 0.5")

    def schema(self) -> dict[str, Any]:
        """A number with its limits."""
        return {"type": "number", "minimum": 0, "maximum": 1}


@attrs.frozen
class Objective:
    """A number between 0 and 1 that is neither."""

    example: str = "0.99"

    def read(self, value: Any, at: At) -> Any:
        """Refuse 0, 1 and what is not between them."""
        number = Number(0.99).read(value, at)
        if number is BAD or 0 < number < 1:
            return number
        message = f"{shown(value)} is not between 0 and 1, both excluded"
        return at.wrong(f"{message}; write a share such as 0.99")

    def schema(self) -> dict[str, Any]:
        """A number with its limits."""
        return {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}


@attrs.frozen
class Whole:
    """A whole number that is not negative."""

    example: str = "3"

    def read(self, value: Any, at: At) -> Any:
        """Refuse fractions, booleans, text, negative and absurd numbers."""
        if isinstance(value, bool) or not isinstance(value, int):
            return at.wrong(f"{shown(value)} is not a whole number; write one such as 3")
        if 0 <= value <= LARGEST_WHOLE:
            return value
        message = f"{shown(value)} is not between 0 and {LARGEST_WHOLE}"
        return at.wrong(f"{message}; write a number such as 3")

    def schema(self) -> dict[str, Any]:
        """An integer with its limits."""
        return {"type": "integer", "minimum": 0, "maximum": LARGEST_WHOLE}


@attrs.frozen
class Setting:
    """A plain value that this version stores and does not interpret."""

    sample: str

    @property
    def example(self) -> str:
        """The sample, quoted."""
        return literal(self.sample)

    def read(self, value: Any, at: At) -> Any:
        """Refuse dates and tables; check text and numbers as elsewhere."""
        if isinstance(value, bool):
            return value
        if isinstance(value, str):
            return Text(self.sample).read(value, at)
        if isinstance(value, int | float):
            return value if finite(value) is not None else Number(1.0).read(value, at)
        if isinstance(value, list):
            read = [self.read(item, at.element(n, item)) for n, item in enumerate(value)]
            return BAD if any(item is BAD for item in read) else tuple(read)
        return at.wrong(f"{shown(value)} is no text or number; write one such as {self.example}")

    def schema(self) -> dict[str, Any]:
        """A string, number, boolean or an array of them."""
        return {"type": ["string", "number", "boolean", "array"]}


@attrs.frozen
class Many:
    """An array of different values."""

    item: Shape
    least: int = 0

    @property
    def example(self) -> str:
        """An array of one."""
        return f"[{self.item.example}]"

    def read(self, value: Any, at: At) -> Any:
        """Refuse what is no array, is too short, or says something twice."""
        if not isinstance(value, list):
            write = f"[{shown(value)}]" if isinstance(value, str) else self.example
            return at.wrong(f"{shown(value)} is not an array; write {write}")
        if len(value) < self.least:
            return at.wrong(f"[] is empty; write at least one, such as {self.example}")
        seen: set[str] = set()
        read = [self._item(item, at.element(n, item), seen) for n, item in enumerate(value)]
        return BAD if any(item is BAD for item in read) else tuple(read)

    def _item(self, value: Any, at: At, seen: set[str]) -> Any:
        text = literal(value)
        if text in seen:
            return at.wrong(f"{shown(value)} stands here twice; remove one")
        seen.add(text)
        return self.item.read(value, at)

    def schema(self) -> dict[str, Any]:
        """An array."""
        least = {"minItems": self.least} if self.least else {}
        return {"type": "array", "items": self.item.schema(), "uniqueItems": True, **least}


@attrs.frozen
class Table:
    """A table whose keys the map chooses."""

    keys: Shape
    item: Shape

    @property
    def example(self) -> str:
        """A table of one."""
        return f"{{ {key_text(self.keys.example.strip(chr(34)))} = {self.item.example} }}"

    def read(self, value: Any, at: At) -> Any:
        """Refuse what is no table; check every key and value."""
        if not isinstance(value, dict):
            return at.wrong(f"{shown(value)} is not a table; write {self.example}")
        read = {}
        for key, item in value.items():
            here = at.key(key)
            self.keys.read(key, here)
            read[key] = self.item.read(item, here)
        return {key: item for key, item in read.items() if item is not BAD}

    def schema(self) -> dict[str, Any]:
        """An object with any keys of the right form."""
        return {
            "type": "object",
            "propertyNames": self.keys.schema(),
            "additionalProperties": self.item.schema(),
        }


@attrs.frozen
class Key:
    """One key of a record, and a sentence that editors show for it."""

    shape: Shape
    help: str


@attrs.frozen
class Found:
    """A record as it was read: what could be accepted, and where it stands."""

    raw: Mapping[str, Any]
    values: Mapping[str, Any]
    at: At


@attrs.frozen
class Record:
    """A table whose keys the grammar fixes."""

    what: str
    keys: Mapping[str, Key]
    required: tuple[str, ...] = ()

    @property
    def example(self) -> str:
        """The required keys."""
        pairs = ", ".join(f"{key} = {self.keys[key].shape.example}" for key in self.required)
        return f"{{ {pairs} }}" if pairs else "{}"

    def read(self, value: Any, at: At) -> Any:
        """Note unknown, missing and wrong keys; give a ``Found`` even if some are wrong."""
        if not isinstance(value, dict):
            return at.wrong(f"{shown(value)} is not a table; write {self.example}")
        values = {key: self._value(key, item, at.key(key)) for key, item in value.items()}
        for key in self.required:
            if key not in value:
                example = self.keys[key].shape.example
                at.key(key).wrong(f"the key is missing; add {key} = {example}")
        return Found(value, {k: v for k, v in values.items() if v is not BAD}, at)

    def _value(self, key: str, value: Any, at: At) -> Any:
        if key in self.keys:
            return self.keys[key].shape.read(value, at)
        return at.wrong(f"{shown(key)} is not a key of {self.what}{at.advice(key, self.keys)}")

    def schema(self) -> dict[str, Any]:
        """An object with these keys and no other."""
        properties = {
            key: {"description": spec.help, **spec.shape.schema()}
            for key, spec in self.keys.items()
        }
        return {
            "type": "object",
            "properties": properties,
            "required": list(self.required),
            "additionalProperties": False,
        }


@attrs.frozen
class Records:
    """An array of tables."""

    record: Record
    header: str

    @property
    def example(self) -> str:
        """The header of one table."""
        return f"[[{self.header}]]"

    def read(self, value: Any, at: At) -> Any:
        """Refuse what is no array; read every table."""
        if not isinstance(value, list):
            message = f"{shown(value)} is not an array of tables"
            return at.wrong(f"{message}; write {self.example} above the keys of each")
        read = [self.record.read(item, at.element(n, item)) for n, item in enumerate(value)]
        return tuple(item for item in read if item is not BAD)

    def schema(self) -> dict[str, Any]:
        """An array of objects."""
        return {"type": "array", "items": self.record.schema()}
