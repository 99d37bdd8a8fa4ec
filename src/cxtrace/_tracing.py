"""How a touchpoint's span is made in a provider of the SDK.

A lean span is started and ended through the provider's own sampler, id generator, limits and
processors. A tracer, a limit or a setting that is not understood goes to the SDK's tracer: slower,
never wrong.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeGuard

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.trace import (
    SpanLimits,
    SpanProcessor,
    SynchronousMultiSpanProcessor,
    Tracer,
)
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
    TraceFlags,
    TraceState,
)

from cxtrace import _guard
from cxtrace._runtime import Attributes, Tracing, finish_span, start_span
from cxtrace._span import LeanSpan, amend, bounded, forget, write
from cxtrace.context import SPAN_KEY, make
from cxtrace.processors import StampProcessor
from cxtrace.sampling import DestinationSampler, DestinationState

_SAMPLED: Final = TraceFlags.SAMPLED
_SPAN_IDS: Final = 1 << 64
_FEWEST_ATTRIBUTES: Final = 64
_SILENT: Final = (
    SpanProcessor.on_start,
    BatchSpanProcessor.on_start,
    SimpleSpanProcessor.on_start,
    StampProcessor.on_start,
    StampProcessor.on_end,
    getattr(SpanProcessor, "_on_ending", None),
)
"""Methods of processors that do nothing with a span of ours."""

_RANDOM: Final = getattr(TraceFlags, "RANDOM_TRACE_ID", 0)


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
    """The ``Tracing`` of one provider: what does not change from span to span, looked up once."""

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer
        self.limits: SpanLimits = tracer._span_limits  # noqa: SLF001  no public way to the limits
        self.resource = tracer.resource
        self.scope = tracer._instrumentation_scope  # noqa: SLF001
        self.processor = tracer.span_processor
        self._listeners = _Listeners(tracer.span_processor)
        self._is_enabled = tracer._is_enabled  # noqa: SLF001  no public way to ask
        self._ids = tracer.id_generator
        self._follows_parent = _follows_local_parent(tracer)
        self._random = _RANDOM if _makes_random_ids(tracer.id_generator) else 0

    idle = None

    def unsampled(self, context: Context) -> Span | None:
        """The current span, if it is one of this process that is not sampled, and decides."""
        parent: Any = context.get(SPAN_KEY)
        if type(parent) is not NonRecordingSpan or not self._follows_parent:
            return None
        _, _, is_remote, flags, state, is_valid = parent.get_span_context()
        if flags & _SAMPLED or is_remote or not is_valid or type(state) is DestinationState:
            return None
        return parent

    def start(
        self, name: str, attributes: Attributes, context: Context, origin: SpanContext | None
    ) -> Span:
        """A started span, as the provider's sampler decides."""
        parent_span: Any = context.get(SPAN_KEY)
        # What is under OpenTelemetry's key need not be a span.
        find = getattr(parent_span, "get_span_context", None)
        parent: SpanContext | None = None if find is None else find()
        if not self._is_enabled():
            return NonRecordingSpan(INVALID_SPAN_CONTEXT if parent is None else parent)
        links = () if origin is None else self._links(origin)
        if parent is None:
            return self._decide(name, attributes, context, None, links)
        # As the tuple that it is: each of its properties costs a call.
        trace_id, _, is_remote, flags, state, is_valid = parent
        if not is_valid:
            return self._decide(name, attributes, context, None, links)
        if is_remote or not self._follows_parent:
            return self._decide(name, attributes, context, parent, links)
        if not flags & _SAMPLED:
            return NonRecordingSpan(_without_destination(parent))
        span_id = self._ids.generate_span_id()
        is_valid = 0 < span_id < _SPAN_IDS
        identity = make(SpanContext, (trace_id, span_id, False, flags, state, is_valid))
        return self._begin(LeanSpan(self, name, identity, parent, attributes, links), context)

    def _links(self, origin: SpanContext) -> Any:
        limits = self.limits
        link = Link(origin, bounded(None, limits.max_link_attributes, limits))
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

    def amend(self, span: Span, tags: Mapping[str, str], details: Mapping[str, str]) -> None:
        """Change a span that has ended and may still wait: ``details`` only what it has already."""
        amend(span, tags, details)

    def tell(self, span: Span, name: str, attributes: Attributes) -> None:
        """Add an event, whose attributes are valid, to an open span."""
        if type(span) is LeanSpan:
            span.tell(name, attributes)
        else:
            span.add_event(name, attributes)

    def write(self, span: Span, attributes: Attributes) -> None:
        """Set attributes, which are valid, on an open span of anyone."""
        write(span, attributes)

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

    def amend(self, span: Span, tags: Mapping[str, str], details: Mapping[str, str]) -> None:
        """Change a span that has ended and may still wait: ``details`` only what it has already."""
        amend(span, tags, details)

    def tell(self, span: Span, name: str, attributes: Attributes) -> None:
        """Add an event."""
        span.add_event(name, attributes)

    def write(self, span: Span, attributes: Attributes) -> None:
        """Set attributes."""
        span.set_attributes(attributes)


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
