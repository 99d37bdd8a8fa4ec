"""A genuine OpenTelemetry span that costs a fraction of the SDK's own.

The SDK validates and copies every attribute of every span, and makes four locks. A touchpoint's
attributes are known, and valid, from the moment it is declared. So ours is the ``ReadableSpan``
that processors and exporters expect, filled directly. ``_tracing`` makes it.
"""

import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits
from opentelemetry.sdk.trace import Span as SDKSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
)
from opentelemetry.util.types import Attributes as OTelAttributes

from cxtrace import _clock
from cxtrace._runtime import Attributes, blank

_Lock: Final = type(threading.RLock())
"""Made directly in half the time that the function around it takes."""

_UNSET: Final = Status(StatusCode.UNSET)
_PLAIN: Final = frozenset((str, bool, int, float))
_OURS: Final = ("cx.", "enduser.", "session.id", "error.type")

ROOM_FOR_OURS: Final = 16
"""Attributes below the limit that are kept free for what a touchpoint sets at its end."""


class Maker(Protocol):
    """What a span needs of the provider that it was made in."""

    limits: SpanLimits
    resource: Resource
    scope: Any
    processor: Any

    def ended(self, span: "LeanSpan") -> None:
        """Hand an ended span to the processors."""
        ...


class LeanSpan(ReadableSpan, Span):
    """The span of a touchpoint. Attributes, events and links obey the provider's limits."""

    def __init__(
        self,
        maker: Maker,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        attributes: Attributes,
        links: Any,
    ) -> None:
        self._maker = maker
        self._name = name
        self._context = context
        self._parent = parent
        self._attributes = attributes
        self._links: Any = links
        # Reentrant, for a signal handler or a finaliser may write to the span while we do.
        self._lock = _Lock()
        self._resource = maker.resource
        self._instrumentation_scope = maker.scope
        self._start_time = _clock.wall_ns()

    # What most spans never change is not written to each.
    _kind = SpanKind.INTERNAL
    _instrumentation_info = None
    _events: Any = ()
    _dropped = 0
    _status = _UNSET
    _end_time: int | None = None
    _context: SpanContext
    _attributes: dict[str, Any]

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The attributes: a copy while the span is open and they may still change."""
        if self._end_time is not None:
            return MappingProxyType(self._attributes)
        with self._lock:
            return MappingProxyType(self._attributes.copy())

    @property
    def dropped_attributes(self) -> int:
        """How many attributes the provider's limit kept out."""
        return self._dropped

    # Processors of others read these of the SDK's span.
    _record_exception = False
    _set_status_on_exception = False

    @property
    def _limits(self) -> SpanLimits:
        return self._maker.limits

    @property
    def _span_processor(self) -> Any:
        return self._maker.processor

    def _readable_span(self) -> ReadableSpan:
        return ReadableSpan(
            name=self._name,
            context=self._context,
            parent=self._parent,
            resource=self._resource,
            attributes=dict(self.attributes),
            events=self.events,
            links=self.links,
            kind=self._kind,
            status=self._status,
            start_time=self._start_time,
            end_time=self._end_time,
            instrumentation_scope=self._instrumentation_scope,
        )

    def get_span_context(self) -> SpanContext:
        """The span's identity."""
        return self._context

    def is_recording(self) -> bool:
        """Whether the span is still open."""
        return self._end_time is None

    def set_attribute(self, key: str, value: Any) -> None:
        """Set one attribute, as on any span; past the limit a new key is dropped and counted."""
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set attributes, as on any span."""
        with self._lock:
            if self._end_time is None:
                for key, value in attributes.items():
                    self._put(key, value)

    def forget(self, keys: tuple[str, ...]) -> None:
        """Take attributes away again."""
        with self._lock:
            if self._end_time is None:
                for key in keys:
                    self._attributes.pop(key, None)
                forget_in_events(self._events, keys)

    def _put(self, key: str, value: Any) -> None:
        present = self._attributes
        if not isinstance(key, str) or not key or (key not in present and self._is_full(key)):
            self._dropped += 1
        elif type(value) in _PLAIN:
            present[key] = value
        else:
            present.update(BoundedAttributes(1, {key: value}, immutable=False))

    def _is_full(self, key: str) -> bool:
        most = self._maker.limits.max_span_attributes
        if most is None:
            return False
        room = most if key.startswith(_OURS) else most - ROOM_FOR_OURS
        return len(self._attributes) >= room

    def add_event(
        self, name: str, attributes: OTelAttributes = None, timestamp: int | None = None
    ) -> None:
        """Add an event, as on any span."""
        limits = self._maker.limits
        valid = bounded(attributes, limits.max_event_attributes, limits)
        self._append(Event(name, valid, timestamp or _clock.wall_ns()))

    def tell(self, name: str, attributes: Attributes) -> None:
        """Add an event of ours, whose attributes are valid and few."""
        most = self._maker.limits.max_event_attributes
        if most is not None and len(attributes) > most:
            self.add_event(name, attributes)
        else:
            self._append(Event(name, attributes, _clock.wall_ns()))

    def _append(self, event: Event) -> None:
        with self._lock:
            if self._end_time is None:
                if type(self._events) is tuple:
                    self._events = self._under_our_lock(BoundedList(self._maker.limits.max_events))
                self._events.append(event)

    def _under_our_lock(self, kept: Any) -> Any:
        kept._lock = self._lock  # noqa: SLF001  its own cannot be entered twice in one thread
        return kept

    def add_link(self, context: SpanContext, attributes: OTelAttributes = None) -> None:
        """Add a link, as on any span."""
        if not (context.is_valid or attributes or context.trace_state):
            return
        limits = self._maker.limits
        link = Link(context, bounded(attributes, limits.max_link_attributes, limits))
        with self._lock:
            if self._end_time is None:
                if not isinstance(self._links, BoundedList):
                    self._links = BoundedList.from_seq(limits.max_links, self._links)
                self._under_our_lock(self._links).append(link)

    def update_name(self, name: str) -> None:
        """Rename the span."""
        if self._end_time is None:
            self._name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status, by OpenTelemetry's rules: OK is final, UNSET is ignored."""
        if isinstance(status, StatusCode):
            status = Status(status, description)
        final = self._status.status_code is StatusCode.OK or self._end_time is not None
        if not final and status.status_code is not StatusCode.UNSET:
            self._status = status

    def record_exception(
        self,
        exception: BaseException,
        attributes: OTelAttributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Record an exception because the host asks for it; cxtrace itself never does."""
        SDKSpan.record_exception(
            self,  # type: ignore[arg-type]
            exception,
            attributes,
            timestamp,
            escaped,
        )

    def end(self, end_time: int | None = None) -> None:
        """End the span and hand it to the provider's processors."""
        with self._lock:
            if self._end_time is not None:
                return
            self._end_time = _clock.wall_ns() if end_time is None else end_time
        self._maker.ended(self)

    def finish(self, last: Attributes) -> None:
        """Set the last attributes, which are ours and valid, and end the span."""
        with self._lock:
            if self._end_time is not None:
                return
            self._attributes.update(last)
            self._end_time = _clock.wall_ns()
        self._maker.ended(self)


def stamp(span: SDKSpan, tags: dict[str, str]) -> None:
    """Set ``tags`` on a span of the SDK, except those that it has already.

    The tags are valid, so they go past the SDK's checks where its attributes are as we know them.
    """
    present: Any = getattr(span, "_attributes", None)
    if type(present) is BoundedAttributes and present.max_value_len is None:
        with present._lock:  # noqa: SLF001  the public way costs four times as much
            known = present._dict  # noqa: SLF001
            if present.maxlen is None or len(known) + len(tags) <= present.maxlen:
                if known.keys().isdisjoint(tags):
                    known.update(tags)
                else:
                    known.update({key: tags[key] for key in tags if key not in known})
                return
    has = span.attributes or {}
    span.set_attributes({key: value for key, value in tags.items() if key not in has})


def write(span: Span, values: Attributes) -> None:
    """Set valid attributes on an open span, past the checks of an SDK that is as we know it."""
    present: Any = getattr(span, "_attributes", None)
    if type(present) is BoundedAttributes and present.max_value_len is None and span.is_recording():
        with present._lock:  # noqa: SLF001  the public way costs ten times as much
            known = present._dict  # noqa: SLF001
            if present.maxlen is None or len(known) + len(values) <= present.maxlen:
                known.update(values)
                return
    span.set_attributes(values)


def forget(span: Span, keys: tuple[str, ...]) -> None:
    """Take attributes from an open span of the SDK; blank them where it is another's."""
    present: Any = getattr(span, "_attributes", None)
    if type(present) is BoundedAttributes and span.is_recording():
        with present._lock:  # noqa: SLF001  the SDK has no way to delete an attribute
            for key in keys:
                present._dict.pop(key, None)  # noqa: SLF001
        forget_in_events(getattr(span, "_events", None), keys)
    else:
        blank(span, keys)


def amend(span: Span, tags: Mapping[str, str], details: Mapping[str, str]) -> None:
    """Change a span that has ended and may still wait to be sent.

    An exporter may be reading its attributes: they are replaced as a whole, and no key ever goes
    away.

    Args:
        span: Of the SDK, or ours.
        tags: Set, whatever there is.
        details: Set only where the span has such a key.
    """
    held: Any = getattr(span, "_attributes", None)
    if type(held) is BoundedAttributes:
        with held._lock:  # noqa: SLF001  the SDK takes no more attributes after the end
            held._dict = _amended(held._dict, tags, details)  # noqa: SLF001
    elif type(span) is LeanSpan:
        span._attributes = _amended(held, tags, details)  # noqa: SLF001
    blank = tuple(key for key in details if not details[key])
    if blank:
        forget_in_events(getattr(span, "_events", None), blank)


def _amended(
    present: dict[str, Any], tags: Mapping[str, str], details: Mapping[str, str]
) -> dict[str, Any]:
    return {**present, **{key: details[key] for key in details if key in present}, **tags}


def forget_in_events(events: Any, keys: tuple[str, ...]) -> None:
    """Take attributes from events that a span has already."""
    if not hasattr(events, "_dq"):
        return
    with events._lock:  # noqa: SLF001  the SDK has no way to change an event
        for at, event in enumerate(list(events._dq)):  # noqa: SLF001
            found = event.attributes or {}
            if any(key in found for key in keys):
                # A new one: a log record on its way has the same attributes.
                kept = {key: value for key, value in found.items() if key not in keys}
                events._dq[at] = Event(event.name, kept, event.timestamp)  # noqa: SLF001


def bounded(attributes: OTelAttributes, most: int | None, limits: SpanLimits) -> BoundedAttributes:
    """The attributes of an event or link under the provider's limits."""
    return BoundedAttributes(most, attributes, max_value_len=limits.max_attribute_length)
