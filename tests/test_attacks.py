"""A stranger calls us, is called by us, and listens: what it can set, flood, time and learn."""

import ast
import contextlib
import hashlib
import hmac
import http.client
import io
import random
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, attach, get_current
from opentelemetry.propagate import get_global_textmap, set_global_textmap
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import cxtrace
from cxtrace import _baggage, _instruments, _journeys, _redirects, _runtime, propagation
from cxtrace import attributes as names
from cxtrace.context import cx_of
from cxtrace.integrations.webhooks import Delivery, HmacSignature, SharedToken
from cxtrace.privacy import HmacPseudonymiser, Key
from cxtrace.propagation import CXPropagator
from tests.leaks import Planter, leaks

requests = pytest.importorskip("requests")
RequestsInstrumentor = pytest.importorskip(
    "opentelemetry.instrumentation.requests"
).RequestsInstrumentor
URLLibInstrumentor = pytest.importorskip("opentelemetry.instrumentation.urllib").URLLibInstrumentor

SOURCE = Path(cxtrace.__file__).parent
KEY = Key(b"0123456789abcdef0123456789abcdef")
NOW = 1_790_000_000.0
STRANGER = "shop.example.com"
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
MEMBERS = {
    names.JOURNEY_NAME: "first_order",
    names.JOURNEY_ID: "01j9z6",
    names.CONSENT_STATE: "granted",
    names.CUSTOMER_PSEUDONYM: "v1.abc",
}
GOOD = _baggage.signed(MEMBERS, KEY, NOW)
STOCK = CompositePropagator(
    [TraceContextTextMapPropagator(), W3CBaggagePropagator(), CXPropagator()]
)


@pytest.fixture(autouse=True)
def as_it_was(forgetful: None, cx: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A key of ours, a clock that stands still, and a context with nothing in it."""
    cx.use(key=KEY, pseudonymiser=HmacPseudonymiser(KEY))
    monkeypatch.setattr(propagation, "time", SimpleNamespace(time=lambda: NOW))
    before = get_current()
    attach(Context())
    yield
    attach(before)


def extracted(line: str, **headers: str) -> Any:
    """The context of a request with this ``baggage``."""
    return STOCK.extract({"baggage": [line], **headers}, Context())


def tags(line: str) -> dict[str, str]:
    """What every span of such a request is tagged with; the stock propagator would log a line."""
    found = cx_of(CXPropagator().extract({"baggage": [line]}, Context()))
    assert found is not None
    return found.tags()


# Signatures


def signatures_of_other_uses() -> Iterator[tuple[str, bytes]]:
    """What else the same key has made: under other labels, or over the same text without one."""
    text = GOOD.rpartition(",cx.sig=")[0].replace(",", "\n").encode()
    message = f"{KEY.key_id}\n{NOW:.0f}\n".encode() + text
    for label in (b"cxtrace/pseudo/v1", b"cxtrace/key-id/v1", b"cxtrace/journey-id/v1", b""):
        yield label.decode() or "no label", KEY.digest(label, message)
    yield "no label and no separator", hmac.digest(b"0123456789abcdef" * 2, message, "sha256")
    yield "no key", hashlib.sha256(message).digest()
    yield "the key as text", hmac.digest(KEY.key_id.encode(), message, "sha256")


@pytest.mark.parametrize(
    "signature", [pytest.param(digest, id=use) for use, digest in signatures_of_other_uses()]
)
def test_what_the_key_made_for_other_uses_is_no_signature(signature: bytes) -> None:
    """A pseudonym, an id of a journey or of the key, made over the same text, signs nothing."""
    body = GOOD.rpartition(":")[0]

    assert tags(GOOD) != {}
    assert tags(f"{body}:{signature.hex()[:32]}") == {}
    assert cxtrace.report().counts == {"baggage.forged": 1}


@pytest.mark.parametrize("key_id", ["", "%00", KEY.key_id.upper(), KEY.key_id + " ", "ephemeral"])
def test_a_key_id_that_is_not_ours_is_another_key(key_id: str) -> None:
    """An empty id, or one that only looks like ours, does not pick our key."""
    assert tags(GOOD.replace(f"v1:{KEY.key_id}:", f"v1:{key_id}:")) == {}
    assert cxtrace.report().counts == {"baggage.other_key": 1}


def test_two_processes_without_a_key_do_not_believe_each_other(cx: Any) -> None:
    """Random keys share the id ``ephemeral``; that alone makes no signature good."""
    theirs = _baggage.signed(MEMBERS, Key.ephemeral(), NOW)
    cx.use(key=Key.ephemeral())

    assert tags(theirs) == {}
    assert cxtrace.report().counts == {"baggage.forged": 1}


@pytest.mark.parametrize(("later", "believed"), [(299, True), (300, True), (301, False)])
def test_a_replayed_header_holds_for_five_minutes(
    monkeypatch: pytest.MonkeyPatch, later: int, believed: bool
) -> None:
    """Whoever has seen a header can say it again, word for word, until it is five minutes old."""
    monkeypatch.setattr(propagation, "time", SimpleNamespace(time=lambda: NOW + later))

    assert [bool(tags(GOOD)) for _ in range(3)] == [believed] * 3


def test_a_replayed_header_makes_no_pseudonym_for_another_customer() -> None:
    """Members of two good headers, put together, are those of none."""
    other = _baggage.signed({**MEMBERS, names.CUSTOMER_PSEUDONYM: "v1.xyz"}, KEY, NOW)
    mine, theirs = GOOD.split(","), other.split(",")
    mixed = [
        theirs[at] if member.startswith("enduser.") else member for at, member in enumerate(mine)
    ]

    assert tags(",".join(mixed)) == {}


@pytest.mark.parametrize("right", ["", "0" * 32, None])
def test_secrets_are_compared_in_constant_time(
    monkeypatch: pytest.MonkeyPatch, right: str | None
) -> None:
    """A signature, right or wrong, of any length, is compared by ``hmac.compare_digest`` alone."""
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append(1) or real(a, b))
    members = dict(_baggage.parse(GOOD).ours)
    if right is not None:
        members[_baggage.SIGNATURE] = members[_baggage.SIGNATURE].rpartition(":")[0] + ":" + right
    digest = hmac.digest(b"s", b"body", "sha256").hex() if right is None else "00" * 32
    delivery = Delivery(b"body", {"x-sig": digest, "authorization": f"Bearer {right}"})

    _baggage.fault(members, KEY, NOW)
    HmacSignature("s", header="X-Sig")(delivery)
    SharedToken("s")(delivery)

    assert len(compared) == 3


def _mentions_a_secret(node: ast.AST) -> bool:
    words = {"signature", "digest", "secret", "token", "expected", "mac"}
    found = {
        each.id if isinstance(each, ast.Name) else each.attr
        for each in ast.walk(node)
        if isinstance(each, (ast.Name, ast.Attribute))
    }
    return bool(found & words)


@pytest.mark.parametrize(
    "name", ["_baggage", "privacy", "propagation", "integrations/_webhooks/signatures"]
)
def test_no_secret_is_compared_by_an_operator(name: str) -> None:
    """Where secrets are at hand, no ``==`` and no ``in`` compares one."""
    tree = ast.parse((SOURCE / f"{name}.py").read_text(encoding="utf-8"))
    compared = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        and _mentions_a_secret(node)
        and isinstance(node.ops[0], (ast.Eq, ast.NotEq, ast.In, ast.NotIn))
    ]

    assert compared == []


# Sampling


@pytest.mark.parametrize("flags", ["00", "01"])
@pytest.mark.parametrize("public", [True, False])
def test_a_stranger_hides_no_touchpoint_from_the_metrics(
    cx: Any, meters: Any, flags: str, public: bool
) -> None:
    """Whatever a ``traceparent`` says, touchpoints are counted; their spans go by the settings."""
    cx.use(key=KEY, public_endpoint=public, trust_inbound="signed")
    attach(extracted("cx.journey.name=evil", traceparent=f"{CALLER}-{flags}"))
    with cxtrace.touchpoint("checkout.pay"):
        pass

    ((labels, (count, _)),) = meters.values(names.METRIC_TOUCHPOINT_DURATION)
    assert (labels[names.TOUCHPOINT_NAME], count) == ("checkout.pay", 1)
    assert len(cx.spans) == (1 if public or flags == "01" else 0)


def test_a_replayed_header_takes_the_trace_of_the_replayer_along(cx: Any) -> None:
    """The signature is of the journey alone: within its five minutes a replayer's trace goes on."""
    cx.use(key=KEY, public_endpoint=True)
    attach(extracted(GOOD, traceparent=f"{CALLER}-00"))
    with cxtrace.touchpoint("checkout.pay"):
        pass

    assert cx.spans == []


# Floods


def test_a_flood_of_names_is_bounded(cx: Any, meters: Any) -> None:
    """Thousands of journeys, touchpoints and ids of strangers leave few series and few states."""
    cx.use(key=KEY, trust_inbound="always")
    most = _instruments._MOST_CELLS
    for number in range(most + 500):
        line = (
            f"cx.journey.name=j{number},cx.journey.id={number},cx.stage.name=s{number},"
            f"cx.touchpoint.name=t{number},cx.owner.function=o{number},enduser.pseudo.id=p{number}"
        )
        attach(extracted(line))
        with cxtrace.touchpoint("checkout.pay") as tp:
            tp.friction("slow").handoff(f"f{number}")

    for name, points in meters.everything().items():
        assert len(points) <= most + 100, name
    journeys = {
        labels.get(names.JOURNEY_NAME) for labels, _ in meters.values(names.METRIC_HANDOFF_DURATION)
    }
    assert len(journeys) <= _instruments._MOST_VALUES + 1
    assert len(_journeys.memory._states) <= _journeys.MAX_JOURNEYS
    assert len(_runtime.current.plans) <= 2_000


def test_the_memory_of_journeys_forgets_the_oldest() -> None:
    """A flood of ids of journeys pushes out others, and never grows past its bound."""
    memory = _journeys.JourneyMemory(most=100)
    for number in range(1_000):
        memory.state_of("first_order", str(number))

    assert len(memory._states) == 100
    assert cxtrace.report().counts == {"journey.forgotten": 900}


@pytest.mark.parametrize(
    "line",
    [
        ",".join(f"cx.a{number}=1" for number in range(700)),
        "cx.journey.name=" + "%25" * 2_000,
        "cx.journey.name=" + "a" * 8_000,
        "," * 8_192,
        "cx.sig=" + ":" * 8_000,
        "%63x." * 1_600,
    ],
)
@pytest.mark.parametrize("trust", ["signed", "always"])
def test_huge_members_set_nothing(cx: Any, line: str, trust: str) -> None:
    """As many or as long members as a header can hold set no tag, whoever is trusted."""
    cx.use(key=KEY, trust_inbound=trust)

    assert tags(line) == {}


def test_what_was_refused_is_not_remembered() -> None:
    """Thousands of distinct forgeries leave a few counters and caches that are full."""
    for number in range(3_000):
        tags(f"cx.journey.name=n{number},cx.sig=v1:{KEY.key_id}:{NOW:.0f}:{number:032}")

    assert cxtrace.report().counts == {"baggage.forged": 3_000}
    assert _baggage._escaped_short.cache_info().currsize <= 2_048


# Headers of ours


@pytest.mark.parametrize("odd", ["a\r\nSet-Cookie: b=1", "a\nb", "\0", "ü,é;=%", "\ud800", " "])
def test_names_inject_no_header(odd: str) -> None:
    """A name of the host's with line breaks, commas or nothing but a blank is one escaped value."""
    text = _baggage.signed({names.JOURNEY_NAME: odd, names.JOURNEY_ID: odd}, KEY, NOW, odd)

    assert text.isascii()
    assert text.isprintable()
    assert text.count(",") == 2
    read = http.client.parse_headers(io.BytesIO(f"baggage: {text}\r\n\r\n".encode()))
    assert len(read.items()) == 1


# What a stranger who listens learns


class Wire(threading.Thread):
    """A stranger: takes every byte of some connections, and answers each."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.heard: list[bytes] = []

    def run(self) -> None:
        """Listen until the socket is closed."""
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                heard = b""
                while b"\r\n\r\n" not in heard:
                    heard += connection.recv(65_536)
                self.heard.append(heard)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    def close(self) -> None:
        """Listen no more."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.join()


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """A stranger's listener, to which every name leads."""
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *rest, **more: resolve("127.0.0.1", *rest, **more)
    )
    monkeypatch.setenv("no_proxy", "*")
    made = Wire()
    made.start()
    yield made
    made.close()


@pytest.fixture
def instrumented() -> Iterator[Callable[[Any], None]]:
    """Clients with the stock instrumentation, and the propagators that are given."""
    before = get_global_textmap()
    provider = TracerProvider(shutdown_on_exit=False)
    stock = RequestsInstrumentor(), URLLibInstrumentor()
    for each in stock:
        each.instrument(tracer_provider=provider)
    yield set_global_textmap
    for each in stock:
        each.uninstrument()
    _redirects.restore()
    set_global_textmap(before)


def with_requests(url: str) -> None:
    """Call by requests."""
    requests.get(url, timeout=5)


def with_urllib(url: str) -> None:
    """Call by urllib."""
    with urllib.request.urlopen(url, timeout=5):
        pass


@pytest.mark.parametrize("call", [with_requests, with_urllib])
@pytest.mark.parametrize("settings", [{}, {"unknown_destination": "names"}])
def test_a_stranger_hears_what_it_would_hear_without_us(
    cx: Any,
    wire: Wire,
    instrumented: Callable[[Any], None],
    call: Callable[[str], None],
    settings: dict[str, Any],
) -> None:
    """Byte for byte, but for the ids of the trace, a stranger gets what it gets without cxtrace."""
    planter = Planter(random.Random(3), "")
    url = f"http://{STRANGER}:{wire.port}/rates?from=EUR"
    instrumented(CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()]))
    call(url)
    instrumented(STOCK)
    cx.use(key=KEY, pseudonymiser=HmacPseudonymiser(KEY), **settings)
    with (
        cxtrace.journey(f"journey_{planter.word}", id=planter.word),
        cxtrace.customer(f"{planter.word}@example.com", consent="granted"),
        cxtrace.touchpoint(planter.word, stage=planter.word, owner=planter.word),
    ):
        pseudonym = cx_of(get_current()).identity.pseudonym  # type: ignore[union-attr]
        call(url)
        call(f"http://localhost:{wire.port}/")

    without, ours, at_home = (_without_ids(each) for each in wire.heard)
    assert without == ours
    assert leaks(planter, [("the wire", wire.heard[1])]) == []
    assert str(pseudonym).encode() not in wire.heard[1]
    assert str(pseudonym).encode() in at_home


def _without_ids(heard: bytes) -> bytes:
    lines = heard.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.lower().startswith(b"traceparent:"))


@pytest.mark.parametrize("host", ["[::1].evil.example.com", "localhost:.evil.example.com"])
def test_a_host_that_is_read_in_two_ways_hears_nothing(
    cx: Any, wire: Wire, instrumented: Callable[[Any], None], host: str
) -> None:
    """Where urllib goes on to a stranger behind a name that begins like ours, it gets nothing."""
    instrumented(STOCK)
    with (
        cxtrace.journey("first_order"),
        cxtrace.customer("cust-42", consent="granted"),
        contextlib.suppress(ValueError),  # newer versions of Python refuse such a URL
    ):
        with_urllib(f"http://{host}:{wire.port}/")

    assert [heard for heard in wire.heard if b"cx." in heard] == []
    assert cxtrace.report().counts.keys() <= {"baggage.not_sent_to_strangers"}
