"""OTLP as lines of JSON: encoded by OpenTelemetry, identifiers in hex, split where too long."""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, Final, TypeAlias

from attrs import frozen

MAX_LINE: Final = 1_000_000
"""Bytes a line, unless one item is longer. The Collector cuts a line at 1 MiB, its default
``max_log_size``, and then drops the pieces without a word.
"""

Levels: TypeAlias = tuple[tuple[str, ...], ...]
"""The keys on the way from a message down to its items; of a metric's kinds only one is there."""


@frozen
class Kind:
    """What differs between spans, metrics and log records.

    Attributes:
        items: What they are called.
        module: Of OpenTelemetry's encoder.
        encode: The encoder's name.
        levels: The way down to a span, a data point or a log record.
    """

    items: str
    module: str
    encode: str
    levels: Levels


SPANS: Final = Kind(
    "spans", "trace_encoder", "encode_spans", (("resourceSpans",), ("scopeSpans",), ("spans",))
)
METRICS: Final = Kind(
    "metrics",
    "metrics_encoder",
    "encode_metrics",
    (
        ("resourceMetrics",),
        ("scopeMetrics",),
        ("metrics",),
        ("sum", "gauge", "histogram", "exponentialHistogram"),
        ("dataPoints",),
    ),
)
LOGS: Final = Kind(
    "log records",
    "_log_encoder",
    "encode_logs",
    (("resourceLogs",), ("scopeLogs",), ("logRecords",)),
)


def load_encoder(kind: Kind) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """OpenTelemetry's encoder, and protobuf's of JSON."""
    from google.protobuf.json_format import (  # type: ignore[import-untyped,unused-ignore]
        MessageToDict,
    )

    module = import_module(f"opentelemetry.exporter.otlp.proto.common.{kind.module}")
    return getattr(module, kind.encode), MessageToDict


def encoded(kind: Kind, items: Any) -> list[bytes]:
    """The items as lines, each a whole OTLP message that ends with a line feed."""
    encode, to_dict = load_encoder(kind)
    message: dict[str, Any] = to_dict(encode(items), use_integers_for_enums=True)
    for found in leaves(message, kind.levels):
        for item in (found, *found.get("links", ()), *found.get("exemplars", ())):
            # OTLP's JSON departs from protobuf's in one point: identifiers are hex, not base64.
            for key in item.keys() & {"traceId", "spanId", "parentSpanId"}:
                item[key] = base64.b64decode(item[key]).hex()
    return list(_lines(message, kind.levels))


def leaves(message: Mapping[str, Any], levels: Levels) -> Iterator[dict[str, Any]]:
    """The items at the end of the way down."""
    for part in _parts(message, levels)[1]:
        if len(levels) == 1:
            yield part
        else:
            yield from leaves(part, levels[1:])


def _parts(message: Mapping[str, Any], levels: Levels) -> tuple[str, list[dict[str, Any]]]:
    """The key of the first level that the message has, and what stands under it."""
    key = next((key for key in levels[0] if key in message), "")
    found = message.get(key, [])
    return key, [found] if isinstance(found, dict) else found


def _lines(message: Mapping[str, Any], levels: Levels) -> Iterator[bytes]:
    line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
    halves = _halves(message, levels) if len(line) > MAX_LINE else ()
    if not halves:
        yield line
    for half in halves:
        yield from _lines(half, levels)


def _halves(message: Mapping[str, Any], levels: Levels) -> tuple[dict[str, Any], ...]:
    """Two messages with one half of the items each; nothing where there is but one item."""
    key, parts = _parts(message, levels)
    half = len(parts) // 2
    if half:
        return {**message, key: parts[:half]}, {**message, key: parts[half:]}
    if not parts or len(levels) == 1:
        return ()
    below = _halves(parts[0], levels[1:])
    is_list = isinstance(message[key], list)
    return tuple({**message, key: [part] if is_list else part} for part in below)
