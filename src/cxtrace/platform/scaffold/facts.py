"""What the readers of applications find, and how they tell that something cannot be read."""

from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

import attrs


class ScaffoldError(Exception):
    """An application cannot be read; the message tells why, and what to write instead."""


@attrs.frozen
class Found:
    """A route or a task of an application."""

    kind: Literal["route", "task"]
    targets: tuple[str, ...]
    """How a map finds it: ``POST /basket/add/{pk}``, or the name of the task. Several where
    several paths lead to the same; the first is the plainest.
    """
    hint: str = ""
    """What the code calls it: a function, an operation, a URL name."""
    about: tuple[str, ...] = ()
    """Further words about it, such as tags."""
    technical: str = ""
    """Why no customer meets it, where the framework itself tells."""


Follow: TypeAlias = Callable[[Any, str], Iterator[Found]]
"""Reads an application that is mounted in another, below a prefix."""


def route(method: str, path: str, **more: Any) -> Found:
    """A route with one path."""
    return Found("route", (f"{method} {path}",), **more)


def qualified(thing: Any) -> str:
    """Module and name of a function, or of the class of an object."""
    named = thing if hasattr(thing, "__name__") else type(thing)
    return f"{getattr(named, '__module__', '')}.{named.__name__}"


def is_a(thing: Any, package: str, *names: str) -> bool:
    """Whether an object is of a class, by name, so that the package need not be imported."""
    return any(
        cls.__module__.partition(".")[0] == package and cls.__name__ in names
        for cls in type(thing).__mro__
    )
