"""Metrics and log records on their way out: built where nobody has, joined where somebody has."""

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from opentelemetry import _logs, metrics
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import Resource

from cxtrace import _guard
from cxtrace._deadline import seconds
from cxtrace._forkable import ForkableReader, forget_sums, renew_locks
from cxtrace._settings import Settings
from cxtrace.delivery import LogDelivery
from cxtrace.exporters import CountingMetricExporter, log_exporter, metric_exporter

_logger = logging.getLogger("cxtrace")

_FOR_ALL: Final = ("otlp", "otlp_proto_grpc", "otlp_proto_http")
_NOT_SET: Final = ("_ProxyMeterProvider", "ProxyLoggerProvider")
"""What OpenTelemetry's API gives while nobody has set a provider. One has no public name."""


def _is_set(provider: object) -> bool:
    return type(provider).__name__ not in _NOT_SET


def followed(settings: Settings, environ: Mapping[str, str], word: str) -> list[str]:
    """The exporters of metrics or logs: OpenTelemetry's variable, or as the spans.

    Of what is chosen for spans, only OTLP and a file take anything else than spans.
    """
    if environ.get("OTEL_CONFIG_FILE"):
        return []  # the file says all that is to be built, and whoever sets variables beside it
    own = environ.get(f"OTEL_{word}_EXPORTER", "").strip()
    if own:
        return [name for name in _listed(own) if name != "none"]
    if settings.exporter is not None:
        return _for_all(settings.exporter)
    endpoints = (f"OTEL_EXPORTER_OTLP_{word}_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    named = _for_all(environ.get("OTEL_TRACES_EXPORTER", ""))
    return named or ["otlp"] * any(environ.get(name) for name in endpoints)


def _for_all(exporter: object) -> list[str]:
    listed = _listed(exporter) if isinstance(exporter, str) else []
    return [name for name in listed if name in _FOR_ALL or name.startswith("file:")]


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


class MetricPipeline:
    """The meter provider in force, and what we have added to it.

    Attributes:
        provider: Of OpenTelemetry.
        mode: Whether we built it, or joined that of others, to which nothing is added.
        named: Our exporters, or None.
        readers: Ours that export by themselves.
        exporters: Theirs, counting.
    """

    def __init__(
        self,
        provider: Any,
        mode: Literal["built", "joined"],
        named: str | None = None,
        readers: Sequence[MetricReader] = (),
    ) -> None:
        self.provider = provider
        self.mode: Literal["built", "joined"] = mode
        self.named = named
        self.readers = [reader for reader in readers if isinstance(reader, ForkableReader)]
        self.exporters = [reader.counting for reader in self.readers]
        self._is_shut = False

    @property
    def exported(self) -> int:
        """Data points that the exporters say they delivered."""
        return sum(exporter.exported for exporter in self.exporters)

    @property
    def failed(self) -> int:
        """Data points that an exporter gave up on."""
        return sum(exporter.failed for exporter in self.exporters)

    def install(self) -> None:
        """Make a provider that we built everybody's."""
        if self.mode == "built":
            metrics.set_meter_provider(self.provider)

    def flush(self, timeout: float) -> bool:
        """Whether everything that was recorded has been delivered, as far as can be told."""
        if self.mode == "joined":
            return flush_of_others(self.provider, timeout)
        # A provider that is shut down would collect once more, for exporters that take nothing.
        done = self._is_shut or _guard.attempt("metrics", self.provider.force_flush)
        return done and all(exporter.is_up_to_date for exporter in self.exporters)

    def shutdown(self, timeout: float) -> bool:
        """Send what is waiting and, if the provider is ours, stop."""
        if self.mode == "joined" or self._is_shut:
            return self.flush(timeout)
        self._is_shut = True
        return _guard.attempt("metrics", self.provider.shutdown) and self.flush(timeout)

    def discard(self) -> None:
        """Stop the threads of a provider that nobody has seen."""
        if self.mode == "built":
            self.shutdown(0)

    def after_fork(self) -> None:
        """Begin anew in a child: the parent's locks may be held, and its sums are its own."""
        if self.mode == "built":
            _guard.attempt("fork", lambda: forget_sums(self.provider))
        for reader in self.readers:
            reader.counting.after_fork()
            if not self._is_shut:
                _guard.attempt("fork", reader.begin_anew)


def metric_pipeline(
    settings: Settings, resource: Resource, environ: Mapping[str, str] = os.environ
) -> MetricPipeline | None:
    """The provider that is there, or one with our exporters; None where there are none.

    Raises:
        ConfigurationError: An exporter is unknown or cannot be built.
        ValueError: OpenTelemetry refuses one of its variables.
    """
    found = metrics.get_meter_provider()
    if _is_set(found):
        return MetricPipeline(found, "joined")
    listed = followed(settings, environ, "METRICS")
    if not listed:
        return None
    exporters = [metric_exporter(name) for name in listed]
    readers = [
        each if isinstance(each, MetricReader) else ForkableReader(CountingMetricExporter(each))
        for each in exporters
    ]
    provider = MeterProvider(readers, resource, shutdown_on_exit=False)
    return MetricPipeline(provider, "built", ",".join(listed), readers)


class LogPipeline:
    """The logger provider in force, and what we have added to it.

    Attributes:
        provider: Of OpenTelemetry.
        mode: Whether we built it, or joined that of others, to which nothing is added.
        named: Our exporters, or None.
        deliveries: Ours, one for each exporter.
    """

    def __init__(
        self,
        provider: Any,
        mode: Literal["built", "joined"],
        named: str | None = None,
        deliveries: Sequence[LogDelivery] = (),
    ) -> None:
        self.provider = provider
        self.mode: Literal["built", "joined"] = mode
        self.named = named
        self.deliveries = deliveries

    def install(self) -> None:
        """Make a provider that we built everybody's."""
        if self.mode == "built":
            _logs.set_logger_provider(self.provider)

    def flush(self, timeout: float) -> bool:
        """Whether a provider of others has been flushed; ours is, by its deliveries."""
        return self.mode == "built" or flush_of_others(self.provider, timeout)

    def shutdown(self, timeout: float) -> bool:
        """Stop a provider that is ours; flush one of others."""
        if self.mode == "joined":
            return self.flush(timeout)
        return _guard.attempt("logs", self.provider.shutdown)

    def after_fork(self) -> None:
        """Begin anew in a child, where the parent's locks may be held for ever."""
        if self.mode == "built":
            renew_locks(self.provider)


def log_pipeline(
    settings: Settings, resource: Resource, environ: Mapping[str, str] = os.environ
) -> LogPipeline | None:
    """The provider that is there, or one with our exporters if it was asked for.

    Raises:
        ConfigurationError: An exporter is unknown or cannot be built.
        ValueError: OpenTelemetry refuses one of its variables.
    """
    found = _logs.get_logger_provider()
    if _is_set(found):
        return LogPipeline(found, "joined")
    wants_events = settings.event_signal in {"log", "both"}
    asked = wants_events or environ.get("OTEL_LOGS_EXPORTER", "").strip()
    listed = followed(settings, environ, "LOGS") if asked else []
    if not listed:
        if wants_events:
            _logger.warning(
                "cxtrace: event_signal is %r, but nobody takes log records: set "
                "OTEL_LOGS_EXPORTER, or exporter to otlp or file:PATH",
                settings.event_signal,
            )
        return None
    deliveries = [
        LogDelivery(log_exporter(name), spool=settings.spool_for(name)) for name in listed
    ]
    provider = LoggerProvider(resource, shutdown_on_exit=False)
    for delivery in deliveries:
        provider.add_log_record_processor(delivery)
    return LogPipeline(provider, "built", ",".join(listed), deliveries)


def flush_of_others(provider: Any, timeout: float) -> bool:
    """Whether a provider of others has nothing against having been flushed; many do not say."""
    force_flush = getattr(provider, "force_flush", None)
    if force_flush is None:
        return True
    return _guard.attempt("flush", lambda: force_flush(int(seconds(timeout) * 1_000)))
