"""Spans and log records as bytes and back: OTLP, so that any exporter can send what was kept.

Encoding is OpenTelemetry's own. What OTLP as OpenTelemetry writes it does not carry is not kept:
the trace state of a link and of a parent, and the ``sampled`` flag, which every span that is
exported has.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from inspect import signature
from typing import Any, Final, TypeVar

from attrs import frozen
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

T = TypeVar("T")

_IS_REMOTE: Final = 0x200
"""OTLP's ``SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK``."""
_TRACE_FLAGS: Final = 0xFF

_ANY_VALUE: Final[dict[str, Any]] = (
    {"extended_attributes": True}
    if "extended_attributes" in signature(BoundedAttributes).parameters
    else {}
)
"""Lets the older versions of OpenTelemetry keep nested values; the newer always do."""


class RecordsError(ValueError):
    """The items cannot be written as bytes, or the bytes are not items that were written here."""


@frozen
class _Kind:
    """What differs between spans and log records.

    Attributes:
        items: What they are called, here and in OTLP.
        group: The last word of what holds them in OTLP.
        encoder: Module and name of OpenTelemetry's encoder.
        request: Module and name of OTLP's message.
    """

    items: str
    group: str
    encoder: tuple[str, str]
    request: tuple[str, str]

    def encode(self, items: Sequence[Any]) -> Any:
        """The items as OTLP's message."""
        module, name = self.encoder
        encoder = import_module(f"opentelemetry.exporter.otlp.proto.common.{module}")
        return getattr(encoder, name)(items)

    def parse(self, payload: bytes) -> Any:
        """OTLP's message out of its bytes."""
        module, name = self.request
        return getattr(import_module(f"opentelemetry.proto.collector.{module}"), name).FromString(
            payload
        )

    def resources(self, message: Any) -> Any:
        """What a message holds, by resource."""
        return getattr(message, f"resource_{self.group}")

    def scopes(self, group: Any) -> Any:
        """What a resource's group holds, by scope."""
        return getattr(group, f"scope_{self.group}")

    def leaves(self, part: Any) -> Any:
        """The items of a scope."""
        return getattr(part, self.items)


_SPANS: Final = _Kind(
    "spans",
    "spans",
    ("trace_encoder", "encode_spans"),
    ("trace.v1.trace_service_pb2", "ExportTraceServiceRequest"),
)
_LOGS: Final = _Kind(
    "log_records",
    "logs",
    ("_log_encoder", "encode_logs"),
    ("logs.v1.logs_service_pb2", "ExportLogsServiceRequest"),
)


def encode_spans(spans: Sequence[ReadableSpan]) -> bytes:
    """Write spans as the bytes of OTLP's ``ExportTraceServiceRequest``.

    Decoding them and encoding again gives the same bytes. Of several resources or scopes, those
    that OTLP cannot tell apart become one.

    Raises:
        RecordsError: One of them cannot be written so that it can be read: a name is no Unicode,
            or an attribute is nested more than some thirty levels deep. The others alone can.

    """
    return _encoded(_SPANS, spans)


def decode_spans(payload: bytes) -> list[ReadableSpan]:
    """Read what ``encode_spans`` wrote: spans that any exporter takes.

    Raises:
        RecordsError: The bytes are something else, or damaged. It is an error rather than an empty
            list, so that nobody takes a lost batch for an empty one.

    """
    return _decoded(_SPANS, payload, _span)


def encode_logs(records: Sequence[ReadableLogRecord]) -> bytes:
    """Write log records as the bytes of OTLP's ``ExportLogsServiceRequest``.

    Raises:
        RecordsError: As for ``encode_spans``.

    """
    return _encoded(_LOGS, records)


def decode_logs(payload: bytes) -> list[ReadableLogRecord]:
    """Read what ``encode_logs`` wrote: log records that any exporter takes.

    Raises:
        RecordsError: As for ``decode_spans``.

    """
    return _decoded(_LOGS, payload, _log)


def _encoded(kind: _Kind, items: Sequence[Any]) -> bytes:
    try:
        payload: bytes = _merged(kind, kind.encode(items)).SerializeToString()
        kind.parse(payload)  # Deeper nesting is written than read.
    except Exception as error:
        msg = f"among {len(items)} {kind.items} is one that OTLP cannot hold"
        raise RecordsError(msg) from error
    return payload


def _decoded(kind: _Kind, payload: bytes, make: Callable[[Any, Resource, Any], T]) -> list[T]:
    try:
        return [
            make(item, resource, scope)
            for group in kind.resources(kind.parse(payload))
            for resource in [_resource(group)]
            for part in kind.scopes(group)
            for scope in [_scope(part)]
            for item in kind.leaves(part)
        ]
    except Exception as error:
        msg = f"{len(payload)} bytes are no {kind.items} in OTLP"
        raise RecordsError(msg) from error


def _merged(kind: _Kind, message: Any) -> Any:
    """One group for each resource and scope.

    OpenTelemetry makes two of those that differ in nothing that OTLP carries, as a version of None
    and one of "".
    """
    groups = [(_resource(group), group) for group in kind.resources(message)]
    if all(map(_are_different, _parts(kind, groups))):
        return message
    merged = type(message)()
    known: dict[Any, Any] = {}
    for resource, group in groups:
        if resource not in known:
            known[resource] = kind.resources(merged).add(
                resource=group.resource, schema_url=group.schema_url
            )
        for part in kind.scopes(group):
            key = resource, _scope(part)
            if key not in known:
                known[key] = kind.scopes(known[resource]).add(
                    scope=part.scope, schema_url=part.schema_url
                )
            kind.leaves(known[key]).extend(kind.leaves(part))
    return merged


def _parts(kind: _Kind, groups: list[tuple[Resource, Any]]) -> Iterator[list[Any]]:
    yield [resource for resource, _ in groups]
    for _, group in groups:
        yield [_scope(part) for part in kind.scopes(group)]


def _are_different(things: list[Any]) -> bool:
    return len(things) == 1 or len(set(things)) == len(things)


def _resource(group: Any) -> Resource:
    return Resource(_attributes(group.resource.attributes), group.schema_url)


def _scope(part: Any) -> InstrumentationScope:
    scope = part.scope
    attributes = _attributes(scope.attributes)
    return InstrumentationScope(scope.name, scope.version or None, part.schema_url, attributes)


def _span(item: Any, resource: Resource, scope: InstrumentationScope) -> ReadableSpan:
    trace_id = _identifier(item.trace_id, 16)
    flags = TraceFlags(item.flags & _TRACE_FLAGS | TraceFlags.SAMPLED)
    state = _trace_state(item.trace_state)
    parent = item.parent_span_id and SpanContext(
        trace_id, _identifier(item.parent_span_id, 8), bool(item.flags & _IS_REMOTE), flags
    )
    return ReadableSpan(
        name=item.name,
        context=SpanContext(trace_id, _identifier(item.span_id, 8), False, flags, state),
        parent=parent or None,
        resource=resource,
        attributes=_attributes(item.attributes, item.dropped_attributes_count),
        events=_listed(map(_event, item.events), item.dropped_events_count),
        links=_listed(map(_link, item.links), item.dropped_links_count),
        kind=SpanKind(item.kind - 1),  # OTLP has one more before them: unspecified.
        status=_status(item.status),
        start_time=item.start_time_unix_nano,
        end_time=item.end_time_unix_nano,
        instrumentation_scope=scope,
    )


def _event(item: Any) -> Event:
    attributes = _attributes(item.attributes, item.dropped_attributes_count)
    return Event(item.name, attributes, item.time_unix_nano)


def _link(item: Any) -> Link:
    context = SpanContext(
        _identifier(item.trace_id, 16),
        _identifier(item.span_id, 8),
        bool(item.flags & _IS_REMOTE),
        TraceFlags(item.flags & _TRACE_FLAGS),
        _trace_state(item.trace_state),
    )
    return Link(context, _attributes(item.attributes, item.dropped_attributes_count))


def _status(item: Any) -> Status:
    code = StatusCode(item.code)
    return Status(code, (item.message or None) if code is StatusCode.ERROR else None)


def _trace_state(header: str) -> TraceState:
    pairs = (member.partition("=") for member in header.split(",") if member)
    return TraceState([(key, value) for key, _, value in pairs])


def _log(item: Any, resource: Resource, scope: InstrumentationScope) -> ReadableLogRecord:
    span = SpanContext(
        _identifier(item.trace_id, 16) if item.trace_id else 0,
        _identifier(item.span_id, 8) if item.span_id else 0,
        False,
        TraceFlags(item.flags),
    )
    record = LogRecord(
        timestamp=item.time_unix_nano or None,
        observed_timestamp=item.observed_time_unix_nano,
        context=set_span_in_context(NonRecordingSpan(span), Context()),
        severity_text=item.severity_text or None,
        severity_number=SeverityNumber(item.severity_number) if item.severity_number else None,
        body=_value(item.body),
        attributes=_attributes(item.attributes, item.dropped_attributes_count),
        event_name=item.event_name or None,
    )
    return ReadableLogRecord(record, resource, scope)


def _identifier(found: bytes, size: int) -> int:
    if len(found) != size:
        msg = f"an identifier of {len(found)} bytes instead of {size}"
        raise ValueError(msg)
    return int.from_bytes(found, "big")


def _attributes(pairs: Iterable[Any], dropped: int = 0) -> Any:
    found = {pair.key: _value(pair.value) for pair in pairs}
    if not dropped:
        return found
    kept = BoundedAttributes(attributes=found, **_ANY_VALUE)
    kept.dropped = dropped
    return kept


def _listed(items: Iterable[Any], dropped: int) -> Sequence[Any]:
    if not dropped:
        return tuple(items)
    kept: Any = BoundedList.from_seq(None, items)
    kept.dropped = dropped
    return kept  # type: ignore[no-any-return]


def _value(item: Any) -> Any:
    which = item.WhichOneof("value")
    if which is None:
        return None
    found = getattr(item, which)
    if which == "array_value":
        return tuple(map(_value, found.values))
    if which == "kvlist_value":
        return {pair.key: _value(pair.value) for pair in found.values}
    return found
