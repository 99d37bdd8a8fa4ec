"""What ``configure()`` put together, and how it is flushed and shut down."""

from typing import Any, Literal

from attrs import field, frozen
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from cxtrace._deadline import seconds
from cxtrace._pipelines import LogPipeline, MetricPipeline, attempt
from cxtrace._settings import Settings
from cxtrace.exporters import CountingExporter
from cxtrace.processors import StampProcessor


@frozen
class Wiring:
    """What ``configure()`` put together in this process."""

    settings: Settings
    provider: Any = field(repr=False)
    mode: Literal["built", "joined", "apart"]
    named: str | None
    stamp: StampProcessor = field(repr=False)
    exporters: tuple[CountingExporter, ...] = field(repr=False)
    processors: tuple[BatchSpanProcessor, ...] = field(repr=False)
    metrics: MetricPipeline | None = field(default=None, repr=False)
    logs: LogPipeline | None = field(default=None, repr=False)

    @property
    def pipelines(self) -> list[MetricPipeline | LogPipeline]:
        """What takes metrics and log records."""
        return [each for each in (self.metrics, self.logs) if each is not None]


class Flush:
    """One flush: what had to be delivered when it began, and how far it has come."""

    def __init__(self, wired: Wiring, timeout: float) -> None:
        self._wired = wired
        self._timeout = timeout
        self._ended = wired.stamp.ended
        self._emitted = 0 if wired.logs is None else wired.logs.emitted
        self._has_metrics = wired.metrics is None

    def run(self) -> bool:
        """Flush metrics and logs first: under steady traffic that of the spans has no end."""
        metrics, logs = self._wired.metrics, self._wired.logs
        if metrics is not None:
            self._has_metrics = metrics.flush(self._timeout)
        has_logs = logs is None or logs.flush(self._timeout)
        has_spans = _flush_spans(self._wired, self._timeout)
        return self._has_metrics and has_logs and has_spans

    def is_done(self) -> bool:
        """Whether what there was has been delivered, even if OpenTelemetry goes on flushing."""
        wired = self._wired
        return (
            self._has_metrics
            and (wired.logs is None or wired.logs.has_delivered(self._emitted))
            and bool(wired.exporters)
            and _delivered(wired, self._ended)
        )


def _flush_spans(wired: Wiring, timeout: float) -> bool:
    if wired.mode == "built" or wired.processors:
        ended = wired.stamp.ended
        for processor in wired.processors:
            processor.force_flush()
        return _delivered(wired, ended)
    force_flush = getattr(wired.provider, "force_flush", None)
    return force_flush is not None and bool(force_flush(int(seconds(timeout) * 1_000)))


def shut_down(wired: Wiring, timeout: float) -> bool:
    """Whether everything was delivered before our parts, and no others, stopped."""
    done = [attempt("_shutdown", lambda: _shutdown_spans(wired, timeout))]
    done += [pipeline.shutdown(timeout) for pipeline in wired.pipelines]
    return all(done)


def _shutdown_spans(wired: Wiring, timeout: float) -> bool:
    if wired.mode == "built":
        wired.provider.shutdown()
        return _delivered(wired, wired.stamp.ended)
    if not wired.processors:
        return _flush_spans(wired, timeout)
    for processor in wired.processors:
        processor.shutdown()  # type: ignore[no-untyped-call]
    return _delivered(wired, wired.stamp.ended)


def _delivered(wired: Wiring, ended: int) -> bool:
    return all(exporter.exported >= ended for exporter in wired.exporters)
