"""ASGI: requests and web sockets become touchpoints, and applications notice nothing."""

import asyncio
import gc
import sys
import weakref
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.context import get_current
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

import cxtrace
from cxtrace import JourneyMap, current_touchpoint
from cxtrace.exporters import read_spans
from cxtrace.integrations import asgi
from cxtrace.integrations import starlette as of_starlette
from cxtrace.integrations.asgi import CXMiddleware
from cxtrace.testing import Capture, capture
from tests.integrations.servers import exchange, program, server

fastapi = pytest.importorskip("fastapi", reason="FastAPI is not installed")
starlette = pytest.importorskip("starlette", reason="Starlette is not installed")

from starlette.applications import Starlette  # noqa: E402
from starlette.responses import PlainTextResponse, RedirectResponse  # noqa: E402
from starlette.routing import Mount, Route  # noqa: E402

MAP = """
schema = "cxtrace.map/1"
name = "shop"

[functions]
sales = {}

[request]
customer = [
  { claim = "sub" },
  { user = "pk" },
  { session = "customer_id" },
  { header = "X-Customer-Id" },
  { query = "customer" },
  { cookie = "visitor", kind = "anonymous" },
]
journey = [{ cookie = "visitor" }]

[[stage]]
name = "purchase"
phase = "customer"

[[touchpoint]]
name = "cart.view"
stage = "purchase"
owner = "sales"
match = { route = "GET /cart" }

[[touchpoint]]
name = "cart.add"
stage = "purchase"
owner = "sales"
match = { route = "POST /cart/{item}", outcome = { redirect = "/cart", is = "completed" } }

[[touchpoint]]
name = "help.chat"
stage = "purchase"
owner = "sales"
match = { route = "WEBSOCKET /chat/{room}" }

[[journey]]
name = "first_order"
goal = "cart.add"
routes = { direct = ["cart.view", "cart.add", "help.chat"] }
"""

App = Callable[..., Awaitable[None]]
Message = dict[str, Any]

BODY = "http.response.body"
START = {"type": "http.response.start", "status": 200, "headers": [(b"x-one", b"1")]}


@pytest.fixture
def cx() -> Iterator[Capture]:
    """Capture what is sent, see that nothing of ours fails, and that the context is left alone."""
    with capture(journey_map=JourneyMap.loads(MAP)) as captured:
        before = get_current()
        yield captured
        assert get_current() is before
        assert [name for name in captured.counts if name.startswith("errors.")] == []


def scope_of(method: str = "GET", path: str = "/cart", **more: Any) -> dict[str, Any]:
    """The scope of a request."""
    headers = [(key.encode(), value.encode()) for key, value in more.pop("headers", {}).items()]
    return {
        "type": "http",
        "method": method,
        "path": path,
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        **more,
    }


def socket_of(path: str = "/chat/a") -> dict[str, Any]:
    """The scope of a web socket."""
    return {"type": "websocket", "path": path, "headers": [], "query_string": b""}


def serve(app: App, scope: dict[str, Any], *messages: Message) -> list[Message]:
    """All that the application sends, when it is served by the middleware."""
    waiting, sent = list(messages), []

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    async def run() -> None:
        before = get_current()
        try:
            await CXMiddleware(app)(scope, receive, send)
        finally:
            assert get_current() is before

    asyncio.run(run())
    return sent


async def cart(_: Any, __: Any, send: Any) -> None:
    """Answer a request."""
    await send(START)
    await send({"type": BODY, "body": b"cart"})


def answering(status: int, **headers: str) -> App:
    """An application that answers with this."""

    async def app(_: Any, __: Any, send: Any) -> None:
        found = [(key.encode(), value.encode()) for key, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": found})
        await send({"type": BODY})

    return app


def ending(cx: Capture, name: str = "cart.view") -> tuple[str, str | None]:
    """How the one touchpoint ended."""
    found = cx.touchpoint(name)
    return found.outcome, found.error


# Who and what


def test_a_request_is_a_touchpoint(cx: Capture) -> None:
    """Customer and journey come from the request, by the rules of the map."""
    serve(cart, scope_of(headers={"x-customer-id": "cust-42", "cookie": "visitor=v1"}))

    found = cx.touchpoint("cart.view")
    assert (found.outcome, found.journey, found.owner) == ("completed", "first_order", "sales")
    assert found.customer == cx.pseudonym("cust-42")


@pytest.mark.parametrize(
    ("more", "customer"),
    [
        ({"session": {"customer_id": 7}}, 7),
        ({"session": {"other": 7}}, None),
        ({"state": {"user": {"pk": "u1"}}}, "u1"),
        ({"user": type("Staff", (), {"pk": 3, "is_authenticated": True})()}, 3),
        ({"user": type("Nobody", (), {"pk": 3, "is_authenticated": False})()}, None),
        ({"state": {"claims": {"sub": "c1"}}}, "c1"),
        ({"auth": type("Token", (), {"payload": {"sub": "c2"}})()}, "c2"),
        ({"auth": object()}, None),
        ({"query_string": b"customer=q1&x=2"}, "q1"),
        ({"query_string": b"&".join([b"x=1"] * 200)}, None),
        ({"query_string": b"customer=q1&customer=q2"}, "q2"),
        ({"headers": {"cookie": 'theme=dark; visitor="v1"; x'}}, "anonymous:v1"),
        ({"headers": {"cookie": "visitor=v1; visitor =v2"}}, "anonymous:v2"),
    ],
)
def test_each_rule_asks_where_applications_leave_it(
    cx: Capture, more: dict[str, Any], customer: Any
) -> None:
    """Sessions, users and claims are what middlewares have put into the scope, or into state."""
    serve(cart, scope_of(**more))

    assert cx.touchpoint("cart.view").customer == (customer and cx.pseudonym(customer))


def test_cookies_in_fields_of_their_own_are_one_header(cx: Capture) -> None:
    """HTTP/2 lets a client send each cookie by itself."""
    scope = scope_of()
    scope["headers"] = [(b"cookie", b"theme=dark"), (b"cookie", b"visitor=v1")]

    serve(cart, scope)

    assert cx.touchpoint("cart.view").customer == cx.pseudonym("anonymous:v1")


def test_a_cookie_is_told_from_those_of_like_names(cx: Capture) -> None:
    """Its name may be part of another's, or of a value."""
    cookies = "visitors=a; x=visitor; visitor; visitor = v1 ; my-visitor=b"
    serve(cart, scope_of(headers={"cookie": cookies}))

    assert cx.touchpoint("cart.view").customer == cx.pseudonym("anonymous:v1")


@pytest.mark.parametrize(
    "headers",
    [
        [(b"X-Customer-Id", b"c1"), (b"accept", b"*/*")],
        [(b"accept", b"a"), (b"accept", b"b"), (b"x-customer-id", b"c1")],
        ([b"x-customer-id", b"c1"],),
    ],
)
def test_headers_may_come_in_every_form(cx: Capture, headers: Any) -> None:
    """Names in capitals, names that come twice, and lists in the place of pairs."""
    serve(cart, {**scope_of(), "headers": headers})

    assert cx.touchpoint("cart.view").customer == cx.pseudonym("c1")


def test_who_logs_in_during_the_request_is_known_in_the_end(cx: Capture) -> None:
    """What a middleware finds out reaches the spans that are open, and those that have ended."""

    async def app(scope: Any, _: Any, send: Any) -> None:
        with cx.tracer_provider.get_tracer("db").start_as_current_span("SELECT session"):
            pass
        scope["user"] = {"pk": "u1"}
        await cart(scope, None, send)

    serve(app, scope_of(headers={"cookie": "visitor=v1"}))

    customers = {(span.attributes or {}).get("enduser.pseudo.id") for span in cx.spans}
    assert customers == {cx.pseudonym("u1")}
    assert len(cx.spans) == 2


def test_a_prefix_that_a_proxy_adds_is_no_part_of_the_route(cx: Capture) -> None:
    """The path is taken as the application's routes have it."""
    serve(cart, scope_of(path="/shop/cart", root_path="/shop"))

    assert ending(cx) == ("completed", None)


def test_without_a_map_nothing_happens() -> None:
    """Where the map says nothing about requests, the application gets what there is."""
    seen = []

    async def app(*what: Any) -> None:
        seen.append(what)

    async def receive() -> Message:
        raise AssertionError

    async def send(_: Message) -> None:
        raise AssertionError

    with capture():
        scope = scope_of()
        asyncio.run(CXMiddleware(app)(scope, receive, send))

    assert seen == [(scope, receive, send)]


def test_a_lifespan_is_no_request(cx: Capture) -> None:
    """Start-up and shutdown go through untouched."""
    seen = []

    async def app(scope: Any, *_: Any) -> None:
        seen.append(scope["type"])

    serve(app, {"type": "lifespan"})

    assert (seen, cx.spans) == (["lifespan"], [])


def test_what_is_queued_is_sent_when_the_application_shuts_down(
    cx: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the server hears of it, for it may let itself be killed then."""
    order = []
    monkeypatch.setattr(asgi, "flush", lambda: order.append("flush"))

    async def app(_: Any, __: Any, send: Any) -> None:
        for word in ("startup", "shutdown"):
            order.append(word)
            await send({"type": f"lifespan.{word}.complete"})

    sent = serve(app, {"type": "lifespan"})

    assert order == ["startup", "shutdown", "flush"]
    assert len(sent) == 2


def test_a_caller_is_gone_on_from(cx: Capture) -> None:
    """Without OpenTelemetry's middleware, the trace of the caller is taken up."""
    serve(cart, scope_of(headers={"traceparent": f"00-{1:032x}-{2:016x}-01"}))

    (span,) = cx.spans
    assert span.context is not None
    assert span.context.trace_id == 1


def test_a_broken_scope_harms_nothing() -> None:
    """A server that leaves out what it should not is counted, and served."""
    with capture(journey_map=JourneyMap.loads(MAP)) as cx:
        sent = serve(cart, {"type": "http", "headers": []})

    assert sent[0] == START
    assert cx.counts == {"errors.asgi": 1}


# The outcome


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (303, {"location": "https://shop.example.com/cart"}, ("completed", None)),
        (200, {}, ("completed", None)),
        (422, {}, ("failed", "422")),
        (503, {}, ("failed", "503")),
    ],
)
def test_the_answer_is_the_outcome(
    cx: Capture, status: int, headers: dict[str, str], expected: tuple[str, str | None]
) -> None:
    """Status and headers say how it went, by the rules of the map."""
    serve(answering(status, **headers), scope_of("POST", "/cart/7"))

    assert ending(cx, "cart.add") == expected


def test_an_exception_is_the_error(cx: Capture) -> None:
    """Its class is recorded, it flies on, and nothing of its text is told."""

    async def app(*_: Any) -> None:
        raise LookupError("cust-42")

    with pytest.raises(LookupError, match="cust-42"):
        serve(app, scope_of())

    assert ending(cx) == ("failed", "LookupError")
    cx.assert_nothing_personal("cust-42")


def test_what_was_answered_for_is_the_error(cx: Capture) -> None:
    """A framework that answers with 500 before it raises again does not hide the class."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            raise LookupError("inside")
        except LookupError:
            await answering(500)(scope, receive, send)
            raise

    with pytest.raises(LookupError):
        serve(app, scope_of())

    assert ending(cx) == ("failed", "LookupError")


def test_a_client_who_hangs_up_has_abandoned(cx: Capture) -> None:
    """Who is gone before the last byte has not got what they came for."""

    async def app(_: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": BODY, "body": b"1", "more_body": True})
        assert (await receive())["type"] == "http.disconnect"

    serve(app, scope_of(), {"type": "http.disconnect"})

    assert ending(cx) == ("abandoned", None)


def test_who_hangs_up_after_the_last_byte_has_completed(cx: Capture) -> None:
    """Servers say of every client in the end that it is gone."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await cart(scope, receive, send)
        await receive()

    serve(app, scope_of(), {"type": "http.disconnect"})

    assert ending(cx) == ("completed", None)


def test_a_cancelled_request_is_abandoned(cx: Capture) -> None:
    """A server that cancels the task has lost the client."""

    async def app(*_: Any) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        serve(app, scope_of())

    assert ending(cx) == ("abandoned", None)


@pytest.mark.parametrize("starts", [False, True])
def test_who_gets_no_whole_answer_has_failed(cx: Capture, starts: bool) -> None:
    """An application that returns too early leaves the customer with a 500, or a cut line."""

    async def app(_: Any, __: Any, send: Any) -> None:
        if starts:
            await send(START)
            await send({"type": BODY, "body": b"1", "more_body": True})

    serve(app, scope_of())

    assert ending(cx) == ("failed", "500")


# When it ends


@pytest.mark.parametrize(
    "last",
    [
        [{"type": BODY, "body": b"2", "more_body": False}],
        [{"type": "http.response.pathsend", "path": "cart.html"}],
        [{"type": "http.response.zerocopysend", "file": 7}],
    ],
)
def test_a_stream_is_a_touchpoint_to_its_last_byte(cx: Capture, last: list[Message]) -> None:
    """What is done in the background after that belongs to the customer, but takes no time."""
    seen = []

    async def app(_: Any, __: Any, send: Any) -> None:
        await send(START)
        await send({"type": BODY, "body": b"1", "more_body": True})
        cx.clock.advance(3)
        for message in last:
            await send(message)
        cx.clock.advance(60)
        with cx.tracer_provider.get_tracer("db").start_as_current_span("background"):
            seen.append(current_touchpoint().ended)

    serve(app, scope_of(headers={"cookie": "visitor=v1"}))

    background = next(span for span in cx.spans if span.name == "background")
    assert cx.touchpoint("cart.view").duration == pytest.approx(3)
    assert seen == [True]
    assert (background.attributes or {})["cx.touchpoint.name"] == "cart.view"


def test_trailers_are_part_of_the_answer(cx: Capture) -> None:
    """Where trailers follow, the last of them is the end."""

    async def app(_: Any, __: Any, send: Any) -> None:
        await send({**START, "trailers": True})
        await send({"type": BODY})
        cx.clock.advance(3)
        await send({"type": "http.response.trailers", "headers": [], "more_trailers": False})

    serve(app, scope_of())

    assert cx.touchpoint("cart.view").duration == pytest.approx(3)


@pytest.mark.parametrize(("code", "outcome"), [(1000, "completed"), (1006, "abandoned")])
def test_a_web_socket_is_one_long_touchpoint(cx: Capture, code: int, outcome: str) -> None:
    """The code of the close says how it ended. Messages are no interactions by themselves."""

    async def app(_: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "text": "hello"})

    serve(
        app,
        socket_of(),
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "a"},
        {"type": "websocket.receive", "text": "b"},
        {"type": "websocket.disconnect", "code": code},
    )

    found = cx.touchpoint("help.chat")
    assert (found.outcome, found.interactions, found.effort) == (outcome, (), None)


def test_a_web_socket_that_the_application_closes_is_complete(cx: Capture) -> None:
    """The close is the last message."""

    async def app(_: Any, __: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1000})

    serve(app, socket_of())

    assert ending(cx, "help.chat") == ("completed", None)


def test_a_web_socket_that_is_refused_has_failed(cx: Capture) -> None:
    """An answer of HTTP instead of a web socket is judged as any other."""

    async def app(_: Any, __: Any, send: Any) -> None:
        await send({"type": "websocket.http.response.start", "status": 403, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"no"})

    serve(app, socket_of())

    assert ending(cx, "help.chat") == ("failed", "403")


@pytest.mark.parametrize(("accepts", "error"), [(False, "403"), (True, "websocket_closed")])
def test_a_web_socket_that_the_application_breaks_off_has_failed(
    cx: Capture, accepts: bool, error: str
) -> None:
    """Closed before it was accepted it is a refusal; after that, the code is no good one."""

    async def app(_: Any, __: Any, send: Any) -> None:
        if accepts:
            await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1011})

    serve(app, socket_of())

    assert ending(cx, "help.chat") == ("failed", error)


def test_messages_without_a_touchpoint_are_nobodys(cx: Capture) -> None:
    """A web socket that the map does not know is passed on."""

    async def app(_: Any, receive: Any, __: Any) -> None:
        await receive()

    serve(app, socket_of("/other"), {"type": "websocket.receive", "text": "a"})

    assert cx.spans == []


def test_a_strange_message_harms_nothing() -> None:
    """What is no message of the protocol is counted, and passed on."""

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({})

    with capture(journey_map=JourneyMap.loads(MAP)) as cx:
        sent = serve(app, scope_of(), {})

    assert sent == [{}]
    assert cx.counts == {"errors.asgi.receive": 1, "errors.asgi.send": 1}


# Nothing of the application is touched, and nothing of the request stays


def test_headers_that_can_be_walked_through_only_once_arrive(cx: Capture) -> None:
    """The protocol allows any iterable: rules read it, and the server gets all of it."""
    headers = [(b"location", b"/cart"), (b"set-cookie", b"a=1")]

    async def app(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 303, "headers": iter(headers)})
        await send({"type": BODY})

    sent = serve(app, scope_of("POST", "/cart/7"))

    assert list(sent[0]["headers"]) == headers
    assert ending(cx, "cart.add") == ("completed", None)


async def sorry(_: Any, __: Any, send: Any) -> None:
    """Answer for an exception, as frameworks do."""
    try:
        raise LookupError
    except LookupError:
        await answering(500)(None, None, send)


@pytest.mark.parametrize("app", [cart, sorry], ids=lambda app: app.__name__)
def test_a_request_leaves_no_cycle_behind(cx: Capture, app: App) -> None:
    """What a request holds is gone with it, and does not wait for the garbage collector."""

    class Held(dict[str, Any]):
        """A scope that can be watched."""

    async def run() -> weakref.ref[Held]:
        scope = Held(scope_of())
        await CXMiddleware(app)(scope, None, quiet)  # type: ignore[arg-type]
        return weakref.ref(scope)

    async def quiet(_: Message) -> None:
        """Take a message."""

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(run())() is None
    finally:
        gc.enable()


class Timeout(BaseException):
    """What a worker's own clock throws into whatever runs."""


def test_what_no_one_catches_leaves_nothing_attached(cx: Capture) -> None:
    """Thrown while a rule asks, it flies on, and the caller's trace is not the next request's."""

    class Session(dict[str, Any]):
        def get(self, *_: Any) -> Any:
            raise Timeout

    scope = scope_of(headers={"traceparent": f"00-{1:032x}-{2:016x}-01"}, session=Session())

    with pytest.raises(Timeout):
        serve(cart, scope)

    assert not get_current_span().get_span_context().is_valid
    assert cx.spans == []


@pytest.mark.parametrize("tells", ["customer", "failure"])
def test_a_request_made_in_process_tells_nothing_of_the_other(cx: Capture, tells: str) -> None:
    """A batch that asks its own application is another request, with a customer of its own."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/cart":
            await CXMiddleware(app)(scope_of("POST", "/cart/7"), receive, quiet)
            await cart(scope, receive, send)
        elif tells == "customer":
            scope["user"] = {"pk": "u1"}
            await cart(scope, receive, send)
        else:
            await sorry(scope, receive, send)

    async def quiet(_: Message) -> None:
        """Take a message."""

    serve(app, scope_of())

    inner, outer = cx.touchpoint("cart.add"), cx.touchpoint("cart.view")
    assert (outer.outcome, outer.customer) == ("completed", None)
    expected = ("completed", cx.pseudonym("u1")) if tells == "customer" else ("failed", None)
    assert (inner.outcome, inner.customer) == expected


def test_a_second_middleware_is_of_the_same_request(cx: Capture) -> None:
    """However the scope is copied on its way, what the inner one is told tells the outer one."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        scope["user"] = {"pk": "u1"}
        await cart(scope, receive, send)

    async def copying(scope: Any, receive: Any, send: Any) -> None:
        await CXMiddleware(app)({**scope}, receive, send)

    serve(copying, scope_of())

    assert cx.touchpoint("cart.view").customer == cx.pseudonym("u1")
    assert len(cx.spans) == 1


def test_headers_are_read_as_propagators_want_them() -> None:
    """Names and values are text, and a missing header is None."""
    scope = {"headers": [(b"x-one", b"1"), (b"x-one", b"2")]}

    assert asgi._GETTER.keys(scope) == ["x-one", "x-one"]
    assert asgi._GETTER.get(scope, "X-One") == ["1, 2"]
    assert asgi._GETTER.get(scope, "x-two") is None


# With OpenTelemetry's instrumentation


def instrumented(app: App, cx: Capture) -> OpenTelemetryMiddleware:
    """The application with OpenTelemetry's middleware around it."""
    return OpenTelemetryMiddleware(
        app, tracer_provider=cx.tracer_provider, meter_provider=cx.meter_provider
    )


def request_with(app: App, scope: dict[str, Any]) -> list[Message]:
    """All that an application sends, served without anything of ours around it."""
    sent = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    asyncio.run(app(scope, receive, send))
    return sent


@pytest.mark.parametrize("place", ["inside", "around"])
def test_the_servers_own_span_is_the_touchpoint(cx: Capture, place: str) -> None:
    """Put inside of OpenTelemetry's middleware or around it: ours stands inside."""
    app = cart
    whole: App = (
        instrumented(CXMiddleware(app), cx)
        if place == "inside"
        else CXMiddleware(CXMiddleware(instrumented(app, cx)))
    )

    sent = request_with(whole, scope_of(client=("127.0.0.1", 1), server=("127.0.0.1", 2)))

    served = [span for span in cx.spans if span.kind is SpanKind.SERVER]
    assert sent[0] == START
    assert [(s.attributes or {}).get("cx.touchpoint.outcome") for s in served] == ["completed"]
    assert len(cx.visits("cart.view")) == 1


def test_a_failure_marks_the_servers_span(cx: Capture) -> None:
    """A customer who failed is an error of the span, whatever HTTP thinks of a 4xx."""
    whole = instrumented(CXMiddleware(answering(404)), cx)

    request_with(whole, scope_of(client=("127.0.0.1", 1), server=("127.0.0.1", 2)))

    (served,) = [span for span in cx.spans if span.kind is SpanKind.SERVER]
    assert served.status.status_code is StatusCode.ERROR
    assert (served.attributes or {})["error.type"] == "404"


@pytest.mark.parametrize("by_hand", [False, True])
def test_every_middleware_of_theirs_has_ours_inside(
    cx: Capture, monkeypatch: pytest.MonkeyPatch, by_hand: bool
) -> None:
    """One that was made before ours was there too, and by hand as well it is one touchpoint."""
    monkeypatch.setattr(
        OpenTelemetryMiddleware, "__call__", vars(OpenTelemetryMiddleware)["__call__"]
    )
    whole = instrumented(CXMiddleware(cart) if by_hand else cart, cx)
    asgi.instrument(sys.modules[OpenTelemetryMiddleware.__module__])

    for _ in range(2):
        request_with(whole, scope_of(client=("127.0.0.1", 1), server=("127.0.0.1", 2)))

    assert len(cx.visits("cart.view")) == 2
    assert [s.kind for s in cx.spans if "cx.touchpoint.name" in (s.attributes or {})].count(
        SpanKind.SERVER
    ) == 2


# FastAPI and Starlette


def shop() -> Starlette:
    """A small application with a route of its own for each thing that can differ."""

    async def view(_: Any) -> PlainTextResponse:
        return PlainTextResponse("cart")

    async def special(_: Any) -> PlainTextResponse:
        return PlainTextResponse("special")

    async def add(request: Any) -> RedirectResponse:
        if request.path_params["item"] == "boom":
            raise LookupError("boom")
        return RedirectResponse("/cart", 303)

    inner = [Route("/special", special, methods=["POST"]), Route("/{item}", add, methods=["POST"])]
    return Starlette(routes=[Route("/cart", view), Mount("/cart", routes=inner)])


def test_starlette_has_the_last_word_on_its_routes(cx: Capture) -> None:
    """A route of its own that the map does not name is not taken for one with a parameter."""
    app = shop()
    app.add_middleware(CXMiddleware)

    for path in ("/cart/7", "/cart/special"):
        request_with(app, scope_of("POST", path))

    assert [visit.outcome for visit in cx.visits("cart.add")] == ["completed"]


def test_fastapi_has_the_last_word_on_its_routes(cx: Capture) -> None:
    """The routes of routers are seen as well, however FastAPI nests them."""
    app, router = fastapi.FastAPI(), fastapi.APIRouter(prefix="/cart")

    @router.post("/special")
    def special() -> int:
        return 1

    @router.post("/{item}")
    def add(item: str) -> str:
        return item

    app.include_router(router)
    app.add_middleware(CXMiddleware)

    for path in ("/cart/7", "/cart/special"):
        request_with(app, scope_of("POST", path))

    assert len(cx.visits("cart.add")) == 1


def test_a_route_that_the_application_does_not_have_takes_none_of_its_paths(cx: Capture) -> None:
    """What the map calls a parameter is a page of its own, and the only one that there is."""
    app = Starlette(routes=[Route("/cart/special", lambda _: PlainTextResponse("1"))])
    app.add_middleware(CXMiddleware)
    request_with(app, scope_of("GET", "/cart/special"))
    request_with(app, scope_of("POST", "/cart/special"))

    assert cx.spans == []


@pytest.mark.parametrize("kind", [Starlette, fastapi.FastAPI])
def test_put_around_an_application_of_starlette_ours_moves_inside(cx: Capture, kind: Any) -> None:
    """There an exception has not become an answer yet; a started application is left as it is."""
    app = kind(routes=shop().routes)
    whole = CXMiddleware(CXMiddleware(app))
    with pytest.raises(LookupError):
        request_with(whole, scope_of("POST", "/cart/boom"))
    request_with(CXMiddleware(app), scope_of())

    assert [each.cls for each in app.user_middleware] == [CXMiddleware]
    assert ending(cx, "cart.add") == ("failed", "LookupError")
    assert ending(cx) == ("completed", None)


@pytest.fixture
def automatic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every application of FastAPI and Starlette has ours inside, for the time of a test."""
    for name in ("starlette.applications", "fastapi.applications"):
        module = sys.modules[name]
        for found in (vars(module).get("Starlette"), vars(module).get("FastAPI")):
            if found is not None and "build_middleware_stack" in vars(found):
                build = vars(found)["build_middleware_stack"]
                monkeypatch.setattr(found, "build_middleware_stack", build)
        of_starlette.instrument(module)


@pytest.mark.parametrize("theirs", ["none", "instrumentor", "by hand"])
@pytest.mark.parametrize("kind", [Starlette, fastapi.FastAPI])
def test_every_application_makes_touchpoints_by_itself(
    cx: Capture, automatic: None, kind: Any, theirs: str
) -> None:
    """Where OpenTelemetry's middleware is there, ours has its place inside of that instead."""
    app = kind(routes=shop().routes)
    if theirs == "by hand":
        app.add_middleware(OpenTelemetryMiddleware, tracer_provider=cx.tracer_provider)
    elif theirs == "instrumentor":
        app._is_instrumented_by_opentelemetry = True
    ends = {"client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2)}
    request_with(app, scope_of(**ends))

    assert len(cx.visits("cart.view")) == (1 if theirs == "none" else 0)


def test_an_application_with_a_stack_of_its_own_is_left_as_it_is(
    cx: Capture, automatic: None
) -> None:
    """Where nobody answers for errors, there is no place inside of that."""

    class Bare(Starlette):
        def build_middleware_stack(self) -> Any:
            return self.router

    app = Bare(routes=shop().routes)
    request_with(app, scope_of())

    assert of_starlette._build(lambda: cart, app, (), {}) is cart
    assert cx.spans == []


@pytest.mark.parametrize("kind", [Starlette, fastapi.FastAPI])
def test_a_mounted_application_has_its_prefix(cx: Capture, automatic: None, kind: Any) -> None:
    """A mount is no proxy: what is below it is not what the map says of the root."""
    outer = kind()
    outer.mount("/admin", kind(routes=shop().routes))

    request_with(outer, scope_of(path="/admin/cart"))
    request_with(outer, scope_of(path="/shop/admin/cart", root_path="/shop"))

    assert cx.spans == []


def test_a_dependency_in_a_thread_is_inside(cx: Capture) -> None:
    """What the request says with the verbs reaches the touchpoint of the map."""
    app = fastapi.FastAPI()

    @app.get("/cart")
    def view() -> str:
        cxtrace.friction("slow")
        return "cart"

    FastAPIInstrumentor.instrument_app(app, tracer_provider=cx.tracer_provider)
    app.add_middleware(CXMiddleware)
    try:
        request_with(app, scope_of())
    finally:
        FastAPIInstrumentor.uninstrument_app(app)

    (signal,) = cx.signals("friction")
    assert signal.touchpoint == "cart.view"


# Real servers

APPLICATION = """
import asyncio
from contextlib import asynccontextmanager
from fastapi import BackgroundTasks, FastAPI, HTTPException, WebSocket
from fastapi.responses import RedirectResponse, StreamingResponse

@asynccontextmanager
async def lifespan(app):
    app.state.started = True
    yield

app = FastAPI(lifespan=lifespan)

@app.get("/cart")
def cart(background: BackgroundTasks):
    background.add_task(print, "in the background", flush=True)
    return {"started": app.state.started}

@app.post("/cart/{item}")
async def add(item: str):
    if item == "boom":
        raise LookupError("boom")
    if item == "no":
        raise HTTPException(409, "no")
    return RedirectResponse("/cart", 303, headers={"X-One": "1", "x-two": "2"})

@app.get("/stream")
async def stream():
    async def chunks():
        for number in range(3):
            yield f"data: {number}\\n\\n"
            await asyncio.sleep(0)
    return StreamingResponse(chunks(), media_type="text/event-stream")
"""
REQUESTS = (
    ("GET", "/cart"),
    ("POST", "/cart/7"),
    ("POST", "/cart/no"),
    ("POST", "/cart/boom"),
    ("GET", "/stream"),
    ("GET", "/nothing"),
    ("HEAD", "/cart"),
)


def conversation(folder: Path, *command: str, **settings: str) -> list[bytes]:
    """What a real uvicorn answers to each request, byte for byte."""
    (folder / "shop.py").write_text(APPLICATION, encoding="utf-8")
    uvicorn = (program("uvicorn"), "shop:app", "--port", "0", "--no-server-header")
    with server(folder, *command, *uvicorn, **settings) as address:
        return [
            exchange(
                address,
                f"{method} {path} HTTP/1.1\r\nHost: shop\r\nCookie: visitor=v1\r\n"
                "Connection: close\r\n\r\n",
            )
            for method, path in REQUESTS
        ]


@pytest.mark.parametrize(
    ("starter", "left_out"),
    [("cxtrace", ""), ("cxtrace", "*"), ("opentelemetry-instrument", "")],
)
def test_a_server_answers_byte_for_byte_as_without_us(
    tmp_path: Path, starter: str, left_out: str
) -> None:
    """Headers, streams, errors and background tasks are the same; the touchpoints are there.

    With OpenTelemetry's instrumentation of FastAPI, and with none of its instrumentations.
    """
    folders = {name: tmp_path / name for name in ("plain", "ours")}
    for folder in folders.values():
        folder.mkdir()
    (folders["ours"] / "map.toml").write_text(MAP, encoding="utf-8")
    command = [program(starter), *(("run", "--") if starter == "cxtrace" else ())]
    none = dict.fromkeys(("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER"), "none")

    plain = conversation(folders["plain"])
    ours = conversation(
        folders["ours"],
        *command,
        CXTRACE_MAP="map.toml",
        CXTRACE_EXPORTER="file:spans.jsonl",
        OTEL_LOGS_EXPORTER="none",
        OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=left_out,
        **none,
    )

    assert ours == plain
    logs = [(folder / "server.log").read_text(encoding="utf-8") for folder in folders.values()]
    assert [log.count("in the background") for log in logs] == [1, 1]
    spans = read_spans(folders["ours"] / "spans.jsonl")
    visits = [
        (span.attributes["cx.touchpoint.name"], span.attributes["cx.touchpoint.outcome"])
        for span in spans
        if "cx.touchpoint.outcome" in span.attributes
    ]
    assert visits == [
        ("cart.view", "completed"),
        ("cart.add", "completed"),
        ("cart.add", "failed"),
        ("cart.add", "failed"),
    ]
