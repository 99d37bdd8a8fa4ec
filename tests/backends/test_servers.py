from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (
    OTLPSpanExporter as GRPCSpanExporter,
)
from opentelemetry.exporter.otlp.proto.http.trace_exporter import (
    OTLPSpanExporter as HTTPSpanExporter,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind

from .servers import (
    Collector,
    Jaeger,
    Ports,
    Server,
    collector_config,
    tags,
    validate,
)

pytestmark = pytest.mark.backend

ATTRIBUTES: dict[str, Any] = {"cx.journey.id": "J1", "step": 2, "paid": True, "amounts": [1.5, 2.5]}


def over_grpc(server: Server) -> SpanExporter:
    """The SDK's exporter for OTLP over gRPC."""
    return GRPCSpanExporter(endpoint=server.otlp_grpc, insecure=True)


def over_http(server: Server) -> SpanExporter:
    """The SDK's exporter for OTLP over HTTP."""
    return HTTPSpanExporter(endpoint=f"{server.otlp_http}/v1/traces")


both_protocols = pytest.mark.parametrize("exporter_to", [over_grpc, over_http])


def send(exporter: SpanExporter) -> str:
    """Send a server span with a child, under a service name nobody else has; return that name."""
    service = f"shop-{uuid4()}"
    provider = TracerProvider(resource=Resource({"service.name": service}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    with (
        tracer.start_as_current_span("checkout", kind=SpanKind.SERVER, attributes=ATTRIBUTES),
        tracer.start_as_current_span("pay"),
    ):
        pass
    provider.shutdown()
    return service


def whole_trace(jaeger: Jaeger, service: str, tags: dict[str, str] | None = None) -> dict[str, Any]:
    """The trace of `send`, once both of its spans have come."""
    (trace,) = jaeger.wait_for(
        lambda: [each for each in jaeger.traces(service, tags) if len(each["spans"]) == 2]
    )
    return trace


@both_protocols
def test_the_collector_writes_what_the_sdk_sent(
    collector: Collector, exporter_to: Callable[[Server], SpanExporter]
) -> None:
    """Spans sent over either protocol stand in the file, with their parent, kind and attributes."""
    service = send(exporter_to(collector))

    collector.wait_for(lambda: len(collector.spans(service)) == 2)
    pay, checkout = collector.spans(service)

    assert checkout["attributes"] == ATTRIBUTES
    assert (checkout["kind"], checkout["parentSpanId"]) == ("SERVER", "")
    assert (pay["kind"], pay["parentSpanId"]) == ("INTERNAL", checkout["spanId"])
    assert pay["traceId"] == checkout["traceId"]


@both_protocols
def test_jaeger_finds_a_trace_by_tag(
    jaeger: Jaeger, exporter_to: Callable[[Server], SpanExporter]
) -> None:
    """A search for a tag's value finds the trace that has it, and none for another value."""
    service = send(exporter_to(jaeger))

    trace = whole_trace(jaeger, service, {"cx.journey.id": "J1"})

    assert {span["operationName"] for span in trace["spans"]} == {"checkout", "pay"}
    assert jaeger.traces(service, {"cx.journey.id": "J2"}) == []
    assert service in jaeger.services()


def test_jaeger_looks_a_trace_up_by_its_id(jaeger: Jaeger) -> None:
    """A trace's id leads to its spans and their tags; an unknown id leads to nothing."""
    service = send(over_grpc(jaeger))
    found = whole_trace(jaeger, service)

    trace = jaeger.trace(found["traceID"])

    assert trace is not None
    assert {tags(span).get("cx.journey.id") for span in trace["spans"]} == {"J1", None}
    assert jaeger.trace("0123456789abcdef0123456789abcdef") is None


@pytest.mark.usefixtures("collector_binary")
def test_the_collector_reads_back_a_file(tmp_path: Path) -> None:
    """A file that one Collector wrote, read by another, gives the same spans."""
    with Collector(tmp_path / "first") as first:
        service = send(over_grpc(first))
        first.wait_for(lambda: len(first.spans(service)) == 2)

    with Collector(tmp_path / "second", replay=first.output) as second:
        second.wait_for(lambda: len(second.spans()) == 2)

    assert second.spans() == first.spans()


@pytest.mark.usefixtures("collector_binary")
def test_stopping_the_collector_flushes_its_batches(tmp_path: Path) -> None:
    """Spans that still wait in a batch are in the file once `stop` has returned."""
    with Collector(tmp_path, processors={"batch": {"timeout": "1h"}}) as collector:
        service = send(over_http(collector))
        before = collector.spans()
    after = collector.spans(service)

    assert (len(before), len(after)) == (0, 2)


@pytest.mark.usefixtures("collector_binary")
def test_the_collector_passes_spans_on_to_jaeger(jaeger: Jaeger, tmp_path: Path) -> None:
    """A Collector in between hands every span to Jaeger, less the values it was told to hide."""
    processors = {"redaction": {"allow_all_keys": True, "blocked_values": ["J[0-9]+"]}}
    exporters = {"otlp_grpc": {"endpoint": jaeger.otlp_grpc, "tls": {"insecure": True}}}
    with Collector(tmp_path, processors=processors, exporters=exporters) as collector:
        service = send(over_grpc(collector))

        trace = whole_trace(jaeger, service)

    assert {tags(span).get("cx.journey.id") for span in trace["spans"]} == {"****", None}


@pytest.mark.usefixtures("collector_binary")
def test_the_collector_accepts_its_configurations(tmp_path: Path) -> None:
    """`validate` has nothing against the configurations that these tests start with."""
    ports = Ports.free()
    processors = {"memory_limiter": {"check_interval": "1s", "limit_mib": 100}, "batch": {}}

    plain = validate(collector_config(ports, tmp_path))
    full = validate(
        collector_config(
            ports, tmp_path, processors=processors, exporters={"debug": {}}, replay=tmp_path / "in"
        )
    )

    assert (plain, full) == ("", "")


@pytest.mark.usefixtures("collector_binary")
def test_the_collector_names_what_is_wrong_in_a_file(tmp_path: Path) -> None:
    """`validate` names a component that the Collector does not have."""
    file = tmp_path / "collector.yaml"
    file.write_text("receivers: {pigeon: {}}")

    assert "pigeon" in validate(file)
