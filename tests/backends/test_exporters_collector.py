"""What our exporters write, read by the real Collector."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

from cxtrace.exporters import FileSpanExporter, otlp_exporter, read_spans

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


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_otlp_to_collector(collector: Collector, protocol: str) -> None:
    """Our OTLP exporter takes one base address and reaches the Collector by both protocols."""
    endpoint = collector.otlp_grpc if protocol == "grpc" else collector.otlp_http
    service = export(otlp_exporter(protocol, endpoint))

    (span,) = collector.wait_for(lambda: _at_least(collector, service, 1))

    assert span["attributes"] == ATTRIBUTES


def _at_least(collector: Collector, service: str, number: int) -> list[Any]:
    spans = collector.spans(service)
    return spans if len(spans) >= number else []
