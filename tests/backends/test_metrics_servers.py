"""What the stock SDK measures and logs, through a real Collector, in real stores of metrics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import (
    OTLPLogExporter as GRPCLogExporter,
)
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (
    OTLPMetricExporter as GRPCMetricExporter,
)
from opentelemetry.exporter.otlp.proto.http._log_exporter import (
    OTLPLogExporter as HTTPLogExporter,
)
from opentelemetry.exporter.otlp.proto.http.metric_exporter import (
    OTLPMetricExporter as HTTPMetricExporter,
)
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import LogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import format_span_id, format_trace_id

from .metric_stores import MetricStore, Prometheus, VictoriaMetrics, promtool
from .servers import Collector, Ports, Server, collector_config, validate

pytestmark = pytest.mark.backend

ATTRIBUTES: dict[str, Any] = {"cx.touchpoint.name": "checkout.pay", "paid": True, "step": 2}
LABELS = {"cx_touchpoint_name": "checkout.pay", "paid": "true", "step": "2"}
"""What both stores make of the attributes."""
DURATIONS = (0.25, 0.5, 1.0, 7.0)
BOUNDARIES = (0.5, 2.0)
SERIES = 7
"""How many `send` makes: one counter, three buckets, a sum and a count, and a gauge."""


def over_grpc(server: Server) -> MetricExporter:
    """The SDK's exporter for OTLP over gRPC."""
    return GRPCMetricExporter(endpoint=server.otlp_grpc, insecure=True)


def over_http(server: Server) -> MetricExporter:
    """The SDK's exporter for OTLP over HTTP."""
    return HTTPMetricExporter(endpoint=f"{server.otlp_http}/v1/metrics")


both_protocols = pytest.mark.parametrize("exporter_to", [over_grpc, over_http])


def send(exporter: MetricExporter) -> tuple[str, str]:
    """Measure what nobody else does; return the service's name and the id of the only trace."""
    service = f"shop-{uuid4()}"
    resource = Resource({"service.name": service, "service.instance.id": "i-1", "host.id": "h-1"})
    reader = PeriodicExportingMetricReader(exporter)
    provider = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
    meter = provider.get_meter("cxtrace", "1.2")
    duration = meter.create_histogram(
        "cx.touchpoint.duration", unit="s", explicit_bucket_boundaries_advisory=BOUNDARIES
    )
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    with tracer.start_as_current_span("checkout") as span:
        for each in DURATIONS:
            duration.record(each, ATTRIBUTES)
    meter.create_counter("cx.friction", unit="{event}").add(3, ATTRIBUTES)
    meter.create_up_down_counter("cx.journey.active", unit="{journey}").add(2, ATTRIBUTES)
    provider.shutdown()
    return service, format_trace_id(span.get_span_context().trace_id)


def of(store: MetricStore, service: str) -> str:
    """What selects a service's series: the stores have different labels for its name."""
    label = "job" if isinstance(store, Prometheus) else "service_name"
    return f'{label}="{service}"'


@both_protocols
def test_metrics_arrive_under_their_prometheus_names(
    metrics_collector: Collector,
    store: MetricStore,
    exporter_to: Callable[[Server], MetricExporter],
) -> None:
    """A unit and a counter's `_total` end the name; a unit in braces is left out of it."""
    service, _ = send(exporter_to(metrics_collector))

    samples = store.query(f'{{__name__!="target_info",{of(store, service)}}}', at_least=SERIES)

    values = [(each.labels["__name__"], each.labels.get("le"), each.value) for each in samples]
    assert sorted(values, key=str) == [
        ("cx_friction_total", None, 3),
        ("cx_journey_active", None, 2),
        ("cx_touchpoint_duration_seconds_bucket", "+Inf", 4),
        ("cx_touchpoint_duration_seconds_bucket", "0.5", 2),
        ("cx_touchpoint_duration_seconds_bucket", "2", 3),
        ("cx_touchpoint_duration_seconds_count", None, 4),
        ("cx_touchpoint_duration_seconds_sum", None, sum(DURATIONS)),
    ]


@pytest.mark.parametrize("send_to", ["the Collector", "the store"])
def test_victoriametrics_labels(
    metrics_collector: Collector, victoriametrics: VictoriaMetrics, send_to: str
) -> None:
    """VictoriaMetrics makes labels of the attributes, of the whole resource and of the scope."""
    service, _ = send(over_http(metrics_collector if "C" in send_to else victoriametrics))

    samples = victoriametrics.query(f'cx_friction_total{{service_name="{service}"}}')

    resource = {"service_name": service, "service_instance_id": "i-1", "host_id": "h-1"}
    scope = {"scope_name": "cxtrace", "scope_version": "1.2"}
    assert samples == [({"__name__": "cx_friction_total", **LABELS, **resource, **scope}, 3)]


@pytest.mark.parametrize("send_to", ["the Collector", "the store"])
def test_prometheus_labels(
    metrics_collector: Collector, prometheus: Prometheus, send_to: str
) -> None:
    """Prometheus makes labels of the attributes, the service and its instance, and no others."""
    service, _ = send(over_http(metrics_collector if "C" in send_to else prometheus))

    samples = prometheus.query(f'cx_friction_total{{job="{service}"}}')
    targets = prometheus.query(f'target_info{{job="{service}"}}')

    target = {"job": service, "instance": "i-1"}
    assert samples == [({"__name__": "cx_friction_total", **LABELS, **target}, 3)]
    assert targets == [({"__name__": "target_info", "host_id": "h-1", **target}, 1)]


@both_protocols
def test_prometheus_keeps_exemplars(
    metrics_collector: Collector,
    prometheus: Prometheus,
    exporter_to: Callable[[Server], MetricExporter],
) -> None:
    """The last measurement of each bucket leads to its trace."""
    service, trace_id = send(exporter_to(metrics_collector))
    bucket = f'cx_touchpoint_duration_seconds_bucket{{job="{service}"}}'

    exemplars = prometheus.exemplars(bucket, at_least=3)

    assert {each.series["le"]: each.value for each in exemplars} == {"0.5": 0.5, "2": 1, "+Inf": 7}
    assert {each.labels["trace_id"] for each in exemplars} == {trace_id}
    assert {frozenset(each.labels) for each in exemplars} == {frozenset({"trace_id", "span_id"})}


def test_promql_computes_a_ratio(metrics_collector: Collector, store: MetricStore) -> None:
    """The share of measurements up to a boundary is exact, in the query's one value."""
    service, _ = send(over_grpc(metrics_collector))
    name, which = "cx_touchpoint_duration_seconds", of(store, service)

    ratio = store.value(f'sum({name}_bucket{{le="2",{which}}}) / sum({name}_count{{{which}}})')

    assert ratio == 3 / 4


def test_a_query_that_finds_too_little(store: MetricStore) -> None:
    """A query says what came when that is not enough, and gives nothing when nothing is enough."""
    with pytest.raises(AssertionError, match=r"2 expected, and this came: \[Sample\(.*value=1"):
        store.query("vector(1)", at_least=2, timeout=0)

    assert store.query("no_such_metric", at_least=0) == []
    assert store.value("scalar(vector(1)) + 1") == 2


def test_a_wrong_query_is_refused(store: MetricStore) -> None:
    """A query that is no PromQL is an error at once, in the store's own words."""
    with pytest.raises(ValueError, match=r"refuses.*sum\("):
        store.query("sum(")


def test_the_stores_take_otlp_over_http_alone(store: MetricStore) -> None:
    """Whoever asks a store where it takes OTLP over gRPC is told that it does not."""
    with pytest.raises(NotImplementedError, match=store.name):
        over_grpc(store)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_collector_writes_logs(metrics_collector: Collector, protocol: str) -> None:
    """A log record stands in the file, with its event's name, its attributes and its trace."""
    endpoint = getattr(metrics_collector, f"otlp_{protocol}")
    exporter: LogRecordExporter = (
        GRPCLogExporter(endpoint=endpoint, insecure=True)
        if protocol == "grpc"
        else HTTPLogExporter(endpoint=f"{endpoint}/v1/logs")
    )
    service = f"shop-{uuid4()}"
    provider = LoggerProvider(resource=Resource({"service.name": service}), shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    with tracer.start_as_current_span("checkout") as span:
        provider.get_logger("test").emit(
            LogRecord(
                severity_text="WARN",
                severity_number=SeverityNumber.WARN,
                body="card declined",
                attributes=ATTRIBUTES,
                event_name="cx.friction",
            )
        )
    provider.shutdown()

    (log,) = metrics_collector.wait_for(lambda: metrics_collector.logs(service))

    assert (log["body"], log["severity"], log["event"]) == ("card declined", "WARN", "cx.friction")
    assert log["attributes"] == ATTRIBUTES
    assert log["traceId"] == format_trace_id(span.get_span_context().trace_id)
    assert log["spanId"] == format_span_id(span.get_span_context().span_id)


@pytest.mark.usefixtures("collector_binary")
def test_the_collector_accepts_the_stores_exporters(store: MetricStore, tmp_path: Path) -> None:
    """`validate` has nothing against an exporter of a store, for metrics and for them alone."""
    config = collector_config(Ports.free(), tmp_path, metrics_exporters=store.exporter())

    assert validate(config) == ""
    pipelines = config["service"]["pipelines"]
    used = [name for name, each in pipelines.items() if {*store.exporter()} & {*each["exporters"]}]
    assert used == ["metrics"]


@pytest.mark.usefixtures("prometheus_binary")
def test_promtool_checks_rules(tmp_path: Path) -> None:
    """`promtool` has nothing against good rules, and names the wrong one."""
    rule = '{groups: [{name: cx, rules: [{record: "cx:friction", expr: "sum(%s)"}]}]}'
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(rule % "cx_friction_total")
    bad.write_text(rule % "(")

    assert promtool("check", "rules", good) == ""
    assert "cx:friction" in promtool("check", "rules", bad)
