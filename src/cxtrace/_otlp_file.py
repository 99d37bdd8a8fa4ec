"""A file of OTLP JSON lines: written as the Collector reads it, and read back."""

import base64
import itertools
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from opentelemetry.sdk.resources import SERVICE_NAME
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode

from cxtrace._tree import RecordedEvent, RecordedSpan
from cxtrace.exceptions import ConfigurationError

_logger = logging.getLogger("cxtrace")


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
        _load_encoder()  # now, since a fork in the midst of a later import would leave half of it
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


def _load_encoder() -> tuple[Callable[..., Any], Callable[..., Any]]:
    from google.protobuf.json_format import (  # type: ignore[import-untyped,unused-ignore]
        MessageToDict,
    )
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    return encode_spans, MessageToDict


def _otlp_json(spans: Sequence[ReadableSpan]) -> bytes:
    encode, to_dict = _load_encoder()
    message = to_dict(encode(spans), use_integers_for_enums=True)
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
