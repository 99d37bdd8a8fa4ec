"""Providers of OpenTelemetry that nobody else sees, and that keep all they are given."""

import threading
from typing import Any, Final

from opentelemetry._logs import NoOpLogger, NoOpLoggerProvider
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk.metrics import MeterProvider, TraceBasedExemplarFilter
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from cxtrace._tracing import Binding
from cxtrace._version import version
from cxtrace.processors import StampProcessor
from cxtrace.sampling import DestinationSampler

_LIMIT: Final = 128


class Spans(SpanProcessor):
    """Keeps every span, in the order in which they began."""

    def __init__(self) -> None:
        self._began: list[Any] = []
        self._ended: dict[int, Any] = {}
        self._lock = threading.Lock()

    def on_start(self, span: Any, parent_context: Context | None = None) -> None:
        """Keep the open span."""
        with self._lock:
            self._began.append(span)

    def on_end(self, span: ReadableSpan) -> None:
        """Keep the span as it is exported."""
        with self._lock:
            self._ended[span.get_span_context().span_id] = span  # type: ignore[union-attr]

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is held back."""
        return True

    def all(self) -> list[ReadableSpan]:
        """Every span, those that are open included."""
        with self._lock:
            return [self._ended.get(span.get_span_context().span_id, span) for span in self._began]


class Records(LogRecordProcessor):
    """Keeps every log record."""

    def __init__(self) -> None:
        self.all: list[Any] = []

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Keep it."""
        self.all.append(log_record.log_record)

    def shutdown(self) -> None:
        """Nothing to close."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is held back."""
        return True


class Events(NoOpLogger):
    """Keeps our own events as they are told: the SDK cuts log records as some variable says."""

    def __init__(self) -> None:
        super().__init__("cxtrace")
        self.all: list[Any] = []

    def emit(self, *args: Any, **kwargs: Any) -> None:
        """Keep the event."""
        self.all += args

    def enabled(self, **kwargs: Any) -> bool:
        """Always."""
        return True


class EventProvider(NoOpLoggerProvider):
    """Gives the one logger that keeps our events."""

    def __init__(self) -> None:
        self.events = Events()

    def get_logger(self, *args: Any, **kwargs: Any) -> Events:
        """The one logger."""
        return self.events


class Providers:
    """A provider each of traces, metrics and log records.

    Attributes:
        tracing: Makes our spans in ``tracer``.
        event_provider: Takes our events; ``logger`` is for the log records of others.
        spans: All that were made.
        records: All log records of others.
        reader: Of the metrics.
    """

    def __init__(self, resource: Resource, sample: float, ids: IdGenerator) -> None:
        self.spans, self.records, self.reader = Spans(), Records(), InMemoryMetricReader()
        self.stamp = StampProcessor()
        sampler = DestinationSampler(ParentBased(TraceIdRatioBased(sample)))
        self.tracer = TracerProvider(
            sampler, resource, shutdown_on_exit=False, id_generator=ids, span_limits=_limits()
        )
        self.meter = MeterProvider(
            [self.reader], resource, TraceBasedExemplarFilter(), shutdown_on_exit=False
        )
        self.event_provider = EventProvider()
        self.logger = LoggerProvider(resource, shutdown_on_exit=False)
        for provider in (self.tracer, self.meter, self.logger):
            # Whoever switches OpenTelemetry off in tests still wants to see what is captured.
            provider._disabled = False  # noqa: SLF001
        self.tracer.add_span_processor(self.spans)
        self.tracer.add_span_processor(self.stamp)
        self.logger.add_log_record_processor(self.records)
        tracer: Any = self.tracer.get_tracer("cxtrace", version())
        # Straight to our own spans: those of the SDK have a clock that cannot be set.
        self.tracing = Binding(tracer)

    @property
    def told(self) -> list[Any]:
        """Our events, as log records, in the order in which they were told."""
        return list(self.event_provider.events.all)


def _limits() -> SpanLimits:
    """OpenTelemetry's own, whatever the environment says."""
    endless = SpanLimits.UNSET
    return SpanLimits(_LIMIT, _LIMIT, _LIMIT, _LIMIT, _LIMIT, _LIMIT, endless, endless)
