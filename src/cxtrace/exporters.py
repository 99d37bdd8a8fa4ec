"""Where finished spans go: OTLP, a file of OTLP JSON lines, or a tree on the console.

An exporter here never raises into the host: what it cannot deliver is
``SpanExportResult.FAILURE``. Only building one from wrong settings raises ``ConfigurationError``.
"""

import base64
import difflib
import functools
import itertools
import json
import logging
import math
import os
import shutil
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final, TextIO

from attrs import frozen
from opentelemetry.sdk.resources import SERVICE_NAME
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    SpanKind,
    StatusCode,
    format_span_id,
    format_trace_id,
)

from ._tree import RecordedEvent, RecordedSpan, can_draw, draw_trace
from .exceptions import ConfigurationError

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

# By name


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
        known = [*_EXPORTERS, "file:PATH", *sorted(registered.names)]
        raise ConfigurationError(_unknown("exporter", name, dict.fromkeys(known)))
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


# OTLP


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


# File


class FileSpanExporter(SpanExporter):
    """Append spans to a file as OTLP JSON lines, as the Collector's ``otlpjsonfile`` reads them.

    Several processes of one machine may share a file: each line is appended by one write. A lost
    or rotated file is made anew, with its folder, readable by its owner alone. Nothing is kept
    open between exports, so a fork needs no care.

    Args:
        path: The file. ``~`` is the home folder.

    Raises:
        ConfigurationError: The path is empty.

    """

    _MAX_LINE: Final = 1_000_000
    """Bytes a line, unless one span is longer. The Collector cuts a line at 1 MiB, its default
    ``max_log_size``, and then drops the pieces without a word.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not os.fspath(path):
            msg = "a file exporter needs a path, as in file:spans.jsonl"
            raise ConfigurationError(msg)
        self._path = Path(path).expanduser().absolute()
        self._open = True
        self._warned = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write the spans; what the file system or the encoder refuses is a ``FAILURE``."""
        if not self._open:
            return SpanExportResult.FAILURE
        try:
            self._append(list(self._lines(spans)))
        except Exception as error:  # noqa: BLE001 - the encoder raises whatever a value makes it
            self._warn(error)
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Return true: each export is with the operating system when it returns."""
        return True

    def shutdown(self) -> None:
        """Refuse later spans."""
        self._open = False

    def _lines(self, spans: Sequence[ReadableSpan]) -> Iterator[bytes]:
        line = _otlp_json(spans)
        if len(line) <= self._MAX_LINE or len(spans) == 1:
            yield line
        else:
            half = len(spans) // 2
            yield from (*self._lines(spans[:half]), *self._lines(spans[half:]))

    def _append(self, lines: Iterable[bytes]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            for line in lines:
                whole = b"\n" + line if _is_torn(descriptor) else line
                if os.write(descriptor, whole) < len(whole):
                    msg = "the file system took only a part of the line"
                    raise OSError(msg)
        finally:
            os.close(descriptor)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            # The text of an encoder's error may quote the span; that of an OSError never does.
            said = error if isinstance(error, OSError) else type(error).__name__
            _logger.warning("spans cannot be written to %s: %s", self._path, said)


def _is_torn(descriptor: int) -> bool:
    """Tell whether a writer that was killed, or a full disk, left a line without its end."""
    if not os.fstat(descriptor).st_size:
        return False
    os.lseek(descriptor, -1, os.SEEK_END)
    return os.read(descriptor, 1) != b"\n"


def _otlp_json(spans: Sequence[ReadableSpan]) -> bytes:
    from google.protobuf.json_format import (  # type: ignore[import-untyped,unused-ignore]
        MessageToDict,
    )
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    message = MessageToDict(encode_spans(spans), use_integers_for_enums=True)
    for _, span in _spans_of(message):
        for item in (span, *span.get("links", ())):
            # OTLP's JSON departs from protobuf's in one point: identifiers are hex, not base64.
            for key in item.keys() & {"traceId", "spanId", "parentSpanId"}:
                item[key] = base64.b64decode(item[key]).hex()
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def _spans_of(message: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], dict[str, Any]]]:
    for resource_spans in message["resourceSpans"]:
        for scope_spans in resource_spans.get("scopeSpans", ()):
            for span in scope_spans.get("spans", ()):
                yield resource_spans.get("resource", {}), span


# Reading back


@frozen
class Recording:
    """Spans read back from files; iterating over it yields them.

    ``skipped`` counts the lines that are no OTLP JSON traces: torn ones, metrics, other text.
    """

    spans: tuple[RecordedSpan, ...]
    skipped: int = 0

    def __iter__(self) -> Iterator[RecordedSpan]:
        return iter(self.spans)


def read_spans(*paths: str | os.PathLike[str]) -> Recording:
    """Read the spans of OTLP JSON lines files, ours or those of the Collector's file exporter.

    Args:
        paths: Files, for instance one of each service.

    Raises:
        OSError: A file cannot be read.

    """
    texts = (Path(path).read_bytes().split(b"\n") for path in paths)
    lines = [_read_line(line) for line in itertools.chain(*texts) if line.strip()]
    spans = itertools.chain.from_iterable(line for line in lines if line is not None)
    return Recording(tuple(spans), lines.count(None))


def _read_line(line: bytes) -> list[RecordedSpan] | None:
    try:
        return [_recorded(*found) for found in _spans_of(json.loads(line))]
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return None


def _recorded(resource: Mapping[str, Any], span: Mapping[str, Any]) -> RecordedSpan:
    kinds = ("UNSPECIFIED", *(kind.name for kind in SpanKind))
    return RecordedSpan(
        trace_id=span["traceId"],
        span_id=span["spanId"],
        parent_id=span.get("parentSpanId") or None,
        name=span.get("name", ""),
        kind=kinds[span.get("kind", 0)],
        start_ns=int(span["startTimeUnixNano"]),
        end_ns=int(span["endTimeUnixNano"]),
        status_code=StatusCode(span.get("status", {}).get("code", 0)).name,
        service_name=_pairs(resource).get(SERVICE_NAME, ""),
        attributes=_pairs(span),
        events=tuple(
            RecordedEvent(event.get("name", ""), int(event["timeUnixNano"]), _pairs(event))
            for event in span.get("events", ())
        ),
        links=tuple((link["traceId"], link["spanId"]) for link in span.get("links", ())),
    )


def _pairs(item: Mapping[str, Any], key: str = "attributes") -> dict[str, Any]:
    return {pair["key"]: _value(pair.get("value", {})) for pair in item.get(key, ())}


_VALUES: Final[Mapping[str, Callable[[Any], Any]]] = {
    "stringValue": str,
    "boolValue": bool,
    "intValue": int,
    "doubleValue": float,
    "bytesValue": base64.b64decode,
    "arrayValue": lambda found: [_value(value) for value in found.get("values", ())],
    "kvlistValue": lambda found: _pairs(found, "values"),
}


def _value(wrapped: Mapping[str, Any]) -> Any:
    return next((_VALUES[kind](found) for kind, found in wrapped.items()), None)


# Console


class TreeExporter(SpanExporter):
    """Print each local trace as a tree once its root has ended.

    A root is a span without a parent, or whose parent is in another process. Spans still waiting
    for their root are printed on ``force_flush`` and ``shutdown``, and, those of the oldest trace
    first, when more than ``max_spans`` wait.

    Args:
        stream: Where to print; standard output by default.
        colour: Paint or not. By default only on a terminal, and not where ``NO_COLOR`` is set.
        width: Columns; by default those of the terminal, else 100.
        max_spans: Bound on the spans kept in memory.

    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        colour: bool | None = None,
        width: int | None = None,
        max_spans: int = 2000,
    ) -> None:
        self._stream = stream
        self._colour = colour
        self._width = width
        self._max_spans = max_spans
        self._open = True
        self._lock = threading.Lock()
        self._waiting: dict[str, list[RecordedSpan]] = {}

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take the spans and print the trees that are whole; a broken stream is a ``FAILURE``."""
        if not self._open:
            return SpanExportResult.FAILURE
        with self._lock:
            roots = [self._keep(span) for span in spans]
            trees = [self._tree(root) for root in roots if root]
            while sum(map(len, self._waiting.values())) > self._max_spans:
                trees.append(self._waiting.pop(next(iter(self._waiting))))
            printed = self._print(trees)
        return SpanExportResult.SUCCESS if printed else SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Print what waits for its root; return whether the stream took it."""
        with self._lock:
            trees = list(self._waiting.values())
            self._waiting.clear()
            return self._print(trees)

    def shutdown(self) -> None:
        """Print what waits and refuse later spans; the stream stays open."""
        self._open = False
        self.force_flush()

    def _keep(self, span: ReadableSpan) -> RecordedSpan | None:
        """Put the span with those that wait; return it if it is a local root."""
        seen = _seen(span)
        self._waiting.setdefault(seen.trace_id, []).append(seen)
        return seen if span.parent is None or span.parent.is_remote else None

    def _tree(self, root: RecordedSpan) -> list[RecordedSpan]:
        """Take what hangs from ``root``; a trace may have other roots in this process."""
        waiting = self._waiting.pop(root.trace_id)
        below: dict[str | None, list[str]] = defaultdict(list)
        for span in waiting:
            below[span.parent_id].append(span.span_id)
        taken = [root.span_id]
        for span_id in taken:
            taken += below.pop(span_id, ())
        tree = set(taken)
        if rest := [span for span in waiting if span.span_id not in tree]:
            self._waiting[root.trace_id] = rest
        return [span for span in waiting if span.span_id in tree]

    def _print(self, trees: list[list[RecordedSpan]]) -> bool:
        try:
            stream = sys.stdout if self._stream is None else self._stream
            encoding = getattr(stream, "encoding", None) or "utf-8"
            draw = functools.partial(
                draw_trace,
                width=self._width or shutil.get_terminal_size((100, 24)).columns,
                colour=_wants_colour(stream) if self._colour is None else self._colour,
                ascii_only=not can_draw(encoding),
            )
            text = "".join(f"{draw(tree)}\n" for tree in trees)
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()
        except Exception:  # noqa: BLE001 - whatever a stream does, the host goes on
            return False
        return True


def _wants_colour(stream: TextIO) -> bool:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return not plain and stream.isatty()


def _seen(span: ReadableSpan) -> RecordedSpan:
    context = span.get_span_context() or INVALID_SPAN_CONTEXT
    return RecordedSpan(
        trace_id=format_trace_id(context.trace_id),
        span_id=format_span_id(context.span_id),
        parent_id=format_span_id(span.parent.span_id) if span.parent else None,
        name=span.name,
        kind=span.kind.name,
        start_ns=span.start_time or 0,
        end_ns=span.end_time or 0,
        status_code=span.status.status_code.name,
        service_name=str(span.resource.attributes.get(SERVICE_NAME, "")),
        attributes=dict(span.attributes or {}),
        events=tuple(
            RecordedEvent(event.name, event.timestamp, dict(event.attributes or {}))
            for event in span.events
        ),
        links=tuple(
            (format_trace_id(link.context.trace_id), format_span_id(link.context.span_id))
            for link in span.links
        ),
    )


# Counting


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
