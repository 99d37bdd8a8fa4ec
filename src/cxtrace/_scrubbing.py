"""What spans of others say, by an allow-list: a key that is not on it does not leave.

Stock instrumentation records addresses with their query, statements with their values, and the text
of exceptions. A few keys are worth having in part: an address without what varies in it, a
statement without its values. Of the rest, what the list names stays as it is.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from cxtrace import _guard, _routes
from cxtrace import attributes as names
from cxtrace._blockers import is_personal, scrub
from cxtrace._sql import without_values
from cxtrace.exceptions import ConfigurationError

Attributes: TypeAlias = dict[str, Any]
OTHER: Final = "_OTHER"
"""The name of an event that is not on the list."""

VARIES: Final = "{}"
"""Stands for a part of a path, or of a name, that may be about somebody."""

_LONGEST: Final = 2_048
_MOST_SEGMENTS: Final = 16
_MOST_KEYS: Final = 2_000
_WORD: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:<>-]{0,127}", re.ASCII)
_NAMED: Final = re.compile(r"[A-Za-z_(\[{<*][A-Za-z0-9_.:,<>(){}\[\]*-]{0,63}", re.ASCII)
_LONG_NUMBER: Final = re.compile(r"[0-9]{4}")
_NETLOC: Final = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]{0,15}")
_TEMPLATE: Final = re.compile(r"[^?#@\s]{1,256}")
_EVENT: Final = re.compile(r"[a-z][a-z0-9_]{0,31}(?:\.[a-z][a-z0-9_]{0,31}){1,5}|exception|message")

_KEPT: Final = re.compile(r"/[^?#\s]*|[^*/\s,]+(?:\.\*)?")

_ROUTES: Final = ("http.route", "url.template")


class Scene(NamedTuple):
    """What a rule may ask of the span.

    Attributes:
        route: The template of its path, where it has one.
        is_called: Whether it is the span of a server, whose peer is whoever calls.
    """

    route: str | None = None
    is_called: bool = False


Rule: TypeAlias = Callable[[Any, Scene], Any]
"""What of a value may leave; None for nothing."""


def _as_it_is(value: Any, _: Scene) -> Any:
    return value


def _clean(value: Any, _: Scene) -> Any:
    """All of it but addresses and numbers of people."""
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return tuple(_clean(each, _) for each in value)
    return value if isinstance(value, (bool, int, float)) else None


def _word(value: Any, _: Scene) -> Any:
    """Of text, one word that is no number and no address: the name of a class, a code."""
    if isinstance(value, str):
        return value if _WORD.fullmatch(value) and not _LONG_NUMBER.search(value) else None
    return value if isinstance(value, (bool, int, float)) else None


def _template(value: Any, _: Scene) -> Any:
    is_one = isinstance(value, str) and _TEMPLATE.fullmatch(value) and not is_personal(value)
    return value if is_one else None


def _host(value: Any, scene: Scene) -> Any:
    """The name of a host, or its address."""
    is_one = isinstance(value, str) and is_personal(value) in (None, "ip")
    return value if is_one else _clean(value, scene)


def _peer(value: Any, scene: Scene) -> Any:
    """The host that is called; one that calls may be somebody's."""
    return None if scene.is_called else _host(value, scene)


def _statement(value: Any, _: Scene) -> Any:
    return without_values(value) if isinstance(value, str) else None


_WHOLE: Final = (names.CUSTOMER_PSEUDONYM, names.JOURNEY_ID)
"""Attributes that leave as they are: ids that are made so that they tell nothing."""

_HOSTS: Final = ("net.host.name", "server.address")
"""Attributes that name a server, which may be by its address."""

_ALWAYS: Final = (
    *("db.collection.name", "db.name", "db.namespace", "db.operation", "db.operation.batch.size"),
    *("db.operation.name", "db.query.summary", "db.response.returned_rows"),
    *("db.response.status_code", "db.sql.table", "db.stored_procedure.name", "db.system"),
    *("db.system.name", "messaging.batch.message_count", "messaging.consumer.group.name"),
    *("messaging.destination", "messaging.destination.name", "messaging.destination.partition.id"),
    *("messaging.destination.template", "messaging.destination_kind", "messaging.operation"),
    *("messaging.operation.name", "messaging.operation.type", "messaging.system"),
    *("net.host.port", "net.peer.port", "server.port"),
    *("peer.service", "service.peer.name", "code.column", "code.filepath", "code.file.path"),
    *("code.function", "code.function.name", "code.line.number", "code.lineno", "code.namespace"),
    *("thread.id", "thread.name", "feature_flag.key", "feature_flag.provider.name"),
    *("feature_flag.result.reason", "feature_flag.result.variant", "feature_flag.set.id"),
    *("feature_flag.version", "celery.action", "celery.state", "celery.task_name"),
    names.SESSION_ID,
)
"""Attributes that developers and the map choose the values of, and customers do not."""

_IN_A_WORD: Final = (
    *("asgi.event.type", "error.type", "exception.escaped", "exception.type", "http.flavor"),
    *("http.method", "http.request.body.size", "http.request.method", "http.request.resend_count"),
    *("http.request.size", "http.request_content_length", "http.response.body.size"),
    *("http.response.size", "http.response.status_code", "http.response_content_length"),
    *("http.scheme", "http.status_code", "net.transport", "network.protocol.name"),
    *("network.protocol.version", "network.transport", "network.type", "otel.status_code"),
    *("rpc.grpc.status_code", "rpc.method", "rpc.response.status_code", "rpc.service"),
    *("rpc.system", "rpc.system.name", "url.scheme", "user_agent.synthetic.type"),
)
"""Attributes that are a number or a word of a protocol."""

STOCK: Final = (*_IN_A_WORD, *_ROUTES, *_ALWAYS, *_WHOLE)
"""Attributes of others that leave whole, or not at all."""

_OURS: Final = ("cx.", "cxtrace.")


class Scrubber:
    """Makes new spans without what may be about somebody. Never raises, once made.

    Args:
        keep: What may leave beside the list: keys (``app.tenant``), beginnings of keys (``app.*``)
            and templates of paths (``/payments/{id}/refunds``).

    Attributes:
        kept: What may leave beside the list.

    Raises:
        ConfigurationError: One of them is nothing of the kind.
    """

    def __init__(self, keep: Iterable[str] = ()) -> None:
        self.kept = kept = checked_keep(keep)
        self._paths = [(each, _routes.pattern(each)) for each in kept if each.startswith("/")]
        self._starts = tuple(each[:-1] for each in kept if each.endswith(".*"))
        self._rules: dict[str, Rule | None] = {
            **dict.fromkeys(_IN_A_WORD, _word),
            **dict.fromkeys(_ROUTES, _template),
            **dict.fromkeys(("url.full", "http.url"), self._url),
            **dict.fromkeys(("url.path", "http.target"), self._path),
            **dict.fromkeys(("db.query.text", "db.statement"), _statement),
            **dict.fromkeys(_ALWAYS, _clean),
            **dict.fromkeys(_HOSTS, _host),
            "net.peer.name": _peer,
            **dict.fromkeys((*_WHOLE, *kept), _as_it_is),
        }

    def __call__(self, spans: Sequence[ReadableSpan]) -> list[ReadableSpan]:
        """New spans for these, which stay as they are."""
        found = (self._span_or_bare(span) for span in spans)
        return [span for span in found if span is not None]

    def _span_or_bare(self, span: ReadableSpan) -> ReadableSpan | None:
        for make in (self._span, _bare):
            try:
                return make(span)
            except Exception as error:  # noqa: BLE001  spans of others may be anything
                _guard.swallow("scrub.span", error)
        return None

    def _span(self, span: ReadableSpan) -> ReadableSpan:
        given = span.attributes or {}
        route = next(filter(None, map(_template_in(given), _ROUTES)), None)
        scene = Scene(route, is_called=span.kind is SpanKind.SERVER)
        attributes = self._attributes(given, scene)
        events = [self._event(event, scene) for event in span.events]
        scope = span.instrumentation_scope
        is_ours = scope is not None and scope.name == "cxtrace"
        return ReadableSpan(
            name=span.name if is_ours else _name(span.name, attributes),
            context=span.get_span_context(),
            parent=span.parent,
            resource=span.resource,
            attributes=_bounded(attributes, span.dropped_attributes),
            events=_listed(events, span.dropped_events),
            links=_listed([self._link(link, scene) for link in span.links], span.dropped_links),
            kind=span.kind,
            status=_status(span.status, [attributes, *(each.attributes for each in events)]),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=scope,
        )

    def _attributes(self, given: Mapping[str, Any], scene: Scene) -> Attributes:
        found: Attributes = {}
        for key, value in given.items():
            try:
                rule = self._rules[key] if key in self._rules else self._rule(key)
                kept = None if rule is None else rule(value, scene)
            except Exception as error:  # noqa: BLE001  fails closed
                _guard.swallow("scrub.attribute", error)
                kept = None
            if kept is not None:
                found[key] = kept
        if len(found) < len(given):
            _guard.count("scrub.attributes_removed", len(given) - len(found))
        return found

    def _rule(self, key: str) -> Rule | None:
        ours = _clean if key.startswith(_OURS) else None
        rule = _as_it_is if key.startswith(self._starts) else ours
        if len(self._rules) < _MOST_KEYS:
            self._rules[key] = rule
        return rule

    def _event(self, event: Any, scene: Scene) -> Event:
        attributes = self._attributes(event.attributes or {}, scene)
        is_known = event.name in self.kept or _EVENT.fullmatch(event.name)
        name = event.name if is_known else OTHER
        return Event(name, _bounded(attributes, event.dropped_attributes), event.timestamp)

    def _link(self, link: Any, scene: Scene) -> Link:
        attributes = self._attributes(link.attributes or {}, scene)
        return Link(link.context, _bounded(attributes, link.dropped_attributes))

    def _url(self, value: Any, scene: Scene) -> str | None:
        parts = urlsplit(value)
        netloc = parts.netloc.rpartition("@")[2]
        if not (_SCHEME.fullmatch(parts.scheme) and _NETLOC.fullmatch(netloc)):
            return None
        return f"{parts.scheme}://{netloc}{self._path(parts.path, scene)}"

    def _path(self, value: Any, scene: Scene) -> str:
        path: str = value.partition("?")[0].partition("#")[0]
        if not path.strip("/"):
            return path[:1]
        if scene.route is not None:
            return scene.route if scene.route.startswith("/") else f"/{scene.route}"
        if len(path) <= _routes.LONGEST_PATH:
            for template, pattern in self._paths:
                if pattern.fullmatch(path):
                    return template
        return _varying(path)


def checked_keep(keep: object) -> tuple[str, ...]:
    """What may leave beside the list.

    Raises:
        ConfigurationError: It is no list, or one of them is neither a key nor a path.
    """
    if isinstance(keep, Iterable) and not isinstance(keep, (str, bytes, Mapping)):
        kept = [each.strip() if isinstance(each, str) else "" for each in keep]
        if all(_KEPT.fullmatch(each) for each in kept):
            return tuple(kept)
    msg = 'keep must be a list of keys ("app.tenant", "app.*") and paths ("/payments/{id}")'
    raise ConfigurationError(msg)


def _template_in(given: Mapping[str, Any]) -> Callable[[str], Any]:
    return lambda key: _template(given.get(key), Scene())


def _varying(path: str) -> str:
    segments = path.split("/", _MOST_SEGMENTS + 1)[: _MOST_SEGMENTS + 1]
    return "/".join(each and VARIES for each in segments)


def _name(name: str, attributes: Mapping[str, Any]) -> str:
    """The name of a span: by convention of few values, by habit with a path or an id in it."""
    cleaned = scrub(name, _LONGEST)
    words = cleaned.split()
    if cleaned == name and all(_is_name(word) for word in words):
        return name
    known = {str(each) for value in attributes.values() for each in (value, *_parts(value))}
    return " ".join(_word_of_name(word, known) for word in words)


def _parts(value: Any) -> list[str]:
    return value.split("/") if isinstance(value, str) and len(value) <= _LONGEST else []


def _is_name(word: str) -> bool:
    return _NAMED.fullmatch(word) is not None and not _LONG_NUMBER.search(word)


def _word_of_name(word: str, known: set[str]) -> str:
    if word in known or _is_name(word):
        return word
    if "/" not in word:
        return VARIES
    parts = word.split("/", _MOST_SEGMENTS + 1)[: _MOST_SEGMENTS + 1]
    return "/".join(each if each in known or not each else VARIES for each in parts)


def _status(status: Status, said: Iterable[Any]) -> Status:
    """The status, described by the class of an error at most: behind it stands the text."""
    if not status.description or status.status_code is not StatusCode.ERROR:
        return Status(status.status_code)
    found = (each.get(key) for each in said for key in ("exception.type", names.ERROR_TYPE))
    types = [kind for kind in found if isinstance(kind, str)]
    shorts = [kind.rpartition(".")[2] for kind in types]
    head = status.description.partition(":")[0]
    return Status(status.status_code, head if head in (*types, *shorts) else None)


def _bare(span: ReadableSpan) -> ReadableSpan:
    """Nothing of a span but where it stands, how long it took and whether it failed."""
    return ReadableSpan(
        name=VARIES,
        context=span.get_span_context(),
        parent=span.parent,
        resource=span.resource,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _bounded(attributes: Attributes, dropped: int) -> Any:
    """The attributes, with how many the limits of the provider have dropped before us."""
    if not dropped:
        return attributes
    made = BoundedAttributes(None, attributes)
    made.dropped = dropped
    return made


def _listed(items: Sequence[Any], dropped: int) -> Any:
    if not dropped:
        return items
    made = BoundedList.from_seq(None, items)
    made.dropped = dropped
    return made
