"""What the integrations of web frameworks have in common."""

from collections.abc import Mapping
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


def cookies(header: str | None, name: str) -> list[str]:
    """Every cookie of that name: most frameworks take the last, Werkzeug the first."""
    pairs = (pair.partition("=") for pair in (header or "").split(";"))
    return [
        value.strip().strip('"') for key, equals, value in pairs if equals and key.strip() == name
    ]


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
