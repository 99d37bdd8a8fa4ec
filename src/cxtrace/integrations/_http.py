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


def cookie(header: str | None, name: str) -> str | None:
    """A cookie out of the header of all cookies."""
    for pair in (header or "").split(";"):
        key, equals, value = pair.strip().partition("=")
        if equals and key == name:
            return value.strip('"')
    return None


def query(text: str, name: str) -> str | None:
    """The first parameter of that name in a query string."""
    try:
        pairs = parse_qsl(text, max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        return None
    return next((value for key, value in pairs if key == name), None)


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
