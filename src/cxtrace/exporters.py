"""Where telemetry goes: OTLP, a file of OTLP JSON lines, or a tree of spans on the console.

An exporter here never raises into the host: what it cannot deliver is a ``FAILURE``. Only building
one from wrong settings raises ``ConfigurationError``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.metadata import entry_points
from typing import Any, Final, cast

from opentelemetry.sdk._logs.export import LogRecordExporter
from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from cxtrace._console import TreeExporter
from cxtrace._counting import CountingMetricExporter
from cxtrace._otlp import otlp_exporter, otlp_log_exporter, otlp_metric_exporter, unknown
from cxtrace._otlp_file import (
    FileLogExporter,
    FileMetricExporter,
    FileSpanExporter,
    Recording,
    read_spans,
)
from cxtrace._scrubbing import Scrubber
from cxtrace._tree import RecordedSpan
from cxtrace.exceptions import ConfigurationError

__all__ = [
    "CountingMetricExporter",
    "FileLogExporter",
    "FileMetricExporter",
    "FileSpanExporter",
    "RecordedSpan",
    "Recording",
    "ScrubbingSpanExporter",
    "TreeExporter",
    "log_exporter",
    "metric_exporter",
    "otlp_exporter",
    "otlp_log_exporter",
    "otlp_metric_exporter",
    "read_spans",
    "span_exporter",
]


class ScrubbingSpanExporter(SpanExporter):
    """Takes out of spans what may be about somebody, before another exporter gets them.

    Only attributes on a list leave. Addresses keep host and template of the path, statements of SQL
    their shape, exceptions their class. The spans themselves are not changed: other processors and
    exporters see all. ``configure(scrub=True)`` does the same for the exporters of cxtrace.

    Args:
        inner: Any exporter of spans.
        keep: What may leave beside the list: keys (``app.tenant``), beginnings of keys (``app.*``)
            and templates of paths (``/payments/{id}``).

    Raises:
        ConfigurationError: One of ``keep`` is nothing of the kind.

    """

    def __init__(self, inner: SpanExporter, keep: Iterable[str] = ()) -> None:
        self._inner = inner
        self._scrub = Scrubber(keep)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export what may leave."""
        return self._inner.export(self._scrub(spans))

    def shutdown(self) -> None:
        """Shut the other exporter down."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the other exporter."""
        return self._inner.force_flush(timeout_millis)

    def after_fork(self) -> None:
        """Let the other exporter begin anew in a child, if it is one of cxtrace."""
        begin_anew = getattr(self._inner, "after_fork", None)
        if begin_anew is not None:
            begin_anew()


def span_exporter(spec: str) -> SpanExporter:
    """Return the exporter that ``spec`` names.

    Args:
        spec: ``otlp``; ``console``, the tree; ``file:PATH``, OTLP JSON lines; or a name that an
            installed package registers with OpenTelemetry, as in ``OTEL_TRACES_EXPORTER``
            (``otlp_proto_http``, ``zipkin``). One name, not a list.

    Raises:
        ConfigurationError: The name is unknown, or the exporter it names cannot be built.

    """
    return cast("SpanExporter", _named("traces", _SPANS, spec.strip()))


def metric_exporter(spec: str) -> MetricExporter | MetricReader:
    """Return the exporter of metrics that ``spec`` names; for ``prometheus`` it is a reader.

    Args:
        spec: ``otlp``; ``file:PATH``; or a name that is registered with OpenTelemetry, as in
            ``OTEL_METRICS_EXPORTER`` (``console``, ``prometheus``). One name, not a list.

    Raises:
        ConfigurationError: The name is unknown, or the exporter it names cannot be built.

    """
    return cast("MetricExporter | MetricReader", _named("metrics", _METRICS, spec.strip()))


def log_exporter(spec: str) -> LogRecordExporter:
    """Return the exporter of log records that ``spec`` names.

    Args:
        spec: ``otlp``; ``file:PATH``; or a name that is registered with OpenTelemetry, as in
            ``OTEL_LOGS_EXPORTER`` (``console``). One name, not a list.

    Raises:
        ConfigurationError: The name is unknown, or the exporter it names cannot be built.

    """
    return cast("LogRecordExporter", _named("logs", _LOGS, spec.strip()))


def _named(group: str, ours: Mapping[str, Callable[..., Any]], spec: str) -> Any:
    kind, colon, path = spec.partition(":")
    if kind == "file" and colon:
        return ours["file"](path)
    if spec in ours and spec != "file":
        return ours[spec]()
    return _registered(f"opentelemetry_{group}_exporter", ours, spec)


def _registered(group: str, ours: Mapping[str, Callable[..., Any]], name: str) -> Any:
    registered = entry_points(group=group)
    if name not in registered.names:
        known = [
            *(each for each in ours if each != "file"),
            "file:PATH",
            "none",
            *sorted(registered.names),
        ]
        advice = unknown("exporter", name, dict.fromkeys(known))
        if "://" in name:
            advice += ". An address goes into OTEL_EXPORTER_OTLP_ENDPOINT, with exporter otlp"
        raise ConfigurationError(advice)
    try:
        return registered[name].load()()
    except Exception as error:
        msg = f"the exporter {name!r} cannot be built: {type(error).__name__}: {error}"
        raise ConfigurationError(msg) from error


def _otlp_names(make: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    return {
        "otlp": make,
        "otlp_proto_grpc": partial(make, "grpc"),
        "otlp_proto_http": partial(make, "http/protobuf"),
    }


_SPANS: Final = {
    **_otlp_names(otlp_exporter),
    "console": TreeExporter,
    "file": FileSpanExporter,
}
_METRICS: Final = {**_otlp_names(otlp_metric_exporter), "file": FileMetricExporter}
_LOGS: Final = {**_otlp_names(otlp_log_exporter), "file": FileLogExporter}
