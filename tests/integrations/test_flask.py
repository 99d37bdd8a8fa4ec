"""Flask: requests become touchpoints, and applications notice nothing."""

import gc
import re
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.context import get_current
from opentelemetry.trace import SpanKind, get_current_span

import cxtrace
from cxtrace import JourneyMap, current_touchpoint
from cxtrace.exporters import read_spans
from cxtrace.testing import Capture, capture
from tests.integrations.servers import exchange, gunicorn, server

pytest.importorskip("flask", reason="Flask is not installed")

import flask
import flask.app
from flask import Blueprint, Flask, Response, abort, g, redirect, request, session
from werkzeug.local import LocalProxy

from cxtrace.integrations import flask as integration
from cxtrace.integrations.flask import instrument_app

MAP = JourneyMap.loads("""
schema = "cxtrace.map/1"
name = "shop"

[functions]
sales = {}

[request]
customer = [
  { user = "id" },
  { claim = "sub" },
  { session = "customer_id" },
  { header = "X-Customer-Id" },
]

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
  { route = "GET /cart/{item}" },
  { route = "POST /cart/{item}", outcome = [{ redirect = "/cart", is = "deferred" }] },
  { route = "GET /shelf/{name}", outcome = [{ header = "X-Sold-Out", is = "failed" }] },
]
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

NOTHING = JourneyMap.loads("""
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
""")


@pytest.fixture
def cx(caplog: pytest.LogCaptureFixture) -> Iterator[Capture]:
    """Capture what is sent, and see that nobody complains and that the context is left alone."""
    with capture(journey_map=MAP) as captured:
        before = get_current()
        yield captured
        assert get_current() is before
        assert [name for name in captured.counts if name.startswith("errors.")] == []
        complaints = [each for each in caplog.records if each.name.startswith("opentelemetry")]
        assert complaints == []


@pytest.fixture
def automatic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every application is instrumented, for the time of a test."""
    for name in ("preprocess_request", "process_response"):
        monkeypatch.setattr(Flask, name, vars(Flask)[name])
    integration.instrument(flask.app)


@pytest.fixture(params=["automatic", "explicit", "both"])
def form(request: pytest.FixtureRequest) -> str:
    """How an application is instrumented."""
    if request.param != "explicit":
        request.getfixturevalue("automatic")
    form: str = request.param
    return form


@pytest.fixture
def stock() -> Any:
    """OpenTelemetry's instrumentation of Flask."""
    return pytest.importorskip(
        "opentelemetry.instrumentation.flask", reason="Flask's instrumentation is not installed"
    )


def shop() -> Flask:
    """An application."""
    app = Flask(__name__)
    app.secret_key = "a key for tests"

    @app.get("/cart")
    def view_cart() -> str:
        place = current_touchpoint().place
        return "nowhere" if place is None else place.touchpoint

    return app


def ending(cx: Capture) -> tuple[str, str | None]:
    """How the one touchpoint ended."""
    found = cx.touchpoint("cart.view")
    return found.outcome, found.error


def pseudonyms(cx: Capture) -> list[Any]:
    """Who the customers of the spans are, in the order in which these ended."""
    return [(span.attributes or {}).get("enduser.pseudo.id") for span in cx.spans]


# What the customer lives through


def test_a_request_is_a_touchpoint(cx: Capture, form: str) -> None:
    """Each form alone, and both together, make one touchpoint of a request."""
    app = shop()
    if form != "automatic":
        instrument_app(app)
        instrument_app(app)

    for _ in range(2):
        answer = app.test_client().get("/cart", headers={"X-Customer-Id": "cust-42"})
        assert answer.text == "cart.view"

    assert [visit.outcome for visit in cx.visits("cart.view")] == ["completed"] * 2
    assert pseudonyms(cx) == [cx.pseudonym("cust-42")] * 2


def test_an_application_that_was_there_before_is_instrumented_too(
    cx: Capture, request: pytest.FixtureRequest
) -> None:
    """The automatic form takes effect with the next request, even in the middle of things."""
    app = shop()
    assert app.test_client().get("/cart").text == "nowhere"
    request.getfixturevalue("automatic")

    assert app.test_client().get("/cart").text == "cart.view"
    instrument_app(app)
    assert app.test_client().get("/cart").text == "cart.view"


def test_of_several_the_first_counts_as_it_does_for_flask() -> None:
    """Cookies and parameters of one name are read as the application reads them."""
    app = shop()
    headers = {"Cookie": "visitor=v1; visitor=v2"}
    with app.test_request_context("/cart?ref=a&ref=b", headers=headers):
        context = integration._request_context()
        asked = integration._FlaskRequest(context)
        assert (asked.cookie("visitor"), asked.query("ref")) == ("v1", "a")
        assert (request.cookies["visitor"], request.args["ref"]) == ("v1", "a")
        assert (asked.cookie("other"), asked.query("other")) == (None, None)
        assert asked.source is request.environ["wsgi.input"]


@pytest.mark.parametrize("route", ["/cart", "/cart/boom"])
def test_a_request_leaves_nothing_of_ours_behind(cx: Capture, automatic: None, route: str) -> None:
    """What the application leaves to the garbage collector is all there is."""
    app = shop()

    @app.get("/cart/<item>")
    def fails(item: str) -> str:
        raise LookupError(item)

    client = app.test_client()
    client.get(route)
    gc.collect()
    gc.disable()
    try:
        client.get(route)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found = {type(each).__module__ for each in gc.garbage}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()

    assert [module for module in found if module.startswith("cxtrace")] == []


@pytest.mark.parametrize("tells", ["customer", "failure"])
def test_a_request_made_in_process_tells_nothing_of_the_other(
    cx: Capture, automatic: None, tells: str
) -> None:
    """A view that asks its own application makes another request, with a customer of its own."""
    app = shop()

    @app.post("/cart/<item>")
    def inner(item: str) -> str:
        if tells == "failure":
            raise LookupError(item)
        session["customer_id"] = "jane"
        return item

    @app.get("/cart/<item>")
    def batch(item: str) -> str:
        app.test_client().post("/cart/7")
        return item

    assert app.test_client().get("/cart/all").text == "all"
    outer, within = cx.visits("cart.view")
    assert (outer.outcome, outer.customer) == ("completed", None)
    expected = ("completed", cx.pseudonym("jane")) if tells == "customer" else ("failed", None)
    assert (within.outcome, within.customer) == expected


def test_without_a_map_nothing_happens(automatic: None) -> None:
    """Where the map says nothing about requests, there is no touchpoint."""
    with capture(journey_map=NOTHING) as cx:
        assert shop().test_client().get("/cart").text == "nowhere"
        assert cx.spans == []


def test_a_route_is_found_by_flasks_own_template(cx: Capture, automatic: None) -> None:
    """Of two routes that fit a path, the one that Flask takes counts."""
    app = shop()
    app.add_url_rule("/cart/<int:number>", "item", lambda number: str(number))
    app.add_url_rule("/cart/all", "all", lambda: "all")

    for path in ("/cart/7", "/cart/all"):
        assert app.test_client().get(path).status_code == 200

    assert len(cx.visits("cart.view")) == 1


def test_blueprints_and_factories_need_nothing(cx: Capture, automatic: None) -> None:
    """A route of a blueprint is the route with its prefix, whoever made the application."""
    cart = Blueprint("cart", __name__, url_prefix="/cart")
    around: list[Any] = []

    @cart.get("/<item>")
    def item(item: str) -> str:
        return item

    @cart.teardown_request
    def end(error: BaseException | None = None) -> None:
        around.append(current_touchpoint().place)

    def make() -> Flask:
        app = Flask(__name__)
        app.register_blueprint(cart)
        return app

    assert make().test_client().get("/cart/7").text == "7"
    assert ending(cx) == ("completed", None)
    assert around[0] is not None


def test_our_place_is_around_all_of_the_applications_functions(
    cx: Capture, automatic: None
) -> None:
    """What runs before and after the view belongs to the touchpoint as well."""
    app, seen = shop(), []

    @app.before_request
    def before() -> None:
        seen.append(current_touchpoint().place)

    @app.after_request
    def after(response: Response) -> Response:
        seen.append(current_touchpoint().place)
        return response

    @app.teardown_request
    def end(error: BaseException | None = None) -> None:
        seen.append(current_touchpoint().place)

    app.test_client().get("/cart")

    assert [place and place.touchpoint for place in seen] == ["cart.view"] * 3


def test_a_missing_slash_is_no_visit_yet(cx: Capture, automatic: None) -> None:
    """Flask sends the customer to the right address, and only there begins the touchpoint."""
    app = Flask(__name__)
    app.add_url_rule("/cart/", "cart", lambda: "cart")
    client = app.test_client()

    assert client.get("/cart").status_code == 308
    assert cx.touchpoints == []
    assert client.get("/cart", follow_redirects=True).text == "cart"
    assert ending(cx) == ("completed", None)


def test_a_caller_is_gone_on_from(cx: Capture, automatic: None) -> None:
    """Without OpenTelemetry's instrumentation the caller's trace is taken up, and left again."""
    client = shop().test_client()
    for path in ("/cart", "/unknown"):
        client.get(path, headers={"traceparent": f"00-{1:032x}-{2:016x}-01"})
        assert not get_current_span().get_span_context().is_valid

    (span,) = cx.spans
    assert span.context is not None
    assert span.context.trace_id == 1


def test_a_request_that_the_map_does_not_know_goes_on_from_its_caller(automatic: None) -> None:
    """Touchpoints that the code opens there are the caller's, and the thread is clean after it."""
    app = shop()
    app.add_url_rule("/other", "other", lambda: str(get_current_span().get_span_context().trace_id))
    with capture(journey_map=ROUTES_ALONE) as cx:
        before = get_current()
        headers = {"traceparent": f"00-{1:032x}-{2:016x}-01"}

        assert app.test_client().get("/other", headers=headers).text == "1"
        assert get_current() is before
        assert cx.spans == []


def test_our_place_is_taken_once(cx: Capture, automatic: None) -> None:
    """Two first requests at the same time, even in a forked child, find one place."""
    app = shop()
    integration._after_fork()
    for _ in range(2):
        integration._join(app)

    app.test_client().get("/cart")

    assert ending(cx) == ("completed", None)
    assert len(app.before_request_funcs[None]) == 1


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (lambda item: redirect("/cart"), ("deferred", None)),
        (lambda item: redirect("/elsewhere"), ("completed", None)),
        (lambda item: abort(404), ("failed", "404")),
        (lambda item: ("no", 503), ("failed", "503")),
        (lambda item: {}[item], ("failed", "KeyError")),
    ],
)
def test_the_answer_is_the_outcome(
    cx: Capture, automatic: None, view: Callable[[str], Any], expected: tuple[str, str | None]
) -> None:
    """Status, redirect or exception say how it went, by the rules of the map."""
    app = shop()
    app.add_url_rule("/cart/<item>", "change", view, methods=["POST"])

    app.test_client().post("/cart/jane@example.com")

    assert ending(cx) == expected


def test_the_last_word_on_the_answer_counts(cx: Capture, automatic: None) -> None:
    """A header that an ``after_request`` function sets is part of the answer."""
    app = shop()
    app.add_url_rule("/shelf/<name>", "shelf", lambda name: name)

    @app.after_request
    def after(response: Response) -> Response:
        response.headers["X-Sold-Out"] = "yes"
        return response

    app.test_client().get("/shelf/hats")

    assert ending(cx) == ("failed", None)


def test_an_exception_flies_through(cx: Capture, automatic: None) -> None:
    """Where Flask lets the exception out, it is the host's, and the touchpoint's by its class."""
    app = shop()
    app.testing = True
    error = KeyError("jane@example.com")

    def view(item: str) -> str:
        raise error

    app.add_url_rule("/cart/<item>", "item", view)
    with pytest.raises(KeyError) as caught:
        app.test_client().get("/cart/7")

    assert caught.value is error
    assert ending(cx) == ("failed", "KeyError")


def test_a_handled_exception_is_what_is_answered(cx: Capture, automatic: None) -> None:
    """An error handler makes an exception an answer like any other."""
    app = shop()
    app.add_url_rule("/cart/<item>", "item", lambda item: {}[item])
    app.register_error_handler(KeyError, lambda error: ("sold out", 200))

    assert app.test_client().get("/cart/7").text == "sold out"
    assert ending(cx) == ("completed", None)


@pytest.mark.parametrize("is_async", [True, False])
def test_views_of_both_kinds_are_in_the_touchpoint(
    cx: Capture, automatic: None, is_async: bool
) -> None:
    """An ``async def`` view sees the touchpoint, and who it says the customer is counts."""
    if is_async:
        pytest.importorskip("asgiref", reason="Flask's async extra is not installed")
    app = shop()

    async def view(item: str) -> str:
        cxtrace.identify("cust-42")
        return str(current_touchpoint().place)

    def plain(item: str) -> str:
        cxtrace.identify("cust-42")
        return str(current_touchpoint().place)

    app.add_url_rule("/cart/<item>", "item", view if is_async else plain)

    assert "cart.view" in app.test_client().get("/cart/7").text
    assert pseudonyms(cx) == [cx.pseudonym("cust-42")]


# Streams


@pytest.mark.parametrize("with_context", [True, False])
def test_a_stream_is_sent_whole(cx: Capture, automatic: None, with_context: bool) -> None:
    """A streamed answer arrives, its touchpoint ends once, and nothing of it stays behind."""
    app = shop()

    @app.get("/cart/<item>")
    def view(item: str) -> Response:
        def body() -> Iterator[str]:
            yield "one, "
            yield "two"

        return Response(flask.stream_with_context(body()) if with_context else body())

    with app.test_client().get("/cart/7") as answer:
        assert answer.text == "one, two"

    assert ending(cx) == ("completed", None)


def test_a_request_that_is_prepared_twice_is_one_visit(cx: Capture, automatic: None) -> None:
    """Tests and shells may call ``preprocess_request`` of one request several times."""
    app = shop()
    with app.test_request_context("/cart"):
        app.preprocess_request()
        app.preprocess_request()

    assert ending(cx) == ("completed", None)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_stream_that_nobody_reads_is_abandoned_unless_nobody_asked(
    cx: Capture, automatic: None, method: str
) -> None:
    """A customer who leaves in the middle has abandoned it; ``HEAD`` asks for no body."""
    app = shop()
    with app.test_request_context("/cart", method=method):
        app.preprocess_request()
        integration._close(GeneratorExit())

    assert ending(cx) == ("abandoned" if method == "GET" else "completed", None)


def test_what_ends_in_another_thread_leaves_nothing_here(cx: Capture, automatic: None) -> None:
    """A server that ends a request elsewhere has a clean thread when the next one arrives."""
    app, before = shop(), get_current()
    first = app.test_request_context("/cart", headers={"X-Customer-Id": "cust-42"})
    with first:
        app.preprocess_request()

        def end() -> None:
            with first:  # a second time, so that Flask takes the first for a stream
                integration._close(None)

        thread = threading.Thread(target=end)
        thread.start()
        thread.join()
    assert get_current() is not before
    assert app.test_client().get("/cart").text == "cart.view"

    assert get_current() is before
    assert pseudonyms(cx) == [cx.pseudonym("cust-42"), None]


# Who the customer is


class User:
    """Somebody who is logged in."""

    id = "cust-42"


class Visitor:
    """Somebody who is not."""

    id = "cust-42"
    is_authenticated = False


class Expired:
    """A user of SQLAlchemy's after a commit: to read any attribute would be a query."""

    def __init__(self) -> None:
        column = SimpleNamespace(key="id")
        self._sa_instance_state = SimpleNamespace(
            unloaded={"id", "email"},
            mapper=SimpleNamespace(primary_key=[column]),
            identity=("cust-42",),
        )

    @property
    def id(self) -> str:
        """The key."""
        raise AssertionError("a query")


def row(column: str) -> sqlite3.Row:
    """A user as the tutorial has it."""
    database = sqlite3.connect(":memory:")
    database.row_factory = sqlite3.Row
    try:
        found: sqlite3.Row = database.execute(f"select 'cust-42' as {column}").fetchone()
        return found
    finally:
        database.close()


@pytest.mark.parametrize(
    ("known", "is_told"),
    [
        ({"user": User()}, True),
        ({"user": {"id": "cust-42"}}, True),
        ({"user": row("id")}, True),
        ({"user": Expired()}, True),
        ({"_login_user": User()}, True),
        ({"_jwt_extended_jwt": {"sub": "cust-42"}}, True),
        ({"claims": {"sub": "cust-42"}}, True),
        ({"user": None}, False),
        ({"user": {"name": "jane"}}, False),
        ({"user": row("name")}, False),
        ({"user": Visitor()}, False),
        ({"_login_user": Visitor(), "user": User()}, False),
        ({"user": LocalProxy(lambda: pytest.fail("loaded"))}, False),
        ({"claims": {}}, False),
    ],
    ids=str,
)
def test_the_customer_is_whom_the_application_knows(
    cx: Capture, automatic: None, known: dict[str, Any], is_told: bool
) -> None:
    """What extensions and tutorials leave in ``g`` tells who the customer is."""
    app = shop()

    @app.before_request
    def load() -> None:
        for name, value in known.items():
            setattr(g, name, value)

    app.test_client().get("/cart")

    assert pseudonyms(cx) == [cx.pseudonym("cust-42") if is_told else None]


def test_an_attribute_that_was_loaded_is_read(cx: Capture, automatic: None) -> None:
    """A user of SQLAlchemy's whose attributes are there is a user like any other."""
    app = shop()

    @app.get("/cart/<item>")
    def view(item: str) -> str:
        g.user = User()
        g.user._sa_instance_state = SimpleNamespace(unloaded=set())
        return item

    app.test_client().get("/cart/7")

    assert pseudonyms(cx) == [cx.pseudonym("cust-42")]


def test_a_customer_who_logs_out_is_one_still(cx: Capture, automatic: None) -> None:
    """The customer is asked for before the view, which may be about to forget."""
    app = shop()

    @app.before_request
    def load() -> None:
        g.user = User()

    @app.get("/cart/<item>")
    def log_out(item: str) -> str:
        g.user = None
        return "bye"

    app.test_client().get("/cart/7")

    assert pseudonyms(cx) == [cx.pseudonym("cust-42")]


def test_the_session_is_read_only_where_the_application_reads_it(
    cx: Capture, automatic: None
) -> None:
    """To ask adds no ``Vary: Cookie``; a session that is in use tells who the customer is."""
    app = shop()

    @app.post("/login")
    def log_in() -> str:
        session["customer_id"] = "cust-42"
        return "hello"

    @app.get("/cart/<item>")
    def view(item: str) -> str:
        return str(session.get("theme"))

    client = app.test_client()
    client.post("/login")
    without, reading = client.get("/cart"), client.get("/cart/7")

    assert without.headers.get("Vary") is None
    assert reading.headers.get("Vary") == "Cookie"
    assert pseudonyms(cx)[1] == cx.pseudonym("cust-42")


def test_an_application_without_sessions_has_none(cx: Capture, automatic: None) -> None:
    """Without a secret key there is no session to ask."""
    app = shop()
    app.secret_key = None

    assert app.test_client().get("/cart").text == "cart.view"
    assert pseudonyms(cx) == [None]


def test_flask_login_tells_who_the_customer_is(cx: Capture, automatic: None) -> None:
    """The user of Flask-Login counts once the application has looked, and is not loaded else."""
    login = pytest.importorskip("flask_login", reason="Flask-Login is not installed")
    app, loaded = shop(), []
    manager = login.LoginManager(app)

    class Account(login.UserMixin):  # type: ignore[name-defined,misc]
        id = "cust-42"

    @manager.user_loader
    def load(user_id: str) -> Any:
        loaded.append(user_id)
        return Account()

    @app.post("/login")
    def log_in() -> str:
        login.login_user(Account())
        return "hello"

    @app.get("/cart/<item>")
    @login.login_required
    def view(item: str) -> str:
        return item

    client = app.test_client()
    client.post("/login")
    client.get("/cart")
    assert loaded == []
    client.get("/cart/7")

    assert loaded == ["cust-42"]
    assert pseudonyms(cx) == [None, cx.pseudonym("cust-42")]


def test_flask_jwt_extended_tells_who_the_customer_is(cx: Capture, automatic: None) -> None:
    """A claim of a token counts once the application has verified it."""
    jwt = pytest.importorskip("flask_jwt_extended", reason="Flask-JWT-Extended is not installed")
    app = shop()
    app.config["JWT_SECRET_KEY"] = "a key for tests that is long enough for everybody"
    jwt.JWTManager(app)

    @app.get("/cart/<item>")
    @jwt.jwt_required()
    def view(item: str) -> str:
        return item

    with app.app_context():
        token = jwt.create_access_token(identity="cust-42")
    client = app.test_client()
    client.get("/cart", headers={"Authorization": f"Bearer {token}"})
    client.get("/cart/7", headers={"Authorization": f"Bearer {token}"})

    assert pseudonyms(cx) == [None, cx.pseudonym("cust-42")]


# With OpenTelemetry's instrumentation


@pytest.mark.parametrize("first", ["theirs", "ours"])
def test_the_servers_span_is_the_touchpoint(cx: Capture, stock: Any, form: str, first: str) -> None:
    """One span, the server's, says it all, whichever instrumentation came first."""
    app, seen = shop(), []

    @app.before_request
    def before() -> None:
        seen.append(current_touchpoint().place)

    @app.teardown_request
    def end(error: BaseException | None = None) -> None:
        seen.append(current_touchpoint().place)

    steps = [
        lambda: stock.FlaskInstrumentor.instrument_app(app, tracer_provider=cx.tracer_provider),
        lambda: None if form == "automatic" else instrument_app(app),
    ]
    for step in steps if first == "theirs" else reversed(steps):
        step()
    for _ in range(2):
        app.test_client().get("/cart", headers={"X-Customer-Id": "cust-42"})

    assert [span.kind for span in cx.spans] == [SpanKind.SERVER] * 2
    assert [visit.outcome for visit in cx.visits("cart.view")] == ["completed"] * 2
    assert pseudonyms(cx) == [cx.pseudonym("cust-42")] * 2
    assert len(seen) == 4


def test_applications_of_the_instrumented_class_are_instrumented(
    cx: Capture, stock: Any, automatic: None
) -> None:
    """Where OpenTelemetry has put a class of its own in Flask's place, ours goes with it."""
    instrumentor = stock.FlaskInstrumentor()
    instrumentor.instrument(tracer_provider=cx.tracer_provider)
    try:
        app = flask.Flask(__name__)
    finally:
        instrumentor.uninstrument()
    app.add_url_rule("/cart", "cart", lambda: dict[str, str]()["jane@example.com"])

    app.test_client().get("/cart")

    (span,) = cx.spans
    assert span.kind is SpanKind.SERVER
    assert ending(cx) == ("failed", "KeyError")


def test_a_copy_of_the_request_context_ends_nothing(
    cx: Capture, stock: Any, automatic: None
) -> None:
    """A copied context, as helpers in threads have it, ends before the request does."""
    app, seen = shop(), list[Any]()
    stock.FlaskInstrumentor.instrument_app(app, tracer_provider=cx.tracer_provider)

    @app.get("/cart/<item>")
    def view(item: str) -> str:
        @flask.copy_current_request_context
        def work() -> None:
            seen.append(request.path)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        seen.append(current_touchpoint().place)
        return item

    app.test_client().get("/cart/7")

    assert seen[0] == "/cart/7"
    assert seen[1] is not None
    assert ending(cx) == ("completed", None)


# What fails of ours


def test_a_failure_of_ours_is_not_the_hosts(
    automatic: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a request cannot be understood, the application answers it all the same."""
    with capture(journey_map=MAP) as cx:
        monkeypatch.setattr(integration, "path", lambda _: 1 / 0)
        assert shop().test_client().get("/cart").text == "nowhere"
        monkeypatch.setattr(integration, "_request_context", lambda: 1 / 0)
        assert shop().test_client().get("/cart").text == "nowhere"
        monkeypatch.setattr(integration, "_insert", lambda *_: 1 / 0)
        assert shop().test_client().get("/cart").text == "nowhere"

        assert cx.spans == []
        assert set(cx.counts) == {
            *("errors.flask", "errors.flask.join", "errors.flask.open", "errors.flask.close"),
        }


# A server in processes of its own

SERVICE = r"""
import os
from flask import Flask, Response, abort, redirect, request, send_file, session, stream_with_context

app = Flask(__name__)
app.secret_key = "a key for tests"

if os.environ.get("WITH_CXTRACE"):
    import cxtrace
    from cxtrace.integrations.flask import instrument_app

    cxtrace.configure(service_name="shop", journey_map="map.toml")
    instrument_app(app)


def numbers():
    for number in range(3):
        yield f"{number},"


def midway():
    yield "one, "
    raise KeyError("jane")


@app.route("/plain", methods=["GET", "POST"])
def plain():
    return "plain"


@app.route("/json")
def as_json():
    return {"a": 1}


@app.route("/stream")
def stream():
    return Response(numbers(), mimetype="text/plain")


@app.route("/stream/with/context")
def stream_in_context():
    return Response(stream_with_context(numbers()), mimetype="text/plain")


@app.route("/midway")
def stream_that_fails():
    return Response(stream_with_context(midway()), mimetype="text/plain")


@app.route("/file")
def file():
    return send_file(os.path.abspath("picture"), mimetype="image/png")


@app.route("/session")
def in_session():
    session["customer_id"] = 7
    return str(session["customer_id"])


@app.route("/vary")
def look():
    return str(session.get("customer_id"))


@app.route("/redirect")
def go():
    return redirect("/plain")


@app.route("/slash/")
def slash():
    return "slash"


@app.route("/gone")
def gone():
    abort(410)


@app.route("/fails")
def fails():
    raise KeyError("jane")


@app.route("/headers")
def headers():
    return Response("teapot", 418, [("X-One", "1"), ("x-one", "2")])
"""

SERVICE_MAP = """
schema = "cxtrace.map/1"
name = "shop"

[functions]
sales = {}

[request]
customer = [{ session = "customer_id" }, { user = "id" }, { header = "X-Customer-Id" }]

[[stage]]
name = "purchase"
phase = "customer"

[[touchpoint]]
name = "cart.view"
stage = "purchase"
owner = "sales"
match = [ROUTES]
"""

PATHS = [
    *("/plain", "/json", "/stream", "/stream/with/context", "/midway", "/file", "/session"),
    *("/vary", "/redirect", "/slash", "/slash/", "/gone", "/fails", "/headers", "/unknown"),
]
KNOWN = [path for path in PATHS if path != "/slash"]
"""What the map knows: slashes at the end do not count."""
TOUCHPOINTS = 3 * len(KNOWN) + 1
"""One for each method and path; ``/slash`` is redirected first, but for the wrong method."""


def answers(address: tuple[str, int]) -> dict[str, bytes]:
    """What the server answers, by method and path."""
    found = {
        f"{method} {path}": exchange(
            address,
            f"{method} {path} HTTP/1.1\r\nHost: shop\r\nX-Customer-Id: cust-42\r\n"
            "Connection: close\r\nContent-Length: 0\r\n\r\n",
        )
        for method in ("GET", "HEAD", "POST")
        for path in PATHS
    }
    # The signature of a session's cookie has a time in it.
    return {key: re.sub(rb"session=[^;]+", b"session", value) for key, value in found.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a service lies, with its map."""
    (tmp_path / "service.py").write_text(SERVICE)
    routes = ", ".join(f'{{ route = "* {path}" }}' for path in KNOWN)
    (tmp_path / "map.toml").write_text(SERVICE_MAP.replace("ROUTES", routes))
    (tmp_path / "picture").write_bytes(bytes(range(256)) * 1_000)
    return tmp_path


def touchpoints_of(file: Path) -> list[Any]:
    """The spans of touchpoints that a service has sent: one for each request."""
    found = [span for span in read_spans(file) if "cx.touchpoint.name" in span.attributes]
    assert len(found) == TOUCHPOINTS
    return found


@pytest.mark.service
def test_the_development_server_sends_the_same_bytes(folder: Path) -> None:
    """With the explicit form and without, Werkzeug sends the same bytes."""
    file = folder / "spans.jsonl"
    command = (sys.executable, "-m", "flask", "--app", "service", "run", "--port", "0")

    with server(folder, *command) as address:
        without = answers(address)
    settings = {"WITH_CXTRACE": "1", "CXTRACE_EXPORTER": f"file:{file}"}
    with server(folder, *command, stop=signal.SIGINT, **settings) as address:
        assert answers(address) == without

    assert {span.kind for span in touchpoints_of(file)} == {"INTERNAL"}


@pytest.mark.skipif(sys.platform == "win32", reason="gunicorn needs a Unix")
@pytest.mark.service
def test_zero_code_sends_the_same_bytes(folder: Path, stock: Any) -> None:
    """Under OpenTelemetry's automatic instrumentation, a map is all that gunicorn needs."""
    pytest.importorskip("gunicorn", reason="gunicorn is not installed")
    pytest.importorskip("opentelemetry.distro", reason="OpenTelemetry's distro is not installed")
    file = folder / "spans.jsonl"
    plain = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
    ours = {"CXTRACE_MAP": "map.toml", "CXTRACE_EXPORTER": f"file:{file}"}

    with gunicorn(folder, "service:app", automatic=True, **plain) as address:
        without = answers(address)
    with gunicorn(folder, "service:app", automatic=True, **plain, **ours) as address:
        assert answers(address) == without

    found = touchpoints_of(file)
    assert {span.kind for span in found} == {"SERVER"}
    assert {span.attributes["cx.touchpoint.outcome"] for span in found} == {"completed", "failed"}
