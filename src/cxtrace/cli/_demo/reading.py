"""The spans of a run, read back from the file or from Jaeger."""

import argparse
import json
import time
import urllib.request
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from cxtrace._tree import RecordedEvent, RecordedSpan
from cxtrace.cli._demo.facts import SERVICES, DemoError, Walk, services_of
from cxtrace.exporters import read_spans
from cxtrace.platform.links import urls
from cxtrace.platform.links.searches import search_for

_READ_SECONDS: Final = 10.0
_STANDS_STILL: Final = 0.75
"""Seconds in which nothing more has come."""

_SERVICE: Final = "storefront"


def read_file(file: Path) -> tuple[Sequence[RecordedSpan], bytes]:
    """The spans in a file, and the file as it was written."""
    if not file.is_file():
        raise DemoError(f"the services have written no spans to {file}")
    return read_spans(file).spans, file.read_bytes()


def jaeger_ui(arguments: argparse.Namespace) -> str | None:
    """Where the Jaeger is that spans are sent to; None if they go to a file."""
    if arguments.otlp is None or arguments.jaeger:
        return arguments.jaeger and str(arguments.jaeger).rstrip("/")
    host = urlsplit(arguments.otlp).hostname
    return f"http://[{host}]:16686" if ":" in host else f"http://{host}:16686"


def jaeger_url(ui: str, journey_id: str) -> str:
    """Where Jaeger shows all traces of a journey."""
    return urls.jaeger(ui, search_for("journey", journey_id), _SERVICE)


def _query(journey_id: str) -> str:
    return urls.jaeger_query(search_for("journey", journey_id), _SERVICE)


def read_jaeger(ui: str, walks: Sequence[Walk]) -> tuple[Sequence[RecordedSpan] | None, bytes]:
    """The spans of all journeys, as soon as no more arrive; None if Jaeger does not answer."""
    deadline = time.monotonic() + _READ_SECONDS
    before = -1
    while True:
        try:
            answers = [_ask(f"{ui}/api/traces?{_query(walk.id)}") for walk in walks]
            found = [_from_jaeger(json.loads(answer)) for answer in answers]
        except (OSError, HTTPException, ValueError, LookupError, TypeError):
            return None, b""
        spans = {span.span_id: span for spans in found for span in spans}
        complete = all(len(services_of(spans_of)) == len(SERVICES) for spans_of in found)
        if (complete and len(spans) == before) or time.monotonic() > deadline:
            return list(spans.values()), b"".join(answers)
        before = len(spans)
        time.sleep(_STANDS_STILL)


def _ask(url: str) -> bytes:
    # Nobody's proxy: this is the user's own Jaeger.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=5) as answer:
        body: bytes = answer.read()
    return body


def _from_jaeger(answer: Mapping[str, Any]) -> list[RecordedSpan]:
    return [
        _jaeger_span(span, trace["processes"])
        for trace in answer["data"]
        for span in trace["spans"]
    ]


def _jaeger_span(span: Mapping[str, Any], processes: Mapping[str, Any]) -> RecordedSpan:
    found = {tag["key"]: tag["value"] for tag in span["tags"]}
    parents = [each["spanID"] for each in span["references"] if each["refType"] == "CHILD_OF"]
    start = span["startTime"] * 1_000
    return RecordedSpan(
        trace_id=span["traceID"],
        span_id=span["spanID"],
        parent_id=parents[0] if parents else None,
        name=span["operationName"],
        kind=found.get("span.kind", "internal").upper(),
        start_ns=start,
        end_ns=start + span["duration"] * 1_000,
        status_code=found.get("otel.status_code", "UNSET"),
        service_name=processes[span["processID"]]["serviceName"],
        attributes=found,
        events=tuple(map(_jaeger_event, span.get("logs") or ())),
    )


def _jaeger_event(log: Mapping[str, Any]) -> RecordedEvent:
    fields = {field["key"]: field["value"] for field in log["fields"]}
    return RecordedEvent(str(fields.pop("event", "")), log["timestamp"] * 1_000, fields)
