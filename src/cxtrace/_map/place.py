"""A place in a file of a journey map, where problems are noted."""

import re
from collections.abc import Collection
from typing import Any, Final

import attrs

from cxtrace._blockers import is_personal
from cxtrace._map.source import KeyPath, Source
from cxtrace._map.text import choices, guess, key_text
from cxtrace._model import Place
from cxtrace.exceptions import Problem

BAD: Final[Any] = attrs.NOTHING
"""Stands for a value that cannot be accepted."""

NAME: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
"""What names look like: they become values of span attributes and labels of metrics."""

LONGEST_NAME: Final = 64

MOST_GUESSES: Final = 100
"""Problems of one map that come with a guess; later ones list names, so that a map that is all
wrong fails in seconds.
"""


def is_name(text: str) -> bool:
    """Whether the text can be the name of something in a map."""
    return len(text) <= LONGEST_NAME and NAME.fullmatch(text) is not None


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
            can_be_shown = isinstance(name, str) and is_name(name) and is_personal(name) is None
            called = str(name) if can_be_shown else f"#{index + 1}"
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
