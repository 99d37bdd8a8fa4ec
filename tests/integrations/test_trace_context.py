"""W3C Trace Context and Baggage through real servers: with us, no worse than OpenTelemetry alone.

Each vector is sent over HTTP to servers that call a further service, which answers with the
headers that it got. Source: https://www.w3.org/TR/trace-context-1/ and
https://www.w3.org/TR/baggage/.
"""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from attrs import frozen
from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cxtrace import JourneyMap
from cxtrace.integrations.asgi import CXMiddleware
from cxtrace.testing import capture
from tests.integrations.servers import exchange, program, server

for _name in ("starlette", "uvicorn", "opentelemetry.instrumentation.auto_instrumentation"):
    pytest.importorskip(_name, reason=f"{_name} is not installed")
for _name in ("starlette", "urllib"):
    pytest.importorskip(
        f"opentelemetry.instrumentation.{_name}", reason=f"no instrumentation of {_name}"
    )

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{PARENT}-01"
LONG_KEY = "k" * 256
MANY = ",".join(f"m{number}=1" for number in range(32))

APPLICATION = """
import os
from urllib.request import urlopen
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

def ask():
    with urlopen(os.environ["NEXT"]) as answer:
        return answer.read()

async def go(request):
    return Response(await run_in_threadpool(ask))

app = Starlette(routes=[Route("/go", go)])
"""
MAP = """
schema = "cxtrace.map/1"
name = "shop"

[functions]
sales = {}

[request]
customer = [{ header = "X-Customer-Id" }]
journey = [{ cookie = "visitor" }]

[[stage]]
name = "purchase"
phase = "customer"

[[touchpoint]]
name = "cart.view"
stage = "purchase"
owner = "sales"
match = { route = "GET /go" }

[[journey]]
name = "first_order"
goal = "cart.view"
"""

Got: TypeAlias = dict[str, list[str]]
"""The headers that the further service has got."""


@frozen
class Vector:
    """What is sent, and what the recommendation asks for.

    Attributes:
        name: Of the vector.
        headers: In order.
        continued: Whether the trace goes on; if not, it starts anew.
        state: Members of ``tracestate`` that are passed on; None where either way is right.
    """

    name: str
    headers: tuple[tuple[str, str], ...]
    continued: bool
    state: tuple[str, ...] | None = ()


def parent(name: str, value: str, *, continued: bool = False) -> Vector:
    """A vector of one ``traceparent``."""
    return Vector(name, (("traceparent", value),), continued)


def state(name: str, *values: str, passed: tuple[str, ...] | None = ()) -> Vector:
    """A vector of a good ``traceparent`` and headers of ``tracestate``."""
    headers = (("traceparent", GOOD), *(("tracestate", value) for value in values))
    return Vector(name, headers, True, passed)


VECTORS = (
    Vector("nothing", (), False),
    parent("good", GOOD, continued=True),
    parent("good, not sampled", GOOD[:-1] + "0", continued=True),
    parent("good, unknown flags", GOOD[:-2] + "09", continued=True),
    parent("blanks around", f"  {GOOD} \t", continued=True),
    parent("later version", f"cc{GOOD[2:]}", continued=True),
    parent("later version, more fields", f"cc{GOOD[2:]}-what-will-be", continued=True),
    parent("later version, more without a dash", f"cc{GOOD[2:]}.what-will-be"),
    parent("version 00, more fields", f"{GOOD}-more"),
    parent("version 00, a dash at the end", f"{GOOD}-"),
    parent("version 00, a dot at the end", f"{GOOD}."),
    parent("version ff", f"ff{GOOD[2:]}"),
    parent("version of strange characters", f".0{GOOD[2:]}"),
    parent("version in capitals", f"CC{GOOD[2:]}"),
    parent("version too long", f"000{GOOD[2:]}"),
    parent("version too short", GOOD[1:]),
    parent("no version", GOOD[3:]),
    parent("trace id of zeros", f"00-{'0' * 32}-{PARENT}-01"),
    parent("trace id in capitals", f"00-{TRACE.upper()}-{PARENT}-01"),
    parent("trace id of strange characters", f"00-.{TRACE[1:]}-{PARENT}-01"),
    parent("trace id too long", f"00-{TRACE}0-{PARENT}-01"),
    parent("trace id too short", f"00-{TRACE[1:]}-{PARENT}-01"),
    parent("parent id of zeros", f"00-{TRACE}-{'0' * 16}-01"),
    parent("parent id in capitals", f"00-{TRACE}-{PARENT.upper()}-01"),
    parent("parent id of strange characters", f"00-{TRACE}-.{PARENT[1:]}-01"),
    parent("parent id too long", f"00-{TRACE}-{PARENT}0-01"),
    parent("parent id too short", f"00-{TRACE}-{PARENT[1:]}-01"),
    parent("flags of strange characters", GOOD[:-2] + ".0"),
    parent("flags too long", f"{GOOD}0"),
    parent("flags too short", GOOD[:-1]),
    parent("no flags", GOOD[:-3]),
    parent("empty", ""),
    parent("not of ASCII", f"00-{TRACE[:-1]}é-{PARENT}-01"),
    Vector("name in capitals", (("TRACEPARENT", GOOD),), True),
    Vector("name with a dash", (("trace-parent", GOOD),), False),
    Vector("two of them", (("traceparent", GOOD), ("traceparent", GOOD[:-1] + "0")), False),
    Vector("state alone", (("tracestate", "foo=1"),), False),
    Vector("bad parent", (("traceparent", GOOD[:-1]), ("tracestate", "foo=1")), False),
    state("state of two", "foo=1,bar=2", passed=("foo=1", "bar=2")),
    state("state in two headers", "foo=1", "bar=2", passed=("foo=1", "bar=2")),
    state("state in two headers, one empty", "foo=1", "", passed=("foo=1",)),
    state("state, empty", ""),
    state("state, empty members", "foo=1,,bar=2, ,", passed=("foo=1", "bar=2")),
    state("state, blanks", "foo=1 \t , \t bar=2 \t ", passed=("foo=1", "bar=2")),
    state("state, blank in the value", "foo=a b,bar=2", passed=("foo=a b", "bar=2")),
    state("state, a key twice", "foo=1,foo=2", passed=None),
    state("state, a key twice in two headers", "foo=1", "foo=2", passed=None),
    state("state, key of a tenant", "t@foo=1,0t-_*/@bar=2", passed=("t@foo=1", "0t-_*/@bar=2")),
    state("state, tenant without a system", "t@=1,foo=1"),
    state("state, system without a tenant", "@foo=1,bar=2"),
    state("state, two tenants", "a@b@c=1,foo=1"),
    state("state, key in capitals", "FOO=1"),
    state("state, key of strange characters", "foo =1"),
    state("state, key with a dot", "foo.bar=1"),
    state("state, no value", "foo,bar=1"),
    state("state, an empty value", "foo=,bar=1", passed=None),
    state("state, an equals sign in the value", "foo=1=2"),
    state("state, name in capitals", "foo=1", passed=("foo=1",)),
    state("state, longest key", f"{LONG_KEY}=1", passed=(f"{LONG_KEY}=1",)),
    state("state, key too long", f"{LONG_KEY}k=1"),
    state("state, longest tenant", f"{'t' * 241}@{'s' * 14}=1", passed=None),
    state("state, tenant too long", f"{'t' * 242}@s=1"),
    state("state, system too long", f"t@{'s' * 15}=1"),
    state("state, longest value", f"foo={'v' * 256}", passed=(f"foo={'v' * 256}",)),
    state("state, value too long", f"foo={'v' * 257}"),
    state("state, 32 members", MANY, passed=tuple(MANY.split(","))),
    state("state, 33 members", f"{MANY},one=more"),
    state("state, 33 members in two headers", MANY, "one=more"),
    state("state, all characters", "a-z0_*/=!\"#$%&'()*+-./:;<>?@[\\]^_`{|}~", passed=None),
)

BAGGAGE = {
    "a member": ["colour=green"],
    "members, properties and blanks": ["colour=green;of=coat;dark ,  size = xl , n=1"],
    "escaped": ["name=J%C3%BCrgen%20%2C%3B,x=%zz"],
    "two headers": ["colour=green", "size=xl"],
    "a key twice": ["colour=green,colour=red"],
    "a prefix that looks like ours": ["cxx=1,xcx.journey.name=2,user.id=3"],
    "no members": ["", ",,", "=", "colour"],
    "many": [",".join(f"key{number}=value" for number in range(200))],
    "long": [f"colour={'g' * 4_000},size=xl"],
    "too long": [f"colour={'g' * 9_000}"],
    "not of ASCII": ["colour=grün"],
}

PLAIN = "OpenTelemetry alone"
OURS = {
    "opentelemetry-instrument": ("opentelemetry-instrument",),
    "cxtrace run": ("cxtrace", "run", "--"),
}
"""How the service is started."""

ALONE = "our middleware alone"


@contextmanager
def further_service() -> Iterator[str]:
    """A service that answers with the headers it got."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            got = {
                name: self.headers.get_all(name, [])
                for name in ("traceparent", "tracestate", "baggage")
            }
            body = json.dumps(got).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[str, int]]]:
    """One server of OpenTelemetry alone, and those with us."""
    ours = {
        "OTEL_PROPAGATORS": "tracecontext,baggage,cxtrace",
        "CXTRACE_MAP": "map.toml",
        "CXTRACE_EXPORTER": "none",
    }
    kinds = {
        PLAIN: (("opentelemetry-instrument",), {"OTEL_PROPAGATORS": "tracecontext,baggage"}),
        **{name: (command, ours) for name, command in OURS.items()},
        ALONE: (
            ("opentelemetry-instrument",),
            {**ours, "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "starlette,asgi,fastapi"},
        ),
    }
    none = {f"OTEL_{what}_EXPORTER": "none" for what in ("TRACES", "METRICS", "LOGS")}
    with ExitStack() as stack:
        further = stack.enter_context(further_service())
        found = {}
        for name, (command, settings) in kinds.items():
            folder: Path = tmp_path_factory.mktemp("service")
            (folder / "service.py").write_text(APPLICATION, encoding="utf-8")
            (folder / "map.toml").write_text(MAP, encoding="utf-8")
            uvicorn = (program("uvicorn"), "service:app", "--port", "0")
            running = server(
                folder,
                program(command[0]),
                *command[1:],
                *uvicorn,
                NEXT=further,
                **none,
                **settings,
            )
            found[name] = stack.enter_context(running)
        yield found


def got_by(address: tuple[str, int], *headers: tuple[str, str]) -> Got:
    """What the further service gets when these headers are sent to a server."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    answer = exchange(
        address,
        "GET /go HTTP/1.1\r\nHost: shop\r\nCookie: visitor=v1\r\nX-Customer-Id: cust-42\r\n"
        f"Connection: close\r\n{lines}\r\n",
    )
    found: Got = json.loads(answer.partition(b"\r\n\r\n")[2])
    return found


def outcome(got: Got) -> tuple[bool, str, list[str]]:
    """Whether the trace went on, its version and flags, and the state that was passed on."""
    (told,) = got["traceparent"]
    version, trace, span, flags = told.split("-")
    assert span != PARENT
    return trace == TRACE, version + flags, got["tracestate"]


def follows(vector: Vector, got: Got) -> bool:
    """Whether the recommendation is followed."""
    continued, _, passed = outcome(got)
    members = tuple(part.strip() for header in passed for part in header.split(",") if part.strip())
    return continued == vector.continued and vector.state in (None, members)


@pytest.mark.service
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_a_trace_goes_on_as_with_opentelemetry_alone(
    addresses: dict[str, tuple[str, int]], vector: Vector
) -> None:
    """Whether it goes on, with which flags and which state, is the same with us."""
    plain = got_by(addresses[PLAIN], *vector.headers)

    for name in OURS:
        assert outcome(got_by(addresses[name], *vector.headers)) == outcome(plain), name


@pytest.mark.service
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_our_middleware_alone_is_no_worse(
    addresses: dict[str, tuple[str, int]], vector: Vector
) -> None:
    """What OpenTelemetry's middleware does by the recommendation, ours does without it."""
    plain = follows(vector, got_by(addresses[PLAIN], *vector.headers))
    ours = follows(vector, got_by(addresses[ALONE], *vector.headers))

    assert ours >= plain


@pytest.mark.service
@pytest.mark.parametrize("name", BAGGAGE)
def test_baggage_of_others_passes_as_with_opentelemetry_alone(
    addresses: dict[str, tuple[str, int]], name: str
) -> None:
    """Ours stands beside it; that of others arrives as it would have."""
    headers = [("baggage", value) for value in BAGGAGE[name]]
    plain = ",".join(got_by(addresses[PLAIN], *headers)["baggage"])

    for starter in OURS:
        (header,) = got_by(addresses[starter], *headers)["baggage"]
        members = header.split(",")
        others = [each for each in members if not each.startswith(("cx.", "enduser."))]
        assert "cx.journey.name=first_order" in members
        assert ",".join(others) == plain, starter


def test_a_propagator_that_looks_through_all_headers_finds_them() -> None:
    """Some formats have keys that nobody knows beforehand."""
    seen = []

    class Propagator(TraceContextTextMapPropagator):
        def extract(self, carrier: Any, context: Any = None, getter: Any = None) -> Context:
            seen.extend(getter.keys(carrier))
            return super().extract(carrier, context, getter)

    async def nothing(*_: Any) -> Any:
        pass

    headers = [(b"uber-trace-id", b"1:2:0:1"), (b"uberctx-colour", b"green")]
    scope = {"type": "http", "method": "GET", "path": "/go", "headers": headers}
    before = propagate.get_global_textmap()
    with capture(journey_map=JourneyMap.loads(MAP)):
        propagate.set_global_textmap(Propagator())
        try:
            asyncio.run(CXMiddleware(nothing)(scope, nothing, nothing))
        finally:
            propagate.set_global_textmap(before)

    assert seen == ["uber-trace-id", "uberctx-colour"]
