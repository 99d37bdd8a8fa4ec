"""WSGI: requests become touchpoints, and servers and applications notice nothing."""

import gc
import io
import re
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from wsgiref.handlers import SimpleHandler
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest
from opentelemetry import baggage
from opentelemetry.context import get_current
from opentelemetry.trace import SpanKind, get_current_span

import cxtrace
from cxtrace import JourneyMap, current_touchpoint
from cxtrace.exporters import read_spans
from cxtrace.integrations import wsgi
from cxtrace.integrations.wsgi import GETTER, CXMiddleware, WSGIRequest
from cxtrace.testing import Capture, capture
from cxtrace.typing import Request
from tests.integrations.servers import exchange, gunicorn

MAP = JourneyMap.loads("""
schema = "cxtrace.map/1"
name = "shop"

[functions]
sales = {}

[request]
customer = [{ header = "X-Customer-Id" }, { user = "name" }, { session = "customer_id" }]
journey = [{ cookie = "visitor" }]

[[stage]]
name = "purchase"
phase = "customer"

[[touchpoint]]
name = "cart.view"
stage = "purchase"
owner = "sales"
match = [
  { route = "GET /cart" },
  { route = "HEAD /cart" },
  { route = "POST /cart/{item}", outcome = [{ redirect = "/cart", is = "deferred" }] },
]

[[journey]]
name = "first_order"
goal = "cart.view"
""")

ROUTES_ALONE = JourneyMap.loads("""
schema = "cxtrace.map/1"
name = "shop"

[functions]
sales = {}

[[stage]]
name = "purchase"
phase = "customer"

[[touchpoint]]
name = "cart.view"
stage = "purchase"
owner = "sales"
match = { route = "GET /cart" }
""")

App = Callable[..., Iterable[bytes]]


@pytest.fixture
def cx() -> Iterator[Capture]:
    """Capture what is sent, see that nothing of ours fails, and that the context is left alone."""
    with capture(journey_map=MAP) as captured:
        before = get_current()
        yield captured
        assert get_current() is before
        assert [name for name in captured.counts if name.startswith("errors.")] == []


class Answer:
    """What a server has got from an application."""

    def __init__(self) -> None:
        self.starts: list[tuple[str, list[tuple[str, str]]]] = []
        self.written: list[bytes] = []

    def start_response(self, status: str, headers: Any, exc_info: Any = None) -> Any:
        """As a server has it."""
        self.starts.append((status, list(headers)))
        return self.written.append


def environ(method: str = "GET", path: str = "/cart", **more: Any) -> dict[str, Any]:
    """The environ of a request."""
    made: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path, "SCRIPT_NAME": "", **more}
    setup_testing_defaults(made)
    return made


def call(app: App, *request: str, **more: Any) -> tuple[Any, Answer]:
    """What the server gets back, before it reads any of it."""
    answer = Answer()
    return CXMiddleware(app)(environ(*request, **more), answer.start_response), answer


def ending(cx: Capture) -> tuple[str, str | None]:
    """How the one touchpoint ended."""
    found = cx.touchpoint("cart.view")
    return found.outcome, found.error


def sized(_: Any, start_response: Any) -> list[bytes]:
    """Answer with a list."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"cart"]


def streamed(_: Any, start_response: Any) -> Iterator[bytes]:
    """Answer with a generator, which starts when it is first asked for bytes."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"one, "
    yield b"two"


def failing(_: Any, start_response: Any) -> list[bytes]:
    """Answer for an exception, as frameworks do."""
    try:
        raise LookupError
    except LookupError:
        start_response("500 Sorry", [], sys.exc_info())
    return [b"sorry"]


# What the customer lives through


def test_a_request_is_a_touchpoint(cx: Capture) -> None:
    """Customer and journey come from the request, by the rules of the map."""
    call(sized, HTTP_X_CUSTOMER_ID="cust-42", HTTP_COOKIE="theme=dark; visitor=v1")

    (span,) = cx.spans
    assert ending(cx) == ("completed", None)
    assert span.attributes is not None
    assert span.attributes["enduser.pseudo.id"] == cx.pseudonym("cust-42")
    assert span.attributes["cx.journey.name"] == "first_order"
    assert span.attributes["cx.owner.function"] == "sales"


def test_without_a_map_nothing_happens() -> None:
    """Where the map says nothing about requests, the application is called with what there is."""
    seen = []

    def app(*what: Any) -> list[bytes]:
        seen.append(what)
        return []

    answer, given = Answer(), environ()
    with capture():
        assert CXMiddleware(app)(given, answer.start_response) == []

    assert seen == [(given, answer.start_response)]


def test_a_request_that_the_map_does_not_know_is_none() -> None:
    """An unknown path has no touchpoint, but the caller's context while the application runs."""
    callers = []

    def app(_: Any, start_response: Any) -> list[bytes]:
        callers.append(get_current_span().get_span_context().trace_id)
        return sized(_, start_response)

    with capture(journey_map=ROUTES_ALONE) as cx:
        before = get_current()
        call(app, "GET", "/other", HTTP_TRACEPARENT=f"00-{1:032x}-{2:016x}-01")
        assert get_current() is before

    assert cx.spans == []
    assert callers == [1]


def test_a_caller_is_gone_on_from(cx: Capture) -> None:
    """Without OpenTelemetry's middleware, the trace and baggage of the caller are taken up."""
    seen = []

    def app(_: Any, start_response: Any) -> list[bytes]:
        seen.append(baggage.get_baggage("shelf"))
        return sized(_, start_response)

    call(app, HTTP_TRACEPARENT=f"00-{1:032x}-{2:016x}-01", HTTP_BAGGAGE="shelf=upper")

    (span,) = cx.spans
    assert seen == ["upper"]
    assert span.context is not None
    assert span.context.trace_id == 1


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("200 OK", ("completed", None)),
        ("302 Found", ("deferred", None)),
        ("404 Not Found", ("failed", "404")),
        ("503 Service Unavailable", ("failed", "503")),
    ],
)
def test_the_answer_is_the_outcome(
    cx: Capture, status: str, expected: tuple[str, str | None]
) -> None:
    """Status and headers say how it went, by the rules of the map."""

    def app(_: Any, start_response: Any) -> list[bytes]:
        start_response(status, [("LOCATION", "https://shop.example.com/cart")])
        return []

    call(app, "POST", "/cart/7")

    assert ending(cx) == expected


def test_an_application_that_says_nothing_has_failed(cx: Capture) -> None:
    """Without ``start_response`` there is no answer: servers make it a 500."""
    call(lambda *_: [])

    assert ending(cx) == ("failed", "500")


def test_the_path_is_in_letters(cx: Capture) -> None:
    """Servers give bytes as latin-1; a route and its parameters are in UTF-8."""
    call(sized, "POST", "/cart/\u00c3\u00a4")

    assert wsgi.path({"PATH_INFO": "/cart/\u00c3\u00a4"}) == "/cart/ä"
    assert wsgi.path({}) == "/"
    assert ending(cx) == ("completed", None)


def test_a_middleware_that_is_added_twice_counts_once(cx: Capture) -> None:
    """Of two in one application, the outer one has the touchpoint."""
    result, _ = call(CXMiddleware(streamed))

    assert b"".join(result) == b"one, two"
    assert ending(cx) == ("completed", None)


@pytest.mark.parametrize("tells", ["customer", "failure"])
def test_a_request_made_in_process_tells_nothing_of_the_other(cx: Capture, tells: str) -> None:
    """A batch that asks its own application is another request, with a customer of its own."""

    def inner(given: dict[str, Any], start_response: Any) -> list[bytes]:
        if tells == "failure":
            return failing(given, start_response)
        given["REMOTE_USER"] = "jane"
        return sized(given, start_response)

    def batch(given: Any, start_response: Any) -> list[bytes]:
        CXMiddleware(inner)(environ("POST", "/cart/7"), Answer().start_response)
        return sized(given, start_response)

    call(batch)

    outer, within = cx.visits("cart.view")
    assert (outer.outcome, outer.customer) == ("completed", None)
    expected = ("completed", cx.pseudonym("jane")) if tells == "customer" else ("failed", None)
    assert (within.outcome, within.customer) == expected


def test_a_second_middleware_is_of_the_same_request(cx: Capture) -> None:
    """However the environ is copied on its way, what the inner one is told tells the outer one."""

    def inner(given: dict[str, Any], start_response: Any) -> list[bytes]:
        given["REMOTE_USER"] = "jane"
        return sized(given, start_response)

    given = environ()
    assert WSGIRequest({**given}).source is given["wsgi.input"]
    call(lambda given, start: CXMiddleware(inner)({**given}, start))

    assert cx.touchpoint("cart.view").customer == cx.pseudonym("jane")
    assert len(cx.spans) == 1


# When it ends


def test_a_stream_is_a_touchpoint_to_its_last_byte(cx: Capture) -> None:
    """Streaming takes as long as the server and the customer do."""
    result, answer = call(streamed)
    assert answer.starts == []
    iterator = iter(result)

    assert next(iterator) == b"one, "
    cx.clock.advance(3)
    assert cx.touchpoints == []
    assert list(iterator) == [b"two"]

    assert cx.touchpoint("cart.view").duration == pytest.approx(3)
    assert ending(cx) == ("completed", None)


def test_the_context_is_there_in_each_step_and_nowhere_else(cx: Capture) -> None:
    """A server's own code between two steps is of no customer, whichever thread it runs in."""
    inside: list[Any] = []
    outside: list[Any] = []

    def app(_: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        for number in range(3):
            inside.append(current_touchpoint().place)
            yield b"%d" % number
        inside.append(current_touchpoint().place)

    def serve() -> None:
        outside.extend(get_current() for _ in result)

    result, _ = call(app)
    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()

    assert {place.touchpoint for place in inside if place} == {"cart.view"}
    assert outside == [{}] * 3
    assert ending(cx) == ("completed", None)


def test_what_a_step_attaches_is_there_in_the_next(cx: Capture) -> None:
    """A block around a ``yield`` lasts, as it does without the middleware."""
    seen = []

    def app(_: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        with cxtrace.touchpoint("cart.view"):
            yield b"1"
            seen.append(current_touchpoint().place)

    result, _ = call(app)
    list(result)

    assert seen[0] is not None
    assert len(cx.visits("cart.view")) == 2


@pytest.mark.parametrize(
    ("method", "status", "headers", "expected"),
    [
        ("GET", "200 OK", [], "abandoned"),
        ("GET", "200 OK", [("Content-Length", "8")], "abandoned"),
        ("GET", "200 OK", [("Content-Length", "5")], "completed"),
        ("GET", "200 OK", [("Content-Length", "many")], "abandoned"),
        ("GET", "304 Not Modified", [], "completed"),
        ("HEAD", "200 OK", [("Content-Length", "8")], "completed"),
    ],
)
def test_a_body_that_is_closed_early_is_abandoned(
    cx: Capture, method: str, status: str, headers: list[tuple[str, str]], expected: str
) -> None:
    """A server that stops before the end has lost the customer, unless all was sent."""

    def app(_: Any, start_response: Any) -> Iterator[bytes]:
        start_response(status, headers)
        yield b"one, "
        yield b"two"

    result, _ = call(app, method)
    next(result)
    result.close()
    result.close()

    assert ending(cx) == (expected, None)


def test_a_body_that_is_never_closed_ends_with_itself(cx: Capture) -> None:
    """A server that forgets to close the body keeps no touchpoint open."""
    result, _ = call(streamed)
    next(result)
    del result
    gc.collect()

    assert ending(cx) == ("abandoned", None)


class Closable:
    """A body that counts how often it is closed, and where."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = chunks
        self.closed: list[Any] = []
        self.colour = "red"

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.chunks)

    def close(self) -> None:
        """Be closed."""
        self.closed.append(get_current())


def test_a_body_is_closed_once_in_its_context(cx: Capture) -> None:
    """What the server does to the body it does to the application's own."""
    body = Closable(b"a", b"b")

    def app(_: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return body

    result, _ = call(app)
    assert list(result) == [b"a", b"b"]
    assert body.closed == []
    result.close()

    assert len(body.closed) == 1
    assert body.closed[0] != {}
    assert ending(cx) == ("completed", None)


def test_what_a_body_has_is_still_there(cx: Capture) -> None:
    """Middlewares that look for attributes of the application's own body find them."""

    def app(_: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Closable()

    result, _ = call(app)
    list(result)

    assert result.colour == "red"
    with pytest.raises(AttributeError, match="no attribute 'size'"):
        _ = result.size
    with pytest.raises(TypeError):
        len(result)


def test_a_list_goes_back_as_it_is(cx: Capture) -> None:
    """Servers read the length of an answer off a list of one."""
    body = [b"cart"]

    def app(_: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return body

    result, _ = call(app)

    assert result is body
    assert ending(cx) == ("completed", None)


@pytest.mark.parametrize("as_class", [True, False])
def test_a_file_for_the_server_goes_back_as_it_is(cx: Capture, as_class: bool) -> None:
    """Servers send their own kind of file without reading it; some make it by a function."""
    file = io.BytesIO(b"picture")
    made: list[Any] = []

    def wrapper(of: Any, size: int = 8192) -> Any:
        made.append(FileWrapper(of, size) if as_class else of)
        return made[0]

    def app(given: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return wrapper(file)

    result, _ = call(app, **{"wsgi.file_wrapper": FileWrapper if as_class else wrapper})

    assert result is made[0]
    assert ending(cx) == ("completed", None)


def test_other_bodies_are_watched_where_the_server_has_files(cx: Capture) -> None:
    """A generator is none of the server's files."""
    result, _ = call(streamed, **{"wsgi.file_wrapper": lambda file: file})

    assert type(result).__name__ == "_Body"
    assert list(result) == [b"one, ", b"two"]


# What goes wrong


@pytest.mark.parametrize("starts", [True, False])
def test_an_exception_flies_through(cx: Capture, starts: bool) -> None:
    """The application's exception is the server's, and the touchpoint has failed by its class."""
    error = KeyError("jane@example.com")

    def app(_: Any, start_response: Any) -> list[bytes]:
        if starts:
            start_response("200 OK", [])
        raise error

    with pytest.raises(KeyError) as caught:
        call(app)

    assert caught.value is error
    assert ending(cx) == ("failed", "KeyError")


def test_an_exception_in_a_stream_flies_through(cx: Capture) -> None:
    """What fails between two chunks has failed, although the status was 200."""

    def app(_: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield b"one"
        raise ValueError("jane@example.com")

    result, _ = call(app)
    next(result)
    with pytest.raises(ValueError, match="jane"):
        next(result)
    result.close()

    assert ending(cx) == ("failed", "ValueError")


def test_an_exception_while_closing_flies_through(cx: Capture) -> None:
    """The server gets the exception, and the touchpoint that was open has failed by it."""

    class Broken(Closable):
        def close(self) -> None:
            raise OSError("no")

    result, _ = call(lambda *_: Broken())
    with pytest.raises(OSError, match="no"):
        result.close()

    assert ending(cx) == ("failed", "OSError")


def test_an_exception_after_the_end_changes_nothing(cx: Capture) -> None:
    """The customer had the last byte already when closing the body fails."""

    class Broken(Closable):
        def close(self) -> None:
            raise OSError("no")

    def app(_: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Broken(b"all")

    result, _ = call(app)
    assert list(result) == [b"all"]
    with pytest.raises(OSError, match="no"):
        result.close()

    assert ending(cx) == ("completed", None)


def test_a_body_need_not_be_closable(cx: Capture) -> None:
    """Where the application's body has no ``close()``, none is called."""

    def app(_: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [])
        return map(bytes, [b"a"])

    result, _ = call(app)
    assert list(result) == [b"a"]
    result.close()

    assert ending(cx) == ("completed", None)


@pytest.mark.parametrize("by_name", [True, False])
def test_an_answer_can_be_taken_back(cx: Capture, by_name: bool) -> None:
    """With ``exc_info`` an application replaces its answer: the last one counts."""

    def app(_: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        try:
            raise LookupError
        except LookupError:
            info = sys.exc_info()
            more: Any = {"exc_info": info} if by_name else {}
            start_response("500 Sorry", [], *(() if by_name else (info,)), **more)
        return [b"sorry"]

    _, answer = call(app)

    assert [status for status, _ in answer.starts] == ["200 OK", "500 Sorry"]
    assert ending(cx) == ("failed", "LookupError")


def test_write_is_the_servers_own(cx: Capture) -> None:
    """``start_response`` gives what the server's gives."""

    def app(_: Any, start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"old ")
        return [b"style"]

    result, answer = call(app)

    assert (answer.written, result) == ([b"old "], [b"style"])
    assert ending(cx) == ("completed", None)


def test_wrong_words_to_the_server_are_the_servers_to_judge(cx: Capture) -> None:
    """A status that is no status reaches the server, which complains about it as it would."""
    with capture(journey_map=MAP) as inner:
        _, answer = call(lambda _, start: [start("fine", []) and b""])

        assert answer.starts == [("fine", [])]
        assert inner.counts == {"errors.wsgi.start_response": 1}


def test_a_failure_of_ours_is_not_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the request cannot be understood, the application gets it all the same."""
    with capture(journey_map=MAP) as cx:
        monkeypatch.setattr(wsgi, "path", lambda _: 1 / 0)
        result, _ = call(sized)

        assert result == [b"cart"]
        assert cx.spans == []
        assert cx.counts == {"errors.wsgi": 1}


@pytest.mark.parametrize("app", [sized, streamed, failing], ids=lambda app: app.__name__)
def test_a_request_leaves_no_cycle_behind(cx: Capture, app: App) -> None:
    """What a request holds is gone with it, and does not wait for the garbage collector."""

    class Held(dict[str, Any]):
        """An environ that can be watched."""

    gc.collect()
    gc.disable()
    try:
        given = Held(environ())
        gone = weakref.ref(given)
        list(CXMiddleware(app)(given, lambda *_: None))
        del given
        assert gone() is None
    finally:
        gc.enable()


class Timeout(BaseException):
    """What a worker's own clock throws into whatever runs."""


def test_what_no_one_catches_leaves_nothing_attached(cx: Capture) -> None:
    """Thrown while a rule asks, it flies on, and the caller's trace is not the next request's."""

    class Session(dict[str, Any]):
        def accessed(self) -> bool:
            raise Timeout

    with pytest.raises(Timeout):
        call(
            sized,
            HTTP_TRACEPARENT=f"00-{1:032x}-{2:016x}-01",
            **{"beaker.session": Session()},
        )

    assert not get_current_span().get_span_context().is_valid
    assert cx.spans == []


# Validators


class Handler(SimpleHandler):
    """A server that lets errors fly, and sends no date."""

    def log_exception(self, exc_info: Any) -> None:
        """Say nothing."""


def served(app: App, given: dict[str, Any]) -> bytes:
    """All bytes that the standard library's own server sends."""
    output = io.BytesIO()
    handler = Handler(io.BytesIO(), output, io.StringIO(), given, multithread=False)
    handler.run(app)
    return re.sub(rb"Date: [^\r]+", b"", output.getvalue())


def valid_sized(_: Any, start_response: Any) -> list[bytes]:
    """Answer with a list of one."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-A", "1"), ("X-A", "2")])
    return [b"cart"]


def valid_stream(_: Any, start_response: Any) -> Iterator[bytes]:
    """Answer bit by bit."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"one, "
    yield b""
    yield b"two"


def valid_writer(_: Any, start_response: Any) -> list[bytes]:
    """Answer in the old way."""
    write = start_response("200 Fine Really", [("Content-Type", "text/plain")])
    write(b"old ")
    return [b"style"]


def valid_replacer(_: Any, start_response: Any) -> list[bytes]:
    """Think again."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    try:
        raise LookupError
    except LookupError:
        start_response("500 Sorry", [("Content-Type", "text/plain")], sys.exc_info())
    return [b"sorry"]


VALID = [valid_sized, valid_stream, valid_writer, valid_replacer]


@pytest.mark.parametrize("app", VALID, ids=lambda app: app.__name__)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_both_sides_keep_to_the_protocol(cx: Capture, app: Any, method: str) -> None:
    """The standard library's validator finds nothing on either side, and no byte is another."""

    def given() -> dict[str, Any]:
        return environ(method, "/cart/7" if method == "POST" else "/cart", QUERY_STRING="")

    watched: Any = CXMiddleware(validator(app))
    validated = served(validator(watched), given())

    assert validated == served(validator(validator(app)), given())
    assert served(CXMiddleware(app), given()) == served(app, given())
    assert len(cx.visits("cart.view")) == 2


# What can be asked


class BeakerSession(dict[str, Any]):
    """What Beaker puts into the environ."""

    loaded = False

    def accessed(self) -> bool:
        """Whether the application has looked into it."""
        return self.loaded

    def get(self, key: str, default: Any = None) -> Any:
        """Look into it, which loads it."""
        self.loaded = True
        return super().get(key, default)


def test_the_environ_answers_the_rules() -> None:
    """Headers, cookies and parameters are the client's; user and claims are the server's."""
    session = BeakerSession(customer_id=7)
    asked: Request = WSGIRequest(
        environ(
            CONTENT_TYPE="text/plain",
            HTTP_X_CUSTOMER_ID="cust-42",
            HTTP_COOKIE="visitor=v1",
            QUERY_STRING="ref=mail",
            REMOTE_USER="jane",
            OIDC_CLAIM_sub="s-1",
            **{"beaker.session": session},
        )
    )

    assert asked.header("content-type") == "text/plain"
    assert asked.header("x-customer-id") == "cust-42"
    assert asked.header("x-other") is None
    assert asked.cookie("visitor") == "v1"
    assert asked.query("ref") == "mail"
    assert (asked.user("name"), asked.user("email")) == ("jane", None)
    assert (asked.claim("sub"), asked.claim("iss")) == ("s-1", None)
    assert asked.session("customer_id") is None
    assert not session.loaded


def test_a_session_is_asked_once_the_application_has_looked_into_it(cx: Capture) -> None:
    """To ask loads no session; one that is loaded tells who the customer is."""
    session = BeakerSession(customer_id="cust-42")

    def app(given: Any, start_response: Any) -> list[bytes]:
        given["beaker.session"].get("theme")
        return sized(given, start_response)

    call(sized, **{"beaker.session": session})
    call(app, **{"beaker.session": session})

    first, second = (span.attributes or {} for span in cx.spans)
    assert "enduser.pseudo.id" not in first
    assert second["enduser.pseudo.id"] == cx.pseudonym("cust-42")


def test_a_request_without_a_session_has_none() -> None:
    """Nobody has to have a middleware for sessions."""
    assert WSGIRequest(environ()).session("customer_id") is None


def test_headers_are_read_as_propagators_want_them() -> None:
    """Names are in small letters with dashes, and a missing header is None."""
    given = {"HTTP_X_CUSTOMER_ID": "cust-42", "REQUEST_METHOD": "GET"}

    assert GETTER.keys(given) == ["x-customer-id"]
    assert GETTER.get(given, "X-Customer-Id") == ["cust-42"]
    assert GETTER.get(given, "traceparent") is None


# Inside of OpenTelemetry's middleware


def stock(cx: Capture, app: App) -> Any:
    """OpenTelemetry's middleware around an application, made before ours knows of it."""
    module = pytest.importorskip(
        "opentelemetry.instrumentation.wsgi", reason="the instrumentation of WSGI is not installed"
    )
    return module.OpenTelemetryMiddleware(app, tracer_provider=cx.tracer_provider)


@pytest.fixture
def instrumented(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The stock instrumentation with ours inside of it, for the time of a test."""
    module = pytest.importorskip(
        "opentelemetry.instrumentation.wsgi", reason="the instrumentation of WSGI is not installed"
    )
    middleware: Any = module.OpenTelemetryMiddleware
    monkeypatch.setattr(middleware, "__call__", vars(middleware)["__call__"])
    wsgi.instrument(module)
    found: ModuleType = module
    return found


@pytest.mark.parametrize("app", [sized, streamed], ids=lambda app: app.__name__)
def test_the_servers_span_is_the_touchpoint(
    cx: Capture, instrumented: ModuleType, app: App
) -> None:
    """Inside of OpenTelemetry's middleware there is one span, the server's, and it says it all."""
    middleware = stock(cx, app)
    for _ in range(2):
        result = middleware(environ(HTTP_X_CUSTOMER_ID="cust-42"), Answer().start_response)
        b"".join(result)
        result.close()

    assert [span.kind for span in cx.spans] == [SpanKind.SERVER] * 2
    assert {span.name for span in cx.spans} == {"GET /cart"}
    assert [each.outcome for each in cx.visits("cart.view")] == ["completed"] * 2
    assert cx.spans[0].attributes is not None
    assert cx.spans[0].attributes["enduser.pseudo.id"] == cx.pseudonym("cust-42")


def test_both_forms_at_once_are_one_touchpoint(cx: Capture, instrumented: ModuleType) -> None:
    """Whoever adds the middleware by hand as well gets no second touchpoint."""
    middleware = stock(cx, CXMiddleware(sized))

    list(middleware(environ(), Answer().start_response))

    assert ending(cx) == ("completed", None)
    assert isinstance(middleware.wsgi.app, type(sized))


def test_an_exception_reaches_the_stock_middleware(cx: Capture, instrumented: ModuleType) -> None:
    """The span of a request that fails is the server's, and has failed by the exception."""

    def app(*_: Any) -> list[bytes]:
        raise KeyError("jane@example.com")

    with pytest.raises(KeyError):
        stock(cx, app)(environ(), Answer().start_response)

    assert ending(cx) == ("failed", "KeyError")


# A server in processes of its own

SERVICE = r"""
import io, os, sys

PICTURE = os.path.abspath("picture")


def app(environ, start_response):
    path = environ["PATH_INFO"]
    text = [("Content-Type", "text/plain"), ("X-One", "1"), ("x-one", "2")]
    if path == "/cart":
        start_response("200 Alright", text)
        return [b"cart"]
    if path == "/several":
        start_response("200 OK", text)
        return (b"one, ", b"two")
    if path == "/stream":
        start_response("200 OK", text)
        return (b"%d," % number for number in range(3))
    if path == "/lazy":
        return lazy(start_response, text)
    if path == "/write":
        write = start_response("201 Created", text)
        write(b"old ")
        return [b"style"]
    if path == "/file":
        start_response("200 OK", [("Content-Length", str(os.path.getsize(PICTURE)))])
        return environ["wsgi.file_wrapper"](open(PICTURE, "rb"))
    if path == "/redirect":
        start_response("302 Found", [("Location", "/cart")])
        return []
    if path == "/again":
        start_response("200 OK", text)
        try:
            raise LookupError
        except LookupError:
            start_response("500 Sorry", text, sys.exc_info())
        return [b"sorry"]
    if path == "/early":
        raise KeyError("jane")
    if path == "/late":
        start_response("200 OK", text)
        raise KeyError("jane")
    if path == "/midway":
        return midway(start_response, text)
    start_response("404 Not Found", text)
    return [b"nothing"]


def lazy(start_response, text):
    start_response("200 OK", text)
    yield b"late "
    yield b""
    yield b"start"


def midway(start_response, text):
    start_response("200 OK", text)
    yield b"one, "
    raise KeyError("jane")


application = app
if os.environ.get("WITH_CXTRACE"):
    import cxtrace
    from cxtrace.integrations.wsgi import CXMiddleware

    cxtrace.configure(service_name="shop", journey_map="map.toml")
    application = CXMiddleware(app)
if os.environ.get("WITH_OTEL"):
    from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware

    application = OpenTelemetryMiddleware(application)
"""

SERVICE_MAP = """
schema = "cxtrace.map/1"
name = "shop"

[functions]
sales = {}

[request]
customer = [{ header = "X-Customer-Id" }]

[[stage]]
name = "purchase"
phase = "customer"

[[touchpoint]]
name = "cart.view"
stage = "purchase"
owner = "sales"
match = { route = "* /{any:path}" }
"""

PATHS = [
    *("/cart", "/several", "/stream", "/lazy", "/write", "/file", "/redirect", "/again"),
    *("/early", "/late", "/midway", "/other"),
]


def answers(tmp_path: Path, **settings: str) -> dict[str, bytes]:
    """What gunicorn answers with two workers, by method and path."""
    with gunicorn(tmp_path, "service:application", **settings) as address:
        return {
            f"{method} {path}": exchange(
                address,
                f"{method} {path} HTTP/1.1\r\nHost: shop\r\nX-Customer-Id: cust-42\r\n"
                "Connection: close\r\nContent-Length: 0\r\n\r\n",
            )
            for method in ("GET", "HEAD", "POST")
            for path in PATHS
        }


@pytest.mark.skipif(sys.platform == "win32", reason="gunicorn needs a Unix")
@pytest.mark.parametrize("around", ["nothing", "WITH_OTEL"])
def test_a_server_sends_the_same_bytes(tmp_path: Path, around: str) -> None:
    """With cxtrace and without, gunicorn sends the same bytes, and the same chunks."""
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    if around != "nothing":
        pytest.importorskip(
            "opentelemetry.instrumentation.wsgi", reason="WSGI's instrumentation is not installed"
        )
    (tmp_path / "service.py").write_text(SERVICE)
    (tmp_path / "map.toml").write_text(SERVICE_MAP)
    (tmp_path / "picture").write_bytes(bytes(range(256)) * 1_000)
    spans = tmp_path / "spans.jsonl"

    without = answers(tmp_path, **{around: "1"})
    with_ours = answers(
        tmp_path, WITH_CXTRACE="1", CXTRACE_EXPORTER=f"file:{spans}", **{around: "1"}
    )

    assert with_ours == without
    assert without["GET /stream"].endswith(b"\r\n2\r\n0,\r\n2\r\n1,\r\n2\r\n2,\r\n0\r\n\r\n")
    found = list(read_spans(spans))
    assert len(found) == 3 * len(PATHS)
    outcomes = {(s.attributes or {})["cx.touchpoint.outcome"] for s in found}
    assert outcomes == {"completed", "failed"}
    kind = "INTERNAL" if around == "nothing" else "SERVER"
    assert {span.kind for span in found} == {kind}
