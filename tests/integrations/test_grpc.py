"""gRPC: calls become touchpoints, in threads and with asyncio, and journeys go on over them."""

import asyncio
import functools
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import propagate
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import attach, set_value
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import SpanKind, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import cxtrace
from cxtrace import JourneyMap, current_context, current_touchpoint
from cxtrace.exporters import read_spans
from cxtrace.propagation import CXPropagator
from cxtrace.testing import Capture, capture

grpc = pytest.importorskip("grpc", reason="grpcio is not installed")
stock = pytest.importorskip(
    "opentelemetry.instrumentation.grpc", reason="gRPC's instrumentation is not installed"
)

from cxtrace.integrations import _grpc_channels  # noqa: E402
from cxtrace.integrations import grpc as ours  # noqa: E402

MAP = """
schema = "cxtrace.map/1"
name = "shop"
functions = { sales = {} }

[request]
customer = [
  { cookie = "c" }, { query = "c" }, { session = "c" }, { user = "c" }, { claim = "c" },
  { header = "X-Customer-Id" },
]
journey = [{ header = "X-Journey-Id" }]

[[stage]]
name = "purchase"
phase = "customer"

[[touchpoint]]
name = "order.place"
stage = "purchase"
owner = "sales"
match = [
  { rpc = "shop.Orders/Place" }, { rpc = "shop.Orders/Watch" }, { rpc = "shop.Orders/Collect" },
  { rpc = "shop.Orders/Talk" },
]

[[journey]]
name = "first_order"
goal = "order.place"
"""
CUSTOMER = (("x-customer-id-bin", b"\x00"), ("x-customer-id", "cust-42"), ("x-journey-id", "j1"))
CALLER = (("traceparent", f"00-{1:032x}-{2:016x}-01"), ("baggage", "shelf=upper"))
ALONE, TRACED = "alone", "with OpenTelemetry's"


@pytest.fixture
def cx() -> Iterator[Capture]:
    """Capture what is sent, and see that nothing of ours fails."""
    before = propagate.get_global_textmap()
    parts = TraceContextTextMapPropagator(), W3CBaggagePropagator(), CXPropagator()
    propagate.set_global_textmap(CompositePropagator(parts))
    with capture(journey_map=JourneyMap.loads(MAP)) as captured:
        yield captured
    propagate.set_global_textmap(before)
    assert [name for name in captured.counts if name.startswith("errors.")] == []


@pytest.fixture(params=[ALONE, TRACED])
def front(request: pytest.FixtureRequest, cx: Capture) -> str:
    """Whether OpenTelemetry's interceptor stands in front of ours."""
    found: str = request.param
    return found


@contextmanager
def serving(cx: Capture, front: str, *more: Any, **methods: Any) -> Iterator[Any]:
    """A server of real sockets and a client to it; methods are named as in the map."""
    theirs = [stock.server_interceptor(tracer_provider=cx.tracer_provider)]
    pool = ThreadPoolExecutor(2)
    server = grpc.server(
        pool, interceptors=[*(theirs if front == TRACED else ()), ours.CXInterceptor(), *more]
    )
    server.add_generic_rpc_handlers((service(methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield client(channel)
    server.stop(None).wait()
    pool.shutdown()


@asynccontextmanager
async def aio_serving(cx: Capture, front: str, *more: Any, **methods: Any) -> AsyncIterator[Any]:
    """The same with asyncio."""
    theirs = [stock.aio_server_interceptor(tracer_provider=cx.tracer_provider)]
    pool = ThreadPoolExecutor(1)
    server = grpc.aio.server(
        pool,
        interceptors=[*(theirs if front == TRACED else ()), ours.AioCXInterceptor(), *more],
    )
    server.add_generic_rpc_handlers((service(methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield client(channel)
    await server.stop(None)
    await asyncio.get_running_loop().run_in_executor(None, pool.shutdown)


WAYS = {
    "Place": "unary_unary",
    "Watch": "unary_stream",
    "Collect": "stream_unary",
    "Talk": "stream_stream",
    "Other": "unary_unary",
}


def service(methods: dict[str, Any]) -> Any:
    """Handlers of raw bytes."""
    handlers = {
        name: getattr(grpc, f"{WAYS[name]}_rpc_method_handler")(method)
        for name, method in methods.items()
    }
    return grpc.method_handlers_generic_handler("shop.Orders", handlers)


def client(channel: Any) -> Any:
    """What generated code has: one function a method."""
    stubs = {name: getattr(channel, way)(f"/shop.Orders/{name}") for name, way in WAYS.items()}
    return SimpleNamespace(channel=channel, **stubs)


def ending(cx: Capture) -> tuple[str, str | None]:
    """How the one touchpoint ended."""
    found = cx.touchpoint("order.place")
    return found.outcome, found.error


def where() -> str:
    """The touchpoint that is current."""
    place = current_touchpoint().place
    return place.touchpoint if place else "nowhere"


def place(request: bytes, context: Any) -> bytes:
    """Answer with what is current."""
    return where().encode()


def watch(request: bytes, context: Any) -> Iterator[bytes]:
    """Two messages."""
    yield where().encode()
    yield where().encode()


def collect(requests: Iterator[bytes], context: Any) -> bytes:
    """One answer to many messages."""
    return b"".join(requests) + where().encode()


def talk(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
    """One answer to each message."""
    for request in requests:
        yield request + where().encode()


async def aio_place(request: bytes, context: Any) -> bytes:
    """The same as coroutines and asynchronous generators."""
    return where().encode()


async def aio_watch(request: bytes, context: Any) -> AsyncIterator[bytes]:
    """Two messages."""
    yield where().encode()
    await asyncio.sleep(0)
    yield where().encode()


async def aio_collect(requests: AsyncIterator[bytes], context: Any) -> bytes:
    """One answer to many messages."""
    return b"".join([request async for request in requests]) + where().encode()


async def aio_talk(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    """One answer to each message."""
    async for request in requests:
        yield request + where().encode()


SYNC = {"Place": place, "Watch": watch, "Collect": collect, "Talk": talk}
AIO = {"Place": aio_place, "Watch": aio_watch, "Collect": aio_collect, "Talk": aio_talk}
SAID = {
    "Place": b"order.place",
    "Watch": [b"order.place", b"order.place"],
    "Collect": b"12order.place",
    "Talk": [b"1order.place", b"2order.place"],
}


def given(name: str) -> Any:
    """What a client sends."""
    return iter([b"1", b"2"]) if name in ("Collect", "Talk") else b"1"


def told(method: Callable[..., Any], name: str, **options: Any) -> Any:
    """What a client in a thread gets back."""
    answer = method(given(name), metadata=CUSTOMER, **options)
    return list(answer) if name in ("Watch", "Talk") else answer


async def aio_told(method: Callable[..., Any], name: str) -> Any:
    """What a client with asyncio gets back."""
    answer = method(given(name), metadata=CUSTOMER)
    return [each async for each in answer] if name in ("Watch", "Talk") else await answer


# What the customer lives through


@pytest.mark.parametrize("name", SYNC)
def test_a_call_is_a_touchpoint(cx: Capture, front: str, name: str) -> None:
    """All four kinds of methods run under the customer's context, which metadata tell."""
    with serving(cx, front, **SYNC) as client:
        assert told(getattr(client, name), name) == SAID[name]

    (span,) = cx.spans
    attributes = dict(span.attributes or {})
    assert ending(cx) == ("completed", None)
    assert attributes["enduser.pseudo.id"] == cx.pseudonym("cust-42")
    assert attributes["cx.journey.name"] == "first_order"
    assert span.kind is (SpanKind.SERVER if front == TRACED else SpanKind.INTERNAL)


@pytest.mark.parametrize("name", AIO)
def test_a_call_is_a_touchpoint_with_asyncio(cx: Capture, front: str, name: str) -> None:
    """The same for servers of grpc.aio."""

    async def main() -> None:
        async with aio_serving(cx, front, **AIO) as client:
            assert await aio_told(getattr(client, name), name) == SAID[name]

    asyncio.run(main())

    (span,) = cx.spans
    assert ending(cx) == ("completed", None)
    assert dict(span.attributes or {})["enduser.pseudo.id"] == cx.pseudonym("cust-42")
    assert span.kind is (SpanKind.SERVER if front == TRACED else SpanKind.INTERNAL)


def test_threads_beside_asyncio(cx: Capture) -> None:
    """Methods that are no coroutines run in the threads of an asyncio server, and are the same."""

    async def main() -> None:
        async with aio_serving(cx, ALONE, **SYNC) as client:
            assert await aio_told(client.Place, "Place") == SAID["Place"]
            assert await aio_told(client.Watch, "Watch") == SAID["Watch"]

    asyncio.run(main())

    assert [visit.outcome for visit in cx.visits("order.place")] == ["completed"] * 2


def test_an_abort_in_a_thread_beside_asyncio(cx: Capture) -> None:
    """There, gRPC shows the status to nobody but the client, who sees it as ever."""

    async def main() -> None:
        async with aio_serving(cx, ALONE, Place=abort(grpc.StatusCode.NOT_FOUND)) as client:
            with pytest.raises(grpc.RpcError) as caught:
                await aio_told(client.Place, "Place")
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND

    asyncio.run(main())

    assert len(cx.visits("order.place")) == 1


def test_a_coroutine_that_writes_its_stream(cx: Capture) -> None:
    """A method of grpc.aio may write messages instead of yielding them."""

    async def write(request: bytes, context: Any) -> None:
        await context.write(where().encode())

    async def main() -> None:
        async with aio_serving(cx, ALONE, Watch=write) as client:
            assert await aio_told(client.Watch, "Watch") == [b"order.place"]

    asyncio.run(main())

    assert ending(cx) == ("completed", None)


def test_any_iterator_is_a_stream(cx: Capture, front: str) -> None:
    """A method that returns an iterator ends with its last message, like a generator."""
    seen = []

    class Messages:
        def __init__(self) -> None:
            self.left = [b"2", b"1"]

        def __iter__(self) -> Iterator[bytes]:
            return self

        def __next__(self) -> bytes:
            seen.append(where())
            if not self.left:
                raise StopIteration
            return self.left.pop()

    with serving(cx, front, Watch=lambda request, context: Messages()) as client:
        assert list(client.Watch(b"")) == [b"1", b"2"]

    assert seen == ["order.place"] * 3
    assert ending(cx) == ("completed", None)


def test_methods_of_objects_keep_what_they_are(cx: Capture) -> None:
    """Bound methods, partials and callable objects are called as they are."""

    class Orders:
        def place(self, request: bytes, context: Any) -> bytes:
            return b"method"

        def __call__(self, request: bytes, context: Any) -> bytes:
            return b"object"

    methods = {"Place": Orders().place, "Other": Orders(), "Collect": functools.partial(collect)}
    with serving(cx, ALONE, **methods) as client:
        assert client.Place(b"") == b"method"
        assert client.Other(b"") == b"object"
        assert client.Collect(iter([b"1"])) == b"1order.place"


def test_a_call_that_the_map_does_not_know_is_none(cx: Capture, front: str) -> None:
    """Its customer is known all the same, where the map has a rule for every request."""
    with serving(cx, front, Other=place) as client:
        assert client.Other(b"", metadata=CUSTOMER) == b"nowhere"

    assert cx.touchpoints == []


def test_a_caller_is_gone_on_from(front: str, cx: Capture) -> None:
    """With and without OpenTelemetry's interceptor the caller's trace goes on."""
    with serving(cx, front, Place=place) as client:
        client.Place(b"", metadata=CALLER)

    (span,) = cx.spans
    assert span.context is not None
    assert span.context.trace_id == 1


def test_unknown_calls_go_on_from_the_caller_too() -> None:
    """The caller's context is there in a call that is no touchpoint, and gone after it."""
    seen = []

    def other(request: bytes, context: Any) -> bytes:
        seen.append(get_current_span().get_span_context().trace_id)
        return b""

    bare = MAP.partition("[request]")[0] + "[[stage]]" + MAP.partition("[[stage]]")[2]
    with (
        capture(journey_map=JourneyMap.loads(bare)) as captured,
        serving(captured, ALONE, Other=other) as client,
    ):
        client.Other(b"", metadata=CALLER)
        client.Other(b"")

    assert seen == [1, 0]


def test_without_a_map_nothing_happens() -> None:
    """Where the map says nothing about calls, the handler stays the one that it was."""
    handler = grpc.unary_unary_rpc_method_handler(place)

    async def going_on(details: Any) -> Any:
        return handler

    with capture():
        assert ours.CXInterceptor().intercept_service(lambda details: handler, None) is handler
        assert asyncio.run(ours.AioCXInterceptor().intercept_service(going_on, None)) is handler


def test_unknown_methods_are_unimplemented(cx: Capture, front: str) -> None:
    """Without a handler the server answers as ever, and there is no touchpoint."""
    with serving(cx, front) as client, pytest.raises(grpc.RpcError) as caught:
        client.Place(b"")

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert cx.touchpoints == []


def test_the_map_may_go_between(cx: Capture) -> None:
    """A handler that was made while a map was in force works without one."""
    handler = ours.CXInterceptor().intercept_service(
        lambda details: grpc.unary_unary_rpc_method_handler(place),
        SimpleNamespace(method="/shop.Orders/Place", invocation_metadata=()),
    )
    with capture():
        assert handler.unary_unary(b"", None) == b"nowhere"


# How it ends


def abort(code: Any) -> Callable[..., Any]:
    """A method that aborts."""

    def method(request: bytes, context: Any) -> bytes:
        context.abort(code, "no jackets left for jane")
        return b""

    return method


def set_code(code: Any) -> Callable[..., Any]:
    """A method that sets a status and answers."""

    def method(request: bytes, context: Any) -> bytes:
        context.set_code(code)
        return b""

    return method


def streaming(method: Callable[..., Any]) -> Callable[..., Any]:
    """The same with a message before."""

    def stream(request: bytes, context: Any) -> Iterator[bytes]:
        yield b"1"
        method(request, context)

    return stream


def aio_abort(code: Any) -> Callable[..., Any]:
    """A coroutine that aborts."""

    async def method(request: bytes, context: Any) -> bytes:
        await context.abort(code, "no jackets left for jane")
        return b""

    return method


def aio_set_code(code: Any) -> Callable[..., Any]:
    """A coroutine that sets a status."""

    async def method(request: bytes, context: Any) -> bytes:
        context.set_code(code)
        return b""

    return method


def aio_streaming(method: Callable[..., Any]) -> Callable[..., Any]:
    """The same with a message before."""

    async def stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"1"
        await method(request, context)

    return stream


STATUSES = [
    ("OK", ("completed", None)),
    ("NOT_FOUND", ("failed", "NOT_FOUND")),
    ("INTERNAL", ("failed", "INTERNAL")),
    ("CANCELLED", ("abandoned", None)),
    ("DEADLINE_EXCEEDED", ("abandoned", None)),
]
ENDINGS = [
    (how, code, expected)
    for how in ("abort", "set_code")
    for code, expected in STATUSES
    if (how, code) != ("abort", "OK")
]


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(("how", "code", "expected"), ENDINGS)
def test_the_status_is_the_outcome(
    cx: Capture, front: str, how: str, code: str, expected: Any, streams: bool
) -> None:
    """OK is completed, a client that has given up abandoned, and any other status failed."""
    method = {"abort": abort, "set_code": set_code}[how](grpc.StatusCode[code])
    methods = {"Watch": streaming(method)} if streams else {"Place": method}
    with serving(cx, front, **methods) as client:
        found = status_of(lambda: list(client.Watch(b"")) if streams else client.Place(b""))

    assert found == code
    assert ending(cx) == expected


def status_of(call: Callable[[], Any]) -> str:
    """The status that a client sees."""
    try:
        call()
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(("how", "code", "expected"), ENDINGS)
def test_the_status_is_the_outcome_with_asyncio(
    cx: Capture, front: str, how: str, code: str, expected: Any, streams: bool
) -> None:
    """The same for servers of grpc.aio."""
    method = {"abort": aio_abort, "set_code": aio_set_code}[how](grpc.StatusCode[code])
    methods = {"Watch": aio_streaming(method)} if streams else {"Place": method}

    async def main() -> str:
        async with aio_serving(cx, front, **methods) as client:
            try:
                await aio_told(*((client.Watch, "Watch") if streams else (client.Place, "Place")))
            except grpc.RpcError as error:
                return str(error.code().name)
        return "OK"

    assert asyncio.run(main()) == code
    assert ending(cx) == expected


def test_an_exception_is_its_class(cx: Capture, front: str) -> None:
    """What flies out of a method is named by its class, and its text is not sent."""

    def broken(request: bytes, context: Any) -> bytes:
        context.set_code(grpc.StatusCode.NOT_FOUND)
        raise KeyError("jane")

    with serving(cx, front, Place=broken, Watch=streaming(broken)) as client:
        assert status_of(lambda: client.Place(b"")) != "OK"
        assert status_of(lambda: list(client.Watch(b""))) != "OK"

    found = [(visit.outcome, visit.error) for visit in cx.visits("order.place")]
    assert found == [("failed", "KeyError")] * 2


def test_a_bare_exception_is_no_status(cx: Capture, front: str) -> None:
    """Without a status, an exception of the class that ``abort`` raises is an exception."""

    def broken(request: bytes, context: Any) -> bytes:
        raise Exception("jane")

    with serving(cx, front, Place=broken) as client:
        assert status_of(lambda: client.Place(b"")) == "UNKNOWN"

    assert ending(cx) == ("failed", "Exception")


def test_an_error_of_another_call_is_an_exception(cx: Capture, front: str) -> None:
    """A method that calls another service, and fails with it, has failed."""

    def asks(request: bytes, context: Any) -> bytes:
        raise grpc.RpcError

    with serving(cx, front, Place=asks) as client:
        assert status_of(lambda: client.Place(b"")) == "UNKNOWN"

    assert ending(cx) == ("failed", "grpc.RpcError")


@pytest.mark.parametrize("how", [abort, set_code])
def test_what_the_code_has_said_counts(cx: Capture, front: str, how: Any) -> None:
    """An outcome that the method has given stands above the status."""

    def method(request: bytes, context: Any) -> bytes:
        current_touchpoint().outcome("handed_off")
        answer: bytes = how(grpc.StatusCode.NOT_FOUND)(request, context)
        return answer

    with serving(cx, front, Place=method) as client:
        assert status_of(lambda: client.Place(b"")) == "NOT_FOUND"

    assert ending(cx)[0] == "handed_off"


def test_a_client_that_waits_no_longer_is_gone(cx: Capture, front: str) -> None:
    """A method that answers a client who has given up was in vain."""
    may_answer = threading.Event()

    def slow(request: bytes, context: Any) -> bytes:
        context.add_callback(may_answer.set)
        may_answer.wait(20)
        return b""

    with serving(cx, front, Place=slow) as client:
        grpc.channel_ready_future(client.channel).result(60)
        assert status_of(lambda: client.Place(b"", timeout=1)) == "DEADLINE_EXCEEDED"
        may_answer.wait(20)

    assert ending(cx) == ("abandoned", None)


def test_a_stream_that_is_cancelled_is_abandoned(cx: Capture, front: str) -> None:
    """A client that wants no more messages has left."""

    def endless(request: bytes, context: Any) -> Iterator[bytes]:
        while True:
            yield b"1"

    with serving(cx, front, Watch=endless) as client:
        call = client.Watch(b"")
        next(call)
        call.cancel()

    assert ending(cx) == ("abandoned", None)


def test_requests_that_stop_are_abandoned(cx: Capture, front: str) -> None:
    """A client that cancels while it sends has left, and not failed."""
    began, gone = threading.Event(), threading.Event()

    def first(requests: Iterator[bytes], context: Any) -> bytes:
        context.add_callback(gone.set)
        for _ in requests:
            began.set()
            gone.wait(20)
        return b""

    def send() -> Iterator[bytes]:
        yield b"1"
        may_end.wait(20)

    may_end = threading.Event()
    with serving(cx, front, Collect=first) as client:
        call = client.Collect.future(send())
        began.wait(20)
        call.cancel()
        may_end.set()

    assert ending(cx) == ("abandoned", None)


@pytest.mark.parametrize("name", ["Place", "Watch"])
def test_a_task_that_is_cancelled_is_abandoned(cx: Capture, front: str, name: str) -> None:
    """With asyncio a client that leaves cancels the method."""

    async def main() -> None:
        began, ended = asyncio.Event(), asyncio.Event()

        async def slow(request: bytes, context: Any) -> bytes:
            began.set()
            try:
                await asyncio.sleep(60)
            finally:
                ended.set()
            return b""

        async def stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
            yield b"1"
            await slow(request, context)

        async with aio_serving(cx, front, Place=slow, Watch=stream) as client:
            call = getattr(client, name)(b"")
            answer = asyncio.ensure_future(aio_read(call, name))
            await began.wait()
            call.cancel()
            await ended.wait()
            await asyncio.gather(answer, return_exceptions=True)

    asyncio.run(main())

    assert ending(cx) == ("abandoned", None)


async def aio_read(call: Any, name: str) -> Any:
    """Wait for the answer, or for all of a stream."""
    return [each async for each in call] if name == "Watch" else await call


def test_a_stream_is_a_touchpoint_to_its_last_message(cx: Capture) -> None:
    """Streaming takes as long as the method and the customer do."""

    def stream(request: bytes, context: Any) -> Iterator[bytes]:
        yield b"1"
        cx.clock.advance(3)
        yield b"2"

    with serving(cx, ALONE, Watch=stream) as client:
        assert list(client.Watch(b"")) == [b"1", b"2"]

    assert cx.touchpoint("order.place").duration == pytest.approx(3)


# In whose context


class Outside(grpc.ServerInterceptor):  # type: ignore[misc]
    """Sees the context in which the server asks for each message, around ours or inside."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Wrap the method."""
        handler = continuation(details)

        def stream(request: bytes, context: Any) -> Iterator[bytes]:
            for message in handler.unary_stream(request, context):
                self.seen.append(where())
                yield message
            self.seen.append(where())

        return grpc.unary_stream_rpc_method_handler(stream)


def test_the_context_is_there_in_each_step_and_nowhere_else(cx: Capture) -> None:
    """What stands around the method, like another interceptor, is of no customer."""
    outside = Outside()
    pool = ThreadPoolExecutor(1)
    server = grpc.server(pool, interceptors=[outside, ours.CXInterceptor()])
    server.add_generic_rpc_handlers((service({"Watch": watch}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert list(client(channel).Watch(b"")) == SAID["Watch"]
    server.stop(None).wait()
    pool.shutdown()

    assert outside.seen == ["nowhere"] * 3


def test_nothing_goes_on_to_the_next_call(cx: Capture) -> None:
    """A thread that has served one customer knows nothing of them, whatever a method has left."""

    def careless(request: bytes, context: Any) -> bytes:
        attach(set_value("shelf", "upper"))
        return b""

    bare = MAP.partition("[request]")[0] + "[[stage]]" + MAP.partition("[[stage]]")[2]
    pool = ThreadPoolExecutor(1)
    with capture(journey_map=JourneyMap.loads(bare)):
        server = grpc.server(pool, interceptors=[ours.CXInterceptor()])
        server.add_generic_rpc_handlers((service({"Place": careless}),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            client(channel).Place(b"", metadata=CUSTOMER)
        server.stop(None).wait()
        assert pool.submit(current_context).result() is None
    pool.shutdown()


def test_metadata_have_keys() -> None:
    """Propagators that look for names of their own find all there are."""
    assert ours._GETTER.keys(CALLER) == ["traceparent", "baggage"]


def test_two_of_ours_count_once(cx: Capture, front: str) -> None:
    """An interceptor that was added twice makes no second touchpoint."""
    with serving(cx, front, ours.CXInterceptor(), Place=place, Watch=watch) as client:
        assert client.Place(b"") == b"order.place"
        assert list(client.Watch(b"")) == SAID["Watch"]

    assert len(cx.visits("order.place")) == 2


def test_what_goes_wrong_in_ours_does_not_reach_the_host(
    cx: Capture, front: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call whose visit cannot be opened, judged or wrapped is answered as ever."""

    def broken(*_: Any) -> Any:
        raise RuntimeError("jane")

    with serving(cx, front, Place=place) as client:
        with monkeypatch.context() as patch:
            patch.setattr(ours, "_code_of", broken)
            assert client.Place(b"") == b"order.place"
        with monkeypatch.context() as patch:
            patch.setattr(ours, "_Request", broken)
            assert client.Place(b"") == b"nowhere"
        with monkeypatch.context() as patch:
            patch.setattr(ours, "_wrapped", broken)
            assert client.Place(b"") == b"nowhere"

    found = {name: count for name, count in cx.counts.items() if name.startswith("errors.")}
    assert found == {"errors.grpc": 2, "errors.grpc.end": 1}
    cxtrace._guard.reset()


# Set up by itself


@pytest.fixture
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give gRPC its own functions back afterwards."""
    from grpc import _channel
    from grpc.aio import _channel as _aio_channel

    for owner, names in (
        (grpc, ("server", "insecure_channel", "secure_channel")),
        (grpc.aio, ("server", "insecure_channel", "secure_channel")),
        (_channel.Channel, ("__init__", *_grpc_channels._WAYS)),
        (_aio_channel.Channel, ("__init__",)),
    ):
        for name in names:
            monkeypatch.setattr(owner, name, getattr(owner, name))


class Spy(grpc.ServerInterceptor):  # type: ignore[misc]
    """An interceptor of the host."""

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Pass on."""
        return continuation(details)


class AioSpy(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """The same with asyncio."""

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Pass on."""
        return await continuation(details)


@pytest.mark.usefixtures("as_it_was")
@pytest.mark.parametrize("ours_first", [True, False])
@pytest.mark.parametrize("spies", [(), (Spy(),)])
@pytest.mark.parametrize("explicit", [False, True])
def test_ours_stands_behind_opentelemetry(
    cx: Capture, ours_first: bool, spies: Any, explicit: bool
) -> None:
    """Whoever is set up first, the touchpoint is the server's span, and there is one."""
    instrumentor = stock.GrpcInstrumentorServer()
    for is_ours in (True, False) if ours_first else (False, True):
        if is_ours:
            ours.instrument(grpc)
            ours.instrument(grpc)
        else:
            instrumentor.instrument(tracer_provider=cx.tracer_provider)
    pool = ThreadPoolExecutor(1)
    given = [*spies, *([ours.CXInterceptor()] if explicit else [])]
    server = grpc.server(pool, interceptors=given)
    instrumentor.uninstrument()
    server.add_generic_rpc_handlers((service({"Place": place}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert client(channel).Place(b"") == b"order.place"
    server.stop(None).wait()
    pool.shutdown()

    (span,) = cx.spans
    assert span.kind is SpanKind.SERVER
    assert ending(cx) == ("completed", None)
    assert given == [*spies, *given[len(spies) :]]


@pytest.mark.usefixtures("as_it_was")
@pytest.mark.parametrize("ours_first", [True, False])
def test_ours_stands_behind_opentelemetry_with_asyncio(cx: Capture, ours_first: bool) -> None:
    """The same for servers of grpc.aio, whose interceptors may be given by place."""
    instrumentor = stock.GrpcAioInstrumentorServer()

    async def main() -> None:
        for is_ours in (True, False) if ours_first else (False, True):
            if is_ours:
                ours.instrument(grpc)
            else:
                instrumentor.instrument(tracer_provider=cx.tracer_provider)
        server = grpc.aio.server(interceptors=(AioSpy(),))
        instrumentor.uninstrument()
        server.add_generic_rpc_handlers((service({"Place": aio_place}),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert await client(channel).Place(b"") == b"order.place"
        await server.stop(None)

    asyncio.run(main())

    (span,) = cx.spans
    assert span.kind is SpanKind.SERVER
    assert ending(cx) == ("completed", None)


def test_interceptors_that_are_given_by_place() -> None:
    """Other arguments stay where they are."""
    spy = Spy()

    args = ours._with(ours.CXInterceptor, ("pool", None, (spy,), "options"), {})

    assert args[:2] + args[3:] == ("pool", None, "options")
    assert [type(each) for each in args[2]] == [ours.CXInterceptor, Spy]


# What a client tells


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("localhost:50051", True),
        (b"127.0.0.1:50051", True),
        ("payments", True),
        ("[::1]:50051", True),
        ("::1", True),
        ("dns:payments.internal:443", True),
        ("dns:///payments.internal:443", True),
        ("dns://8.8.8.8/payments.internal:443", True),
        ("ipv4:10.0.0.1:443,10.0.0.2:443", True),
        ("ipv6:[fc00::1%25eth0]:443", True),
        ("ipv6:%5B::1%5D:443", False),
        ("unix:/run/payments.sock", True),
        ("unix-abstract:payments", True),
        ("api.example.com:443", True),
        ("bank.example.com:443", False),
        ("dns:///bank.example.com", False),
        ("ipv4:10.0.0.1:443,8.8.8.8:443", False),
        ("ipv4:", False),
        ("", False),
        ("xds:///payments", None),
        ("vsock:1:2", None),
    ],
)
def test_where_a_channel_leads(target: Any, expected: bool | None) -> None:
    """A target says whether the other service is one of ours, as far as it names hosts."""
    with capture(trusted_hosts=["api.example.com"]):
        assert _grpc_channels.goes_to_us(target) is expected


def members(metadata: Any) -> set[str]:
    """The names of our members in the metadata that a server got."""
    found = dict(metadata).get("baggage", "")
    return {member.partition("=")[0] for member in found.split(",") if "cx." in member}


def test_settings_of_targets(cx: Capture) -> None:
    """Metadata that no instrumentation has written, and calls of no customer, stay as they are."""
    inside: list[Any] = []
    assert _grpc_channels._told(CALLER, "payments") is None
    with cxtrace.touchpoint("order.place"):
        assert _grpc_channels._told((), "payments") is None
        assert _grpc_channels._told((("shelf", "upper"),), "payments") is None
        inside = list(_grpc_channels._told(CALLER, "payments") or ())
        assert members(_grpc_channels._told(CALLER, "bank.example.com")) == set()

    assert "cx.touchpoint.name" in members(inside)
    assert [key for key, _ in inside] == ["traceparent", "baggage"]


def test_metadata_that_cannot_be_read(cx: Capture) -> None:
    """What is no metadata goes to gRPC as it is."""
    with cxtrace.touchpoint("order.place"):
        assert _grpc_channels._told(7, "payments") is None

    assert cx.counts["errors.grpc.call"] == 1
    cxtrace._guard.reset()


@pytest.mark.parametrize("way", ["__call__", "with_call", "future"])
def test_metadata_that_are_given_by_place(cx: Capture, way: str) -> None:
    """Whichever way a call is made and has its metadata, they are told in the same way."""
    calls: list[Any] = []

    def record(*args: Any, **kwargs: Any) -> None:
        calls.append((args, kwargs))

    method = SimpleNamespace(with_call=record, future=record) if way != "__call__" else record
    call = getattr(_grpc_channels._Method(method, "shop"), way)
    with cxtrace.touchpoint("order.place"):
        call(b"", 20, CALLER, "credentials")
        call(b"", metadata=CALLER)
        call(b"", 20)

    (by_place, nothing), ((request,), by_name), untold = calls
    assert (by_place[0], by_place[1], by_place[3], nothing) == (b"", 20, "credentials", {})
    assert members(by_place[2]) == members(by_name["metadata"]) != set()
    assert request == b""
    assert untold == ((b"", 20), {})


def test_a_call_of_nobody_with_asyncio(cx: Capture) -> None:
    """Outside of any journey a call goes on as it is."""
    details = SimpleNamespace(metadata=CALLER)

    async def going_on(*given: Any) -> Any:
        return given

    teller = _grpc_channels._UnaryUnary("payments")

    assert asyncio.run(teller.intercept_unary_unary(going_on, details, b"1")) == (details, b"1")


@pytest.mark.parametrize("teller", _grpc_channels._TELLERS)
def test_what_is_told_with_asyncio(cx: Capture, teller: Any) -> None:
    """Calls of all four kinds carry the journey, and keep what else is said of them."""
    details = grpc.aio.ClientCallDetails("/shop.Orders/Place", 20, grpc.aio.Metadata(*CALLER), 1, 2)
    ways = [getattr(teller("payments"), name, None) for name in dir(teller)]
    (way,) = [way for way in ways if getattr(way, "__name__", "").startswith("intercept_")]

    async def going_on(details: Any, request: Any) -> Any:
        return details, request

    with cxtrace.touchpoint("order.place"):
        told, request = asyncio.run(way(going_on, details, b"1"))

    assert "cx.touchpoint.name" in members(tuple(told.metadata))
    assert told._replace(metadata=None) == details._replace(metadata=None)
    assert request == b"1"


@pytest.mark.parametrize("by_place", [False, True])
def test_interceptors_of_channels_with_asyncio(by_place: bool) -> None:
    """Ours are the last, and only where OpenTelemetry's are."""
    made: list[Any] = []

    def make(*args: Any, **kwargs: Any) -> None:
        made.append([*args, *kwargs.values()])

    for interceptors in (stock.aio_client_interceptors(), [], None):
        args, kwargs = ("shop", None, None, None), {"interceptors": interceptors}
        given = ((*args, interceptors), {}) if by_place else (args, kwargs)
        _grpc_channels._aio_made(make, None, *given)

    (*_, told), *others = made
    assert [type(each) for each in told[4:]] == list(_grpc_channels._TELLERS)
    assert others == [["shop", None, None, None, []], ["shop", None, None, None, None]]


SERVICES = r"""
import asyncio, sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import cxtrace

role, way, order, port = sys.argv[1:]


def first():
    cxtrace.configure(service_name=role, journey_map="map.toml", exporter=f"file:{role}.jsonl")


def second():
    from opentelemetry.instrumentation import grpc as stock

    for kind in ("Client", "Server"):
        getattr(stock, f"Grpc{way}Instrumentor{kind}")().instrument()


for each in (first, second) if order == "ours" else (second, first):
    each()

SHAPES = {
    "Place": "unary_unary", "Watch": "unary_stream", "Collect": "stream_unary",
    "Talk": "stream_stream",
}


def one(request, context):
    return b"1"


def stream(request, context):
    yield b"1"


async def aio_one(request, context):
    return b"1"


async def aio_stream(request, context):
    yield b"1"


def handlers():
    ones, streams = (aio_one, aio_stream) if way else (one, stream)
    made = {
        name: getattr(grpc, f"{shape}_rpc_method_handler")(
            streams if shape.endswith("stream") else ones
        )
        for name, shape in SHAPES.items()
    }
    return (grpc.method_handlers_generic_handler("shop.Orders", made),)


def payments():
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers(handlers())
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    sys.stdin.read()
    server.stop(None).wait()


async def aio_payments():
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(handlers())
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(None)


def storefront():
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        calls = {n: getattr(channel, s)(f"/shop.Orders/{n}") for n, s in SHAPES.items()}
        with_others = (("shelf", "upper"),)
        assert calls["Place"](b"", metadata=with_others) == b"1"
        assert calls["Place"].with_call(b"", 20, with_others)[0] == b"1"
        assert calls["Place"].future(b"").result() == b"1"
        assert list(calls["Watch"](b"")) == [b"1"]
        assert calls["Collect"](iter([b""])) == b"1"
        assert list(calls["Talk"](iter([b""]))) == [b"1"]


async def aio_storefront():
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        calls = {n: getattr(channel, s)(f"/shop.Orders/{n}") for n, s in SHAPES.items()}
        assert await calls["Place"](b"", metadata=(("shelf", "upper"),)) == b"1"
        assert [each async for each in calls["Watch"](b"")] == [b"1"]
        assert await calls["Collect"](iter([b""])) == b"1"
        assert [each async for each in calls["Talk"](iter([b""]))] == [b"1"]


if role == "payments":
    asyncio.run(aio_payments()) if way else payments()
else:
    with (
        cxtrace.journey("first_order"),
        cxtrace.customer("cust-42", consent="granted"),
        cxtrace.touchpoint("checkout.pay"),
    ):
        asyncio.run(aio_storefront()) if way else storefront()
assert not [name for name in cxtrace.report().counts if name.startswith("errors.")]
cxtrace.shutdown()
"""


@pytest.mark.parametrize("order", ["ours", "theirs"])
@pytest.mark.parametrize(("way", "calls"), [("", 6), ("Aio", 4)])
@pytest.mark.service
def test_a_journey_goes_on_from_service_to_service(
    tmp_path: Path, way: str, calls: int, order: str
) -> None:
    """Between two processes, customer and journey of all kinds of calls go along."""
    (tmp_path / "services.py").write_text(SERVICES)
    (tmp_path / "map.toml").write_text(MAP)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "CXTRACE_"))}
    environ = {**kept, "CXTRACE_KEY": "0123456789abcdef0123456789abcdef"}

    def command(role: str, port: str) -> list[str]:
        return [sys.executable, "services.py", role, way, order, port]

    with subprocess.Popen(
        command("payments", ""),
        cwd=tmp_path,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as payments:
        assert payments.stdout is not None
        port = payments.stdout.readline().strip()
        storefront = command("storefront", port)
        subprocess.run(storefront, cwd=tmp_path, env=environ, check=True, timeout=60)
        payments.communicate(timeout=60)

    assert payments.returncode == 0
    (checkout,) = [
        span for span in read_spans(tmp_path / "storefront.jsonl") if span.name == "checkout.pay"
    ]
    found = list(read_spans(tmp_path / "payments.jsonl"))
    assert len(found) == calls
    assert {span.kind for span in found} == {"SERVER"}
    for key in ("enduser.pseudo.id", "cx.journey.id", "cx.journey.name"):
        assert {span.attributes[key] for span in found} == {checkout.attributes[key]}
    assert {span.trace_id for span in found} == {checkout.trace_id}
    assert {span.attributes["cx.touchpoint.outcome"] for span in found} == {"completed"}
