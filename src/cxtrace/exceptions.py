"""What cxtrace raises, and only while you import, configure or use its tools.

::

    CXTraceError
    ├── MapError             the journey map is wrong; lists every problem with file and line
    └── ConfigurationError   configure() was given something that cannot work

Once configured, no call of cxtrace raises into your service: see ``cxtrace.report()`` for what was
swallowed and counted.
"""

from collections.abc import Iterable
from typing import NamedTuple


class Problem(NamedTuple):
    """One thing wrong with a journey map, at one place.

    ``str(problem)`` is the line that people read: ``file:line: key: message``.
    """

    file: str
    """The file as it was given: a path, or a name such as ``<string>``."""
    line: int
    """The line in the file, from 1; 0 where no line is to blame, as for a missing file."""
    key: str
    """The key in the map, such as ``touchpoint[checkout.pay].stage``; empty if none is known."""
    message: str
    """What is wrong, the wrong value, and what to write instead."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.key, self.message) if part)


class CXTraceError(Exception):
    """Base of every error that cxtrace raises."""


class MapError(CXTraceError):
    """The journey map is wrong. The message lists every problem, each with file, line and key.

    Args:
        problems: Everything that is wrong, in the order in which it should be read.
    """

    problems: tuple[Problem, ...]
    """Everything that is wrong, for tools that show it in their own way."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        count = len(self.problems)
        header = f"the journey map has {count} problem{'' if count == 1 else 's'}:"
        return "\n".join([header, *map(str, self.problems)])


class ConfigurationError(CXTraceError):
    """``configure()`` was given something that cannot work. The message says what to write."""
