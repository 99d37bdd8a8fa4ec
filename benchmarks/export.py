"""Spans all the way to a collector: what they cost, and which are lost."""

import os
import time
from collections.abc import Callable

from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

import cxtrace
from benchmarks import sink
from benchmarks.measure import Line, Size, block, compare, in_turns
from benchmarks.subjects import (
    Attributes,
    a_request,
    by_hand,
    calling,
    configure,
    ours,
    stock,
    tags,
)
from cxtrace._scrubbing import Scrubber

_CPU = 0.8
_CLIENT: Attributes = {
    "http.request.method": "GET",
    "server.address": "api.example.com",
    "server.port": 443,
    "http.response.status_code": 200,
    "network.protocol.version": "1.1",
    "user_agent.original": "python-httpx/0.28",
}
_PER_SECOND = 20_000
_TICKS = 1_000


def cost(size: Size) -> list[Line]:
    """Processor time of this process for a span that is made, encoded and sent."""
    with sink.running() as collector:
        provider, reference = _pipelines(collector)
        request = a_request()
        function = by_hand(reference.get_tracer("by-hand"), tags(request))

        def our_run(calls: int) -> None:
            calling(ours)(calls)
            provider.force_flush()

        def their_run(calls: int) -> None:
            calling(function)(calls)
            reference.force_flush()

        turns = {
            "ours": block(our_run, size.calls, request, clock=time.process_time),
            "theirs": block(their_run, size.calls, clock=time.process_time),
        }
        samples = in_turns(turns, size.rounds)
        cxtrace.shutdown()
        reference.shutdown()
    case = "create and export over OTLP HTTP, CPU"
    return [compare(samples, case, "ours", "theirs", target=_CPU), _scrubbing(size)]


def _scrubbing(size: Size) -> Line:
    """What ``scrub`` adds to the export of a span of others, beside encoding that span."""
    spans = _client_spans()
    scrub = Scrubber()

    def our_run(calls: int) -> None:
        for _ in range(0, calls, len(spans)):
            scrub(spans)

    def their_run(calls: int) -> None:
        for _ in range(0, calls, len(spans)):
            encode_spans(spans).SerializeToString()

    calls = max(size.calls // len(spans), 1) * len(spans)
    turns = {"ours": block(our_run, calls), "theirs": block(their_run, calls)}
    samples = in_turns(turns, size.rounds)
    return compare(samples, "scrub a client span, beside encoding it", "ours", "theirs")


def _client_spans() -> list[ReadableSpan]:
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("benchmarks")
    for number in range(100):
        attributes = {**_CLIENT, "url.full": f"https://api.example.com/stock/{number}?by={number}"}
        tracer.start_span("GET", kind=SpanKind.CLIENT, attributes=attributes).end()
    return list(memory.get_finished_spans())


def losses(size: Size) -> list[Line]:
    """Spans made flat out, with the default queue: are those that are lost all counted?"""
    with sink.running() as collector:
        provider, reference = _pipelines(collector)
        request = a_request()
        function = by_hand(reference.get_tracer("by-hand"), tags(request))
        earlier = cxtrace.report().spans
        provider.force_flush()
        warm = collector.spans()
        made, our_rate = _flat_out(ours, request, provider, size.seconds)
        arrived = collector.spans() - warm
        theirs, their_rate = _flat_out(function, Context(), reference, size.seconds)
        their_arrived = collector.spans() - warm - arrived
        ledger = cxtrace.report().spans
        cxtrace.shutdown()
        reference.shutdown()
    if ledger is None or earlier is None:
        raise RuntimeError("cxtrace keeps no ledger")
    ended = ledger.created - earlier.created
    lost = ledger.lost + ledger.queued
    counted = ended == made and lost == made - arrived
    note = (
        f"made {made:,} at {our_rate:,.0f}/s, ledger says {ended:,} ended and {lost:,} not "
        f"delivered, collector got {arrived:,}; by hand {theirs:,} at {their_rate:,.0f}/s, "
        f"collector got {their_arrived:,}; target: all that are lost are counted"
    )
    return [
        Line(
            "spans lost flat out at 20,000/s",
            "%",
            100 * (made - arrived) / made,
            100 * (theirs - their_arrived) / theirs,
            holds=counted,
            note=note,
        )
    ]


def _pipelines(collector: sink.Sink) -> tuple[TracerProvider, TracerProvider]:
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.url
    os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
    return configure("otlp"), stock(OTLPSpanExporter())


def _flat_out(
    function: Callable[[], None], context: Context, provider: TracerProvider, seconds: float
) -> tuple[int, float]:
    """Spans made, and how many a second; 20 in each millisecond, or as fast as it goes."""
    token = attach(context)
    start = time.perf_counter()
    made = 0
    for tick in range(int(seconds * _TICKS)):
        for _ in range(_PER_SECOND // _TICKS):
            function()
            made += 1
        early = start + (tick + 1) / _TICKS - time.perf_counter()
        if early > 0:
            time.sleep(early)
    rate = made / (time.perf_counter() - start)
    provider.force_flush()
    detach(token)
    return made, rate
