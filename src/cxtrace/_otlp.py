"""OpenTelemetry's own OTLP exporters, with the traps of their settings taken out."""

import difflib
import math
import os
import re
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, Final, cast

from attrs import frozen
from opentelemetry.sdk._logs.export import LogRecordExporter
from opentelemetry.sdk.metrics.export import MetricExporter
from opentelemetry.sdk.trace.export import SpanExporter

from cxtrace import _answers, _guard, _otlp_watch
from cxtrace._process import refuse_grpc_among_greenlets
from cxtrace.exceptions import ConfigurationError

TIMEOUT: Final = 2.0
"""Seconds for one export where nobody says otherwise.

OpenTelemetry's ten would be kinder to a receiver that is slow to answer; but a flush could not have
on disk in time what is under way, and tries would go on for as long after a shutdown.
"""

_PROTOCOLS: Final[Mapping[str, str]] = {"grpc": "grpc", "http/protobuf": "http"}


@frozen
class _Kind:
    """What differs between traces, metrics and logs: variables, words, path and class."""

    word: str
    items: str
    path: str
    module: str
    name: str

    def environment(self, what: str) -> tuple[str, str]:
        """Name and value of the variable of this kind, else of the general one."""
        names = (f"OTEL_EXPORTER_OTLP_{self.word}_{what}", f"OTEL_EXPORTER_OTLP_{what}")
        found = ((name, os.environ.get(name, "").strip()) for name in names)
        return next(((name, value) for name, value in found if value), ("", ""))

    @property
    def has_own_session(self) -> bool:
        """Whether a package that knows the credentials makes the connections."""
        name = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_{}CREDENTIAL_PROVIDER"
        return any(os.environ.get(name.format(word)) for word in ("", f"{self.word}_"))

    def endpoint(self, argument: str | None) -> tuple[str, str, bool]:
        """Where the endpoint comes from, the endpoint, and whether it is a base."""
        if argument:
            return "endpoint", argument, True
        name, value = self.environment("ENDPOINT")
        return name, value, name != f"OTEL_EXPORTER_OTLP_{self.word}_ENDPOINT"

    def timeout(self, default: float) -> float:
        """Seconds for one export."""
        name, value = self.environment("TIMEOUT")
        try:
            seconds = float(value or default)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            msg = f"{name or 'timeout'}={value or default!r} is not a number of seconds above zero"
            raise ConfigurationError(msg)
        return seconds


_ANY_PATH: Final = re.compile(r"/v1/(traces|metrics|logs)$")
_TRACES: Final = _Kind("TRACES", "spans", "/v1/traces", "trace_exporter", "OTLPSpanExporter")
_METRICS: Final = _Kind(
    "METRICS", "metrics", "/v1/metrics", "metric_exporter", "OTLPMetricExporter"
)
_LOGS: Final = _Kind("LOGS", "log records", "/v1/logs", "_log_exporter", "OTLPLogExporter")


def otlp_exporter(
    protocol: str | None = None, endpoint: str | None = None, timeout: float = TIMEOUT
) -> SpanExporter:
    """Return OpenTelemetry's own OTLP exporter, with the traps of its settings taken out.

    Every other ``OTEL_EXPORTER_OTLP_*`` variable (headers, compression, certificates) works as
    OpenTelemetry says.

    Args:
        protocol: ``grpc`` or ``http/protobuf``. By default what
            ``OTEL_EXPORTER_OTLP_TRACES_PROTOCOL`` or ``OTEL_EXPORTER_OTLP_PROTOCOL`` says, else
            ``grpc``.
        endpoint: Base URL of the Collector for either protocol (``http://collector:4318``);
            ``/v1/traces`` is added for HTTP. By default what
            ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`` (used as it is) or
            ``OTEL_EXPORTER_OTLP_ENDPOINT`` (a base) says, else localhost.
        timeout: Seconds for one export, retries included, unless
            ``OTEL_EXPORTER_OTLP_TRACES_TIMEOUT`` or ``OTEL_EXPORTER_OTLP_TIMEOUT`` says otherwise,
            in seconds too.

    Raises:
        ConfigurationError: The protocol is unknown, the endpoint has no ``http://`` or
            ``https://``, or the timeout is no positive number.

    """
    return cast("SpanExporter", _stock(_TRACES, protocol, endpoint, timeout))


def otlp_metric_exporter(
    protocol: str | None = None, endpoint: str | None = None, timeout: float = TIMEOUT
) -> MetricExporter:
    """Return OpenTelemetry's OTLP exporter of metrics, as ``otlp_exporter`` does that of spans.

    The variables are those of metrics (``OTEL_EXPORTER_OTLP_METRICS_…``), then the general ones;
    temporality and aggregation are OpenTelemetry's (``…_METRICS_TEMPORALITY_PREFERENCE``).

    Args:
        protocol: As there.
        endpoint: As there; ``/v1/metrics`` is added for HTTP.
        timeout: As there.

    Raises:
        ConfigurationError: As there.

    """
    return cast("MetricExporter", _stock(_METRICS, protocol, endpoint, timeout))


def otlp_log_exporter(
    protocol: str | None = None, endpoint: str | None = None, timeout: float = TIMEOUT
) -> LogRecordExporter:
    """Return OpenTelemetry's OTLP exporter of log records, as ``otlp_exporter`` does that of spans.

    The variables are those of logs (``OTEL_EXPORTER_OTLP_LOGS_…``), then the general ones.

    Args:
        protocol: As there.
        endpoint: As there; ``/v1/logs`` is added for HTTP.
        timeout: As there.

    Raises:
        ConfigurationError: As there.

    """
    return cast("LogRecordExporter", _stock(_LOGS, protocol, endpoint, timeout))


def _stock(kind: _Kind, protocol: str | None, endpoint: str | None, timeout: float) -> Any:
    chosen = protocol or kind.environment("PROTOCOL")[1] or "grpc"
    if chosen not in _PROTOCOLS:
        raise ConfigurationError(unknown("OTLP protocol", chosen, _PROTOCOLS))
    if chosen == "grpc":
        refuse_grpc_among_greenlets()
    find = _grpc_endpoint if chosen == "grpc" else _http_endpoint
    seconds = kind.timeout(timeout)
    notes = _answers.Notes(seconds, kind.items)
    found = {"endpoint": find(kind, endpoint), "timeout": seconds}
    if chosen != "grpc" and not kind.has_own_session:
        found["session"] = _otlp_watch.watched_session(notes)
    package = f"opentelemetry.exporter.otlp.proto.{_PROTOCOLS[chosen]}"
    exporter = getattr(import_module(f"{package}.{kind.module}"), kind.name)(**found)
    _otlp_watch.watch_stub(exporter, notes)
    _answers.keep(exporter, notes)
    return exporter


def _grpc_endpoint(kind: _Kind, argument: str | None) -> str:
    name, value, _ = kind.endpoint(argument)
    if value.rstrip("/").endswith(":4318"):
        _guard.warn_once(
            f"grpc-to-http:{value}",
            "cxtrace: %s is spoken to over gRPC, but port 4318 is usually OTLP over HTTP: "
            "set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
            value,
        )
    # OpenTelemetry defines this for endpoints without a scheme, so with one there is no doubt.
    if not kind.environment("INSECURE")[1]:
        _require_scheme(name, value)
    return value or "http://localhost:4317"


def _http_endpoint(kind: _Kind, argument: str | None) -> str:
    name, value, is_base = kind.endpoint(argument)
    _require_scheme(name, value)
    if is_base:
        base = (value or "http://localhost:4318").rstrip("/")
        value = _ANY_PATH.sub("", base) + kind.path
    return value


def _require_scheme(name: str, endpoint: str) -> None:
    if endpoint and not endpoint.startswith(("http://", "https://")):
        # OpenTelemetry takes "collector" of "collector:4317" for the scheme and turns TLS on.
        host = endpoint.rpartition("//")[2]
        msg = f"{name}={endpoint!r} has no scheme: write http://{host}, or https://{host} for TLS"
        raise ConfigurationError(msg)


def unknown(what: str, given: str, known: Iterable[str]) -> str:
    """Say that a name is unknown, which one was meant, and which there are."""
    names = list(known)
    close = difflib.get_close_matches(given, names, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"unknown {what} {given!r}: {hint}known: {', '.join(names)}"
