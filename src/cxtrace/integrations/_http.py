"""What the integrations of web frameworks have in common."""

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qsl

from opentelemetry import propagate
from opentelemetry.context import attach, get_current
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import get_current_span

from cxtrace.context import cx_of

_MOST_PARAMETERS: Final = 100
_CLAIMS: Final = ("claims", "payload")


def go_on_from(carrier: Any, getter: Getter[Any]) -> None:
    """Attach the caller's context, unless an instrumentation has done so."""
    now = get_current()
    if cx_of(now) is None and not get_current_span(now).get_span_context().is_valid:
        attach(propagate.extract(carrier, now, getter))


def fields(headers: Collection[tuple[bytes, bytes]]) -> Mapping[bytes, bytes]:
    """Every header by its name in small letters, several of one name as one."""
    found = dict(headers)
    if len(found) == len(headers) and b"".join(found).islower():
        return found  # as nearly always
    found = {}
    for name, value in ((key.lower(), value) for key, value in headers):
        between = b"; " if name == b"cookie" else b", "  # HTTP/2 may send each cookie by itself
        found[name] = found[name] + between + value if name in found else value
    return found


@lru_cache(maxsize=256)
def in_bytes(name: str) -> bytes:
    """The name of a header in small letters, as the protocol has it."""
    return name.lower().encode("latin-1", "replace")


def cookies(header: str | None, name: str) -> list[str]:
    """Every cookie of that name: most frameworks take the last, Werkzeug the first."""
    if not header or name not in header:
        return []
    found = []
    for pair in header.split(";"):
        if name in pair:
            key, equals, value = pair.partition("=")
            if equals and key.strip() == name:
                found.append(value.strip().strip('"'))
    return found


def parameters(query: str, name: str) -> list[str]:
    """Every parameter of that name in a query string: most take the last, Werkzeug the first."""
    try:
        pairs = parse_qsl(query, max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        return []
    return [value for key, value in pairs if key == name]


def first(found: list[str]) -> str | None:
    """The first, if there is any."""
    return found[0] if found else None


def last(found: list[str]) -> str | None:
    """The last, if there is any."""
    return found[-1] if found else None


def attribute(user: object, name: str) -> object:
    """An attribute, or a key, of a user who is authenticated."""
    if isinstance(user, Mapping):
        return user.get(name)
    if getattr(user, "is_authenticated", True) is False:
        return None
    return getattr(user, name, None)


def claim(token: object, name: str) -> object:
    """A claim of a verified token: a mapping, or an object that holds one."""
    if isinstance(token, Mapping):
        return token.get(name)
    for holder in _CLAIMS:
        inner = getattr(token, holder, None)
        if isinstance(inner, Mapping):
            return inner.get(name)
    return None
