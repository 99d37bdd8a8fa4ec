"""A request to FastAPI with three touchpoints in it, called in process, without a socket."""

import asyncio
from collections.abc import Callable
from itertools import repeat
from typing import Any, Literal, TypeAlias

from fastapi import FastAPI
from opentelemetry import propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import cxtrace
from benchmarks.measure import Block, Line, Samples, Size, block, compare, in_turns
from benchmarks.subjects import Attributes, Discard, configure, stock

_Span: TypeAlias = Literal["receive", "send"]
"""A span for each message, which the instrumentation leaves out if asked to."""

_Tags: TypeAlias = dict[str, tuple[Attributes, Attributes]]

_TARGET = 0.15
_ONE: list[_Span] = ["receive", "send"]
_DEFAULT: list[_Span] = []
_NAMES = ("cart.view", "checkout.pay", "payment.authorise")
_SCOPE: dict[str, Any] = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/orders",
    "raw_path": b"/orders",
    "query_string": b"",
    "root_path": "",
    "headers": [(b"host", b"shop.example.com"), (b"user-agent", b"benchmark")],
    "client": ("127.0.0.1", 40000),
    "server": ("127.0.0.1", 8000),
}
"""One request, as a server hands it over."""

_loop = asyncio.new_event_loop()


@cxtrace.touchpoint(_NAMES[2])
async def _authorise() -> None:
    pass


@cxtrace.touchpoint(_NAMES[1])
async def _pay() -> None:
    await _authorise()


@cxtrace.touchpoint(_NAMES[0])
async def _view() -> None:
    pass


async def _ours() -> dict[str, str]:
    await _view()
    await _pay()
    return {"state": "paid"}


async def _ours_for_a_customer() -> dict[str, str]:
    with (
        cxtrace.journey("first_order", route="guest"),
        cxtrace.customer("cust-42", kind="person", segment="smb", consent="granted"),
    ):
        return await _ours()


async def _bare() -> dict[str, str]:
    return {"state": "paid"}


def measure(size: Size) -> list[Line]:
    """What three touchpoints add to an instrumented request, and three spans made by hand."""
    stock_propagator = CompositePropagator(
        [TraceContextTextMapPropagator(), W3CBaggagePropagator()]
    )
    provider, reference = configure(Discard()), stock(Discard())
    our_propagator = propagate.get_global_textmap()
    tracer = reference.get_tracer("by-hand")
    short, full = _tags(customer=False), _tags(customer=True)
    turns: dict[str, Block] = {}
    for name, handler, used, spans in (
        ("bare", _bare, reference, _ONE),
        ("configured", _bare, provider, _ONE),
        ("ours", _ours, provider, _ONE),
        ("ours, customer", _ours_for_a_customer, provider, _ONE),
        ("theirs", _by_hand(tracer, short), reference, _ONE),
        ("theirs, customer", _by_hand(tracer, full), reference, _ONE),
        ("bare, default", _bare, reference, _DEFAULT),
        ("ours, default", _ours, provider, _DEFAULT),
        ("theirs, default", _by_hand(tracer, short), reference, _DEFAULT),
    ):
        propagator = our_propagator if used is provider else stock_propagator
        run = _serving(handler, used, spans)
        turns[name] = _with(propagator, block(run, size.calls // 8, after=used.force_flush))
    # Short turns: what is added is a difference of two of them, which have to be of one moment.
    samples = in_turns(turns, size.rounds * 4)
    one = "added, beside the instrumented request with one server span"
    default = "added, beside the instrumented request with a span for each message as well"
    return [
        _added(samples, "configured, no touchpoint", "configured", "bare", one),
        _added(samples, "3 touchpoints", "ours", "bare", one, _TARGET),
        _added(samples, "3 spans by hand", "theirs", "bare", one),
        _added(samples, "journey, customer, 3 touchpoints", "ours, customer", "bare", one),
        _added(samples, "3 spans by hand with their tags", "theirs, customer", "bare", one),
        _added(samples, "3 touchpoints, all spans", "ours, default", "bare, default", default),
        _added(samples, "3 spans by hand, all spans", "theirs, default", "bare, default", default),
    ]


def _added(
    samples: Samples, case: str, more: str, bare: str, note: str, target: float | None = None
) -> Line:
    return compare(samples, f"FastAPI: {case}", more, bare, less=bare, target=target, note=note)


def _with(propagator: Any, turn: Block) -> Block:
    def run() -> float:
        propagate.set_global_textmap(propagator)
        return turn()

    return run


def _serving(
    handler: Callable[[], Any], provider: TracerProvider, left_out: list[_Span]
) -> Callable[[int], None]:
    app = FastAPI()
    app.get("/orders")(handler)
    FastAPIInstrumentor.instrument_app(app, tracer_provider=provider, exclude_spans=left_out)
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    async def main(calls: int) -> None:
        for _ in repeat(None, calls):
            await app(dict(_SCOPE), receive, send)

    def run(calls: int) -> None:
        _loop.run_until_complete(main(calls))
        if statuses != [200] * calls:
            raise RuntimeError(f"the application answered {set(statuses)}")
        statuses.clear()

    return run


def _by_hand(tracer: trace.Tracer, tags: _Tags) -> Callable[[], Any]:
    (view, viewed), (pay, paid), (authorise, authorised) = (tags[name] for name in _NAMES)

    async def by_hand() -> dict[str, str]:
        with tracer.start_as_current_span(_NAMES[0], attributes=view) as span:
            span.set_attributes(viewed)
        with tracer.start_as_current_span(_NAMES[1], attributes=pay) as span:
            with tracer.start_as_current_span(_NAMES[2], attributes=authorise) as inner:
                inner.set_attributes(authorised)
            span.set_attributes(paid)
        return {"state": "paid"}

    return by_hand


def _tags(*, customer: bool) -> _Tags:
    """What each of our spans has at its start, and what it gets at its end."""
    found: _Tags = {}

    def read() -> None:
        for name in _NAMES:
            with cxtrace.touchpoint(name) as handle:
                start = _attributes(handle.span)
            end = _attributes(handle.span)
            found[name] = start, {key: end[key] for key in end if key not in start}

    if not customer:
        read()
        return found
    with (
        cxtrace.journey("first_order", route="guest"),
        cxtrace.customer("cust-42", kind="person", segment="smb", consent="granted"),
    ):
        read()
    return found


def _attributes(span: Any) -> Attributes:
    return dict(span.attributes)
