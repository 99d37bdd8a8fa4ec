"""Django: requests that the journey map knows, over WSGI and ASGI, and all else as it was."""

import asyncio
import gc
import importlib
import io
import os
import pickle
import re
import shutil
import socket
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("django", reason="Django is not installed")
pytest.importorskip("rest_framework_simplejwt", reason="Django REST framework is not installed")

import django
from django.conf import settings
from django.core.handlers import base
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.db import connections
from opentelemetry.context import get_current
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.instrumentation.django.middleware.otel_middleware import _DjangoMiddleware
from opentelemetry.trace import SpanKind, get_current_span

from cxtrace.exporters import read_spans
from cxtrace.integrations import _django_request as asking
from cxtrace.integrations import asgi, wsgi
from cxtrace.integrations import django as ours
from cxtrace.journey_map import JourneyMap
from cxtrace.testing import Capture, capture
from tests.integrations.django_shop import settings as shop_settings

if not settings.configured:
    settings.configure(**{k: v for k, v in vars(shop_settings).items() if k.isupper()})
    django.setup()

from django.conf.urls.i18n import i18n_patterns
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore
from django.test import AsyncClient, AsyncRequestFactory, Client, RequestFactory
from django.test.utils import override_settings
from django.urls import converters, include, path, re_path
from django.urls.resolvers import RoutePattern, URLPattern
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext_lazy
from rest_framework_simplejwt.tokens import AccessToken

from tests.integrations.django_shop import urls
from tests.integrations.servers import READY, wait_for_workers

MAP = """
schema = "cxtrace.map/1"
name = "shop"
functions = { product = {} }
[request]
customer = [
    { user = "pk" }, { claim = "user_id" }, { session = "customer_id" },
    { header = "X-Customer" }, { query = "customer" }, { cookie = "visitor", kind = "anonymous" },
]
journey = [{ header = "X-Journey" }]
[[stage]]
name = "buy"
phase = "customer"
[[journey]]
name = "first_order"
goal = "checkout"
routes = { direct = ["hello", "checkout"] }
"""
ROUTES = {
    "hello": "GET /hello",
    "checkout": "POST /checkout",
    "item": "GET /items/{pk}",
    "old": "GET /old/{pk}",
    "login": "POST /login",
    "me": "GET /me",
    "me_async": "GET /me-async",
    "visits": "GET /visits",
    "wait": "GET /wait",
    "hang": "GET /hang",
    "stream": "GET /stream",
    "stream_async": "GET /stream-async",
    "download": "GET /download",
    "boom": "GET /boom",
    "boom_async": "GET /boom-async",
    "denied": "GET /denied",
    "missing": "GET /missing",
    "away": "GET /away",
    "orders": "GET /api/orders",
    "order": "GET /api/orders/{pk}",
    "elsewhere": "GET /api/elsewhere",
}
OUTCOMES = {
    "away": ', outcome = [{ redirect = "/checkout/{page}", is = "handed_off" }]',
    "hello": ', outcome = [{ header = "X-Outcome", value = "declined", is = "failed" }]',
}
for _name, _route in ROUTES.items():
    MAP += f"""
[[touchpoint]]
name = "{_name}"
stage = "buy"
owner = "product"
match = {{ route = "{_route}"{OUTCOMES.get(_name, "")} }}
"""
JOURNEY_MAP = JourneyMap.loads(MAP)
OURS = "cxtrace.integrations.django.CXMiddleware"
THEIRS = settings.MIDDLEWARE[:]
LOAD_MIDDLEWARE = base.BaseHandler.load_middleware
FORMS = ("explicit", "automatic", "both")


@pytest.fixture(scope="module", autouse=True)
def database() -> Iterator[None]:
    """The tables of the project, with one customer in them."""
    call_command("migrate", verbosity=0)
    get_user_model().objects.create_user("anna", password="pw")
    yield
    connections.close_all()


@pytest.fixture
def cx() -> Iterator[Capture]:
    """What is sent; in the end no error was swallowed, and nothing is left in the context."""
    before = get_current()
    with capture(journey_map=JOURNEY_MAP) as captured:
        urls.provider = captured.tracer_provider
        urls.STEPS.clear()
        urls.STARTS.clear()
        yield captured
        assert get_current() == before
    urls.provider = None
    assert captured.counts == {}


@contextmanager
def service(form: str = "explicit", otel: Capture | None = None) -> Iterator[None]:
    """The project with our middleware, and with OpenTelemetry's if somebody captures its spans."""
    middleware = THEIRS[:] if form == "automatic" else [OURS, *THEIRS]
    with ExitStack() as undo:
        undo.enter_context(override_settings(MIDDLEWARE=middleware))
        if form != "explicit":
            undo.callback(setattr, base.BaseHandler, "load_middleware", LOAD_MIDDLEWARE)
            ours.instrument(base)
        if otel is not None:
            theirs = DjangoInstrumentor()
            theirs.instrument(tracer_provider=otel.tracer_provider)
            undo.callback(theirs.uninstrument)
        yield


def go(kind: str, method: str, path: str, **more: Any) -> Any:
    """The answer to a request, streams read to their end, from a new client."""
    more = {"headers": {}, **more}
    cookies = more.pop("cookies", {})
    if kind == "wsgi":
        client = Client(raise_request_exception=False)
        client.cookies.load(cookies)
        answer = getattr(client, method)(path, **more)
        answer.body = b"".join(answer) if answer.streaming else answer.content
        answer.close()
        return answer

    async def ask() -> Any:
        client = AsyncClient(raise_request_exception=False)
        client.cookies.load(cookies)
        answer = await getattr(client, method)(path, **more)
        if answer.streaming:
            answer.body = b"".join([chunk async for chunk in answer])
        else:
            answer.body = answer.content
        await asyncio.to_thread(answer.close)
        return answer

    return asyncio.run(ask())


def session_of(**values: Any) -> dict[str, str]:
    """The cookie of a session that the server knows."""
    session = SessionStore()
    session.update(values)
    session.save()
    return {settings.SESSION_COOKIE_NAME: str(session.session_key)}


def logged_in() -> dict[str, str]:
    """The cookie of a customer who has logged in before."""
    user = get_user_model().objects.get()
    client = Client()
    client.force_login(user)
    return {settings.SESSION_COOKIE_NAME: client.cookies[settings.SESSION_COOKIE_NAME].value}


def tokens() -> dict[str, str]:
    """The header of a customer with a token."""
    user = get_user_model().objects.get()
    return {"Authorization": f"Bearer {AccessToken.for_user(user)}"}


def known_at(name: str) -> list[Any]:
    """Who was known when the spans of that name at a touchpoint started."""
    return [whose for each, whose in urls.STARTS if each == name]


def pk() -> int:
    """The number of the only user."""
    found: int = get_user_model().objects.get().pk
    return found


@contextmanager
def routes_of(patterns: list[Any]) -> Iterator[None]:
    """The project with these routes alone."""
    module: Any = types.ModuleType("urls")
    module.urlpatterns = patterns
    with override_settings(ROOT_URLCONF=module):
        yield


PLACES = ["/a/b/c", "/a/7/e", "/x/b/c", "/x/7/e", "/"]


class Strange(URLPattern):
    """A route that may resolve in a way of its own."""


class StrangePattern(RoutePattern):
    """A template that may be compared in a way of its own."""


# What becomes of requests


ANSWERS = [
    ("/hello", "hello", "completed", None),
    ("/hello?outcome=declined", "hello", "failed", None),
    ("/items/4/", "item", "completed", None),
    ("/old/5/", "old", "completed", None),
    ("/wait", "wait", "completed", None),
    ("/stream", "stream", "completed", None),
    ("/stream-async", "stream_async", "completed", None),
    ("/download", "download", "completed", None),
    ("/boom", "boom", "failed", "ValueError"),
    ("/boom-async", "boom_async", "failed", "ValueError"),
    ("/denied", "denied", "failed", "403"),
    ("/missing", "missing", "failed", "404"),
    ("/away", "away", "handed_off", None),
    ("/api/orders/", "orders", "failed", "401"),
]


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")
@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
@pytest.mark.parametrize("otel", [False, True], ids=["alone", "opentelemetry"])
@pytest.mark.parametrize("form", FORMS)
def test_each_request_is_one_touchpoint(cx: Capture, form: str, otel: bool, kind: str) -> None:
    """In each form, the answer ends the touchpoint of the route with what it means."""
    with service(form, cx if otel else None):
        for path, *_ in ANSWERS:
            go(kind, "get", path)

    found = [(each.name, each.outcome, each.error) for each in cx.touchpoints]
    assert found == [tuple(wanted) for _, *wanted in ANSWERS]
    served = {span.kind for span in cx.spans if "cx.touchpoint.outcome" in (span.attributes or {})}
    assert served == {SpanKind.SERVER if otel else SpanKind.INTERNAL}


def test_another_route_of_the_same_form_is_no_touchpoint(cx: Capture) -> None:
    """Where Django leads a path elsewhere than the map's template, Django knows best."""
    with service():
        go("wsgi", "get", "/items/special")
        go("wsgi", "get", "/items/none")
        go("wsgi", "get", "/items/4/")

    assert [each.name for each in cx.touchpoints] == ["item", "item"]
    assert [each.error for each in cx.touchpoints] == ["404", None]


@pytest.mark.parametrize("why", ["a converter", "a language", "a mistake"])
def test_djangos_template_is_asked_only_where_nothing_happens(
    cx: Capture, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may call the application, or depends on what comes later, is left out."""
    django_urls: Any = importlib.import_module("django.urls")
    if why == "a converter":
        monkeypatch.setattr(
            converters, "get_converters", lambda: {"drf_format_suffix": 1, "slow": 2}
        )
    elif why == "a language":
        more = [*urls.urlpatterns, *i18n_patterns(path("x", urls.hello))]
        monkeypatch.setattr(urls, "urlpatterns", more)
        django_urls.clear_url_caches()
    else:
        monkeypatch.setattr(django_urls, "get_resolver", lambda urlconf: None)
    with service():
        go("wsgi", "get", "/items/special")
    django_urls.clear_url_caches()

    assert [each.name for each in cx.touchpoints] == ["item"]
    if why == "a mistake":
        assert cx.counts.pop("errors.django.urls") == 1  # type: ignore[attr-defined]


def test_django_is_asked_only_where_another_route_fits(
    cx: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To resolve a path takes as long as all that we do; mostly there is only one it can mean."""
    django_urls: Any = importlib.import_module("django.urls")
    resolve, asked = django_urls.resolve, []

    def asking(path: str, *more: Any) -> Any:
        asked.append(path)
        return resolve(path, *more)

    monkeypatch.setattr(django_urls, "resolve", asking)
    with service():
        for path in ("/items/4/", "/items/special", "/api/orders/4/", "/nowhere"):
            go("wsgi", "get", path)

    assert asked == ["/items/special"]
    assert [each.name for each in cx.touchpoints] == ["item", "order"]


def test_what_fits_and_leads_nowhere_is_the_maps_route(cx: Capture) -> None:
    """A converter may refuse what the text of a route allows; then the map alone decides."""
    with routes_of([path("<int:shelf>/x", urls.hello)]), service():
        go("wsgi", "get", "/items/x")

    assert [(each.name, each.error) for each in cx.touchpoints] == [("item", "404")]


def test_all_routes_are_known_as_django_gives_them() -> None:
    """Those that are included have the prefix before them, and no mark of their own beginning."""
    inner = [re_path(r"^b/(?P<c>\w+)$", urls.hello), path("<int:d>/e", urls.hello)]
    outer = [path("a/", include(inner)), re_path("^x/", include(inner)), path("", urls.hello)]
    django_urls: Any = importlib.import_module("django.urls")
    with routes_of(outer):
        found = asking.templates_of(RequestFactory().get("/"))
        given = [django_urls.resolve(each).route for each in PLACES]

    assert found is not None
    assert list(found.all) == given


@pytest.mark.parametrize(
    "strange",
    [
        path(gettext_lazy("a/<int:b>"), urls.hello),
        re_path(gettext_lazy("a/(.*)"), urls.hello),
        path(gettext_lazy("a/"), include([path("b", urls.hello)])),
        Strange(RoutePattern("a", is_endpoint=True), urls.hello),
        URLPattern(StrangePattern("a", is_endpoint=True), urls.hello),
        *i18n_patterns(path("a", urls.hello)),
    ],
)
def test_routes_that_depend_on_the_moment_are_not_known(strange: Any) -> None:
    """Of another language, or by another rule, they may be others for the next request."""
    with routes_of([path("b", urls.hello), strange]):
        assert asking.templates_of(RequestFactory().get("/")) is None


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_a_journey_is_told_by_the_request(cx: Capture, kind: str) -> None:
    """A rule for the journey gives its id; the map gives its name."""
    token = "0123456789abcdef0123456789abcdef"
    with service():
        go(kind, "get", "/hello", headers={"X-Journey": token})

    found = cx.touchpoint("hello")
    assert (found.journey, found.journey_id is not None) == ("first_order", True)


def test_the_callers_trace_goes_on(cx: Capture) -> None:
    """Without OpenTelemetry's instrumentation, it is we who read the caller's trace."""
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with service():
        go("wsgi", "get", "/hello", headers={"traceparent": caller})

    (span,) = (span for span in cx.spans if span.name == "hello")
    assert span.parent is not None
    assert f"{span.parent.span_id:x}" == "b7ad6b7169203331"


def test_a_map_without_requests_does_nothing() -> None:
    """Where the map says nothing about requests, they just pass."""
    with capture() as cx, service():
        assert go("wsgi", "get", "/hello").content == b"hello"
        assert go("asgi", "get", "/hello").content == b"hello"

    assert cx.touchpoints == []


def test_a_request_that_the_map_does_not_know_is_no_touchpoint(cx: Capture) -> None:
    """Nor is it one where there are no rules for every request."""
    only_routes = JourneyMap.loads(re.sub(r"\[request\].*?(?=\[\[)", "", MAP, flags=re.DOTALL))
    with capture(journey_map=only_routes) as inner, service():
        go("wsgi", "get", "/nowhere")
        go("wsgi", "get", "/stream")

    assert [each.name for each in inner.touchpoints] == ["stream"]
    assert cx.touchpoints == []


# Who it is


WAYS = [
    ({"headers": {"X-Customer": "c7"}}, "/hello", "c7"),
    ({}, "/hello?customer=c7", "c7"),
    ({"cookies": {"other": "x", "visitor": "c7"}}, "/hello", "anonymous:c7"),
    ({}, "/visits?is=c7", "c7"),
    ({}, "/hello", None),
]


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
@pytest.mark.parametrize(("how", "path", "customer"), WAYS)
def test_who_the_customer_is(
    cx: Capture, kind: str, how: dict[str, Any], path: str, customer: str | None
) -> None:
    """Header, query, cookie and a session that the application has loaded."""
    with service():
        go(kind, "get", path, **how)

    (found,) = cx.touchpoints
    assert found.customer == (None if customer is None else cx.pseudonym(customer))


def test_a_session_that_was_loaded_before_is_read(cx: Capture) -> None:
    """What another request has put into the session is told once this one has looked into it."""
    with service():
        go("wsgi", "get", "/visits", cookies=session_of(customer_id="c7"))

    assert cx.touchpoint("visits").customer == cx.pseudonym("c7")


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_what_sleeps_is_not_woken(cx: Capture, kind: str) -> None:
    """No session is loaded for us, no user, no query is made and no header comes of it."""
    with service():
        answer = go(kind, "get", "/hello", cookies=logged_in())

    assert answer["X-Queries"] == "0"
    assert "Vary" not in answer
    assert cx.touchpoint("hello").customer is None


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
@pytest.mark.parametrize("otel", [False, True], ids=["alone", "opentelemetry"])
def test_from_the_moment_the_user_is_known_spans_say_so(cx: Capture, otel: bool, kind: str) -> None:
    """The queries that find the user come too early; the one after them is tagged."""
    with service(otel=cx if otel else None):
        assert go(kind, "get", "/me", cookies=logged_in()).body == b"anna"

    anna = cx.pseudonym(pk())
    assert known_at("SELECT") == [None, None, anna]
    assert cx.touchpoint("me").customer == anna


@pytest.mark.skipif(django.VERSION < (5, 0), reason="Django has no auser() before 5.0")
def test_from_the_moment_an_async_view_knows_the_user_spans_say_so(cx: Capture) -> None:
    """The same for a view that awaits the user."""
    with service():
        assert go("asgi", "get", "/me-async", cookies=logged_in()).body == b"anna"

    anna = cx.pseudonym(pk())
    assert known_at("after") == [anna]
    assert cx.touchpoint("me_async").customer == anna


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_who_logs_in_is_known_from_then_on(cx: Capture, kind: str) -> None:
    """A login halfway tells, and the query after it is tagged."""
    data = {"name": "anna", "password": "pw"}
    with service():
        assert go(kind, "post", "/login", data=data)["Location"] == "/me"

    anna = cx.pseudonym(pk())
    assert known_at("SELECT")[-1] == anna
    assert known_at("SELECT")[0] is None
    assert cx.touchpoint("login").customer == anna


def test_who_comes_with_a_token_is_known_from_then_on(cx: Capture) -> None:
    """Django REST framework finds the user; the query after that is tagged."""
    with service():
        assert go("wsgi", "get", "/api/orders/", headers=tokens()).status_code == 200

    anna = cx.pseudonym(pk())
    assert known_at("SELECT") == [None, anna]
    assert cx.touchpoint("orders").customer == anna


def test_the_token_of_another_service_tells(cx: Capture) -> None:
    """A verified token without a user in our tables has its claims."""
    with service():
        assert go("wsgi", "get", "/api/elsewhere/", headers=tokens()).status_code == 200
        go("wsgi", "get", "/api/orders/7/", headers=tokens())

    assert cx.touchpoint("elsewhere").customer == cx.pseudonym(str(pk()))
    assert cx.touchpoint("order").error == "500"


def test_rules_are_answered_out_of_what_is_there() -> None:
    """Claims come from mappings, users from their loaded columns, and nothing from lazy objects."""
    request = RequestFactory().get("/", headers={"Content-Type": "text/x"})
    ask = asking.Request(request)
    assert (ask.user("pk"), ask.claim("sub"), ask.session("a")) == (None, None, None)
    assert ask.header("content-type") == request.META.get("CONTENT_TYPE")

    request.auth = {"sub": "c7"}  # type: ignore[attr-defined]
    assert ask.claim("sub") == "c7"
    request.auth = get_user_model()(username="payload")  # type: ignore[attr-defined]
    assert ask.claim("username") is None

    request.user = SimpleLazyObject(lambda: get_user_model().objects.get())  # type: ignore[assignment]
    before = len(urls.QUERIES)
    assert (ask.user("pk"), ask.user("username")) == (None, None)
    assert len(urls.QUERIES) == before
    assert request.user.username == "anna"
    assert (ask.user("pk"), ask.user("username")) == (pk(), "anna")

    request.user = get_user_model().objects.only("pk").get()
    before = len(urls.QUERIES)
    assert (ask.user("username"), ask.user("is_authenticated"), ask.user("pk")) == (None, None, 1)
    assert len(urls.QUERIES) == before

    request.user = AnonymousUser()
    assert ask.user("pk") is None


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_what_a_request_came_from_stays_the_same_object(kind: str) -> None:
    """By it, a middleware of the protocol and ours know that they see one request."""
    if kind == "wsgi":
        request: Any = RequestFactory().get("/")
        outer: Any = wsgi.WSGIRequest(request.environ)
    else:
        request = AsyncRequestFactory().get("/")
        outer = asgi._Request(request.scope)

    assert asking.Request(request).source is outer.source
    assert outer.source is not None


class Timeout(BaseException):
    """What a worker's own clock throws into whatever runs."""


def test_what_no_one_catches_leaves_nothing_attached(
    cx: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thrown while a rule asks, it flies on, and the caller's trace is not the next request's."""

    def ask(*_: Any) -> None:
        raise Timeout

    monkeypatch.setattr(asking.Request, "header", ask)
    headers = {"traceparent": f"00-{1:032x}-{2:016x}-01"}
    with service(), pytest.raises(Timeout):
        ours.CXMiddleware(urls.hello)(RequestFactory().get("/hello", headers=headers))

    assert not get_current_span().get_span_context().is_valid
    assert cx.spans == []


@pytest.mark.parametrize("path", ["/hello", "/boom"])
def test_a_request_leaves_nothing_of_ours_behind(cx: Capture, path: str) -> None:
    """What the application leaves to the garbage collector is all there is."""
    with service():
        client = Client(raise_request_exception=False)
        client.get(path)
        gc.collect()
        gc.disable()
        try:
            client.get(path)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            found = {type(each).__module__ for each in gc.garbage}
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()

    assert [module for module in found if module.startswith("cxtrace")] == []


# Streams


class Server:
    """What WSGI and ASGI servers do with the answer of the handler, step by step."""

    def __init__(self, path: str, **more: Any) -> None:
        environ = {"wsgi.input": io.BytesIO(), **RequestFactory()._base_environ(PATH_INFO=path)}
        self.answer: Any = WSGIHandler()({**environ, **more}, lambda status, headers: None)


def ended(cx: Capture) -> list[str]:
    """The touchpoints that have ended, with their outcomes."""
    return [f"{each.name} {each.outcome}" for each in cx.touchpoints]


def place_of(cx: Capture, name: str) -> Any:
    """The touchpoint that the span of that name belongs to."""
    (span,) = (span for span in cx.spans if span.name == name)
    return (span.attributes or {}).get("cx.touchpoint.name")


def test_a_stream_is_a_touchpoint_until_its_last_byte(cx: Capture) -> None:
    """The context is attached while a chunk is made, and never in between."""
    before = get_current()
    with service():
        body = iter(Server("/stream").answer)
        assert [next(body), get_current() == before, ended(cx)] == [b"0 ", True, []]
        assert [*body] == [b"1 ", b"2 "]

    assert ended(cx) == ["stream completed"]
    assert {place_of(cx, f"chunk {n}") for n in range(3)} == {"stream"}


def test_a_stream_in_a_span_of_opentelemetry_ends_with_that_span(cx: Capture) -> None:
    """The server's span is over before the first byte; what makes the bytes is still tagged."""
    before = get_current()
    with service(otel=cx):
        body = Server("/stream").answer
        assert ended(cx) == ["stream completed"]
        assert [*body] == [b"0 ", b"1 ", b"2 "]
        body.close()

    assert ended(cx) == ["stream completed"]
    assert {place_of(cx, f"chunk {n}") for n in range(3)} == {"stream"}
    assert get_current() == before


def test_a_client_that_hangs_up_in_a_stream_abandons_it(cx: Capture) -> None:
    """The server closes the answer, and the body cleans up where it belongs."""
    with service():
        answer = Server("/stream").answer
        next(iter(answer))
        answer.close()

    assert ended(cx) == ["stream abandoned"]
    assert urls.STEPS == ["chunk 0", "closed"]
    assert place_of(cx, "closed") == "stream"


def test_a_stream_that_fails_has_failed(cx: Capture) -> None:
    """The exception goes on to the server, as without us."""
    with service():
        answer = Server("/stream", QUERY_STRING="fail").answer
        with pytest.raises(ValueError, match="half of it"):
            list(answer)
        answer.close()

    found = cx.visits("stream")[-1]
    assert (found.outcome, found.error) == ("failed", "ValueError")


def test_a_stream_that_a_server_forgets_is_abandoned(cx: Capture) -> None:
    """Not every server closes what it breaks off."""
    with service():
        answer = Server("/stream").answer
        next(iter(answer))
        del answer
        gc.collect()

    assert ended(cx) == ["stream abandoned"]


def test_a_file_that_the_server_sends_by_itself_is_completed(cx: Capture) -> None:
    """It takes the file out of the answer, as without us, and closes it."""

    class Wrapper:
        def __init__(self, file: Any, size: int) -> None:
            self.file = file

    with service():
        answer = Server("/download", **{"wsgi.file_wrapper": Wrapper}).answer
        assert answer.file.read().startswith(b'"""A small')
        answer.file.close()

    assert ended(cx) == ["download completed"]


async def served_by(app: Any, path: str, until: int = 99, cookie: str = "") -> list[Any]:
    """What an application sends to an ASGI server, whose client hangs up after some messages."""
    scope = AsyncRequestFactory()._base_scope(path=path.partition("?")[0])
    scope["headers"] = [(b"cookie", cookie.encode())]
    scope["query_string"] = path.partition("?")[2].encode()
    sent: list[Any] = []
    gone = asyncio.Event()
    first = iter([{"type": "http.request"}])

    async def receive() -> Any:
        message = next(first, None)
        if message is None:
            await gone.wait()
        return message or {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message.get("body", message.get("status", b"")))
        if len(sent) >= until:
            gone.set()
            await asyncio.sleep(0.01)

    await app(scope, receive, send)
    return sent


@pytest.mark.parametrize("otel", [False, True], ids=["alone", "opentelemetry"])
def test_an_async_stream_is_tagged_to_its_last_byte(cx: Capture, otel: bool) -> None:
    """As for WSGI; with OpenTelemetry's middleware, the touchpoint has its end before the first."""
    with service(otel=cx if otel else None):
        assert asyncio.run(served_by(ASGIHandler(), "/stream-async")) == [
            200,
            b"0 ",
            b"1 ",
            b"2 ",
            b"",
        ]

    assert ended(cx) == ["stream_async completed"]
    assert {place_of(cx, f"chunk {n}") for n in range(3)} == {"stream_async"}


@pytest.mark.skipif(django.VERSION < (5, 0), reason="Django notices from 5.0 on")
def test_an_async_client_that_hangs_up_in_a_stream_abandons_it(cx: Capture) -> None:
    """Django cancels what produces the body, and closes the answer."""
    with service():
        assert asyncio.run(served_by(ASGIHandler(), "/stream-async", until=2)) == [200, b"0 "]

    assert ended(cx) == ["stream_async abandoned"]


def test_an_async_stream_that_fails_has_failed(cx: Capture) -> None:
    """The exception goes on to the server, as without us."""
    with service(), pytest.raises(ValueError, match="half of it"):
        go("asgi", "get", "/stream-async?fail")

    assert (cx.touchpoint("stream_async").outcome, cx.touchpoint("stream_async").error) == (
        "failed",
        "ValueError",
    )


# Exceptions and faults


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_an_exception_that_django_does_not_catch_flies_on(cx: Capture, kind: str) -> None:
    """With DEBUG_PROPAGATE_EXCEPTIONS the server gets it, and the touchpoint has failed."""
    with service(), override_settings(DEBUG_PROPAGATE_EXCEPTIONS=True):
        path = "/boom" if kind == "wsgi" else "/boom-async"
        with pytest.raises(ValueError, match="4111"):
            go(kind, "get", path)

    (found,) = cx.touchpoints
    assert (found.outcome, found.error) == ("failed", "ValueError")
    cx.assert_nothing_personal("4111 1111 1111 1111")


def test_an_exception_of_which_a_middleware_makes_an_answer_is_none(cx: Capture) -> None:
    """It is the answer that the customer sees."""
    with service(), override_settings(MIDDLEWARE=[OURS, f"{urls.__name__}.forgive"]):
        assert go("wsgi", "get", "/boom").body == b"never mind"

    assert ended(cx) == ["boom completed"]


def test_an_answer_without_a_status(cx: Capture) -> None:
    """What is no answer goes on as it is: Django will say what it thinks of it."""
    view: Any = ours.CXMiddleware(lambda _: "no answer")

    assert view(RequestFactory().get("/hello")) == "no answer"
    assert cx.counts == {"errors.django.answer": 1}
    cx.counts.clear()  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_our_own_faults_stay_ours(cx: Capture, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request or an answer that we stumble over goes on as without us, and is counted."""

    def stumble(*_: Any) -> None:
        raise RuntimeError("ours")

    with service():
        monkeypatch.setattr(ours._http, "go_on_from", stumble)
        assert go(kind, "get", "/hello").body == b"hello"
        monkeypatch.undo()
        monkeypatch.setattr(ours, "_Stream", stumble)
        path = "/stream" if kind == "wsgi" else "/stream-async"
        assert go(kind, "get", path).body == b"0 1 2 "

    assert [each.outcome for each in cx.touchpoints] == ["completed"]
    assert cx.counts == {"errors.django": 1, "errors.django.answer": 1}
    cx.counts.clear()  # type: ignore[attr-defined]


def test_what_cannot_be_listened_to_is_counted(cx: Capture) -> None:
    """A version of Django without a function that we wrap still works."""
    ours._quietly(ours._of_users, importlib.import_module("types"))

    assert cx.counts == {"errors.django.listen": 1}
    cx.counts.clear()  # type: ignore[attr-defined]


def test_a_django_without_asynchronous_users_is_listened_to() -> None:
    """Before 5.0 there is one function less to wrap."""
    module = types.SimpleNamespace(get_user=lambda request: "anna")

    ours._of_users(module)

    assert module.get_user(RequestFactory().get("/")) == "anna"
    assert not hasattr(module, "auser")


def test_a_forked_child_can_load_its_middlewares() -> None:
    """Even where another thread of the parent was about to do so."""
    held = ours._loading
    ours._after_fork()

    assert ours._loading is not held
    with service("automatic"):
        assert go("wsgi", "get", "/hello").body == b"hello"


def test_a_request_can_be_copied(cx: Capture) -> None:
    """Django's requests can be pickled; with us they still can, and nobody watches the copy."""
    copies: list[Any] = []

    def keep(request: Any, **_: Any) -> None:
        copies.append(pickle.loads(pickle.dumps(request)))

    monkey = urls.hello
    request = RequestFactory().get("/hello")

    def view(request: Any) -> Any:
        keep(request)
        return monkey(request)

    with service():
        answer = ours.CXMiddleware(view)(request)

    assert answer.content == b"hello"
    assert copies[0].path == "/hello"
    assert vars(copies[0]).get("_cxtrace") is None
    assert "_cxtrace" not in vars(request)


def test_a_middleware_that_stands_there_twice_is_there_once(cx: Capture) -> None:
    """The outer one is the touchpoint, and hears of the user."""
    with service(), override_settings(MIDDLEWARE=[OURS, OURS, *THEIRS]):
        go("wsgi", "get", "/me", cookies=logged_in())
        go("wsgi", "get", "/stream")

    assert ended(cx) == ["me completed", "stream completed"]
    assert known_at("SELECT")[-1] == cx.pseudonym(pk())


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_inside_of_a_middleware_of_the_protocol_the_user_is_known_too(
    cx: Capture, kind: str
) -> None:
    """There, the touchpoint is the outer middleware's, which Django tells what it knows."""
    cookie = f"sessionid={logged_in()['sessionid']}"
    with service():
        if kind == "wsgi":
            environ = RequestFactory()._base_environ(PATH_INFO="/me", HTTP_COOKIE=cookie)
            body = wsgi.CXMiddleware(WSGIHandler())(environ, lambda status, headers: None)
            assert b"".join(body) == b"anna"
            body.close()  # type: ignore[attr-defined]
        else:
            sent = asyncio.run(served_by(asgi.CXMiddleware(ASGIHandler()), "/me", cookie=cookie))
            assert sent == [200, b"anna"]

    anna = cx.pseudonym(pk())
    assert [(each.name, each.customer) for each in cx.touchpoints] == [("me", anna)]
    assert known_at("SELECT") == [None, None, anna]


def test_settings_stay_as_they_are(cx: Capture) -> None:
    """Not even a middleware that looks at the settings while it is made sees ours in them."""
    seen: list[list[str]] = []

    def look(get_response: Any) -> Any:
        seen.append(settings.MIDDLEWARE[:])
        return get_response

    with service("automatic"), override_settings(MIDDLEWARE=["look.look", *THEIRS]):
        sys.modules["look"] = types.SimpleNamespace(look=look)  # type: ignore[assignment]
        go("wsgi", "get", "/hello")
        del sys.modules["look"]

    assert seen == [["look.look", *THEIRS]]
    assert ended(cx) == ["hello completed"]
    assert base.settings is settings


def test_ours_stands_directly_inside_of_theirs() -> None:
    """Wherever OpenTelemetry's middleware has its place, and never twice."""
    theirs = ours._OPENTELEMETRY

    assert ours._with_ours(("a", theirs, "b")) == ["a", theirs, OURS, "b"]
    assert ours._with_ours(["a"]) == [OURS, "a"]
    assert ours._with_ours([theirs, "a", OURS]) == [theirs, "a", OURS]
    assert theirs == DjangoInstrumentor._opentelemetry_middleware
    assert _DjangoMiddleware._environ_span_key == ours._SERVER_SPAN


# Real servers

ROOT = Path(__file__).parents[2]
SERVERS = {
    "gunicorn": [
        *("-m", "gunicorn", "--workers", "2", "--bind", "127.0.0.1:{port}", "-c", str(READY)),
        "django.core.wsgi:get_wsgi_application()",
    ],
    "uvicorn": [
        *("-m", "uvicorn", "--factory", "--port", "{port}", "--log-level", "error"),
        "django.core.asgi:get_asgi_application",
    ],
}
SERVERS["gunicorn --preload"] = [*SERVERS["gunicorn"], "--preload"]
PASSING = r"(?im)^Date: .*?\r\n|(?<=sessionid=)\w+|(?<=expires=)[^;]+"
"""What differs from one answer to the next."""


class Served:
    """The project in a process of its own, without cxtrace or with nothing but settings."""

    def __init__(self, folder: Path, server: str, how: str = "plain") -> None:
        folder.mkdir()
        self.folder, self.prefork = folder, server.startswith("gunicorn")
        shutil.copy(shop_settings.FOLDER / "shop.sqlite3", folder)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.spans = folder / "spans.jsonl"
        (folder / "journeys.toml").write_text(MAP, encoding="utf-8")
        command = [part.format(port=self.port) for part in SERVERS[server]]
        ours = str(Path(sys.executable).with_name("cxtrace"))
        start = [] if how == "plain" else [ours, "run", "--"]
        self.log = (folder / "log.txt").open("w+")
        self.process = subprocess.Popen(
            [*start, sys.executable, *command],
            env=self.environment(folder, how),
            cwd=ROOT,
            stdout=self.log,
            stderr=self.log,
        )

    def environment(self, folder: Path, how: str) -> dict[str, str]:
        """Settings, and nothing else, make the difference."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "CXTRACE_"))}
        found = {
            **kept,
            "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "tests.integrations.django_shop.settings",
            "DJANGO_SHOP": str(folder),
        }
        if how == "plain":
            return found
        return {
            **found,
            "CXTRACE_MAP": str(folder / "journeys.toml"),
            "CXTRACE_KEY": "0123456789abcdef0123456789abcdef",
            "CXTRACE_EXPORTER": f"file:{self.spans}",
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "OTEL_PYTHON_DJANGO_INSTRUMENT": str(how != "alone"),
            **({"DJANGO_SHOP_EXPLICIT": "1"} if how == "both" else {}),
        }

    def __enter__(self) -> "Served":
        until(lambda: self.process.poll() is not None or self.answers())
        if self.process.poll() is not None:
            said = self.said()
            self.log.close()
            pytest.fail(said)
        if self.prefork:
            wait_for_workers(self.folder / "log.txt")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(90)
        self.log.close()

    def said(self) -> str:
        """What the process has printed."""
        self.log.seek(0)
        return self.log.read()

    def answers(self) -> bool:
        """Whether it listens by now."""
        with suppress(OSError):
            return bool(self.ask("GET /ready HTTP/1.1\r\n\r\n"))
        return False

    def ask(self, request: str) -> bytes:
        """The bytes of the answer."""
        head, _, rest = request.partition("\r\n")
        whole = f"{head}\r\nHost: shop\r\nConnection: close\r\n{rest}"
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(whole.encode())
            parts = []
            while part := connection.recv(65_536):
                parts.append(part)
        return re.sub(PASSING.encode(), b"", b"".join(parts))

    def touchpoints(self, many: int) -> list[tuple[str, str]]:
        """What was sent, as soon as it is that many; names with outcomes, in order of names."""
        found: list[tuple[str, str]] = []

        def read() -> bool:
            spans = read_spans(self.spans) if self.spans.exists() else []
            every = (span.attributes or {} for span in spans)
            found[:] = sorted(
                (str(each["cx.touchpoint.name"]), str(each["cx.touchpoint.outcome"]))
                for each in every
                if "cx.touchpoint.outcome" in each
            )
            return len(found) >= many

        until(read)
        return found


NO_TOUCHPOINTS = 3
"""How many of the requests below the map does not know."""


def until(true: Callable[[], bool]) -> None:
    """Wait for another process, but not for ever."""
    until_then = time.monotonic() + 90
    while not true():
        assert time.monotonic() < until_then, "not in 90 s"
        time.sleep(0.05)


def requests(server: str) -> list[str]:
    """Requests for every kind of answer."""
    session = f"Cookie: sessionid={logged_in()['sessionid']}\r\n"
    token = f"Authorization: {tokens()['Authorization']}\r\n"
    form = "name=anna&password=pw"
    kind = "Content-Type: application/x-www-form-urlencoded\r\n"
    paths = ["/hello", "/visits?is=c7", "/download", "/boom", "/denied", "/missing", "/away"]
    paths += ["/hello/", "/items/4/", "/api/orders/"]
    paths += ["/stream-async", "/wait", "/boom-async"] if server == "uvicorn" else ["/stream"]
    return [
        *(f"GET {path} HTTP/1.1\r\n\r\n" for path in paths),
        f"GET /hello HTTP/1.1\r\n{session}\r\n",
        f"GET /me HTTP/1.1\r\n{session}\r\n",
        f"GET /visits?is=c7 HTTP/1.1\r\n{session}\r\n",
        f"GET /api/orders/ HTTP/1.1\r\n{token}\r\n",
        f"GET /api/orders/7/ HTTP/1.1\r\n{token}\r\n",
        f"POST /login HTTP/1.1\r\n{kind}Content-Length: {len(form)}\r\n\r\n{form}",
        "HEAD /hello HTTP/1.1\r\n\r\n",
        "OPTIONS /api/orders/ HTTP/1.1\r\n\r\n",
        "nonsense\r\n\r\n",
        f"GET /stream{'-async' if server == 'uvicorn' else ''}?fail HTTP/1.1\r\n\r\n",
    ]


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.service
def test_to_customers_nothing_has_changed(tmp_path: Path, server: str) -> None:
    """Each byte of each answer is as without us: headers, Vary, cookies, queries and chunks."""
    pytest.importorskip(server.partition(" ")[0], reason="the server is not installed")
    asked = requests(server)
    many = len(asked) - NO_TOUCHPOINTS
    found, sent = {}, {}
    for how in ("plain", "alone", "opentelemetry", "both"):
        with Served(tmp_path / how, server, how) as served:
            found[how] = [served.ask(each) for each in asked]
            if how != "plain":
                sent[how] = served.touchpoints(many)

    plain = found["plain"]
    assert plain[0].endswith(b"hello")
    assert sum(b"Vary: Cookie" in each for each in plain) >= 3
    assert [how for how in found if found[how] != plain] == []
    assert len(sent["alone"]) == many
    assert sent["both"] == sent["opentelemetry"]
    # OpenTelemetry's span has its end before the stream fails.
    assert len(set(sent["alone"]) - set(sent["both"])) == 1


@pytest.mark.service
def test_a_client_that_hangs_up_before_the_answer_abandons_it(tmp_path: Path) -> None:
    """The server notices, Django cancels the view, and the touchpoint is abandoned."""
    pytest.importorskip("uvicorn", reason="the server is not installed")
    if django.VERSION < (5, 0):
        pytest.skip("Django notices from 5.0 on")
    with Served(tmp_path / "shop", "uvicorn", "alone") as served:
        with socket.create_connection(("127.0.0.1", served.port)) as connection:
            connection.sendall(f"GET /hang?in={tmp_path} HTTP/1.1\r\nHost: shop\r\n\r\n".encode())
            until((tmp_path / "hanging").exists)

        assert served.touchpoints(1) == [("hang", "abandoned")]
