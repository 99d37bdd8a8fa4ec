"""Spans all the way to a collector: what they cost, and which are lost."""

import os
import time
from collections.abc import Callable

from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider

import cxtrace
from benchmarks import sink
from benchmarks.measure import Line, Size, block, compare, in_turns
from benchmarks.subjects import a_request, by_hand, calling, configure, ours, stock, tags

_CPU = 0.8
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
    return [compare(samples, case, "ours", "theirs", target=_CPU)]


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
