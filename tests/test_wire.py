"""Real HTTP clients with their stock instrumentation against a real listener: who gets what.

Host names are made to lead to the listener, so that to the clients ``api.example.com``, which is
trusted, and ``shop.example.com``, which is not, are two real hosts.
"""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cxtrace import _baggage
from cxtrace import attributes as names
from cxtrace.privacy import Key

KEY = "0123456789abcdef0123456789abcdef"
NAMES = {names.JOURNEY_NAME, names.TOUCHPOINT_NAME, names.CONSENT_STATE}
IDS = {names.JOURNEY_ID, names.CUSTOMER_PSEUDONYM}

SCRIPT = r"""
import asyncio, http.server, importlib, json, socket, sys, threading

client, sample, trips = sys.argv[1:]
seen = []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        host = self.headers["Host"].partition(":")[0]
        baggage = self.headers.get_all("baggage") or []
        seen[-1].append([host, ",".join(baggage), self.headers["traceparent"]])
        target, _, path = self.path[1:].partition("/")
        self.send_response(302 if target else 200)
        if target:
            origin = "" if target == "~" else f"http://{target}:{port}"
            self.send_header("Location", f"{origin}/{path}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
port = server.server_address[1]
threading.Thread(target=server.serve_forever, daemon=True).start()
resolve = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **more: resolve("127.0.0.1", *rest, **more)

import cxtrace
from opentelemetry import baggage
from opentelemetry.context import attach

cxtrace.configure(
    exporter="none",
    key="0123456789abcdef0123456789abcdef",
    trusted_hosts=["api.example.com"],
    sample=float(sample),
)


def get_httpx(url):
    import httpx

    with httpx.Client(follow_redirects=True, trust_env=False) as session:
        session.get(url)


def get_httpx_async(url):
    import httpx

    async def get():
        async with httpx.AsyncClient(follow_redirects=True, trust_env=False) as session:
            await session.get(url)

    asyncio.run(get())


def get_requests(url):
    import requests

    with requests.Session() as session:
        session.trust_env = False
        session.get(url)


def get_aiohttp(url):
    import aiohttp

    async def get():
        connector = aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver())
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.get(url) as response:
                await response.read()

    asyncio.run(get())


def get_urllib3(url):
    import urllib3

    urllib3.PoolManager().request("GET", url)


def get_urllib(url):
    from urllib.request import ProxyHandler, build_opener

    build_opener(ProxyHandler({})).open(url).close()


module, name = {
    "httpx": ("httpx", "HTTPXClientInstrumentor"),
    "httpx_async": ("httpx", "HTTPXClientInstrumentor"),
    "requests": ("requests", "RequestsInstrumentor"),
    "aiohttp": ("aiohttp_client", "AioHttpClientInstrumentor"),
    "urllib3": ("urllib3", "URLLib3Instrumentor"),
    "urllib": ("urllib", "URLLibInstrumentor"),
}[client]
getattr(importlib.import_module(f"opentelemetry.instrumentation.{module}"), name)().instrument()
get = globals()[f"get_{client}"]
attach(baggage.set_baggage("tenant", "7"))
with (
    cxtrace.journey("first_order"),
    cxtrace.customer("cust-42", consent="granted"),
    cxtrace.touchpoint("checkout.pay"),
):
    for host, *others in json.loads(trips):
        seen.append([])
        get(f"http://{host}:{port}/{'/'.join(others)}")
print(json.dumps(seen))
"""

MODULES = {
    "httpx": "httpx",
    "httpx_async": "httpx",
    "requests": "requests",
    "aiohttp": "aiohttp_client",
    "urllib3": "urllib3",
    "urllib": "urllib",
}
INJECTS_ONCE = ("requests", "aiohttp", "urllib")
"""What follows redirects with the headers that it has, and asks no propagator again."""

OURS, HERE, STRANGER = "api.example.com", "127.0.0.1", "shop.example.com"
TRIPS = (
    (OURS,),
    (HERE,),
    (STRANGER,),
    (OURS, STRANGER),
    (OURS, "~", STRANGER),
    (OURS, HERE, STRANGER),
    (STRANGER, OURS),
    (OURS, STRANGER, OURS),
    (OURS, OURS),
    (OURS, "~"),
    (OURS, HERE),
)
"""A host and those that it redirects to, one after the other; a tilde is a relative redirect."""
_seen: dict[tuple[str, ...], Any] = {}


def seen(folder: Path, client: str, sample: str = "1", conventions: str = "") -> Any:
    """What the listener got on each trip, a hop at a time: host, baggage and traceparent."""
    pytest.importorskip(
        f"opentelemetry.instrumentation.{MODULES[client]}",
        reason=f"opentelemetry-instrumentation-{MODULES[client]} is not installed",
        exc_type=ImportError,
    )
    importlib.import_module(client.partition("_")[0])
    run = (client, sample, conventions)
    if run not in _seen:
        environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("OTEL_", "CXTRACE_"))
        }
        found = subprocess.run(
            [sys.executable, "-c", SCRIPT, client, sample, json.dumps(TRIPS)],
            env={**environ, "OTEL_SEMCONV_STABILITY_OPT_IN": conventions},
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        _seen[run] = dict(zip(TRIPS, json.loads(found.stdout), strict=True))
    return _seen[run]


def ours(baggage: str) -> set[str]:
    """The names of our members in a header, whose signature must hold."""
    found = _baggage.parse(baggage).ours
    if found:
        moment = float(found[_baggage.SIGNATURE].split(":")[2])
        assert _baggage.fault(found, Key(KEY.encode()), moment) is None
    return found.keys() - {_baggage.SIGNATURE}


RUNS = [
    *((client, "1", "") for client in MODULES),
    *((client, "1", "http") for client in MODULES if client != "httpx_async"),
    *((client, "0", "") for client in MODULES if client != "httpx_async"),
]
every_run = pytest.mark.parametrize(("client", "sample", "conventions"), RUNS)


@every_run
def test_our_hosts_get_the_signed_members(
    client: str, sample: str, conventions: str, tmp_path: Path
) -> None:
    """A trusted host and one of our network get names and ids, sampled or not, once."""
    trips = seen(tmp_path, client, sample, conventions)
    for expected in (OURS, HERE):
        ((host, baggage, traceparent),) = trips[(expected,)]

        assert host == expected
        assert ours(baggage) == NAMES | IDS
        assert baggage.startswith("tenant=7,")
        assert traceparent[-1] in ("1", "3") if sample == "1" else traceparent[-1] in ("0", "2")


@every_run
def test_strangers_get_nothing_of_ours(
    client: str, sample: str, conventions: str, tmp_path: Path
) -> None:
    """A host outside of the allow-list gets the baggage of others and nothing of ours."""
    ((host, baggage, traceparent),) = seen(tmp_path, client, sample, conventions)[(STRANGER,)]

    assert host == STRANGER
    assert baggage == "tenant=7"
    assert traceparent


@every_run
@pytest.mark.parametrize("trip", [trip for trip in TRIPS if trip[1:] and trip[-1] == STRANGER])
def test_redirect_to_a_stranger_carries_nothing_of_ours(
    client: str, sample: str, conventions: str, trip: tuple[str, ...], tmp_path: Path
) -> None:
    """Where our hosts send the client on to a stranger, the stranger gets the rest alone."""
    *before, (host, baggage, traceparent) = seen(tmp_path, client, sample, conventions)[trip]

    assert [ours(each) for _, each, _ in before] == [NAMES | IDS] * len(trip[1:])
    assert host == STRANGER
    assert baggage == "tenant=7"
    assert traceparent


@every_run
def test_redirect_from_a_stranger_gives_the_stranger_nothing(
    client: str, sample: str, conventions: str, tmp_path: Path
) -> None:
    """A stranger who sends the client to one of our hosts has seen nothing of ours."""
    first, second = seen(tmp_path, client, sample, conventions)[STRANGER, OURS]

    assert (first[0], second[0]) == (STRANGER, OURS)
    assert first[1] == "tenant=7"
    assert ours(second[1]) == (set() if client in INJECTS_ONCE else NAMES | IDS)


@every_run
def test_way_over_a_stranger_tells_the_stranger_nothing(
    client: str, sample: str, conventions: str, tmp_path: Path
) -> None:
    """From us over a stranger back to us, the stranger gets nothing; we get all or nothing."""
    first, second, third = seen(tmp_path, client, sample, conventions)[OURS, STRANGER, OURS]

    assert ours(first[1]) == NAMES | IDS
    assert second[:2] == [STRANGER, "tenant=7"]
    assert third[0] == OURS
    assert ours(third[1]) == (set() if client in ("requests", "urllib") else NAMES | IDS)
    assert "tenant=7" in third[1]


@every_run
@pytest.mark.parametrize("trip", [(OURS, OURS), (OURS, "~"), (OURS, HERE)])
def test_redirect_among_our_hosts_carries_the_members_once(
    client: str, sample: str, conventions: str, trip: tuple[str, ...], tmp_path: Path
) -> None:
    """A redirect from us to us goes on with the journey, each member once."""
    hops = seen(tmp_path, client, sample, conventions)[trip]

    assert len(hops) == len(trip)
    for _, baggage, _ in hops:
        assert ours(baggage) == NAMES | IDS
        assert not _baggage.parse(baggage).repeated
        assert "tenant=7" in baggage
