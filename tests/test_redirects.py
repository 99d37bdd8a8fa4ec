"""What a client is about to send after a redirect: strangers find nothing of ours in it."""

import asyncio
import functools
import http.server
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import SpanKind

import cxtrace
from cxtrace import _baggage, _guard, _redirects
from cxtrace.privacy import HmacPseudonymiser, Key
from cxtrace.propagation import CXPropagator

aiohttp = pytest.importorskip("aiohttp")
httpcore = pytest.importorskip("httpcore")
httpx = pytest.importorskip("httpx")
requests = pytest.importorskip("requests")
CIMultiDict = pytest.importorskip("multidict").CIMultiDict

KEY = Key(b"0123456789abcdef0123456789abcdef")
OURS, STRANGER = "api.example.com", "shop.example.com"
MEMBERS = "cx.journey.name=first_order,enduser.pseudo.id=v1.abc,cx.sig=v1:a:1:b"
SEAMS = (
    ("requests.adapters", "HTTPAdapter", "send"),
    ("aiohttp", "ClientRequest", "send"),
    ("httpcore", "ConnectionPool", "handle_request"),
    ("httpcore", "AsyncConnectionPool", "handle_async_request"),
    ("urllib.request", "AbstractHTTPHandler", "do_open"),
)


class Listener(http.server.ThreadingHTTPServer):
    """Redirects along the hosts in the path, and remembers what it got."""

    daemon_threads = True

    def __init__(self) -> None:
        self.status = 302
        self.hops: list[SimpleNamespace] = []
        super().__init__(("127.0.0.1", 0), Handler)

    def url(self, *hosts: str) -> str:
        """Of the first host, which redirects to the others."""
        return f"http://{hosts[0]}:{self.server_port}/{'/'.join(hosts[1:])}"


class Handler(http.server.BaseHTTPRequestHandler):
    """One hop."""

    server: Listener

    def answer(self) -> None:
        """Remember the hop, and send the client on to the next."""
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        found = SimpleNamespace(
            host=self.headers["Host"].partition(":")[0],
            method=self.command,
            baggage=",".join(self.headers.get_all("baggage") or []),
            headers=self.headers,
            body=body,
        )
        self.server.hops.append(found)
        target, _, path = self.path[1:].partition("/")
        self.send_response(self.server.status if target else 200)
        if target:
            scheme, _, target = target.rpartition("+")
            origin = f"{scheme or 'http'}://{target}:{self.server.server_port}"
            self.send_header("Location", f"{origin}/{path}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD = do_POST = answer  # noqa: N815

    def log_message(self, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    """A server to which every host name leads."""
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **more: resolve("127.0.0.1", *rest, **more),
    )
    monkeypatch.setenv("no_proxy", "*")
    with Listener() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def as_it_was(cx: Any) -> Iterator[None]:
    """Decide whom to trust; give the clients their own methods before and after."""
    cx.use(key=KEY, pseudonymiser=HmacPseudonymiser(KEY), trusted_hosts=(OURS,))
    _redirects.restore()
    yield
    _redirects.restore()


@pytest.fixture
def sent(cx: Any) -> Callable[..., Any]:
    """Writes the headers of a request to one of our hosts, as an instrumentation does."""

    def inject(headers: Any = None, host: str = OURS) -> Any:
        headers = {} if headers is None else headers
        attributes = {"url.full": f"http://{host}/"}
        with (
            cxtrace.journey("first_order"),
            cxtrace.customer("cust-42", consent="granted"),
            cx.tracer.start_as_current_span("r", kind=SpanKind.CLIENT, attributes=attributes),
        ):
            CXPropagator().inject(headers)
        return headers

    return inject


def ours(baggage: str) -> bool:
    """Whether members of ours stand there."""
    return bool(_baggage.parse(baggage).ours)


def seam(place: tuple[str, str, str]) -> Any:
    """The method that stands at a place now."""
    module, owner, method = place
    return vars(getattr(sys.modules[module], owner))[method]


# requests


class Careless(requests.Session):  # type: ignore[misc]
    """A session that keeps all headers at a redirect, as some are told to for their tokens."""

    def rebuild_auth(self, prepared_request: Any, response: Any) -> None:
        """Do not ask super()."""


class Tunnel(requests.adapters.HTTPAdapter):  # type: ignore[misc]
    """Takes what is meant for https to the listener, which does not speak TLS."""

    def get_connection_with_tls_context(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """As for http."""
        plain = SimpleNamespace(url=request.url.replace("https:", "http:"))
        return super().get_connection_with_tls_context(plain, *args, **kwargs)


@pytest.mark.parametrize("session", [requests.Session, Careless])
def test_session_cannot_tell_strangers(
    session: Any, listener: Listener, sent: Callable[..., Any]
) -> None:
    """A session that overrides how redirects treat headers tells strangers nothing either."""
    with session() as client:
        client.get(listener.url(OURS, STRANGER), headers=sent({"baggage": "tenant=7"}))
    first, second = listener.hops

    assert ours(first.baggage)
    assert (second.host, second.baggage) == (STRANGER, "tenant=7")
    assert cxtrace.report().counts == {"baggage.not_sent_to_strangers": 1}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_every_redirect_is_looked_at(
    method: str, status: int, listener: Listener, sent: Callable[..., Any]
) -> None:
    """Any method and status, streamed or not, brings a stranger nothing of ours, and the body."""
    listener.status = status
    data = b"what is paid" if method == "POST" else None
    with requests.Session() as client:
        client.request(
            method,
            listener.url(OURS, STRANGER),
            headers=sent(),
            data=data,
            stream=True,
            allow_redirects=True,
        ).close()
    first, second = listener.hops

    assert (ours(first.baggage), second.headers["baggage"]) == (True, None)
    assert second.body == (data or b"" if status in (307, 308) else b"")


@pytest.mark.parametrize("host", [OURS, "127.0.0.1"])
def test_our_hosts_keep_what_they_got(
    host: str, listener: Listener, sent: Callable[..., Any]
) -> None:
    """A redirect among our hosts carries the very same members on."""
    with requests.Session() as client:
        client.get(listener.url(OURS, host), headers=sent())
    first, second = listener.hops

    assert ours(first.baggage)
    assert second.baggage == first.baggage


@pytest.mark.parametrize(("host", "told"), [(OURS, True), (STRANGER, False)])
@pytest.mark.skipif(
    not hasattr(requests.adapters.HTTPAdapter, "get_connection_with_tls_context"),
    reason="older versions of requests connect in another way",
)
def test_other_scheme_is_the_same_host(
    host: str, told: bool, listener: Listener, sent: Callable[..., Any]
) -> None:
    """Whether a redirect leads to https changes nothing: the host decides."""
    with requests.Session() as client:
        client.mount("https://", Tunnel())
        client.get(listener.url(OURS, f"https+{host}"), headers=sent())
    first, second = listener.hops

    assert ours(first.baggage)
    assert (second.host, ours(second.baggage)) == (host, told)


def test_names_alone_never_go_to_strangers(
    cx: Any, listener: Listener, sent: Callable[..., Any]
) -> None:
    """``unknown_destination=names`` tells a stranger no names, where the client shows who it is."""
    cx.use(key=KEY, unknown_destination="names", trusted_hosts=(OURS,))
    headers: dict[str, str] = {}
    with cxtrace.journey("first_order"):
        CXPropagator().inject(headers)
    with requests.Session() as client:
        client.get(listener.url(OURS, STRANGER), headers=headers)
        client.get(listener.url(STRANGER), headers=headers)

    assert [ours(hop.baggage) for hop in listener.hops] == [True, False, False]


def test_redirect_that_is_followed_by_hand(listener: Listener, sent: Callable[..., Any]) -> None:
    """Who follows a redirect on their own tells the stranger nothing either."""
    with requests.Session() as client:
        url = listener.url(OURS, STRANGER)
        response = client.get(url, headers=sent(), allow_redirects=False)
        client.get_adapter(url).send(request=response.next)
    first, second = listener.hops

    assert (ours(first.baggage), ours(second.baggage)) == (True, False)


@pytest.mark.parametrize("value", ["tenant=7,%s", b"tenant=7,%s"])
def test_headers_in_any_form(
    value: str | bytes, listener: Listener, sent: Callable[..., Any]
) -> None:
    """Header names in any case, and values of bytes, are found."""
    sent()
    line: Any = value % (MEMBERS if isinstance(value, str) else MEMBERS.encode())
    with requests.Session() as client:
        client.get(listener.url(OURS, STRANGER), headers={"BagGage": line})
    first, second = listener.hops

    assert ours(first.baggage)
    assert second.baggage == "tenant=7"


def test_request_without_headers_goes_out(listener: Listener, sent: Callable[..., Any]) -> None:
    """A request that somebody has put together without any headers is let through."""
    sent()
    with requests.Session() as client:
        request = client.prepare_request(requests.Request("GET", listener.url(STRANGER)))
        request.headers = None
        client.get_adapter(request.url).send(request)

    assert [hop.host for hop in listener.hops] == [STRANGER]
    assert cxtrace.report().counts == {}


# aiohttp


def get_aiohttp(url: str, method: str = "GET", **settings: Any) -> None:
    """One request of a session with these settings."""

    async def get() -> None:
        resolver = aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver())
        data = settings.pop("data", None)
        async with (
            aiohttp.ClientSession(connector=resolver, **settings) as session,
            session.request(method, url, data=data) as response,
        ):
            await response.read()

    asyncio.run(get())


def test_headers_of_a_session(listener: Listener, sent: Callable[..., Any]) -> None:
    """Headers that a session of aiohttp sends each time go to us and not to a stranger."""
    headers = CIMultiDict([("Baggage", "tenant=7"), ("baggage", "tier=gold")])
    sent()
    headers.add("baggage", MEMBERS)
    for hosts in ((OURS, STRANGER, OURS), (STRANGER,)):
        get_aiohttp(listener.url(*hosts), headers=headers)

    assert [ours(hop.baggage) for hop in listener.hops] == [True, False, True, False]
    assert [hop.baggage for hop in listener.hops if hop.host == STRANGER] == [
        "tenant=7,tier=gold",
        "tenant=7,tier=gold",
    ]
    assert headers.getall("baggage") == ["tenant=7", "tier=gold", MEMBERS]


@pytest.mark.parametrize("status", [303, 307])
def test_traces_of_the_host_are_called(
    status: int, listener: Listener, sent: Callable[..., Any]
) -> None:
    """What the host listens to in aiohttp is told of each redirect, once; the body arrives."""
    heard: list[str] = []
    traces = aiohttp.TraceConfig()

    async def hear(session: Any, context: Any, params: Any) -> None:
        heard.append(params.headers["baggage"])

    traces.on_request_redirect.append(hear)
    listener.status = status
    get_aiohttp(
        listener.url(OURS, STRANGER),
        "POST",
        data=b"what is paid",
        headers=sent(CIMultiDict()),
        trace_configs=[traces],
    )
    first, second = listener.hops

    assert heard == [first.baggage]
    assert ours(first.baggage)
    assert second.headers["baggage"] is None
    assert second.body == (b"what is paid" if status == 307 else b"")


# httpx and urllib


def test_httpx_without_instrumentation(listener: Listener, sent: Callable[..., Any]) -> None:
    """Where its instrumentation leaves a stranger out, httpx tells that stranger nothing either."""
    headers = sent(httpx.Headers({"baggage": "tenant=7"}))
    url = listener.url(OURS, STRANGER)

    async def get() -> None:
        async with httpx.AsyncClient(follow_redirects=True, trust_env=False) as client:
            await client.get(url, headers=headers)

    with httpx.Client(follow_redirects=True, trust_env=False) as client:
        client.get(url, headers=headers)
    asyncio.run(get())

    assert [ours(hop.baggage) for hop in listener.hops] == [True, False] * 2
    assert {hop.baggage for hop in listener.hops if hop.host == STRANGER} == {"tenant=7"}


def test_httpx_with_nothing_but_ours(listener: Listener, sent: Callable[..., Any]) -> None:
    """Where ours is all that stands in the header, the stranger gets no such header."""
    with httpx.Client(follow_redirects=True, trust_env=False) as client:
        client.get(listener.url(OURS, STRANGER), headers=sent())

    assert [hop.headers["baggage"] is None for hop in listener.hops] == [False, True]


def test_urllib(listener: Listener, sent: Callable[..., Any]) -> None:
    """The urllib of the standard library tells a stranger nothing of ours."""
    request = urllib.request.Request(listener.url(OURS, STRANGER), headers={"Baggage": "tenant=7"})
    sent(request.headers)
    with urllib.request.urlopen(request):
        first, second = listener.hops

    assert ours(first.baggage)
    assert not ours(second.baggage)


# What is wrapped, when, and what becomes of it


def test_nothing_is_imported_for_it() -> None:
    """A service that uses none of these clients does not load one, and its journeys go out."""
    code = """
import sys
from cxtrace import _redirects
for headers in ({}, [], object()):
    assert _redirects.are_safe_in(headers)
print(*{"requests", "aiohttp", "httpcore", "urllib.request"} & set(sys.modules))
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


def test_nothing_is_wrapped_before_ours_goes_out(sent: Callable[..., Any]) -> None:
    """Until the first of our members goes out, each client is what it was."""
    before = [seam(place) for place in SEAMS]
    assert sent(host=STRANGER) == {}
    assert [seam(place) for place in SEAMS] == before
    assert "baggage" in sent()

    after = [seam(place) for place in SEAMS]
    assert [each.__wrapped__ for each in after] == before
    sent()
    assert [seam(place) for place in SEAMS] == after


def test_only_the_client_whose_headers_they_are_is_wrapped(sent: Callable[..., Any]) -> None:
    """Headers of one client's own type leave the other clients alone."""
    before = [seam(place) for place in SEAMS]
    sent(requests.structures.CaseInsensitiveDict())

    assert [seam(place) is not own for place, own in zip(SEAMS, before, strict=True)] == [
        True,
        *[False] * 4,
    ]


def test_headers_of_unknown_type(sent: Callable[..., Any]) -> None:
    """Headers of a type that nobody knows may be for any client: all are wrapped."""
    before = [seam(place) for place in SEAMS]

    class Headers(dict[str, str]):
        pass

    assert "baggage" in sent(Headers())
    assert [seam(place) for place in SEAMS] != before


def test_many_types_of_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many types of headers come by, few are remembered."""
    monkeypatch.setattr(_redirects, "_places", {})
    for number in range(200):
        assert _redirects.are_safe_in(type(f"Headers{number}", (), {})())

    assert len(_redirects._places) <= 64


def test_what_others_put_back_is_wrapped_again(
    sent: Callable[..., Any], listener: Listener
) -> None:
    """Who replaces the method of a client for a while cannot take ours off for good."""

    def stand_in(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError

    with mock.patch("requests.adapters.HTTPAdapter.send", stand_in):
        sent()
    with requests.Session() as client:
        client.get(listener.url(OURS, STRANGER), headers=sent())

    assert [ours(hop.baggage) for hop in listener.hops] == [True, False]


def test_wrappers_of_others_are_called_as_before(
    sent: Callable[..., Any], listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrapper around ours stays, ours is not put around it again, and restoring leaves both."""
    sent()
    mine = requests.adapters.HTTPAdapter.send
    calls: list[str] = []

    @functools.wraps(mine)
    def around(self: Any, request: Any, **kwargs: Any) -> Any:
        calls.append(request.url)
        return mine(self, request, **kwargs)

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", around)
    with requests.Session() as client:
        client.get(listener.url(OURS, STRANGER), headers=sent())
    _redirects.restore()

    assert requests.adapters.HTTPAdapter.send is around
    assert len(calls) == 2
    assert [ours(hop.baggage) for hop in listener.hops] == [True, False]


def test_wrapper_of_others_beneath_ours(
    sent: Callable[..., Any], listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrapper that asks which instance it is bound to is told, although ours is around it."""
    wrapt = pytest.importorskip("wrapt")
    bound: list[Any] = []

    def note(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        bound.append(instance)
        return wrapped(*args, **kwargs)

    send = requests.adapters.HTTPAdapter.send
    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", wrapt.FunctionWrapper(send, note))
    with requests.Session() as client:
        client.get(listener.url(OURS, STRANGER), headers=sent())
        adapter = client.get_adapter("http://")
    _redirects.restore()

    assert bound == [adapter, adapter]
    assert [ours(hop.baggage) for hop in listener.hops] == [True, False]
    assert isinstance(vars(requests.adapters.HTTPAdapter)["send"], wrapt.FunctionWrapper)


def test_method_of_a_base_class(
    sent: Callable[..., Any], listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version in which the class inherits the method is wrapped as well."""

    class Adapter(requests.adapters.HTTPAdapter):  # type: ignore[misc]
        pass

    monkeypatch.setattr(requests.adapters, "HTTPAdapter", Adapter)
    sent()
    with requests.Session() as client:
        client.mount("http://", Adapter())
        client.get(listener.url(OURS, STRANGER), headers=sent())

    assert [ours(hop.baggage) for hop in listener.hops] == [True, False]


# Where it cannot be done


@pytest.mark.parametrize(
    ("headers", "broken", "name"),
    [
        (requests.structures.CaseInsensitiveDict, SEAMS[0], "requests"),
        (CIMultiDict, SEAMS[1], "aiohttp"),
        (httpx.Headers, SEAMS[3], "httpx"),
        (dict, SEAMS[4], "urllib"),
    ],
)
def test_client_that_cannot_be_wrapped_gets_nothing(
    headers: Any,
    broken: tuple[str, str, str],
    name: str,
    sent: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A version that is built in another way gets nothing of ours, and a warning says so."""
    monkeypatch.setattr(f"{broken[0]}.{broken[1]}", type("Rebuilt", (), {}))
    for _ in range(2):
        assert dict(sent(headers({"baggage": "tenant=7"}))) == {"baggage": "tenant=7"}

    assert cxtrace.report().counts == {"baggage.not_sent_blindly": 2, "errors.redirects": 2}
    assert f"where this version of {name} is redirected to" in caplog.text
    assert len(caplog.records) == 2


def test_other_clients_go_on(sent: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """That one client cannot be wrapped is nothing to headers that are not its own."""
    monkeypatch.setattr(aiohttp, "ClientRequest", None)

    assert "baggage" in sent()
    assert "baggage" in sent(httpx.Headers())
    assert cxtrace.report().counts == {}


def test_mock_is_left_alone(sent: Callable[..., Any]) -> None:
    """A mock in the place of a client's method stays there, and gets nothing of ours."""
    with mock.patch("requests.adapters.HTTPAdapter.send") as send:
        assert sent(requests.structures.CaseInsensitiveDict()) == {}
        assert requests.adapters.HTTPAdapter.send is send


def test_destination_that_cannot_be_told_is_a_stranger(
    sent: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request whose URL cannot be read goes out, without ours, and the error is counted."""
    monkeypatch.setattr(httpcore.ConnectionPool, "handle_request", lambda self, request: request)
    sent()
    headers = [(b"baggage", MEMBERS.encode()), (b"Accept", b"*/*")]
    request = SimpleNamespace(url=None, headers=headers)

    assert httpcore.ConnectionPool().handle_request(request) is request
    assert headers == [(b"Accept", b"*/*")]
    assert _guard.counts() == {"errors.redirects": 1, "baggage.not_sent_to_strangers": 1}


def test_request_in_an_unknown_place_goes_out(
    sent: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call whose request is not found is made as it is, and the error is counted."""
    monkeypatch.setattr(httpcore.ConnectionPool, "handle_request", lambda self, **more: more)
    sent()

    assert httpcore.ConnectionPool().handle_request(other=1) == {"other": 1}
    assert _guard.counts() == {"errors.redirects": 2}


# Properties

KEYS = st.sampled_from(["baggage", "Baggage", "BAGGAGE", "accept", "x-baggage"])
LINES = st.lists(
    st.sampled_from(["tenant=7", "tier=gold;p=1", MEMBERS, "CX.sig=1", "c%78.a=1", "noise", ""])
).map(",".join)
PAIRS = st.lists(st.tuples(KEYS, LINES), max_size=6)
FORMS: tuple[Callable[[Any], Any], ...] = (
    dict,
    CIMultiDict,
    requests.structures.CaseInsensitiveDict,
    lambda pairs: [(key.encode(), value.encode()) for key, value in pairs],
)


def in_order(headers: Any) -> list[tuple[str, str]]:
    """The headers as pairs of a name in small letters and text."""
    pairs = headers if isinstance(headers, list) else headers.items()
    texts = ([part.decode() if isinstance(part, bytes) else part for part in p] for p in pairs)
    return [(key.lower(), value) for key, value in texts]


def baggage_of(headers: Any) -> _baggage.Header:
    """All lines of ``baggage``, as a server reads them."""
    return _baggage.parse(",".join(v for key, v in in_order(headers) if key == "baggage"))


@given(pairs=PAIRS, form=st.sampled_from(FORMS))
def test_only_ours_is_taken_out(pairs: list[tuple[str, str]], form: Callable[[Any], Any]) -> None:
    """Of any headers, ours is taken out, and what others have put there stays, in order."""
    before, headers = form(pairs), form(pairs)
    _redirects._take_out(headers)

    assert baggage_of(headers).ours == {}
    assert baggage_of(headers).others == baggage_of(before).others
    assert [pair for pair in in_order(headers) if pair[0] != "baggage"] == [
        pair for pair in in_order(before) if pair[0] != "baggage"
    ]
    if not baggage_of(before).ours:
        assert in_order(headers) == in_order(before)


def test_places_are_those_of_the_clients() -> None:
    """Each client is looked at where these tests look."""
    assert tuple((c.module, c.owner, c.method) for c in _redirects._CLIENTS) == SEAMS


def test_threads_wrap_a_client_once() -> None:
    """However many threads come first at the same time, one wrapper stands and comes off."""
    interval = sys.getswitchinterval()
    place = SEAMS[0]
    own = seam(place)
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(50):
            together = threading.Barrier(8)

            def first(together: threading.Barrier = together) -> None:
                together.wait()
                _redirects.are_safe_in(requests.structures.CaseInsensitiveDict())

            threads = [threading.Thread(target=first) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert seam(place).__wrapped__ is own
            _redirects.restore()
            assert seam(place) is own
    finally:
        sys.setswitchinterval(interval)


def test_a_forked_child_has_a_lock_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may have wrapped a client at the moment of the fork."""
    monkeypatch.setattr(_redirects, "_wrapping", before := threading.RLock())

    _redirects._after_fork()

    assert _redirects._wrapping is not before
