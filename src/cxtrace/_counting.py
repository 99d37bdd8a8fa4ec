"""An exporter of metrics that counts what another one delivers."""

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricExportResult,
    MetricsData,
)

from cxtrace._answers import notes_of
from cxtrace._gate import gate

_logger = logging.getLogger("cxtrace")


class _Watched:
    """An exporter that is called, but never believed to behave.

    The first exception is logged, by its class alone. The first refusal over OTLP is too, with what
    to set: not every store of traces takes more.

    Args:
        exporter: Of metrics.
    """

    def __init__(self, exporter: MetricExporter) -> None:
        self._exporter = exporter
        self._notes = notes_of(exporter)
        self._has_warned = False

    def call(self, method: Callable[..., Any], *args: object, **more: object) -> Any:
        """What the method returns; None if it raised."""
        try:
            with gate:
                return method(*args, **more)
        except Exception as error:  # noqa: BLE001 - an exporter of others may not break the host
            if not self._has_warned:
                self._has_warned = True
                _logger.warning(
                    "cxtrace: %s raised %s over metrics; later failures are only counted",
                    type(self._exporter).__name__,
                    type(error).__name__,
                )
            return None

    def advise(self) -> None:
        """Something was refused: say what may be set. Where nobody is there, nothing helps."""
        over_otlp = type(self._exporter).__module__.startswith("opentelemetry.exporter.otlp.")
        answer = self._notes.answer
        is_refused = answer is None or bool(answer.advice)
        if over_otlp and is_refused and not self._has_warned:
            self._has_warned = True
            _logger.warning(
                "cxtrace: metrics were not delivered; later failures are only counted. If the "
                "endpoint takes spans alone, as Jaeger does, set OTEL_METRICS_EXPORTER=none, or "
                "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT to one that takes them"
            )

    def after_fork(self) -> None:
        """Tell an exporter that cares that it lives in a child now."""
        method = getattr(self._exporter, "after_fork", None)
        if method is not None:
            self.call(method)


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
        self._watched = _Watched(inner)
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._is_behind = False
        self._exported = self._failed = 0

    @property
    def exported(self) -> int:
        """Data points that the inner exporter reported as delivered."""
        return self._exported

    @property
    def failed(self) -> int:
        """Data points that the inner exporter reported as failed, or raised over."""
        return self._failed

    @property
    def is_up_to_date(self) -> bool:
        """Whether nothing that was recorded is missing at the other end, as of the last export.

        A cumulative sum that failed is in the next one too; a delta that failed is lost.
        """
        return not self._is_behind

    def after_fork(self) -> None:
        """Begin anew in a child, where the parent's lock may be held for ever."""
        self._begin()
        self._watched.after_fork()

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Export through the inner exporter and count the result."""
        call = partial(self.inner.export, timeout_millis=timeout_millis, **kwargs)
        delivered = self._watched.call(call, metrics_data) is MetricExportResult.SUCCESS
        points = _data_points(metrics_data)
        with self._lock:
            self._exported += points * delivered
            self._failed += points * (not delivered)
        if not delivered:
            self._watched.advise()
        self._is_behind = not delivered or (self._is_behind and not self._sums_are_repeated)
        return MetricExportResult.SUCCESS if delivered else MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Flush the inner exporter; false if it raised."""
        return bool(self._watched.call(self.inner.force_flush, timeout_millis))

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Shut the inner exporter down."""
        self._watched.call(self.inner.shutdown, timeout_millis, **kwargs)


def _data_points(found: MetricsData) -> int:
    return sum(
        len(metric.data.data_points)
        for resource_metrics in found.resource_metrics
        for scope_metrics in resource_metrics.scope_metrics
        for metric in scope_metrics.metrics
    )
