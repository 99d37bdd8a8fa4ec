"""Where finished spans go: OTLP, a file of OTLP JSON lines, or a tree on the console.

An exporter here never raises into the host: what it cannot deliver is
``SpanExportResult.FAILURE``. Only building one from wrong settings raises ``ConfigurationError``.
"""

import difflib
import functools
import logging
import math
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from cxtrace._console import TreeExporter
from cxtrace._otlp_file import FileSpanExporter, Recording, read_spans
from cxtrace._tree import RecordedSpan
from cxtrace.exceptions import ConfigurationError

__all__ = [
    "CountingExporter",
    "FileSpanExporter",
    "RecordedSpan",
    "Recording",
    "TreeExporter",
    "otlp_exporter",
    "read_spans",
    "span_exporter",
]

_logger = logging.getLogger("cxtrace")


def span_exporter(spec: str) -> SpanExporter:
    """Return the exporter that ``spec`` names.

    Args:
        spec: ``otlp``; ``console``, the tree; ``file:PATH``, OTLP JSON lines; or a name that an
            installed package registers with OpenTelemetry, as in ``OTEL_TRACES_EXPORTER``
            (``otlp_proto_http``, ``zipkin``). One name, not a list.

    Raises:
        ConfigurationError: The name is unknown, or the exporter it names cannot be built.

    """
    kind, colon, path = spec.strip().partition(":")
    if kind == "file" and colon:
        return FileSpanExporter(path)
    if spec.strip() in _EXPORTERS:
        return _EXPORTERS[spec.strip()]()
    return _registered_exporter(spec.strip())


def _registered_exporter(name: str) -> SpanExporter:
    registered = entry_points(group="opentelemetry_traces_exporter")
    if name not in registered.names:
        known = [*_EXPORTERS, "file:PATH", "none", *sorted(registered.names)]
        advice = _unknown("exporter", name, dict.fromkeys(known))
        if "://" in name:
            advice += ". An address goes into OTEL_EXPORTER_OTLP_ENDPOINT, with exporter otlp"
        raise ConfigurationError(advice)
    try:
        exporter: SpanExporter = registered[name].load()()
    except Exception as error:
        msg = f"the exporter {name!r} cannot be built: {type(error).__name__}: {error}"
        raise ConfigurationError(msg) from error
    return exporter


def _unknown(what: str, given: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(given, names, n=1, cutoff=0.4)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"unknown {what} {given!r}: {hint}known: {', '.join(names)}"


def otlp_exporter(
    protocol: str | None = None, endpoint: str | None = None, timeout: float = 2.0
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
    variables = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    chosen = protocol or _environment(*variables)[1] or "grpc"
    if chosen not in _OTLP_EXPORTERS:
        raise ConfigurationError(_unknown("OTLP protocol", chosen, _OTLP_EXPORTERS))
    return _OTLP_EXPORTERS[chosen](endpoint, _timeout(timeout))


def _grpc_exporter(endpoint: str | None, timeout: float) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    # OpenTelemetry defines these for endpoints without a scheme, so with one there is no doubt.
    variables = ("OTEL_EXPORTER_OTLP_TRACES_INSECURE", "OTEL_EXPORTER_OTLP_INSECURE")
    name, value, _ = _endpoint(endpoint)
    if value.rstrip("/").endswith(":4318"):
        _logger.warning(
            "cxtrace: %s is spoken to over gRPC, but port 4318 is usually OTLP over HTTP: "
            "set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
            value,
        )
    if not _environment(*variables)[1]:
        _require_scheme(name, value)
    return OTLPSpanExporter(endpoint=value or "http://localhost:4317", timeout=timeout)


def _http_exporter(endpoint: str | None, timeout: float) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    name, value, is_base = _endpoint(endpoint)
    _require_scheme(name, value)
    if is_base:
        value = (value or "http://localhost:4318").rstrip("/").removesuffix(_PATH) + _PATH
    return OTLPSpanExporter(endpoint=value, timeout=timeout)


_OTLP_EXPORTERS: Final[Mapping[str, Callable[[str | None, float], SpanExporter]]] = {
    "grpc": _grpc_exporter,
    "http/protobuf": _http_exporter,
}
_PATH: Final = "/v1/traces"


def _environment(*names: str) -> tuple[str, str]:
    """Return name and value of the first variable that is set; empty means unset."""
    found = ((name, os.environ.get(name, "").strip()) for name in names)
    return next(((name, value) for name, value in found if value), ("", ""))


def _endpoint(argument: str | None) -> tuple[str, str, bool]:
    """Return where the endpoint comes from, the endpoint, and whether it is a base."""
    if argument:
        return "endpoint", argument, True
    exact = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
    name, value = _environment(exact, "OTEL_EXPORTER_OTLP_ENDPOINT")
    return name, value, name != exact


def _require_scheme(name: str, endpoint: str) -> None:
    if endpoint and not endpoint.startswith(("http://", "https://")):
        # OpenTelemetry takes "collector" of "collector:4317" for the scheme and turns TLS on.
        host = endpoint.rpartition("//")[2]
        msg = f"{name}={endpoint!r} has no scheme: write http://{host}, or https://{host} for TLS"
        raise ConfigurationError(msg)


def _timeout(default: float) -> float:
    variables = ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
    name, value = _environment(*variables)
    try:
        seconds = float(value or default)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        msg = f"{name or 'timeout'}={value or default!r} is not a number of seconds above zero"
        raise ConfigurationError(msg)
    return seconds


class CountingExporter(SpanExporter):
    """Count what another exporter delivers, and turn its exceptions into ``FAILURE``.

    The first exception is logged, by its class alone: its text may quote a span.

    Args:
        inner: The exporter that does the work.

    """

    def __init__(self, inner: SpanExporter) -> None:
        self.inner = inner
        self._lock = threading.Lock()
        self._counts = {"received": 0, "exported": 0, "failed": 0}
        self._warned = False

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
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(self._counts, 0)
        inner = getattr(self.inner, "after_fork", None)
        if inner is not None:
            inner()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export through the inner exporter and count the result."""
        self._count("received", len(spans))
        delivered = self._guarded(self.inner.export, spans) is SpanExportResult.SUCCESS
        self._count("exported" if delivered else "failed", len(spans))
        return SpanExportResult.SUCCESS if delivered else SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Flush the inner exporter; false if it raised."""
        return bool(self._guarded(self.inner.force_flush, timeout_millis))

    def shutdown(self) -> None:
        """Shut the inner exporter down."""
        self._guarded(self.inner.shutdown)

    def _count(self, result: str, spans: int) -> None:
        with self._lock:
            self._counts[result] += spans

    def _guarded(self, call: Callable[..., Any], *args: object) -> Any:
        try:
            return call(*args)
        except Exception as error:  # noqa: BLE001 - an exporter of others may not break the host
            if not self._warned:
                self._warned = True
                _logger.warning(
                    "%s raised %s; its spans are lost, and later failures are only counted",
                    type(self.inner).__name__,
                    type(error).__name__,
                )
            return None


_EXPORTERS: Final[Mapping[str, Callable[[], SpanExporter]]] = {
    "otlp": otlp_exporter,
    "otlp_proto_grpc": functools.partial(otlp_exporter, "grpc"),
    "otlp_proto_http": functools.partial(otlp_exporter, "http/protobuf"),
    "console": TreeExporter,
}
