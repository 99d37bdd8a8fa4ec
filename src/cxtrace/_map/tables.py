"""Arrays and tables of a journey map: the shapes that hold other shapes."""

from collections.abc import Mapping
from typing import Any

import attrs

from cxtrace._map.place import BAD, At
from cxtrace._map.shapes import Shape
from cxtrace._map.text import key_text, literal, shown


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
