"""A genuine OpenTelemetry span that costs a fraction of the SDK's own.

The SDK validates and copies every attribute of every span, and makes four locks. A touchpoint's
attributes are known, and valid, from the moment it is declared. So ours is the ``ReadableSpan``
that processors and exporters expect, filled directly, and started and ended through the provider's
own sampler, id generator, limits and processors. A tracer, a limit or a setting that this module
does not understand goes to the SDK's tracer: slower, never wrong.
"""

import os
import threading
from collections.abc import Callable, Mapping
from time import time_ns
from types import MappingProxyType
from typing import Any, Final, TypeGuard

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.trace import (
    Event,
    ReadableSpan,
    SpanLimits,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
    Tracer,
)
from opentelemetry.sdk.trace import Span as SDKSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, ParentBasedTraceIdRatio
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)
from opentelemetry.util.types import Attributes as OTelAttributes

from cxtrace import _guard
from cxtrace._runtime import Attributes, Tracing, blank, finish_span, start_span
from cxtrace.context import SPAN_KEY
from cxtrace.sampling import DestinationSampler, DestinationState

_UNSET: Final = Status(StatusCode.UNSET)
_PLAIN: Final = frozenset((str, bool, int, float))
_SAMPLED: Final = TraceFlags.SAMPLED
_FEWEST_ATTRIBUTES: Final = 64
_SILENT: Final = (
    SpanProcessor.on_start,
    BatchSpanProcessor.on_start,
    SimpleSpanProcessor.on_start,
    getattr(SpanProcessor, "_on_ending", None),
)
_OURS: Final = ("cx.", "enduser.", "session.id", "error.type")
_RANDOM: Final = getattr(TraceFlags, "RANDOM_TRACE_ID", 0)

ROOM_FOR_OURS: Final = 16
"""Attributes below the limit that are kept free for what a touchpoint sets at its end."""


class LeanSpan(ReadableSpan, Span):
    """The span of a touchpoint. Attributes, events and links obey the provider's limits."""

    def __init__(
        self,
        binding: "Binding",
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        attributes: Attributes,
        links: Any,
    ) -> None:
        self._binding = binding
        self._name = name
        self._context = context
        self._parent = parent
        self._attributes = attributes
        self._links: Any = links
        self._events: Any = ()
        self._dropped = 0
        self._status = _UNSET
        self._lock = threading.Lock()
        self._end_time: int | None = None
        self._resource = binding.tracer.resource
        self._instrumentation_scope = binding.scope
        self._start_time = time_ns()

    _kind = SpanKind.INTERNAL
    _instrumentation_info = None
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
        return self._binding.limits

    @property
    def _span_processor(self) -> Any:
        return self._binding.processor

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

    def _put(self, key: str, value: Any) -> None:
        present = self._attributes
        if not isinstance(key, str) or not key or (key not in present and self._is_full(key)):
            self._dropped += 1
        elif type(value) in _PLAIN:
            present[key] = value
        else:
            present.update(BoundedAttributes(1, {key: value}, immutable=False))

    def _is_full(self, key: str) -> bool:
        most = self._binding.limits.max_span_attributes
        if most is None:
            return False
        room = most if key.startswith(_OURS) else most - ROOM_FOR_OURS
        return len(self._attributes) >= room

    def add_event(
        self, name: str, attributes: OTelAttributes = None, timestamp: int | None = None
    ) -> None:
        """Add an event, as on any span."""
        limits = self._binding.limits
        event = Event(name, _bounded(attributes, limits.max_event_attributes, limits), timestamp)
        with self._lock:
            if self._end_time is None:
                if type(self._events) is tuple:
                    self._events = BoundedList(limits.max_events)
                self._events.append(event)

    def add_link(self, context: SpanContext, attributes: OTelAttributes = None) -> None:
        """Add a link, as on any span."""
        if not (context.is_valid or attributes or context.trace_state):
            return
        limits = self._binding.limits
        link = Link(context, _bounded(attributes, limits.max_link_attributes, limits))
        with self._lock:
            if self._end_time is None:
                if not isinstance(self._links, BoundedList):
                    self._links = BoundedList.from_seq(limits.max_links, self._links)
                self._links.append(link)

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
            self._end_time = time_ns() if end_time is None else end_time
        self._binding.ended(self)

    def finish(self, last: Attributes) -> None:
        """Set the last attributes, which are ours and valid, and end the span."""
        with self._lock:
            if self._end_time is not None:
                return
            self._attributes.update(last)
            self._end_time = time_ns()
        self._binding.ended(self)


def stamp(span: SDKSpan, tags: dict[str, str]) -> None:
    """Set ``tags`` on a span of the SDK, except those that it has already.

    The tags are valid, so they go past the SDK's checks where its attributes are as we know them.
    """
    present: Any = getattr(span, "_attributes", None)
    if type(present) is BoundedAttributes and present.max_value_len is None:
        with present._lock:  # noqa: SLF001  the public way costs four times as much
            known = present._dict  # noqa: SLF001
            if present.maxlen is None or len(known) + len(tags) <= present.maxlen:
                for key, value in tags.items():
                    known.setdefault(key, value)
                return
    has = span.attributes or {}
    span.set_attributes({key: value for key, value in tags.items() if key not in has})


def forget(span: Span, keys: tuple[str, ...]) -> None:
    """Take attributes from an open span of the SDK; blank them where it is another's."""
    present: Any = getattr(span, "_attributes", None)
    if type(present) is BoundedAttributes and span.is_recording():
        with present._lock:  # noqa: SLF001  the SDK has no way to delete an attribute
            for key in keys:
                present._dict.pop(key, None)  # noqa: SLF001
    else:
        blank(span, keys)


def _bounded(attributes: OTelAttributes, most: int | None, limits: SpanLimits) -> BoundedAttributes:
    return BoundedAttributes(most, attributes, max_value_len=limits.max_attribute_length)


class _Listeners:
    """The methods of a provider's processors that do something, called without the way round."""

    __slots__ = ("_known", "_processor", "ended", "ending", "starting")

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._known: tuple[Any, ...] | None = None

    def now(self) -> "_Listeners":
        """Up to date: a provider may be given more processors at any time."""
        if type(self._processor) is SynchronousMultiSpanProcessor:
            processors = self._processor._span_processors  # noqa: SLF001  the fan-out costs 0.8 µs
        else:
            processors = (self._processor,) if self._known is None else self._known
        if processors is not self._known:
            self.starting = _methods(processors, "on_start")
            self.ending = _methods(processors, "_on_ending")
            self.ended = _methods(processors, "on_end")
            self._known = processors
        return self


def _methods(processors: tuple[Any, ...], name: str) -> tuple[Callable[..., None], ...]:
    found = (getattr(processor, name, None) for processor in processors)
    return tuple(one for one in found if one and getattr(one, "__func__", one) not in _SILENT)


class Binding:
    """What does not change from span to span of one provider: the ``Tracing`` of an SDK."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer
        self.limits: SpanLimits = tracer._span_limits  # noqa: SLF001  no public way to the limits
        self.scope = tracer._instrumentation_scope  # noqa: SLF001
        self.processor = tracer.span_processor
        self._listeners = _Listeners(tracer.span_processor)
        self._is_enabled = getattr(tracer, "_is_enabled", _always)
        self._ids = tracer.id_generator
        self._follows_parent = _follows_local_parent(tracer)
        self._random = _RANDOM if _makes_random_ids(tracer.id_generator) else 0

    idle = None

    def unsampled(self, context: Context) -> Span | None:
        """The current span, if it is one of this process that is not sampled, and decides."""
        parent: Any = context.get(SPAN_KEY)
        if type(parent) is not NonRecordingSpan or not self._follows_parent:
            return None
        span = parent.get_span_context()
        if span.trace_flags & _SAMPLED or span.is_remote or not span.is_valid:
            return None
        return None if type(span.trace_state) is DestinationState else parent

    def start(
        self, name: str, attributes: Attributes, context: Context, origin: SpanContext | None
    ) -> Span:
        """A started span, as the provider's sampler decides."""
        parent_span: Any = context.get(SPAN_KEY)
        parent = None if parent_span is None else _context_of(parent_span)
        if not self._is_enabled():
            return NonRecordingSpan(INVALID_SPAN_CONTEXT if parent is None else parent)
        links = () if origin is None else self._links(origin)
        if parent is None or not parent.is_valid:
            return self._decide(name, attributes, context, None, links)
        if parent.is_remote or not self._follows_parent:
            return self._decide(name, attributes, context, parent, links)
        if not parent.trace_flags & _SAMPLED:
            return NonRecordingSpan(_without_destination(parent))
        identity = SpanContext(
            parent.trace_id,
            self._ids.generate_span_id(),
            False,
            parent.trace_flags,
            parent.trace_state,
        )
        return self._begin(LeanSpan(self, name, identity, parent, attributes, links), context)

    def _links(self, origin: SpanContext) -> Any:
        limits = self.limits
        link = Link(origin, _bounded(None, limits.max_link_attributes, limits))
        return BoundedList.from_seq(limits.max_links, [link])

    def finish(self, span: Span, last: Attributes, ours: Callable[[], Attributes]) -> None:
        """Set the last attributes and end the span."""
        if type(span) is LeanSpan:
            span.finish(last)

    def forget(self, span: Span, keys: tuple[str, ...]) -> None:
        """Take attributes from an open span."""
        if type(span) is LeanSpan:
            span.forget(keys)
        else:
            forget(span, keys)

    def _begin(self, span: LeanSpan, context: Context) -> LeanSpan:
        for on_start in self._listeners.now().starting:
            try:
                on_start(span, context)
            except Exception as error:  # noqa: BLE001
                _guard.swallow("span_processor.on_start", error)
        return span

    def ended(self, span: LeanSpan) -> None:
        """Hand an ended span to the provider's processors."""
        listeners = self._listeners.now()
        for on_ending in listeners.ending:
            try:
                on_ending(span)
            except Exception as error:  # noqa: BLE001
                _guard.swallow("span_processor.on_ending", error)
        for on_end in listeners.ended:
            try:
                on_end(span)
            except Exception as error:  # noqa: BLE001
                _guard.swallow("span_processor.on_end", error)

    def _decide(
        self,
        name: str,
        attributes: Attributes,
        context: Context,
        parent: SpanContext | None,
        links: Any,
    ) -> Span:
        """What the SDK's tracer does for a root, a remote parent or a sampler of its own."""
        tracer = self.tracer
        if parent is None:
            trace_id = self._ids.generate_trace_id()
            random = self._random
        else:
            trace_id = parent.trace_id
            random = parent.trace_flags & _RANDOM
        result = tracer.sampler.should_sample(
            context, trace_id, name, SpanKind.INTERNAL, attributes, links
        )
        sampled = (
            TraceFlags.SAMPLED
            if result.decision is Decision.RECORD_AND_SAMPLE
            else TraceFlags.DEFAULT
        )
        identity = SpanContext(
            trace_id,
            self._ids.generate_span_id(),
            False,
            TraceFlags(sampled | random),
            result.trace_state,
        )
        if result.decision is Decision.DROP:
            return NonRecordingSpan(identity)
        if result.attributes != attributes:
            attributes = dict(BoundedAttributes(None, result.attributes, immutable=False))
        return self._begin(LeanSpan(self, name, identity, parent, attributes, links), context)


def _context_of(span: object) -> SpanContext | None:
    # What is under OpenTelemetry's key need not be a span.
    find = getattr(span, "get_span_context", None)
    return None if find is None else find()


def _without_destination(parent: SpanContext) -> SpanContext:
    """The parent without the destination of its request, which is not that of its children."""
    return SpanContext(
        parent.trace_id,
        parent.span_id,
        False,
        parent.trace_flags,
        TraceState(list(parent.trace_state.items())),
    )


class SDKTracing:
    """Spans of the SDK's own tracer, for providers and settings that a ``Binding`` leaves alone."""

    idle = None

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def unsampled(self, context: Context) -> Span | None:
        """Left to the tracer."""
        return None

    def start(
        self, name: str, attributes: Attributes, context: Context, origin: SpanContext | None
    ) -> Span:
        """A started span."""
        return start_span(self._tracer, name, attributes, context, origin)

    def finish(self, span: Span, last: Attributes, ours: Callable[[], Attributes]) -> None:
        """Set the last attributes and end the span."""
        finish_span(span, last, ours)

    def forget(self, span: Span, keys: tuple[str, ...]) -> None:
        """Take attributes from an open span."""
        forget(span, keys)


def tracing_of(provider: trace.TracerProvider, version: str) -> Tracing:
    """The fastest way to make spans of ``provider`` that is surely right."""
    tracer = provider.get_tracer("cxtrace", version)
    return Binding(tracer) if _is_understood(tracer) else SDKTracing(tracer)


def _is_understood(tracer: trace.Tracer) -> TypeGuard[Tracer]:
    if type(tracer) is not Tracer or _sdk_counts_spans():
        return False
    limits = getattr(tracer, "_span_limits", None)
    if limits is None or limits.max_span_attribute_length is not None:
        return False
    most = limits.max_span_attributes
    return most is None or most >= _FEWEST_ATTRIBUTES


def _sdk_counts_spans() -> bool:
    asked = os.environ.get("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "")
    return asked.strip().lower() == "true"


def _makes_random_ids(ids: IdGenerator) -> bool:
    says = getattr(ids, "is_trace_id_random", None)
    return says is not None and says()


def _follows_local_parent(tracer: Tracer) -> bool:
    sampler = tracer.sampler
    if type(sampler) is DestinationSampler:
        sampler = sampler.inner
    # Only of this very class is the description known to say all.
    if type(sampler) not in (ParentBased, ParentBasedTraceIdRatio):
        return False
    return sampler.get_description().endswith(
        "localParentSampled:AlwaysOnSampler,localParentNotSampled:AlwaysOffSampler}"
    )


def _always() -> bool:
    return True
