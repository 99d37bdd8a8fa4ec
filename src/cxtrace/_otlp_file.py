"""A file of OTLP JSON lines: written as the Collector reads it, and read back."""

import base64
import itertools
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary

from attrs import frozen
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics.export import MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.resources import SERVICE_NAME
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode

from cxtrace._otlp_json import LOGS, METRICS, SPANS, Kind, encoded, leaves, load_encoder
from cxtrace._tree import RecordedEvent, RecordedSpan
from cxtrace.exceptions import ConfigurationError

_logger = logging.getLogger("cxtrace")

_LOOK_AGAIN: Final = 0.01
"""Seconds in which a writer that lives has written the rest of its line."""


class _LineFile:
    """A file to which each line is appended by one write, so that others may do the same.

    A lost or rotated file is made anew, with its folder, readable by its owner alone. Nothing is
    kept open between exports, so a fork needs no care.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._warned = False

    def append(self, lines: Iterable[bytes]) -> None:
        """Write the lines, after the end of a line that somebody left torn."""
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

    def warn(self, items: str, error: Exception) -> None:
        """Say once that what was to be written is lost."""
        if not self._warned:
            self._warned = True
            # The text of an encoder's error may quote the span; that of an OSError never does.
            said = error if isinstance(error, OSError) else type(error).__name__
            _logger.warning("%s cannot be written to %s: %s", items, self._path, said)


_files: Final[WeakValueDictionary[Path, _LineFile]] = WeakValueDictionary()
"""The files in use: spans, metrics and log records of one path are appended to the same one."""


class _Lines:
    """What the three file exporters share: encode, split, append, and never raise."""

    def __init__(self, kind: Kind, path: str | os.PathLike[str]) -> None:
        if not os.fspath(path):
            msg = "a file exporter needs a path, as in file:spans.jsonl"
            raise ConfigurationError(msg)
        load_encoder(kind)  # now: a fork in the midst of a later import would leave half of it
        self._kind = kind
        absolute = _absolute(path)
        self._file = _files.setdefault(absolute, _LineFile(absolute))
        self.address = absolute.as_uri()
        self.is_open = True

    def export(self, items: Any) -> bool:
        """Whether the items were written."""
        if not self.is_open:
            return False
        try:
            self._file.append(encoded(self._kind, items))
        except Exception as error:  # noqa: BLE001 - the encoder raises whatever a value makes it
            self._file.warn(self._kind.items, error)
            return False
        return True


class FileSpanExporter(SpanExporter):
    """Append spans to a file as OTLP JSON lines, as the Collector's ``otlpjsonfile`` reads them.

    Several processes of one machine may share a file: each line is appended by one write. A lost
    or rotated file is made anew, with its folder, readable by its owner alone. Nothing is kept
    open between exports, so a fork needs no care. Lines stay below 1 MB, unless one span is longer.

    Args:
        path: The file. ``~`` is the home folder.

    Raises:
        ConfigurationError: The path is empty, or begins with the home of somebody who has none.

    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._lines = _Lines(SPANS, path)
        self.endpoint = self._lines.address

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Write the spans; what the file system or the encoder refuses is a ``FAILURE``."""
        good = self._lines.export(spans)
        return SpanExportResult.SUCCESS if good else SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Return true: each export is with the operating system when it returns."""
        return True

    def shutdown(self) -> None:
        """Refuse later spans."""
        self._lines.is_open = False


class FileMetricExporter(MetricExporter):
    """Append metrics to a file as OTLP JSON lines, as ``FileSpanExporter`` does spans.

    The file may be the one of the spans. Sums are cumulative.

    Args:
        path: The file. ``~`` is the home folder.

    Raises:
        ConfigurationError: The path is empty, or begins with the home of somebody who has none.

    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self._lines = _Lines(METRICS, path)
        self.endpoint = self._lines.address

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        """Write the metrics; what the file system or the encoder refuses is a ``FAILURE``."""
        good = self._lines.export(metrics_data)
        return MetricExportResult.SUCCESS if good else MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Return true: each export is with the operating system when it returns."""
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Refuse later metrics."""
        self._lines.is_open = False


class FileLogExporter(LogRecordExporter):
    """Append log records to a file as OTLP JSON lines, as ``FileSpanExporter`` does spans.

    The file may be the one of the spans.

    Args:
        path: The file. ``~`` is the home folder.

    Raises:
        ConfigurationError: The path is empty, or begins with the home of somebody who has none.

    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._lines = _Lines(LOGS, path)
        self.endpoint = self._lines.address

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Write the records; what the file system or the encoder refuses is a ``FAILURE``."""
        good = self._lines.export(batch)
        return LogRecordExportResult.SUCCESS if good else LogRecordExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Return true: each export is with the operating system when it returns."""
        return True

    def shutdown(self) -> None:
        """Refuse later records."""
        self._lines.is_open = False


def _absolute(path: str | os.PathLike[str]) -> Path:
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError:
        msg = f"there is no home folder for {os.fspath(path)!r}; write the path of the file in full"
        raise ConfigurationError(msg) from None


def _is_torn(descriptor: int) -> bool:
    """Tell whether a writer that was killed, or a full disk, left a line without its end."""
    if not _is_open(descriptor):
        return False
    time.sleep(_LOOK_AGAIN)  # What another writer is about to end looks the same.
    return _is_open(descriptor)


def _is_open(descriptor: int) -> bool:
    if not os.fstat(descriptor).st_size:
        return False
    os.lseek(descriptor, -1, os.SEEK_END)
    return os.read(descriptor, 1) != b"\n"


def _spans_of(message: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], dict[str, Any]]]:
    for resource_spans in message["resourceSpans"]:
        for span in leaves(resource_spans, SPANS.levels[1:]):
            yield resource_spans.get("resource", {}), span


@frozen
class Recording:
    """Spans read back from files; iterating over it yields them.

    ``skipped`` counts the lines that are no OTLP JSON: torn ones, other text. Lines of metrics and
    of log records are passed over.
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
        message = json.loads(line)
        if message.keys() & {"resourceMetrics", "resourceLogs"}:
            return []
        return [_recorded(*found) for found in _spans_of(message)]
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
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
