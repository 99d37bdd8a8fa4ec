"""Exporters that count what another one delivers, and turn its exceptions into ``FAILURE``."""

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricExportResult,
    MetricsData,
)
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

_logger = logging.getLogger("cxtrace")


class Counts:
    """Received, exported and failed items of one exporter.

    The first exception is logged, by its class alone: its text may quote an item.
    The first refusal over OTLP is too, with what to set: not every store of traces takes more.

    Args:
        inner: The exporter that does the work.
        items: What it exports, in words.
        word: The same in the names of OpenTelemetry's variables; "" for spans.

    """

    def __init__(self, inner: Any, items: str, word: str = "") -> None:
        self._inner = inner
        self._items = items
        self._word = word
        self._lock = threading.Lock()
        self._counts = {"received": 0, "exported": 0, "failed": 0}
        self._warned = False

    def __getitem__(self, result: str) -> int:
        return self._counts[result]

    def after_fork(self) -> None:
        """Begin anew in a child, where the parent's lock may be held for ever."""
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(self._counts, 0)
        inner = getattr(self._inner, "after_fork", None)
        if inner is not None:
            inner()

    def export(self, success: object, items: int, call: Callable[..., Any], *args: object) -> bool:
        """Whether the call that exports so many items gave ``success``."""
        self._count("received", items)
        delivered = self.guarded(call, *args) is success
        self._count("exported" if delivered else "failed", items)
        if not delivered:
            self._advise()
        return delivered

    def guarded(self, call: Callable[..., Any], *args: object, **more: object) -> Any:
        """What the call returns; None if it raised."""
        try:
            return call(*args, **more)
        except Exception as error:  # noqa: BLE001 - an exporter of others may not break the host
            if not self._warned:
                self._warned = True
                _logger.warning(
                    "%s raised %s; its %s are lost, and later failures are only counted",
                    type(self._inner).__name__,
                    type(error).__name__,
                    self._items,
                )
            return None

    def _advise(self) -> None:
        over_otlp = type(self._inner).__module__.startswith("opentelemetry.exporter.otlp.")
        if self._word and over_otlp and not self._warned:
            self._warned = True
            _logger.warning(
                "cxtrace: %s were not delivered; later failures are only counted. If the endpoint "
                "takes spans alone, as Jaeger does, set OTEL_%s_EXPORTER=none, or "
                "OTEL_EXPORTER_OTLP_%s_ENDPOINT to one that takes them",
                self._items,
                self._word,
                self._word,
            )

    def _count(self, result: str, items: int) -> None:
        with self._lock:
            self._counts[result] += items


class CountingExporter(SpanExporter):
    """Count the spans that another exporter delivers, and turn its exceptions into ``FAILURE``.

    The first exception is logged, by its class alone: its text may quote a span.

    Args:
        inner: The exporter that does the work.

    """

    def __init__(self, inner: SpanExporter) -> None:
        self.inner = inner
        self._counts = Counts(inner, "spans")

    @property
    def received(self) -> int:
        """Spans handed over, those under way included."""
        return self._counts["received"]

    @property
    def exported(self) -> int:
        """Spans that the inner exporter reported as delivered."""
        return self._counts["exported"]

    @property
    def failed(self) -> int:
        """Spans that the inner exporter reported as failed, or raised over."""
        return self._counts["failed"]

    def after_fork(self) -> None:
        """Begin anew in a child, where the parent's lock may be held for ever."""
        self._counts.after_fork()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export through the inner exporter and count the result."""
        good = SpanExportResult.SUCCESS
        delivered = self._counts.export(good, len(spans), self.inner.export, spans)
        return good if delivered else SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Flush the inner exporter; false if it raised."""
        return bool(self._counts.guarded(self.inner.force_flush, timeout_millis))

    def shutdown(self) -> None:
        """Shut the inner exporter down."""
        self._counts.guarded(self.inner.shutdown)


class CountingMetricExporter(MetricExporter):
    """Count the data points that another exporter delivers; its exceptions become ``FAILURE``.

    Args:
        inner: The exporter that does the work. Its temporality and aggregation hold.

    """

    def __init__(self, inner: MetricExporter) -> None:
        temporality = inner._preferred_temporality  # noqa: SLF001  the reader asks for it so
        super().__init__(temporality, inner._preferred_aggregation)  # noqa: SLF001
        self.inner = inner
        self._sums_are_repeated = AggregationTemporality.DELTA not in (temporality or {}).values()
        self._is_behind = False
        self._counts = Counts(inner, "metrics", "METRICS")

    @property
    def exported(self) -> int:
        """Data points that the inner exporter reported as delivered."""
        return self._counts["exported"]

    @property
    def failed(self) -> int:
        """Data points that the inner exporter reported as failed, or raised over."""
        return self._counts["failed"]

    @property
    def is_up_to_date(self) -> bool:
        """Whether nothing that was recorded is missing at the other end, as of the last export.

        A cumulative sum that failed is in the next one too; a delta that failed is lost.
        """
        return not self._is_behind

    def after_fork(self) -> None:
        """Begin anew in a child, where the parent's lock may be held for ever."""
        self._is_behind = False
        self._counts.after_fork()

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Export through the inner exporter and count the result."""
        good, points = MetricExportResult.SUCCESS, _data_points(metrics_data)
        call = partial(self.inner.export, timeout_millis=timeout_millis, **kwargs)
        delivered = self._counts.export(good, points, call, metrics_data)
        self._is_behind = not delivered or (self._is_behind and not self._sums_are_repeated)
        return good if delivered else MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Flush the inner exporter; false if it raised."""
        return bool(self._counts.guarded(self.inner.force_flush, timeout_millis))

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Shut the inner exporter down."""
        self._counts.guarded(self.inner.shutdown, timeout_millis, **kwargs)


def _data_points(found: MetricsData) -> int:
    return sum(
        len(metric.data.data_points)
        for resource_metrics in found.resource_metrics
        for scope_metrics in resource_metrics.scope_metrics
        for metric in scope_metrics.metrics
    )


class CountingLogExporter(LogRecordExporter):
    """Count the log records that another exporter delivers; its exceptions become ``FAILURE``.

    Args:
        inner: The exporter that does the work.

    """

    def __init__(self, inner: LogRecordExporter) -> None:
        self.inner = inner
        self._counts = Counts(inner, "log records", "LOGS")

    @property
    def exported(self) -> int:
        """Log records that the inner exporter reported as delivered."""
        return self._counts["exported"]

    @property
    def failed(self) -> int:
        """Log records that the inner exporter reported as failed, or raised over."""
        return self._counts["failed"]

    def after_fork(self) -> None:
        """Begin anew in a child, where the parent's lock may be held for ever."""
        self._counts.after_fork()

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Export through the inner exporter and count the result."""
        good = LogRecordExportResult.SUCCESS
        delivered = self._counts.export(good, len(batch), self.inner.export, batch)
        return good if delivered else LogRecordExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Flush the inner exporter; false if it raised."""
        force_flush = getattr(self.inner, "force_flush", None)  # OpenTelemetry 1.40 has none
        return force_flush is None or bool(self._counts.guarded(force_flush, timeout_millis))

    def shutdown(self) -> None:
        """Shut the inner exporter down."""
        self._counts.guarded(self.inner.shutdown)  # type: ignore[no-untyped-call,unused-ignore]
