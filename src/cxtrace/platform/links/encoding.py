"""How a value stands in a query and in an address, and what stays there for others to replace."""

import json
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

# No text that can be sent has a half of a surrogate pair, so nothing else looks like these marks.
_BEGIN: Final = "\ud800"
_END: Final = "\udbff"
_MARKED: Final = re.compile(f"{_BEGIN}([^{_END}]*){_END}")


class Placeholder(str):
    """A text in place of a value, such as ``${__value.raw}``, that a program replaces by one.

    It stays as it is, since the program would not find it encoded. It must need no escape in JSON.
    """

    __slots__ = ()


def text(value: str) -> str:
    """A value as queries are made of it, in which ``encoded`` finds each placeholder again."""
    if isinstance(value, Placeholder):
        return f"{_BEGIN}{value}{_END}"
    return value.encode(errors="replace").decode()


def quoted(value: str) -> str:
    """A value as a string of JSON, TraceQL or LogsQL.

    The languages read strings as Go does, which knows each escape that JSON's writer uses.
    """
    return json.dumps(text(value), ensure_ascii=False)


def as_json(data: Mapping[str, object]) -> str:
    """Data in as few characters as JSON can have; of its strings each has been through ``text``."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def encoded(asked: Mapping[str, str | int]) -> str:
    """What comes behind ``?``, in which only placeholders are as they were."""
    return "&".join(f"{name}={_percent(str(value))}" for name, value in asked.items())


def place(base: str) -> str:
    """Where a page is, as an address begins, without what a template would take for its own."""
    return quote(base.rstrip("/"), safe="%/:?#[]@!$&'()*+,;=~", errors="replace")


def _percent(marked: str) -> str:
    # Every second part is what stood between marks.
    parts = enumerate(_MARKED.split(marked))
    return "".join(part if number % 2 else quote(part, safe="") for number, part in parts)
