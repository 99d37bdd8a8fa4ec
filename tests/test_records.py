"""Spans and log records as bytes: what comes back is what was written, and exporters take it."""

import http.server
import io
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk._logs import (
    LoggerProvider,
    LogRecordDroppedAttributesWarning,
    ReadableLogRecord,
)
from opentelemetry.sdk._logs.export import (
    ConsoleLogRecordExporter,
    InMemoryLogRecordExporter,
    LogRecordExportResult,
    SimpleLogRecordProcessor,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import (
    ConsoleSpanExporter,
    SimpleSpanProcessor,
    SpanExportResult,
)
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

import cxtrace
from cxtrace._records import RecordsError, decode_logs, decode_spans, encode_logs, encode_spans
from cxtrace.exporters import FileLogExporter, FileSpanExporter, TreeExporter, read_spans

from .conftest import Capture

SAMPLED = TraceFlags(TraceFlags.SAMPLED)
NOON = 1_700_000_000_000_000_000

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
keys = st.text("abk.", min_size=1, max_size=4)
integers = st.integers(-(2**63), 2**63 - 1)
plain = st.one_of(st.booleans(), integers, st.floats(), texts, st.binary(max_size=8))
values = st.recursive(
    st.one_of(plain, st.none(), st.just(2**70), st.just("\ud800")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)
"""Any value that somebody may hand to OpenTelemetry, those that it cannot encode included."""
attributes = st.dictionaries(keys, values, max_size=4)
counts = st.sampled_from([None, 1, 3])
times = st.integers(NOON, NOON + 10**12)
urls = st.sampled_from([None, "", "https://opentelemetry.io/schemas/1.30.0"])
states = st.dictionaries(st.from_regex(r"[a-z][a-z0-9@*/_-]{0,5}", fullmatch=True), texts).map(
    lambda found: TraceState(list(found.items()))
)
resources = st.builds(Resource, attributes, urls)
scopes = st.tuples(st.sampled_from(["", "shop"]), st.sampled_from([None, "", "1"]), urls)
contexts = st.builds(
    SpanContext,
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.booleans(),
    st.just(SAMPLED),
    states,
)
statuses = st.one_of(
    st.none(),
    st.just(Status(StatusCode.OK)),
    st.builds(Status, st.just(StatusCode.ERROR), st.none() | texts),
)


class Numbered(IdGenerator):
    """Identifiers in the order of their making: strategies must not ask for random ones."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def generate_span_id(self) -> int:
        return next(self._numbers)

    def generate_trace_id(self) -> int:
        return next(self._numbers)


def around(context: SpanContext | None) -> Context:
    """Where a span is the current one, or none is."""
    return Context() if context is None else set_span_in_context(NonRecordingSpan(context))


@st.composite
def span_batches(draw: Any) -> Sequence[ReadableSpan]:
    """Spans of the SDK, of several resources and scopes, under limits that drop."""
    memory = InMemorySpanExporter()
    for resource in draw(st.lists(resources, min_size=1, max_size=3)):
        limits = SpanLimits(
            max_span_attributes=draw(counts),
            max_events=draw(counts),
            max_links=draw(counts),
            max_event_attributes=draw(counts),
            max_link_attributes=draw(counts),
        )
        provider = TracerProvider(
            resource=resource,
            span_limits=limits,
            id_generator=Numbered(),
            shutdown_on_exit=False,
        )
        provider.add_span_processor(SimpleSpanProcessor(memory))
        for name, version, url in draw(st.lists(scopes, min_size=1, max_size=3)):
            of_scope = draw(st.dictionaries(keys, texts, max_size=2))
            tracer = provider.get_tracer(name, version, schema_url=url, attributes=of_scope)
            for _ in range(draw(st.integers(1, 2))):
                write_span(draw, tracer)
    return memory.get_finished_spans()


def write_span(draw: Any, tracer: trace.Tracer) -> None:
    """Let a tracer make a span, with whatever a span may have."""
    given_links = draw(st.lists(st.builds(Link, contexts, attributes), max_size=2))
    span = tracer.start_span(
        draw(texts),
        around(draw(st.none() | contexts)),
        draw(st.sampled_from(SpanKind)),
        draw(attributes),
        given_links,
        draw(times),
    )
    for context, found in draw(st.lists(st.tuples(contexts, attributes), max_size=2)):
        span.add_link(context, found)
    for name, found, time in draw(st.lists(st.tuples(texts, attributes, times), max_size=2)):
        span.add_event(name, found, time)
    status = draw(statuses)
    if status is not None:
        span.set_status(status)
    span.end(draw(times))


@st.composite
def log_batches(draw: Any) -> Sequence[ReadableLogRecord]:
    """Log records of the SDK, of several resources and scopes, under limits that drop."""
    memory = InMemoryLogRecordExporter()
    for resource in draw(st.lists(resources, min_size=1, max_size=2)):
        provider = LoggerProvider(resource, shutdown_on_exit=False)
        provider.add_log_record_processor(SimpleLogRecordProcessor(memory))
        for name, version, url in draw(st.lists(scopes, min_size=1, max_size=2)):
            logger = provider.get_logger(name, version, url)
            for _ in range(draw(st.integers(1, 2))):
                logger.emit(draw(log_records()))
    return memory.get_finished_logs()


@st.composite
def log_records(draw: Any) -> LogRecord:
    """Whatever a log record may have."""
    return LogRecord(
        timestamp=draw(st.none() | times),
        observed_timestamp=draw(st.none() | times),
        context=around(draw(st.none() | contexts)),
        severity_text=draw(st.none() | texts),
        severity_number=draw(st.none() | st.sampled_from(SeverityNumber)),
        body=draw(values.filter(can_be_a_body)),
        attributes=draw(attributes),
        event_name=draw(st.none() | texts),
    )


def refused(work: Callable[[], object]) -> str:
    """What the one error of this module says, or nothing."""
    try:
        work()
    except RecordsError as error:
        return str(error)
    return ""


def can_be_a_body(value: Any) -> bool:
    """Whether OpenTelemetry encodes a body; of attributes it leaves out what it cannot."""
    return "\\ud800" not in repr(value) and str(2**70) not in repr(value)


def made_spans() -> Sequence[ReadableSpan]:
    """A small batch with something of everything."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(
        resource=Resource({"service.name": "shop"}, "https://schema.example/1"),
        span_limits=SpanLimits(
            max_span_attributes=3,
            max_events=1,
            max_links=1,
            max_event_attributes=1,
            max_link_attributes=1,
        ),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("host", "1.2", "https://schema.example/2", {"kind": "test"})
    caller = SpanContext(7, 8, True, SAMPLED, TraceState([("vendor", " a b")]))
    found = {"a": True, "b": 2, "c": 0.5, "d": ["x", "y"], "e": ""}
    with tracer.start_as_current_span(
        "pay", around(caller), SpanKind.SERVER, found, (), NOON, end_on_exit=False
    ) as span:
        for _ in range(2):
            span.add_link(SpanContext(9, 10, True), {"why": "retry", "more": 1})
        tracer.start_span("child", start_time=NOON + 1).end(NOON + 2)
        span.add_event("first", {"n": 1}, NOON + 3)
        span.add_event("second", {"n": 1, "m": 2}, NOON + 4)
        span.set_status(StatusCode.ERROR, "declined")
        span.end(NOON + 5)
    return memory.get_finished_spans()


def made_logs() -> Sequence[ReadableLogRecord]:
    """Two log records: one with everything, one with next to nothing."""
    memory = InMemoryLogRecordExporter()
    provider = LoggerProvider(Resource({"service.name": "shop"}), shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(memory))
    logger = provider.get_logger("host", "1", "https://schema.example/2")
    logger.emit(
        LogRecord(
            timestamp=NOON,
            observed_timestamp=NOON + 1,
            context=around(SpanContext(7, 8, False, SAMPLED)),
            severity_text="WARN",
            severity_number=SeverityNumber.WARN,
            body={"what": ["late", 3, None], "raw": b"\xff"},
            attributes={"cx.stage": "purchase"},
            event_name="cx.friction",
        )
    )
    logger.emit(LogRecord(observed_timestamp=NOON + 2, context=Context(), body="plain"))
    return memory.get_finished_logs()


# Back and forth


@given(span_batches())
def test_spans_come_back_as_they_were_written(batch: Sequence[ReadableSpan]) -> None:
    """Whatever spans the SDK makes: encoded, decoded and encoded again they are the same bytes."""
    payload = encode_spans(batch)

    assert encode_spans(decode_spans(payload)) == payload


@given(log_batches())
def test_log_records_come_back_as_they_were_written(batch: Sequence[ReadableLogRecord]) -> None:
    """Whatever log records the SDK makes: their bytes are the same after a second time."""
    payload = encode_logs(batch)

    assert encode_logs(decode_logs(payload)) == payload


def test_our_own_spans_come_back(cx: Capture) -> None:
    """A touchpoint with an event, a failure and a child comes back as it was written."""
    with cxtrace.journey("order"), cxtrace.touchpoint("checkout.pay"):
        cxtrace.friction("slow")
        with suppress(ValueError), cxtrace.touchpoint("checkout.card"):
            raise ValueError
    payload = encode_spans(cx.spans)
    found = decode_spans(payload)

    assert encode_spans(found) == payload
    assert [span.name for span in found] == cx.names
    assert [dict(span.attributes or {}) for span in found] == [
        dict(span.attributes or {}) for span in cx.spans
    ]


def test_all_that_a_span_says() -> None:
    """Everything that exporters read of a span is what it was, with what the limits dropped."""
    (child, span), (child_before, before) = decode_spans(encode_spans(made_spans())), made_spans()
    (link,), (event,) = span.links, span.events

    assert type(span) is ReadableSpan
    assert span.get_span_context().trace_id == 7
    assert span.get_span_context().trace_state == TraceState([("vendor", " a b")])
    assert span.get_span_context().trace_flags.sampled
    assert (span.parent.trace_id, span.parent.span_id, span.parent.is_remote) == (7, 8, True)
    assert (span.kind, span.start_time, span.end_time) == (SpanKind.SERVER, NOON, NOON + 5)
    assert span.attributes == before.attributes
    assert (event.name, event.timestamp, dict(event.attributes)) == ("second", NOON + 4, {"m": 2})
    assert (link.context.trace_id, link.context.span_id, link.context.is_remote) == (9, 10, True)
    assert dict(link.attributes) == {"more": 1}
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "declined")
    assert (span.dropped_attributes, span.dropped_events, span.dropped_links) == (2, 1, 1)
    assert (event.dropped_attributes, link.dropped_attributes) == (1, 1)
    assert (span.resource, span.instrumentation_scope) == (
        before.resource,
        before.instrumentation_scope,
    )
    assert child.parent.span_id == span.get_span_context().span_id
    assert not child.parent.is_remote
    assert (child.status.status_code, child.dropped_attributes) == (StatusCode.UNSET, 0)
    assert child.name == child_before.name


def test_all_that_a_log_record_says() -> None:
    """Everything that exporters read of a log record is what it was."""
    full, bare = decode_logs(encode_logs(made_logs()))
    record = full.log_record

    assert type(full) is ReadableLogRecord
    assert (record.timestamp, record.observed_timestamp) == (NOON, NOON + 1)
    assert (record.trace_id, record.span_id, record.trace_flags) == (7, 8, SAMPLED)
    assert (record.severity_text, record.severity_number) == ("WARN", SeverityNumber.WARN)
    assert record.body == {"what": ("late", 3, None), "raw": b"\xff"}
    assert dict(record.attributes or {}) == {"cx.stage": "purchase"}
    assert record.event_name == "cx.friction"
    assert full.resource == Resource({"service.name": "shop"})
    assert full.instrumentation_scope == InstrumentationScope(
        "host", "1", "https://schema.example/2"
    )
    assert bare.log_record.timestamp is None
    assert bare.log_record.severity_number is None
    assert bare.log_record.event_name is None
    assert (bare.log_record.trace_id, bare.log_record.body) == (0, "plain")


def test_a_log_record_is_not_put_into_the_trace_of_the_reader() -> None:
    """Reading inside a span puts no record that belongs to none into that span's trace."""
    payload = encode_logs(made_logs())
    with trace.use_span(NonRecordingSpan(SpanContext(3, 4, False, SAMPLED))):
        bare = decode_logs(payload)[1]

    assert (bare.log_record.trace_id, bare.log_record.span_id) == (0, 0)


def test_attributes_that_a_log_record_has_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The count of attributes over the limit comes back, and so do nested values beside it."""
    monkeypatch.setenv("OTEL_ATTRIBUTE_COUNT_LIMIT", "1")
    memory = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(memory))
    with pytest.warns(LogRecordDroppedAttributesWarning):
        provider.get_logger("host").emit(
            LogRecord(context=Context(), attributes={"a": 1, "b": {"c": [b"\x00", b"\x01"]}})
        )
    (found,) = decode_logs(encode_logs(memory.get_finished_logs()))

    assert found.dropped_attributes == 1
    assert dict(found.log_record.attributes or {}) == {"b": {"c": (b"\x00", b"\x01")}}


def test_what_otlp_cannot_tell_apart_is_one() -> None:
    """Two scopes or resources that differ in nothing that is written become one group each."""
    memory = InMemorySpanExporter()
    for odd in (2**70, "\ud800"):
        provider = TracerProvider(
            resource=Resource({"service.name": "shop", "odd": odd}), shutdown_on_exit=False
        )
        provider.add_span_processor(SimpleSpanProcessor(memory))
        for version in (None, "", "1"):
            provider.get_tracer("host", version).start_span(f"{version}").end()
    message = ExportTraceServiceRequest.FromString(encode_spans(memory.get_finished_spans()))
    (group,) = message.resource_spans

    assert [[span.name for span in part.spans] for part in group.scope_spans] == [
        ["None", "", "None", ""],
        ["1", "1"],
    ]


# What cannot be


def test_nothing_is_no_error() -> None:
    """An empty batch is no bytes, and no bytes are an empty batch."""
    assert (encode_spans([]), encode_logs([])) == (b"", b"")
    assert (decode_spans(b""), decode_logs(b"")) == ([], [])


@pytest.mark.parametrize("depth", range(28, 54))
@pytest.mark.parametrize("wrap", [lambda inner: {"a": inner}, lambda inner: [inner]])
def test_deep_values_are_read_or_refused(depth: int, wrap: Any) -> None:
    """What protobuf would write but not read is refused when it is written, not when it is read."""
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    span = ReadableSpan("deep", SpanContext(1, 2, False), attributes={"deep": value})
    at_writing = refused(lambda: encode_spans([span]))

    assert at_writing in {"", "among 1 spans is one that OTLP cannot hold"}
    assert at_writing or decode_spans(encode_spans([span]))[0].name == "deep"


def test_a_name_that_is_no_unicode() -> None:
    """A name that cannot be encoded is refused with one error, whatever the encoder raised."""
    with pytest.raises(RecordsError, match="among 1 spans is one that OTLP cannot hold"):
        encode_spans([ReadableSpan("\ud800", SpanContext(1, 2, False))])


@pytest.mark.parametrize("decode", [decode_spans, decode_logs])
@given(noise=st.binary(max_size=300))
def test_noise_is_refused_or_read(decode: Any, noise: bytes) -> None:
    """Any bytes are items or an error that says how many bytes they were; nothing else."""
    refusal = refused(lambda: decode(noise))

    assert refusal.startswith(f"{len(noise)} bytes are no ") or isinstance(decode(noise), list)


@given(data=st.data())
@pytest.mark.parametrize("kind", ["spans", "logs"])
def test_damaged_bytes_are_refused_or_read(kind: str, data: st.DataObject) -> None:
    """A payload with bytes cut off, changed or put in is items or one error; they encode too."""
    encode, decode, made = {
        "spans": (encode_spans, decode_spans, made_spans),
        "logs": (encode_logs, decode_logs, made_logs),
    }[kind]
    payload = bytearray(encode(made()))  # type: ignore[operator]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(payload)))
        upto = data.draw(st.sampled_from([at, at + 1, at + 9, len(payload)]))
        payload[at:upto] = data.draw(st.binary(max_size=3))
    refusal = refused(lambda: decode(bytes(payload)))

    assert refusal.startswith(f"{len(payload)} bytes are no ") or isinstance(
        encode(decode(bytes(payload))),  # type: ignore[operator]
        bytes,
    )


@pytest.mark.parametrize(
    "change",
    [
        {"trace_id": b"\x01" * 15},
        {"span_id": b""},
        {"parent_span_id": b"\x01"},
        {"kind": 0},
        {"kind": 6},
        {"status": {"code": 3}},
    ],
)
def test_spans_that_opentelemetry_does_not_write(change: dict[str, Any]) -> None:
    """Identifiers of another length, and kinds and statuses that do not exist, are refused."""
    message = ExportTraceServiceRequest.FromString(encode_spans(made_spans()))
    span = message.resource_spans[0].scope_spans[0].spans[0]
    for name, value in change.items():
        if isinstance(value, dict):
            getattr(span, name).code = value["code"]
        else:
            setattr(span, name, value)

    with pytest.raises(RecordsError):
        decode_spans(message.SerializeToString())


def test_bytes_of_the_other_kind() -> None:
    """Log records are no spans."""
    with pytest.raises(RecordsError):
        decode_spans(encode_logs(made_logs()))


# Whoever exports


class Sink:
    """What a listener has received, by path."""

    def __init__(self) -> None:
        self.address = ""
        self.bodies: dict[str, bytes] = {}


@pytest.fixture
def sink() -> Iterator[Sink]:
    """Listen for OTLP over HTTP."""
    sink = Sink()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sink.bodies[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        sink.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield sink
        server.shutdown()
        thread.join()


def is_same(message: Any, sent: bytes, made: bytes) -> bool:
    """Whether the bytes are one message, in whatever order its fields are written."""
    return bool(message.FromString(sent) == message.FromString(made))


def test_spans_go_out_over_otlp(sink: Sink) -> None:
    """OpenTelemetry's exporter sends the same message as it would have at first."""
    exporter, payload = OTLPSpanExporter(f"{sink.address}/v1/traces"), encode_spans(made_spans())
    result = exporter.export(decode_spans(payload))
    exporter.shutdown()

    assert result is SpanExportResult.SUCCESS
    assert is_same(ExportTraceServiceRequest, sink.bodies["/v1/traces"], payload)


def test_log_records_go_out_over_otlp(sink: Sink) -> None:
    """OpenTelemetry's exporter sends the same message as it would have at first."""
    exporter, payload = OTLPLogExporter(f"{sink.address}/v1/logs"), encode_logs(made_logs())
    result = exporter.export(decode_logs(payload))
    exporter.shutdown()

    assert result is LogRecordExportResult.SUCCESS
    assert is_same(ExportLogsServiceRequest, sink.bodies["/v1/logs"], payload)


def test_spans_go_to_a_file_and_into_memory(tmp_path: Path) -> None:
    """The file has the same lines, and memory the same spans, as without the way through bytes."""
    batch, memory = made_spans(), InMemorySpanExporter()
    found = decode_spans(encode_spans(batch))
    for name, spans in (("before", batch), ("after", found)):
        FileSpanExporter(tmp_path / name).export(spans)
    memory.export(found)

    assert (tmp_path / "after").read_bytes() == (tmp_path / "before").read_bytes()
    assert [span.name for span in read_spans(tmp_path / "after")] == ["child", "pay"]
    assert memory.get_finished_spans() == tuple(found)


def test_log_records_go_to_a_file(tmp_path: Path) -> None:
    """The file has the same lines as without the way through bytes."""
    batch = made_logs()
    for name, found in (("before", batch), ("after", decode_logs(encode_logs(batch)))):
        FileLogExporter(tmp_path / name).export(found)

    assert (tmp_path / "after").read_bytes() == (tmp_path / "before").read_bytes()


def drawn(exporter: Callable[[Any], Any]) -> Any:
    """What an exporter to the console writes of a batch."""

    def draw(batch: Sequence[Any]) -> str:
        out = io.StringIO()
        made = exporter(out)
        made.export(batch)
        made.shutdown()
        return out.getvalue()

    return draw


def test_records_on_the_console() -> None:
    """OpenTelemetry's consoles write the same as without the way through bytes."""
    spans, logs = made_spans(), made_logs()
    console = drawn(lambda out: ConsoleSpanExporter(out=out))
    log_console = drawn(lambda out: ConsoleLogRecordExporter(out=out))

    assert console(decode_spans(encode_spans(spans))) == console(spans)
    assert log_console(decode_logs(encode_logs(logs))[1:]) == log_console(logs[1:])


def test_spans_as_a_tree(cx: Capture) -> None:
    """The tree on the console is the same."""
    with cxtrace.journey("order"), cxtrace.touchpoint("checkout.pay"):
        cxtrace.friction("slow")
    tree = drawn(TreeExporter)

    assert "checkout.pay" in tree(cx.spans)
    assert tree(decode_spans(encode_spans(cx.spans))) == tree(cx.spans)
