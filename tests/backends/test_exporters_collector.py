"""What our exporters write, read by the real Collector."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import LogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

from cxtrace.exporters import (
    FileLogExporter,
    FileMetricExporter,
    FileSpanExporter,
    otlp_exporter,
    otlp_log_exporter,
    otlp_metric_exporter,
    read_spans,
)

from .servers import Collector

pytestmark = pytest.mark.backend

ATTRIBUTES: dict[str, Any] = {
    "cx.journey.id": "J1",
    "cx.effort.expected_actions": 3,
    "cx.touchpoint.planned": True,
    "cx.owner.influence.it": 0.3,
}


def export(exporter: SpanExporter, spans: int = 1) -> str:
    """Export spans of a service that nobody else has; return its name."""
    service = f"shop-{uuid4()}"
    provider = TracerProvider(resource=Resource({"service.name": service}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("cxtrace")
    for number in range(spans):
        with tracer.start_as_current_span(f"checkout.pay {number}", attributes=ATTRIBUTES) as span:
            span.add_event("cx.friction", {"cx.friction.type": "slow"})
    provider.shutdown()
    return service


def test_file_read_by_collector(collector_binary: None, tmp_path: Path) -> None:
    """The Collector reads the file exporter's lines and finds every span and attribute."""
    written = tmp_path / "spans.jsonl"
    service = export(FileSpanExporter(written), 25)

    with Collector(tmp_path / "collector", replay=written) as collector:
        found = collector.wait_for(lambda: _at_least(collector, service, 25))

    assert {span["name"] for span in found} == {f"checkout.pay {n}" for n in range(25)}
    assert all(span["attributes"] == ATTRIBUTES for span in found)
    ours = {span.span_id for span in read_spans(written)}
    assert {span["spanId"] for span in found} == ours


def count_and_log(metrics: MetricExporter, logs: LogRecordExporter, series: int = 1) -> str:
    """Export a counter and a log record of a service that nobody else has; return its name."""
    service = f"shop-{uuid4()}"
    resource = Resource({"service.name": service})
    reader = PeriodicExportingMetricReader(metrics)
    meters = MeterProvider([reader], resource, shutdown_on_exit=False)
    loggers = LoggerProvider(resource, shutdown_on_exit=False)
    loggers.add_log_record_processor(SimpleLogRecordProcessor(logs))
    counter = meters.get_meter("cxtrace").create_counter("cx.touchpoint.frictions")
    for number in range(series):
        counter.add(number, {"number": number, "padding": "x" * 900})
    loggers.get_logger("cxtrace").emit(LogRecord(body="slow", event_name="cx.friction"))
    meters.shutdown()
    loggers.shutdown()
    return service


def counted(collector: Collector, service: str) -> list[int]:
    """The values of the counters of a service that the Collector has written so far."""
    return [
        int(point["asInt"])
        for line in collector.lines("metrics")
        for resource in line["resourceMetrics"]
        if service in str(resource["resource"])
        for scope in resource["scopeMetrics"]
        for metric in scope["metrics"]
        for point in metric["sum"]["dataPoints"]
    ]


def test_three_kinds_read_by_collector(collector_binary: None, tmp_path: Path) -> None:
    """The Collector takes each kind from the file that spans, metrics and log records share."""
    written = tmp_path / "all.jsonl"
    traced = export(FileSpanExporter(written), 3)
    service = count_and_log(FileMetricExporter(written), FileLogExporter(written), 1_500)

    assert max(map(len, written.read_bytes().splitlines())) < 2**20
    with Collector(tmp_path / "collector", replay=written) as collector:
        collector.wait_for(lambda: _at_least(collector, traced, 3))
        collector.wait_for(lambda: len(counted(collector, service)) >= 1_500)
        (record,) = collector.wait_for(lambda: collector.logs(service))
        found = counted(collector, service)

    assert sorted(found) == list(range(1_500))
    assert record["body"] == "slow"


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_metrics_and_logs_to_collector(collector: Collector, protocol: str) -> None:
    """Our OTLP exporters of metrics and log records reach the Collector at the same base."""
    endpoint = collector.otlp_grpc if protocol == "grpc" else collector.otlp_http
    service = count_and_log(
        otlp_metric_exporter(protocol, endpoint, timeout=30),
        otlp_log_exporter(protocol, endpoint, timeout=30),
    )

    assert collector.wait_for(lambda: counted(collector, service)) == [0]
    (record,) = collector.wait_for(lambda: collector.logs(service))
    assert record["body"] == "slow"


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_otlp_to_collector(collector: Collector, protocol: str) -> None:
    """Our OTLP exporter takes one base address and reaches the Collector by both protocols."""
    endpoint = collector.otlp_grpc if protocol == "grpc" else collector.otlp_http
    service = export(otlp_exporter(protocol, endpoint, timeout=30))

    (span,) = collector.wait_for(lambda: _at_least(collector, service, 1))

    assert span["attributes"] == ATTRIBUTES


def _at_least(collector: Collector, service: str, number: int) -> list[Any]:
    spans = collector.spans(service)
    return spans if len(spans) >= number else []
