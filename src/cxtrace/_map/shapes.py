"""Kinds of single values that a journey map is made of.

Each shape can ``read`` a value, which notes problems and gives the value in the form of the model,
or ``BAD``; and each can tell its JSON ``schema``, so that editors and our checks say the same.
"""

import re
import unicodedata
from typing import Any, Final, Protocol

import attrs

from cxtrace import _happy
from cxtrace._blockers import WORDS, is_personal
from cxtrace._map.place import BAD, LONGEST_NAME, NAME, At, is_name
from cxtrace._map.text import finite, literal, shown
from cxtrace._model import SECONDS, in_seconds

LONGEST_TEXT: Final = 1000
LARGEST_WHOLE: Final = 1_000_000
MOST_COUNTED: Final = 100
"""What a rule may count to; it remembers as many times."""
LONGEST_DURATION: Final = 366 * SECONDS["d"]
"""Seconds that a rule may look back."""


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
    is_sent: bool = False

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
        return _nobodys(value, self.sample, at) if self.is_sent else value

    def _forbidden(self, char: str) -> bool:
        return char not in self.allowed_controls and unicodedata.category(char) in _CONTROLS

    def schema(self) -> dict[str, Any]:
        """A string."""
        return {"type": "string", "minLength": 1, "maxLength": LONGEST_TEXT}


_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})


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
            return _nobodys(value, self.sample, at)
        near = as_name(value)
        meant = f'did you mean "{near}"?' if near else f"write a name such as {self.example}"
        rule = "lower-case letters, digits and _, with dots between words"
        return at.wrong(f"{shown(value)} is not a name ({rule}); {meant}")

    def schema(self) -> dict[str, Any]:
        """A string of the form of names."""
        return {"type": "string", "pattern": f"^{NAME.pattern}$", "maxLength": LONGEST_NAME}


def _nobodys(value: str, sample: str, at: At) -> Any:
    """Refuse, and do not show, what would send an address or a number of somebody."""
    kind = is_personal(value)
    if kind is None:
        return value
    message = f"the text looks like {WORDS[kind]}, and would be sent"
    return at.wrong(f"{message}; write one that is nobody's, such as {literal(sample)}")


def as_name(text: str) -> str | None:
    """The name that is nearest to a text which is none, if there is one."""
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
class Count:
    """How often something must happen."""

    example: str = "3"

    def read(self, value: Any, at: At) -> Any:
        """Refuse fractions, 0, and more than a rule can remember."""
        number = Whole().read(value, at)
        if number is BAD or 1 <= number <= MOST_COUNTED:
            return number
        message = f"{shown(value)} is not between 1 and {MOST_COUNTED}"
        return at.wrong(f"{message}; write a number such as 3")

    def schema(self) -> dict[str, Any]:
        """An integer with its limits."""
        return {"type": "integer", "minimum": 1, "maximum": MOST_COUNTED}


_DURATION: Final = re.compile(rf"([0-9]{{1,9}}(?:\.[0-9]{{1,20}})?) ?({'|'.join(SECONDS)})")


@attrs.frozen
class Duration:
    """A number with a unit of time, given in seconds."""

    sample: str

    @property
    def example(self) -> str:
        """The sample, quoted."""
        return literal(self.sample)

    def read(self, value: Any, at: At) -> Any:
        """Refuse what has no unit, and what is no time that a service could wait for."""
        match = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            message = f"{shown(value)} is not a duration; write a number and one of"
            return at.wrong(f"{message} {', '.join(SECONDS)}, such as {self.example}")
        seconds = in_seconds(float(match[1]), match[2])
        if seconds is not None and SECONDS["ms"] <= seconds <= LONGEST_DURATION:
            return seconds
        return at.wrong(f"{shown(value)} is not between 1ms and 366d; write {self.example}")

    def schema(self) -> dict[str, Any]:
        """A string of that form."""
        return {"type": "string", "pattern": f"^{_DURATION.pattern}$"}


@attrs.frozen
class Happy:
    """A comparison of facts."""

    example: str = literal("touchpoint.outcome == 'completed'")

    def read(self, value: Any, at: At) -> Any:
        """Refuse what cannot be evaluated."""
        text = Text("touchpoint.outcome == 'completed'").read(value, at)
        if text is BAD:
            return BAD
        try:
            _happy.parse(text)
        except ValueError as error:
            return at.wrong(f"{shown(text)} cannot be evaluated: {error}")
        return text

    def schema(self) -> dict[str, Any]:
        """A string."""
        return {"type": "string", "minLength": 1, "maxLength": _happy.LONGEST}
