"""Exporters against real listeners and real files: what arrives, and what may go wrong."""

import http.server
import importlib
import io
import itertools
import json
import os
import re
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped,unused-ignore]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord
from opentelemetry.sdk._logs.export import (
    ConsoleLogRecordExporter,
    InMemoryLogRecordExporter,
    LogRecordExportResult,
    SimpleLogRecordProcessor,
)
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ConsoleMetricExporter,
    InMemoryMetricReader,
    MetricExportResult,
    MetricsData,
)
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from cxtrace import _guard, _otlp_file, _otlp_json, exporters
from cxtrace._answers import Sender, Verdict
from cxtrace._pipelines import followed
from cxtrace._settings import Settings
from cxtrace.exceptions import ConfigurationError
from cxtrace.exporters import (
    CountingMetricExporter,
    FileLogExporter,
    FileMetricExporter,
    FileSpanExporter,
    RecordedSpan,
    Recording,
    TreeExporter,
    log_exporter,
    metric_exporter,
    otlp_exporter,
    otlp_log_exporter,
    otlp_metric_exporter,
    read_spans,
    span_exporter,
)

SUCCESS, FAILURE = SpanExportResult.SUCCESS, SpanExportResult.FAILURE


@pytest.fixture(autouse=True)
def no_otel_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of the machine out of the tests, and what was already warned about."""
    _guard.reset()
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


def made_spans(count: int = 1, **more: Any) -> tuple[ReadableSpan, ...]:
    """Make finished spans with a private provider; the first is the parent of the others."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("test", "1")
    with tracer.start_as_current_span("root", **more):
        for number in range(1, count):
            tracer.start_span(f"child {number}").end()
    return memory.get_finished_spans()


def sent(exporter: SpanExporter) -> SpanExportResult:
    """Export one span and shut the exporter down."""
    try:
        return exporter.export(made_spans())
    finally:
        exporter.shutdown()


# OTLP, over the wire


class Collector:
    """What a listener has received."""

    def __init__(self) -> None:
        self.address = ""
        self.paths: list[str] = []
        self.requests: list[ExportTraceServiceRequest] = []
        self.bodies: list[bytes] = []

    @property
    def span_names(self) -> list[str]:
        return [
            span.name
            for request in (
                *self.requests,
                *map(ExportTraceServiceRequest.FromString, self.bodies),
            )
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
def http_collector() -> Iterator[Collector]:
    """Listen for OTLP over HTTP."""
    collector = Collector()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.paths.append(self.path)
            collector.bodies.append(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.address = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield collector
        server.shutdown()
        thread.join()


@pytest.fixture
def grpc_collector() -> Iterator[Collector]:
    """Listen for OTLP over gRPC, without TLS."""
    collector = Collector()

    class Servicer(TraceServiceServicer):
        def Export(  # noqa: N802
            self, request: ExportTraceServiceRequest, context: Any
        ) -> Any:
            collector.requests.append(request)
            return ExportTraceServiceResponse()

    with ThreadPoolExecutor(max_workers=1) as pool:
        server = grpc.server(pool)
        add_TraceServiceServicer_to_server(Servicer(), server)  # type: ignore[no-untyped-call]
        collector.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        yield collector
        server.stop(None).wait()


@pytest.mark.parametrize("tail", ["", "/", "/v1/traces", "/otlp"])
def test_http_endpoint_is_a_base(http_collector: Collector, tail: str) -> None:
    """Trap 24: the ``endpoint`` argument is a base for HTTP too; /v1/traces is added once."""
    exporter = otlp_exporter("http/protobuf", f"http://{http_collector.address}{tail}")

    assert sent(exporter) is SUCCESS
    assert http_collector.paths == ["/otlp/v1/traces" if tail == "/otlp" else "/v1/traces"]
    assert http_collector.span_names == ["root"]


@pytest.mark.parametrize(
    ("variable", "path"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "/tenant/v1/traces"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "/tenant"),
    ],
)
def test_http_endpoint_variables(
    http_collector: Collector, variable: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap 24: the general variable is a base, that of traces is the address itself."""
    monkeypatch.setenv(variable, f"http://{http_collector.address}/tenant")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")

    assert sent(otlp_exporter()) is SUCCESS
    assert http_collector.paths == [path]


def test_grpc_endpoint(grpc_collector: Collector) -> None:
    """The same base reaches a gRPC listener in clear text, because it says http."""
    exporter = otlp_exporter("grpc", f"http://{grpc_collector.address}")

    assert sent(exporter) is SUCCESS
    assert grpc_collector.span_names == ["root"]


def test_grpc_is_the_default_protocol(
    grpc_collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a protocol it is gRPC, as in OpenTelemetry Python; empty variables count as unset."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", " ")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{grpc_collector.address}")

    assert sent(span_exporter("otlp")) is SUCCESS
    assert grpc_collector.span_names == ["root"]


def test_the_variable_of_traces_wins(
    http_collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variables of traces win over the general ones, and arguments over both."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")

    assert sent(otlp_exporter(endpoint=f"http://{http_collector.address}")) is SUCCESS


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize("endpoint", ["collector:4317", "10.0.0.1:4317", "grpc://collector:4317"])
def test_an_endpoint_without_scheme(protocol: str, endpoint: str) -> None:
    """Trap 23: ``collector:4317`` would silently turn TLS on, so we ask for http or https."""
    host = endpoint.removeprefix("grpc://")

    with pytest.raises(ConfigurationError, match=re.escape(f"write http://{host}, or https://")):
        otlp_exporter(protocol, endpoint)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize(
    "variable", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
)
def test_a_variable_without_scheme(
    protocol: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap 23: the message names the variable that has no scheme."""
    monkeypatch.setenv(variable, "collector:4317")

    with pytest.raises(
        ConfigurationError, match=f"{variable}='collector:4317' .* http://collector"
    ):
        otlp_exporter(protocol)


def test_insecure_settles_the_scheme(
    grpc_collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap 23 has an exit in OpenTelemetry's own terms: OTEL_EXPORTER_OTLP_INSECURE, for gRPC."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_INSECURE", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", grpc_collector.address)

    assert sent(otlp_exporter("grpc")) is SUCCESS
    with pytest.raises(ConfigurationError, match="http://"):
        otlp_exporter("http/protobuf")


STOCK = {
    "grpc": "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http.trace_exporter",
}


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what the stock exporter is built with, instead of building it."""
    arguments: dict[str, Any] = {}
    for module in STOCK.values():
        monkeypatch.setattr(
            importlib.import_module(module),
            "OTLPSpanExporter",
            lambda **given: arguments.update(given),
        )
    return arguments


@pytest.mark.parametrize(
    ("protocol", "endpoint"),
    [("grpc", "http://localhost:4317"), ("http/protobuf", "http://localhost:4318/v1/traces")],
)
def test_default_endpoints(protocol: str, endpoint: str, handed: dict[str, Any]) -> None:
    """Without an endpoint it is localhost, on the port and path of the protocol."""
    otlp_exporter(protocol)

    assert handed["endpoint"] == endpoint


@pytest.mark.parametrize(
    ("given", "meant"),
    [("http/json", "http/protobuf"), ("gprc", "grpc"), ("http", "http/protobuf")],
)
def test_an_unknown_protocol(given: str, meant: str) -> None:
    """A protocol that does not exist is refused, with the one that was meant."""
    with pytest.raises(ConfigurationError, match=f"did you mean '{meant}'"):
        otlp_exporter(given)


def test_a_protocol_like_no_other() -> None:
    """Where nothing is close, the message lists what there is."""
    with pytest.raises(ConfigurationError, match="'§': known: grpc, http/protobuf"):
        otlp_exporter("§")


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, 2.0),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "7.5"}, 7.5),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "7", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "3"}, 3.0),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": ""}, 2.0),
    ],
)
def test_timeout(
    protocol: str,
    environment: dict[str, str],
    seconds: float,
    handed: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two seconds, unless the environment says otherwise."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    otlp_exporter(protocol)

    assert handed["timeout"] == seconds


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_the_unit_of_the_timeout(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Collector that accepts and never answers holds an export for as many seconds as said.

    Older exporters then raise, hence the sender around it, as it is in real use.
    """
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.3")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        exporter = otlp_exporter(protocol, f"http://127.0.0.1:{silent.getsockname()[1]}")
        begin = time.monotonic()

        assert Sender(exporter).send(made_spans()).verdict is not Verdict.DELIVERED
        assert 0.2 < time.monotonic() - begin < 10


@pytest.mark.parametrize("value", ["2s", "0", "-1", "nan", "inf"])
def test_a_timeout_that_is_none(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A timeout that is no number of seconds is refused by the name of its variable."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", value)

    with pytest.raises(ConfigurationError, match=f"OTEL_EXPORTER_OTLP_TIMEOUT='{value}'"):
        otlp_exporter()


def test_a_timeout_argument_that_is_none() -> None:
    """The argument is held to the same rule."""
    with pytest.raises(ConfigurationError, match="timeout=-1"):
        otlp_exporter(timeout=-1)


def test_exporters_are_imported_when_used() -> None:
    """Importing the module loads neither gRPC, requests nor protobuf."""
    code = (
        "import sys, cxtrace.exporters\n"
        "print([name for name in ('grpc', 'requests', 'google.protobuf') if name in sys.modules])"
    )

    assert run_python(code).strip() == "[]"


def run_python(code: str, *arguments: str) -> str:
    """Run code in another process, with the modules of this one."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


# Metrics and log records, over the wire


def made_metrics(points: int = 1, name: str = "orders") -> MetricsData:
    """Collect one counter with so many data points, one of which has an exemplar, and a gauge."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], Resource({"service.name": "shop"}), shutdown_on_exit=False)
    meter = provider.get_meter("test", "1")
    counter = meter.create_counter(name)
    sampled = SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(1))
    for number in range(points):
        current = set_span_in_context(NonRecordingSpan(sampled)) if number == 0 else None
        counter.add(number + 1, {"number": number}, current)
    meter.create_histogram("duration").record(0.5)
    found = reader.get_metrics_data()
    assert found is not None
    return found


def made_records(count: int = 1, **more: Any) -> tuple[ReadableLogRecord, ...]:
    """Emit log records under a span that is known to be sampled."""
    memory: Any = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    provider = LoggerProvider(Resource({"service.name": "shop"}), shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(memory))
    sampled = SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(1))
    for number in range(count):
        record = LogRecord(
            context=set_span_in_context(NonRecordingSpan(sampled)),
            body=f"record {number}",
            event_name="cx.friction",
            severity_number=SeverityNumber.WARN,
            attributes={"cx.friction.type": "slow", **more},
        )
        provider.get_logger("test").emit(record)
    found: tuple[ReadableLogRecord, ...] = memory.get_finished_logs()
    return found


WIRES: list[tuple[Any, Any, str, str, Any]] = [
    (otlp_metric_exporter, made_metrics, "METRICS", "/v1/metrics", MetricExportResult),
    (otlp_log_exporter, made_records, "LOGS", "/v1/logs", LogRecordExportResult),
]


@pytest.mark.parametrize(("make", "items", "word", "path", "results"), WIRES)
@pytest.mark.parametrize("tail", ["", "/", "/v1/traces", "/v1/metrics", "/v1/logs"])
def test_base_of_metrics_and_logs(
    http_collector: Collector, make: Any, items: Any, word: str, path: str, results: Any, tail: str
) -> None:
    """Trap 24 for metrics and logs: one base serves all, whichever path somebody has added."""
    exporter = make("http/protobuf", f"http://{http_collector.address}{tail}")

    assert exporter.export(items()) is results.SUCCESS
    exporter.shutdown()
    assert http_collector.paths == [path]


@pytest.mark.parametrize(("make", "items", "word", "path", "results"), WIRES)
def test_variables_of_metrics_and_logs(
    http_collector: Collector,
    monkeypatch: pytest.MonkeyPatch,
    make: Any,
    items: Any,
    word: str,
    path: str,
    results: Any,
) -> None:
    """Their own variables win over the general ones; their endpoint is used as it is."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{word}_PROTOCOL", "http/protobuf")
    monkeypatch.setenv(
        f"OTEL_EXPORTER_OTLP_{word}_ENDPOINT", f"http://{http_collector.address}/tenant"
    )
    exporter = make()

    assert exporter.export(items()) is results.SUCCESS
    exporter.shutdown()
    assert http_collector.paths == ["/tenant"]


@pytest.mark.parametrize(("make", "items", "word", "path", "results"), WIRES)
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_traps_of_metrics_and_logs(
    monkeypatch: pytest.MonkeyPatch,
    make: Any,
    items: Any,
    word: str,
    path: str,
    results: Any,
    protocol: str,
) -> None:
    """Trap 23 for metrics and logs: an endpoint without a scheme is refused by its variable."""
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{word}_ENDPOINT", "collector:4317")
    with pytest.raises(ConfigurationError, match=f"OTLP_{word}_ENDPOINT='collector:4317' has no"):
        make(protocol)
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{word}_TIMEOUT", "soon")
    with pytest.raises(ConfigurationError, match=f"OTEL_EXPORTER_OTLP_{word}_TIMEOUT='soon'"):
        make(protocol, "http://collector:4317")


def test_temporality_is_that_of_opentelemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The preferences of ``OTEL_EXPORTER_OTLP_METRICS_…`` reach the reader through our counting."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")
    monkeypatch.setenv(
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        "base2_exponential_bucket_histogram",
    )
    exporter = CountingMetricExporter(otlp_metric_exporter("http/protobuf"))
    temporality, aggregation = exporter._preferred_temporality, exporter._preferred_aggregation

    assert temporality is not None
    assert aggregation is not None
    assert temporality[Counter] is AggregationTemporality.DELTA
    assert isinstance(aggregation[Histogram], ExponentialBucketHistogramAggregation)


# Files


def test_metrics_follow_the_rules_of_otlp(tmp_path: Path) -> None:
    """In a file of metrics, exemplars name their span in hex, and integers are strings."""
    path = tmp_path / "metrics.jsonl"

    assert FileMetricExporter(path).export(made_metrics()) is MetricExportResult.SUCCESS
    [resource] = json.loads(path.read_text())["resourceMetrics"]
    counter, histogram = resource["scopeMetrics"][0]["metrics"]
    [point] = counter["sum"]["dataPoints"]
    assert resource["resource"]["attributes"][0]["value"] == {"stringValue": "shop"}
    assert counter["sum"]["aggregationTemporality"] == 2
    assert point["asInt"] == "1"
    assert point["exemplars"][0]["traceId"] == f"{0xABC:032x}"
    assert point["exemplars"][0]["spanId"] == f"{0xDEF:016x}"
    assert histogram["histogram"]["dataPoints"][0]["count"] == "1"


def test_log_records_follow_the_rules_of_otlp(tmp_path: Path) -> None:
    """In a file of log records, each names its span in hex, its event and its severity."""
    path = tmp_path / "logs.jsonl"

    assert FileLogExporter(path).export(made_records(2)) is LogRecordExportResult.SUCCESS
    [resource] = json.loads(path.read_text())["resourceLogs"]
    first, second = resource["scopeLogs"][0]["logRecords"]
    assert first["traceId"] == f"{0xABC:032x}"
    assert first["spanId"] == f"{0xDEF:016x}"
    assert first["severityNumber"] == 13
    assert first["eventName"] == "cx.friction"
    assert (first["body"], second["body"]) == (
        {"stringValue": "record 0"},
        {"stringValue": "record 1"},
    )


def test_three_kinds_share_a_file(tmp_path: Path) -> None:
    """Spans, metrics and log records may be appended to one file; its spans are read back alone."""
    path = tmp_path / "all.jsonl"
    FileMetricExporter(path).export(made_metrics())
    FileSpanExporter(path).export(made_spans(2))
    FileLogExporter(path).export(made_records())

    recording = read_spans(path)

    assert recording.skipped == 0
    assert [span.name for span in recording] == ["child 1", "root"]


@pytest.mark.parametrize("points", [1, 40])
def test_long_metrics_become_several_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, points: int
) -> None:
    """Metrics are split as far as their data points; each line is whole by itself."""
    monkeypatch.setattr(_otlp_json, "MAX_LINE", 700)
    path = tmp_path / "metrics.jsonl"
    FileMetricExporter(path).export(made_metrics(points))

    lines = [json.loads(line) for line in path.read_text().splitlines()]
    metrics = [
        metric
        for line in lines
        for scope in line["resourceMetrics"][0]["scopeMetrics"]
        for metric in scope["metrics"]
    ]
    numbers = [
        int(point["asInt"])
        for metric in metrics
        if metric["name"] == "orders"
        for point in metric["sum"]["dataPoints"]
    ]
    assert sorted(numbers) == list(range(1, points + 1))
    assert [metric["name"] for metric in metrics].count("duration") == 1
    assert all(line["resourceMetrics"][0]["resource"]["attributes"] for line in lines)
    assert all(m["sum"]["isMonotonic"] for m in metrics if m["name"] == "orders")


@given(
    st.lists(st.lists(st.lists(st.integers(0, 99)), max_size=3), max_size=3),
    st.integers(1, 400),
)
def test_splitting_loses_nothing(tree: list[list[list[int]]], longest: int) -> None:
    """However a message is split, its items come out, in order and below the limit if they can."""
    levels = _otlp_json.SPANS.levels
    message = {
        "resourceSpans": [
            {"scopeSpans": [{"spans": [{"n": n} for n in scope]} for scope in resource]}
            for resource in tree
        ]
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_otlp_json, "MAX_LINE", longest)
        lines = list(_otlp_json._lines(message, levels))

    found = [[leaf["n"] for leaf in _otlp_json.leaves(json.loads(line), levels)] for line in lines]
    items = [n for resource in tree for scope in resource for n in scope]
    assert list(itertools.chain(*found)) == items
    assert all(
        len(line) <= longest or len(part) <= 1 for line, part in zip(lines, found, strict=True)
    )


@pytest.mark.parametrize(
    ("make", "items", "results"),
    [
        (FileMetricExporter, made_metrics, MetricExportResult),
        (FileLogExporter, made_records, LogRecordExportResult),
    ],
)
def test_files_of_metrics_and_logs_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, make: Any, items: Any, results: Any
) -> None:
    """What cannot be written is a failure, told once for the file; so is all after shutdown."""
    (tmp_path / "a-file").touch()
    exporter = make(tmp_path / "a-file" / "t.jsonl")

    assert exporter.export(items()) is results.FAILURE
    assert exporter.force_flush() is True
    assert FileSpanExporter(tmp_path / "a-file" / "t.jsonl").export(made_spans()) is FAILURE
    assert len(caplog.records) == 1
    exporter = make(tmp_path / "t.jsonl")
    exporter.shutdown()
    assert exporter.export(items()) is results.FAILURE
    assert not (tmp_path / "t.jsonl").exists()


def test_a_file_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    """What was exported comes back: identifiers, times, attributes of every type, events, links."""
    path = tmp_path / "deep" / "folder" / "spans.jsonl"
    attributes: dict[str, Any] = {
        "text": "Köln\n",
        "flag": True,
        "big": 2**53 + 1,
        "share": 0.25,
        "many": ["a", "b"],
    }
    there = SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(1))
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    with provider.get_tracer("test").start_as_current_span(
        "pay", kind=SpanKind.SERVER, attributes=attributes, links=[Link(there)]
    ) as span:
        span.add_event("cx.friction", {"cx.friction.type": "slow"}, timestamp=7)
        span.set_status(Status(StatusCode.ERROR))
        provider.get_tracer("test").start_span("child").end()
    exporter = FileSpanExporter(path)

    assert exporter.export(memory.get_finished_spans()) is SUCCESS
    assert exporter.force_flush() is True

    child, parent = read_spans(path)
    source = memory.get_finished_spans()[1]
    assert child.parent_id == parent.span_id == f"{source.context.span_id:016x}"
    assert parent == RecordedSpan(
        trace_id=f"{source.context.trace_id:032x}",
        span_id=parent.span_id,
        name="pay",
        start_ns=source.start_time or 0,
        end_ns=source.end_time or 0,
        kind="SERVER",
        status_code="ERROR",
        service_name="shop",
        attributes=attributes,
        events=(parent.events[0],),
        links=(("0" * 29 + "abc", "0" * 13 + "def"),),
    )
    assert parent.events[0].name == "cx.friction"
    assert parent.events[0].time_ns == 7
    assert parent.events[0].attributes == {"cx.friction.type": "slow"}


def test_the_json_follows_the_rules_of_otlp(tmp_path: Path) -> None:
    """Identifiers are hex, enums integers, keys lowerCamelCase, 64-bit integers strings."""
    there = SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(1))
    path = tmp_path / "spans.jsonl"
    spans = made_spans(2, kind=SpanKind.CLIENT, attributes={"n": 1}, links=[Link(there)])

    FileSpanExporter(path).export(spans)

    assert path.read_bytes().count(b"\n") == 1
    [resource] = json.loads(path.read_text())["resourceSpans"]
    [scope] = resource["scopeSpans"]
    child, root = scope["spans"]
    assert scope["scope"] == {"name": "test", "version": "1"}
    assert re.fullmatch("[0-9a-f]{32}", root["traceId"])
    assert re.fullmatch("[0-9a-f]{16}", root["spanId"])
    assert child["parentSpanId"] == root["spanId"]
    assert root["kind"] == 3
    assert root["startTimeUnixNano"] == str(spans[1].start_time)
    assert root["attributes"] == [{"key": "n", "value": {"intValue": "1"}}]
    assert root["links"][0]["traceId"] == f"{0xABC:032x}"
    assert root["links"][0]["spanId"] == f"{0xDEF:016x}"


def test_the_file_is_private(tmp_path: Path) -> None:
    """Only the owner may read the spans."""
    path = tmp_path / "spans.jsonl"
    FileSpanExporter(path).export(made_spans())

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_rotated_file_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the file was moved away, or the process changed its folder, the path still holds."""
    monkeypatch.chdir(tmp_path)
    exporter = FileSpanExporter("logs/spans.jsonl")
    path = tmp_path / "logs" / "spans.jsonl"
    exporter.export(made_spans())
    path.rename(tmp_path / "old.jsonl")
    monkeypatch.chdir("/")

    assert exporter.export(made_spans(2)) is SUCCESS
    assert len(list(read_spans(path))) == 2
    assert len(list(read_spans(path, tmp_path / "old.jsonl"))) == 3


def test_two_processes_share_a_file(tmp_path: Path) -> None:
    """Lines of two processes, and of a fork with its parent, never mix."""
    code = (
        "import os, sys\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "from opentelemetry.sdk.trace.export import SimpleSpanProcessor\n"
        "from cxtrace.exporters import FileSpanExporter\n"
        "provider = TracerProvider(shutdown_on_exit=False)\n"
        "provider.add_span_processor(SimpleSpanProcessor(FileSpanExporter(sys.argv[1])))\n"
        "tracer = provider.get_tracer('test')\n"
        "tracer.start_span('first').end()\n"
        "child = os.fork()\n"
        "for number in range(100):\n"
        "    tracer.start_span('x' * 20_000, attributes={'number': number}).end()\n"
        "if child:\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
        "else:\n"
        "    os._exit(0)\n"
    )
    path = tmp_path / "spans.jsonl"

    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: run_python(code, str(path)), range(2)))

    recording = read_spans(path)
    assert recording.skipped == 0
    assert len(recording.spans) == 2 * (1 + 2 * 100)


def test_long_batches_become_several_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Collector cuts lines of more than 1 MiB, so a long batch is split; one span never is."""
    monkeypatch.setattr(_otlp_json, "MAX_LINE", 1500)
    path = tmp_path / "spans.jsonl"
    spans = made_spans(20, attributes={"long": "x" * 3000})

    assert FileSpanExporter(path).export(spans) is SUCCESS

    lengths = [len(line) for line in path.read_bytes().splitlines()]
    assert len([length for length in lengths if length > 1500]) == 1
    assert len(lengths) > 2
    assert [span.name for span in read_spans(path)] == [span.name for span in spans]


def test_an_unwritable_path(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What the file system refuses is a failure, told once, and never an exception."""
    (tmp_path / "a-file").touch()
    exporter = FileSpanExporter(tmp_path / "a-file" / "spans.jsonl")

    assert exporter.export(made_spans()) is FAILURE
    assert exporter.export(made_spans()) is FAILURE

    [record] = caplog.records
    assert record.name == "cxtrace"
    assert "spans cannot be written to" in record.getMessage()
    assert "a-file" in record.getMessage()


def test_a_span_that_cannot_be_encoded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An encoder's error is a failure too; its text, which may quote the span, is not logged."""

    def refuse(kind: object, spans: object) -> bytes:
        raise ValueError("s3cret")

    monkeypatch.setattr(_otlp_file, "encoded", refuse)

    assert FileSpanExporter(tmp_path / "spans.jsonl").export(made_spans()) is FAILURE
    assert "ValueError" in caplog.text
    assert "s3cret" not in caplog.text


def test_a_line_torn_by_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that was written in part is a failure, and does not spoil the line after it."""
    path = tmp_path / "spans.jsonl"
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, line: write(fd, line[:50]))
    assert FileSpanExporter(path).export(made_spans()) is FAILURE
    monkeypatch.setattr(os, "write", write)
    assert FileSpanExporter(path).export(made_spans(2)) is SUCCESS

    recording = read_spans(path)

    assert recording.skipped == 1
    assert len(recording.spans) == 2


def test_a_line_that_another_process_is_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is seen of it by now is no torn line: it ends by itself, and no empty line is left."""
    path = tmp_path / "spans.jsonl"
    path.write_bytes(b'{"resourceLogs":')

    def end_it(seconds: float) -> None:
        assert 0 < seconds < 0.1
        with path.open("ab") as file:
            file.write(b"[]}\n")

    monkeypatch.setattr(_otlp_file.time, "sleep", end_it)

    assert FileSpanExporter(path).export(made_spans(1)) is SUCCESS

    assert [bool(line) for line in path.read_bytes().splitlines()] == [True, True]
    assert read_spans(path).skipped == 0


def test_after_shutdown_a_file_takes_nothing(tmp_path: Path) -> None:
    """A span that comes after shutdown is a failure and makes no file."""
    exporter = FileSpanExporter(tmp_path / "spans.jsonl")
    exporter.shutdown()

    assert exporter.export(made_spans()) is FAILURE
    assert not (tmp_path / "spans.jsonl").exists()


def test_foreign_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    """Torn JSON, other JSON and noise are counted; metrics, logs and blank lines are nothing."""
    path = tmp_path / "mixed.jsonl"
    FileSpanExporter(path).export(made_spans())
    whole = path.read_bytes()
    noise = [
        b'{"resourceSpans":[{"scopeSp',
        b"[1, 2]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"no identifiers"}]}]}]}',
        whole.replace(b'"startTimeUnixNano":"', b'"startTimeUnixNano":Infinity,"x":"'),
    ]
    others = [b'{"resourceMetrics":[]}', b'{"resourceLogs":[{}]}', b"", b"  "]
    path.write_bytes(b"\n".join([*noise, *others, whole]))

    recording = read_spans(path)

    assert recording.skipped == len(noise)
    assert [span.name for span in recording] == ["root"]


def test_what_the_collector_writes_is_read(tmp_path: Path) -> None:
    """Numbers for 64-bit integers, maps, empty values and left-out fields are understood."""
    span = {
        "traceId": "ab" * 16,
        "spanId": "cd" * 8,
        "parentSpanId": "",
        "startTimeUnixNano": 5,
        "endTimeUnixNano": "6",
        "attributes": [
            {"key": "n", "value": {"intValue": 3}},
            {"key": "raw", "value": {"bytesValue": "AP8="}},
            {"key": "none", "value": {}},
            {"key": "nan", "value": {"doubleValue": "Infinity"}},
            {"key": "list", "value": {"arrayValue": {}}},
            {
                "key": "map",
                "value": {"kvlistValue": {"values": [{"key": "a", "value": {"boolValue": False}}]}},
            },
        ],
    }
    path = tmp_path / "collector.jsonl"
    path.write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}))

    assert list(read_spans(path)) == [
        RecordedSpan(
            trace_id="ab" * 16,
            span_id="cd" * 8,
            name="",
            start_ns=5,
            end_ns=6,
            kind="UNSPECIFIED",
            attributes={
                "n": 3,
                "raw": b"\x00\xff",
                "none": None,
                "nan": float("inf"),
                "list": [],
                "map": {"a": False},
            },
        )
    ]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Reading is a tool's work, so a missing file is an error; no file at all is no span."""
    with pytest.raises(FileNotFoundError):
        read_spans(tmp_path / "nowhere.jsonl")
    assert read_spans() == Recording(())


# Counting


def test_counts_of_metrics(caplog: pytest.LogCaptureFixture) -> None:
    """Delivered and failed data points are counted; nothing is raised."""
    out = io.StringIO()
    exporter = CountingMetricExporter(ConsoleMetricExporter(out=out))

    assert exporter.export(made_metrics()) is MetricExportResult.SUCCESS
    assert exporter.force_flush()
    exporter.shutdown()
    out.close()
    assert exporter.export(made_metrics()) is MetricExportResult.FAILURE
    assert (exporter.exported, exporter.failed) == (2, 2)
    [record] = caplog.records
    assert "raised ValueError" in record.getMessage()
    exporter.after_fork()
    assert (exporter.exported, exporter.failed) == (0, 0)


def test_exporter_of_metrics_that_cares_for_forks(caplog: pytest.LogCaptureFixture) -> None:
    """It is told of each; and however often it raises, that is said once."""
    told: list[str] = []

    class Careful(ConsoleMetricExporter):
        def after_fork(self) -> None:
            told.append("fork")
            raise OSError("secret")

    exporter = CountingMetricExporter(Careful())
    exporter.after_fork()
    exporter.after_fork()
    CountingMetricExporter(ConsoleMetricExporter()).after_fork()

    assert told == ["fork", "fork"]
    assert caplog.messages == [
        "cxtrace: Careful raised OSError over metrics; later failures are only counted"
    ]


@pytest.mark.parametrize("is_there", [True, False])
def test_what_to_set_where_spans_alone_are_taken(
    caplog: pytest.LogCaptureFixture, is_there: bool
) -> None:
    """Where metrics are refused cxtrace says once what to set; where nobody answers, nothing."""

    class SpansAlone(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_error(404)

        def log_message(self, *args: Any) -> None:
            """Print nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), SpansAlone) as server:
        port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        if not is_there:
            server.shutdown()
            server.server_close()
        inner = otlp_metric_exporter("http/protobuf", f"http://127.0.0.1:{port}", 0.5)
        exporter = CountingMetricExporter(inner)
        results = [exporter.export(made_metrics()) for _ in range(2)]
        server.shutdown()

    assert results == [MetricExportResult.FAILURE] * 2
    ours = [each.getMessage() for each in caplog.records if each.name == "cxtrace"]
    assert len(ours) == is_there
    assert all("OTEL_METRICS_EXPORTER=none" in said for said in ours)


# By name


def test_named_exporters(tmp_path: Path) -> None:
    """Each name gives its exporter; blanks around it do not matter."""
    file = span_exporter(f"file:{tmp_path}/a:b.jsonl")

    assert isinstance(span_exporter(" console "), TreeExporter)
    assert isinstance(file, FileSpanExporter)
    assert file.export(made_spans()) is SUCCESS
    assert len(list(read_spans(tmp_path / "a:b.jsonl"))) == 1


def test_home_of_nobody() -> None:
    """A path that begins with the home of somebody who is not there is an error that says so."""
    with pytest.raises(ConfigurationError, match=r"there is no home folder for '~nobody\.here/a'"):
        span_exporter("file:~nobody.here/a")


def test_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path may begin with the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    span_exporter("file:~/spans.jsonl").export(made_spans())

    assert (tmp_path / "spans.jsonl").exists()


def test_otlp_names_of_opentelemetry(
    http_collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenTelemetry's names that tell the protocol get our checks and time limit too."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{http_collector.address}")

    assert sent(span_exporter("otlp_proto_http")) is SUCCESS
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")
    with pytest.raises(ConfigurationError, match="http://collector:4317"):
        span_exporter("otlp_proto_grpc")


def install(monkeypatch: pytest.MonkeyPatch, **exporters_by_name: str) -> None:
    """Pretend that packages have registered exporters."""
    group = "opentelemetry_traces_exporter"
    found = [EntryPoint(name, value, group) for name, value in exporters_by_name.items()]
    monkeypatch.setattr(exporters, "entry_points", lambda group: EntryPoints(found))


def test_named_exporters_of_metrics_and_logs(tmp_path: Path) -> None:
    """The names are the same for metrics and logs; the console is OpenTelemetry's."""
    file = f"file:{tmp_path}/t.jsonl"

    assert isinstance(metric_exporter(file), FileMetricExporter)
    assert isinstance(log_exporter(file), FileLogExporter)
    assert isinstance(metric_exporter(" console "), ConsoleMetricExporter)
    assert isinstance(log_exporter(" console "), ConsoleLogRecordExporter)
    for make, name in ((metric_exporter, "OTLPMetricExporter"), (log_exporter, "OTLPLogExporter")):
        for spec in ("otlp", "otlp_proto_http", "otlp_proto_grpc"):
            exporter: Any = make(spec)
            assert type(exporter).__name__ == name
            exporter.shutdown()


@pytest.mark.parametrize("make", [metric_exporter, log_exporter])
@pytest.mark.parametrize(("spec", "meant"), [("oltp", "otlp"), ("file", "file:PATH")])
def test_an_unknown_exporter_of_metrics_or_logs(make: Any, spec: str, meant: str) -> None:
    """A name that nobody knows is refused, with the one that was meant."""
    with pytest.raises(ConfigurationError, match=f"did you mean '{meant}'"):
        make(spec)


def test_exporters_of_other_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that a package registers with OpenTelemetry works here too."""
    install(monkeypatch, memory=f"{InMemorySpanExporter.__module__}:InMemorySpanExporter")

    assert isinstance(span_exporter("memory"), InMemorySpanExporter)


@pytest.mark.parametrize("value", ["no.such.module:Exporter", "builtins:open", "json:nothing"])
def test_an_exporter_that_cannot_be_built(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registered exporter that does not load or start is a configuration error with its cause."""
    install(monkeypatch, zipkin=value)

    with pytest.raises(ConfigurationError, match="'zipkin' cannot be built: ") as caught:
        span_exporter("zipkin")
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("spec", "meant"),
    [
        ("oltp", "otlp"),
        ("consol", "console"),
        ("file", "file:PATH"),
        ("otlp_http", "otlp_proto_http"),
        ("zipkn", "zipkin"),
    ],
)
def test_an_unknown_exporter(spec: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that nobody knows is refused, with the one that was meant and all there are."""
    install(monkeypatch, zipkin="zipkin:Exporter")

    with pytest.raises(ConfigurationError, match=f"did you mean '{meant}'.*known: otlp, .*zipkin"):
        span_exporter(spec)


@pytest.mark.parametrize("spec", ["file:", " file: "])
def test_a_file_needs_a_path(spec: str) -> None:
    """``file:`` alone is refused with an example."""
    with pytest.raises(ConfigurationError, match=r"as in file:spans\.jsonl"):
        span_exporter(spec)


def test_an_address_is_no_exporter() -> None:
    """Whoever names an address as the exporter is told where it goes."""
    with pytest.raises(ConfigurationError, match="goes into OTEL_EXPORTER_OTLP_ENDPOINT"):
        span_exporter("http://localhost:4317")


@pytest.mark.parametrize(("port", "warnings"), [(4317, 0), (4318, 1)])
def test_grpc_to_the_port_of_http(
    port: int, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The commonest mistake with OTLP is named before the first span is lost."""
    otlp_exporter("grpc", f"http://localhost:{port}").shutdown()

    assert [r.name for r in caplog.records if "http/protobuf" in r.getMessage()] == [
        "cxtrace"
    ] * warnings


def test_a_configuration_file_says_all_that_is_built() -> None:
    """Variables that a distribution sets beside ``OTEL_CONFIG_FILE`` build no exporters of ours."""
    environ = {"OTEL_CONFIG_FILE": "otel.yaml", "OTEL_METRICS_EXPORTER": "otlp"}

    assert followed(Settings(), environ, "METRICS") == []
    assert followed(Settings(exporter="otlp"), {}, "METRICS") == ["otlp"]
