"""The time that touchpoints, stamps and baggage take."""

import gc
from collections.abc import Callable, Iterator
from itertools import count, repeat
from time import thread_time
from typing import Any
from unittest import mock

from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, get_tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import cxtrace
from benchmarks.measure import Block, Line, Size, block, compare, in_turns
from benchmarks.subjects import (
    NAME,
    Attributes,
    Discard,
    a_request,
    by_hand,
    calling,
    configure,
    hand_forms,
    our_forms,
    ours,
    quiet,
    stock,
    tags,
    tags_of_another_process,
    under_unsampled,
)
from cxtrace import attributes as names
from cxtrace import privacy
from cxtrace.processors import StampProcessor
from cxtrace.propagation import CXPropagator

_SAMPLED = {"function": 0.5, "coroutine": 0.5}
_UNSAMPLED = {"function": 0.3, "coroutine": 0.3}
_NO_SDK = 0.5
_VALUES = {"a word": "light rain", "a number": "12 of 2024-05-06"}
_REQUEST: Attributes = {
    "http.request.method": "GET",
    "url.full": "http://127.0.0.1:8000/stock/42",
    "server.address": "127.0.0.1",
    "server.port": 8000,
    "http.response.status_code": 200,
    "network.protocol.version": "1.1",
}


def with_sdk(size: Size) -> list[Line]:
    """Everything that needs a provider."""
    provider, reference = configure(Discard()), stock(Discard())
    request = a_request()
    attributes = tags(request)
    tracer = reference.get_tracer("by-hand")
    turns: dict[str, Block] = {}
    states = _states(tracer.start_span("parent"), request)
    for state, (our_context, their_context, sampled) in states.items():
        calls = size.calls if sampled else size.calls * 5
        hand = hand_forms(tracer, attributes)
        for form, run in our_forms().items():
            turns[f"{form}, {state}, ours"] = block(run, calls, our_context, provider.force_flush)
            turns[f"{form}, {state}, theirs"] = block(
                hand[form], calls, their_context, reference.force_flush
            )
    turns |= _first_of_request(provider, reference, attributes, size)
    turns |= _stamping(request, size)
    turns |= _baggage(reference, attributes, size)
    turns |= _setting(request, size)
    samples = in_turns(turns, size.rounds)
    return list(_lines(samples, list(states)))


def without_sdk(size: Size) -> list[Line]:
    """A process in which nobody configured anything."""
    quiet()
    attributes = tags_of_another_process()
    request = a_request()
    turns = {}
    hand = hand_forms(get_tracer("by-hand"), attributes)
    for form, run in our_forms().items():
        turns[f"{form}, ours"] = block(run, size.calls * 5, request)
        turns[f"{form}, theirs"] = block(hand[form], size.calls * 5)
    samples = in_turns(turns, size.rounds)
    return [
        compare(samples, f"{form}, no SDK", f"{form}, ours", f"{form}, theirs", target=_NO_SDK)
        for form in our_forms()
    ]


def _states(parent: Any, request: Context) -> dict[str, tuple[Context, Context, bool]]:
    """Our context, that of hand-written code, and whether spans are sampled there."""
    empty = Context()
    return {
        "sampled root": (request, empty, True),
        "sampled child": (
            set_span_in_context(parent, request),
            set_span_in_context(parent, empty),
            True,
        ),
        "unsampled parent": (under_unsampled(request), under_unsampled(empty), False),
    }


def _first_of_request(
    provider: TracerProvider, reference: TracerProvider, attributes: Attributes, size: Size
) -> dict[str, Block]:
    """Each call for another customer, so that nothing can be kept from the call before."""
    function = by_hand(reference.get_tracer("by-hand"), attributes)
    nobody = [Context()] * size.calls
    return {
        "first, ours": _each(
            lambda: [a_request(number) for number in range(size.calls)], ours, provider
        ),
        "first, theirs": _each(lambda: nobody, function, reference),
    }


def _each(
    contexts: Callable[[], list[Context]], function: Callable[[], None], provider: TracerProvider
) -> Block:
    def turn() -> float:
        prepared = contexts()
        gc.collect()
        start = thread_time()
        for context in prepared:
            token = attach(context)
            function()
            detach(token)
        spent = thread_time() - start
        provider.force_flush()
        return spent / len(prepared)

    return turn


def _stamping(request: Context, size: Size) -> dict[str, Block]:
    """A span of another library under a touchpoint, with our processor and without it."""
    bare, stamped = stock(Discard()), TracerProvider(shutdown_on_exit=False)
    stamped.add_span_processor(StampProcessor())
    stamped.add_span_processor(BatchSpanProcessor(Discard()))
    inside = _inside_a_touchpoint(request)
    return {
        f"{name} span": block(_requesting(provider), size.calls, inside, provider.force_flush)
        for name, provider in (("bare", bare), ("stamped", stamped))
    }


def _inside_a_touchpoint(request: Context) -> Context:
    token = attach(request)
    cxtrace.touchpoint(NAME).__enter__()
    inside = get_current()
    detach(token)
    return inside


def _requesting(provider: TracerProvider) -> Callable[[int], None]:
    tracer = provider.get_tracer("http-client")

    def run(calls: int) -> None:
        for _ in repeat(None, calls):
            with tracer.start_as_current_span("GET", kind=SpanKind.CLIENT, attributes=_REQUEST):
                pass

    return run


def _baggage(reference: TracerProvider, attributes: Attributes, size: Size) -> dict[str, Block]:
    """One outgoing call in each of many requests, so that no header can be kept."""
    standard = [TraceContextTextMapPropagator(), W3CBaggagePropagator()]
    function = by_hand(reference.get_tracer("by-hand"), attributes)
    client = reference.get_tracer("http-client").start_span(
        "GET", kind=SpanKind.CLIENT, attributes=_REQUEST
    )

    numbers = count()

    def outgoing() -> list[Context]:
        requests = (a_request(next(numbers)) for _ in range(size.calls // 4 or 1))
        return [set_span_in_context(client, _inside_a_touchpoint(r)) for r in requests]

    return {
        "inject, theirs": _injecting(CompositePropagator(standard), outgoing),
        "inject, ours": _injecting(CompositePropagator([*standard, CXPropagator()]), outgoing),
        "a span by hand": block(calling(function), size.calls, None, reference.force_flush),
    }


def _injecting(propagator: CompositePropagator, outgoing: Callable[[], list[Context]]) -> Block:
    def turn() -> float:
        contexts = outgoing()
        gc.collect()
        start = thread_time()
        for context in contexts:
            carrier: dict[str, str] = {}
            propagator.inject(carrier, context)
        return (thread_time() - start) / len(contexts)

    return turn


def _setting(request: Context, size: Size) -> dict[str, Block]:
    """One context value, looked through for what is somebody's, and as it would be without."""
    inside = _inside_a_touchpoint(request)

    def setting(value: str) -> Callable[[int], None]:
        def run(calls: int) -> None:
            handle, given = cxtrace.current_touchpoint(), {f"{names.CONTEXT}.weather": value}
            for _ in repeat(None, calls):
                handle.set(given)

        return run

    def blindly(run: Callable[[int], None]) -> Callable[[int], None]:
        def turn(calls: int) -> None:
            with mock.patch.object(privacy, "block", _see_nothing):
                run(calls)

        return turn

    turns = {}
    for name, value in _VALUES.items():
        run = setting(value)
        turns[f"set {name}"] = block(run, size.calls, inside)
        turns[f"set {name}, blindly"] = block(blindly(run), size.calls, inside)
    return turns


def _see_nothing(_what: str, _found: str) -> bool:
    return False


def _lines(samples: Any, states: list[str]) -> Iterator[Line]:
    for state in states:
        targets = _UNSAMPLED if state == "unsampled parent" else _SAMPLED
        for form in our_forms():
            case = f"{form}, {state}"
            target = targets.get(form)
            yield compare(samples, case, f"{case}, ours", f"{case}, theirs", target=target)
    yield compare(
        samples,
        "function, sampled root, new customer each",
        "first, ours",
        "first, theirs",
        target=0.5,
    )
    yield compare(
        samples,
        "stamp on another library's span",
        "stamped span",
        "bare span",
        less="bare span",
        target=0.15,
        note="added to that span's own cost",
    )
    yield compare(
        samples,
        "signed baggage on one outgoing call",
        "inject, ours",
        "a span by hand",
        less="inject, theirs",
        target=0.5,
        note="added, beside one hand-written sampled span",
    )
    for name in _VALUES:
        yield compare(
            samples,
            f"set() with {name}",
            f"set {name}",
            f"set {name}, blindly",
            note="beside the same without a look for what is somebody's",
        )
