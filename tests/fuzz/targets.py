"""The decoders, each as a function of bytes that raises where a promise is broken.

What a decoder may raise is caught here; anything else that flies out is a finding, and so is an
``AssertionError``: the decoder took what it must not take, or told what it must not tell.
"""

import atexit
import base64
import hmac
import http.client
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from urllib.request import Request

from attrs import frozen
from opentelemetry.baggage import get_all
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from cxtrace import (
    ConfigurationError,
    JourneyMap,
    MapError,
    _baggage,
    _blockers,
    _destination,
    _happy,
    _key_file,
    _routes,
    _runtime,
    _settings,
    _sql,
    propagation,
)
from cxtrace import attributes as names
from cxtrace._spool import format as spool_format
from cxtrace._spool.format import Damage, Record
from cxtrace._tracing import tracing_of
from cxtrace._tree import RecordedSpan
from cxtrace.context import cx_of
from cxtrace.exporters import read_spans
from cxtrace.integrations.webhooks import HmacSignature, Receiver, SharedToken, Signal, Visit
from cxtrace.privacy import HmacPseudonymiser, Key

ROOT: Final = Path(__file__).parents[2]
NOW: Final = 1_790_000_000.0
KEY_LINE: Final = b"k1 = 0123456789abcdef0123456789abcdef\n"
KEY: Final = Key(b"0123456789abcdef0123456789abcdef")
CALLER: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
OURS: Final = "http://orders.internal/"
STRANGER: Final = "https://evil.example.com/"
MEMBERS: Final = {
    names.JOURNEY_NAME: "first_order",
    names.JOURNEY_ID: "01j9z6",
    names.STAGE_NAME: "purchase",
    names.TOUCHPOINT_NAME: "checkout.pay",
    names.OWNER_FUNCTION: "payments",
    names.CONSENT_STATE: "granted",
    names.CUSTOMER_PSEUDONYM: "v1.abc",
}
CLOCK: Final = "1790000000000~refund-1789999999000~sales--service-1789999990000"
GOOD: Final = _baggage.signed(MEMBERS, KEY, NOW, CLOCK)

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@frozen
class Target:
    """A decoder under fire.

    Attributes:
        run: Gives it bytes; raises where it breaks a promise.
        seeds: What its input looks like.
        says: What is promised.
    """

    name: str
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    says: str


TARGETS: Final[dict[str, Target]] = {}


def target(name: str, *seeds: bytes) -> Callable[[Callable[[bytes], None]], Target]:
    """Make a target of a function, whose docstring is the promise."""

    def made(run: Callable[[bytes], None]) -> Target:
        TARGETS[name] = Target(name, run, seeds, (run.__doc__ or "").partition("\n")[0])
        return TARGETS[name]

    return made


# Headers


@cache
def _provider() -> TracerProvider:
    return TracerProvider(shutdown_on_exit=False)


@cache
def _runtime_of(trust: Any, public_endpoint: bool) -> _runtime.Runtime:
    return _runtime.Runtime(
        tracing=tracing_of(_provider(), "0"),
        key=KEY,
        pseudonymiser=HmacPseudonymiser(KEY),
        trust_inbound=trust,
        public_endpoint=public_endpoint,
        trusted_hosts=("api.example.com", "*.example.org"),
    )


_OURS_ALONE: Final = propagation.CXPropagator()
_PROPAGATOR: Final = CompositePropagator(
    [TraceContextTextMapPropagator(), W3CBaggagePropagator(), _OURS_ALONE]
)


@contextmanager
def _decided(trust: str, *, public_endpoint: bool = False) -> Iterator[None]:
    before, clock = _runtime.current, propagation.time
    _runtime.use(_runtime_of(trust, public_endpoint))
    propagation.time = SimpleNamespace(time=lambda: NOW)  # type: ignore[assignment]
    try:
        yield
    finally:
        propagation.time = clock
        _runtime.use(before)


def _carrier(data: bytes, encoding: str = "latin-1") -> dict[str, Any]:
    """Headers as a server gives them: a line that names no header is one of baggage."""
    carrier: dict[str, Any] = {}
    for line in data.decode(encoding, "surrogateescape").split("\n"):
        name, colon, value = line.partition(":")
        if not colon or name.lower() not in ("traceparent", "tracestate", "baggage"):
            name, value = "baggage", line
        carrier.setdefault(name, []).append(value)
    return carrier


@cache
def _request_to(url: str) -> Any:
    tracer = _provider().get_tracer("fuzz")
    return tracer.start_span("out", Context(), SpanKind.CLIENT, {"http.url": url})


def _sent(context: Context, url: str) -> dict[str, str]:
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, set_span_in_context(_request_to(url), context))
    return carrier


def _check_tags(tags: dict[str, str]) -> None:
    for key, value in tags.items():
        assert key in MEMBERS, key
        assert 0 < len(value) <= 64, key
        assert value.isprintable(), key


def _check_sent(context: Context) -> None:
    if not get_all(context) and not cx_of(context).tags():  # type: ignore[union-attr]
        return  # nothing to send
    ours, strangers = _sent(context, OURS), _sent(context, STRANGER)
    assert not _baggage.parse(strangers.get("baggage", "")).ours
    assert not _baggage.parse(strangers.get("tracestate", "")).ours
    for value in ours.values():
        assert not re.search(r"[\r\n\0]", value)
    members = ",".join(each for each in ours.get("baggage", "").split(",") if "cx." in each)
    assert members.isascii()


@target(
    "baggage",
    GOOD.encode(),
    GOOD.replace(",", "\n").encode(),
    f"traceparent:{CALLER}\ntracestate:a=1\nbaggage:a=1;ttl=2,{GOOD}".encode(),
    b"cx.journey.name=evil,CX.journey.name=a,%63x.x=1,enduser.id=7,cx.sig=v1:a:1:b",
    b"%e9=%ff,cx.stage.name=%00%0d%0aSet-Cookie:a,=,;;,a=b=c",
)
def baggage(data: bytes) -> None:
    """Headers of strangers set no tag, and what we send on is clean."""
    with _decided("signed", public_endpoint=True):
        context = _PROPAGATOR.extract(_carrier(data), Context())
        cx = cx_of(context)
        assert cx is not None
        tags = cx.tags()
        if tags:  # none but those that were signed, whatever stands around them
            assert tags.items() <= MEMBERS.items()
        elif cx.journey is None and cx.identity is _runtime.current.anonymous:
            # Either it proved to be one of us, or it begins a trace of its own.
            remote = get_current_span(context).get_span_context().is_valid
            assert not remote or b"cx." in data
        assert not any(_baggage.is_ours(key) for key in get_all(context))
        _check_sent(context)
        # Some servers keep bytes that are no UTF-8 as surrogates, at which the stock one stumbles.
        odd = cx_of(_OURS_ALONE.extract(_carrier(data, "utf-8"), Context()))
        assert odd is not None
        assert odd.tags().items() <= MEMBERS.items()


@target("trusted-baggage", GOOD.encode(), b"cx.journey.name=a,enduser.pseudo.id=%ff", b"cx.=")
def trusted_baggage(data: bytes) -> None:
    """Where everybody is trusted, tags are still of known names, short and printable."""
    with _decided("always"):
        context = _PROPAGATOR.extract(_carrier(data), Context())
        cx = cx_of(context)
        assert cx is not None
        _check_tags(cx.tags())
        _check_sent(context)


@target(
    "signed-baggage",
    json.dumps([MEMBERS, CLOCK]).encode(),
    json.dumps([{"cx.journey.name": "a", "cx.journey.id": "ü\n,;=%"}, "~a-1"]).encode(),
)
def signed_baggage(data: bytes) -> None:
    """What we sign comes back as it was, is a plain header, and any clock is understood."""
    try:
        members, clock = json.loads(data)
        members = {key: str(members[key]) for key in MEMBERS if key in members}
        clock = str(clock)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return
    text = _baggage.signed(members, KEY, NOW, clock)
    found = dict(_baggage.parse(text).ours)
    assert text.isascii()
    assert text.isprintable()
    assert _baggage.fault(found, KEY, NOW) is None
    with _decided("signed"):
        context = _PROPAGATOR.extract({"baggage": [text]}, Context())
        cx = cx_of(context)
        assert cx is not None
        _check_tags(cx.tags())
        _check_sent(context)


# Places


@target(
    "destination",
    b"http://orders.internal:80/a?b#c",
    b"http://user@[::ffff:10.0.0.1]/",
    b"https://evil.example.com\\@localhost/",
    b"//0x7f.1/",
    b"http://[::1]:80/",
    b"api.example.com.",
)
def destination(data: bytes) -> None:
    """A URL is ours only if every reader of URLs finds a host in it that is."""
    text = data.decode("utf-8", "surrogateescape")
    trusted = ("api.example.com", "*.example.org")
    for key in ("server.address", "http.url", "url.full", "net.peer.name"):
        assert _destination.is_ours({key: text}, trusted) in (True, False)
    is_http = text.lower().startswith(("http://", "https://"))
    if is_http and _destination.is_ours({"url.full": text}, trusted):
        for host in _hosts_of(text):
            assert _destination.is_ours({"server.address": host}, trusted), host


def _hosts_of(url: str) -> Iterator[str]:
    """Whom clients would ask for, as far as they take such a URL."""
    with suppress(LocationParseError, UnicodeError):
        yield parse_url(url).host or "localhost"
    with suppress(http.client.InvalidURL, UnicodeError, ValueError):
        # urllib leaves credentials where they are, and asks for a name that cannot be.
        asked = http.client.HTTPConnection(Request(url).host.rpartition("@")[2]).host
        yield asked or "localhost"


@target(
    "routes",
    b"/items/{id}/{rest:path}\n/items/7/a/b\nhttps://shop.example.com/items/7?x=1",
    b"^users/(?P<pk>[0-9]+)/(?P<what>(a|b))$\nusers/1/a",
    b"/<int:a>-<b>.html\n/1-2.html",
)
def routes(data: bytes) -> None:
    """Templates and paths of any kind are compared, in little time."""
    template, _, rest = data.decode("utf-8", "replace").partition("\n")
    path, _, redirect = rest.partition("\n")
    if not _routes.is_quick(template):
        return
    table = _routes.Routes([(f"GET {template}", 1), ("GET /items/{id}", 2)])
    table.find("GET", path, lambda: redirect, lambda: None)
    _routes.shape(redirect)
    _routes.parameters(redirect)


# Files


def _errors_of(text: str) -> None:
    assert not _CONTROLS.search(text), "a message holds control characters"


@cache
def _example() -> bytes:
    return (ROOT / "examples" / "journeys.toml").read_bytes()


@target(
    "map",
    _example(),
    b'schema = "cxtrace.map/1"\nname = "a"\n[[touchpoint]]\nname = "a.b"\nmatch = { route = "GET '
    b'/a/{b}" }\n[functions]\nx = { happy = "emotion.valence > 0 and not (value.amount in [1])" }',
    b'a = [[[[{b={c="""\n\xc3\xa9"""}}]]]]\n"x y".z = 1979-05-27T07:32:00Z\n',
)
def journey_map(data: bytes) -> None:
    """A map is loaded, or refused with lines that are in the file."""
    refused: MapError | None = None
    try:
        found = JourneyMap._parse({"a.toml": data}, [])
    except MapError as error:
        refused = error
    if refused is None:
        assert JourneyMap.loads(found.dump()) == found
    else:
        last = data.count(b"\n") + 1
        assert all(0 <= problem.line <= last for problem in refused.problems)
        _errors_of(str(refused))


@target("happy", b"emotion.valence > 0 and not (value.amount in [1, 2])", b"(((", b"a == 'b'")
def happy(data: bytes) -> None:
    """What a happy customer means is understood, or refused as a ValueError."""
    with suppress(ValueError):
        _happy.parse(data.decode("utf-8", "replace"))


@cache
def _folder() -> Path:
    memory = Path("/dev/shm")
    made = tempfile.mkdtemp(dir=memory if memory.is_dir() else None)
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


@target("key-file", b"0123456789abcdef0123456789abcdef\n", b"short", b"\xff" * 40, b"\0" * 33)
def key_file(data: bytes) -> None:
    """A key is loaded from a file or the environment, or refused without being shown."""
    file = _folder() / "key"
    file.write_bytes(data)
    text = data.decode("utf-8", "surrogateescape")
    places: tuple[tuple[dict[str, Any], dict[str, str]], ...] = (
        ({}, {"CXTRACE_KEY_FILE": str(file)}),
        ({"key": text or None}, {}),
        ({}, {"CXTRACE_KEY": text}),
        ({}, {"CXTRACE_KEY_FILE": f"{_folder()}/{text[:100]}"}),  # it names no secret
    )
    for arguments, environ in places:
        told = _told_of(arguments, environ)
        if text[:100] not in environ.get("CXTRACE_KEY_FILE", "") and len(text.strip()) > 12:
            assert text.strip() not in told


def _told_of(arguments: dict[str, Any], environ: dict[str, str]) -> str:
    try:
        # With a map: to look for one asks every package that is installed.
        given = {"journey_map": JourneyMap(name="shop"), **arguments}
        return repr(_settings.settle(given, environ, _folder()))
    except ConfigurationError as error:
        return str(error)


@target(
    "changed-keys",
    b"k2 = 00112233445566778899aabbccddeeff00112233\nk1 = 0123456789abcdef0123456789abcdef\n",
    b"# ours\nk1 = another-secret-of-32-characters!!\n",
    b"\xef\xbb\xbfk1 = 0123456789abcdef0123456789abcdef\r\n",
)
def changed_keys(data: bytes) -> None:
    """A file of keys that changes to anything leaves keys in force, and never shows one."""
    file = _folder() / "keys"
    file.write_bytes(KEY_LINE)
    keys = _key_file.KeyFile(file)
    keys._found = b"another mark", data  # as its thread leaves what it has read
    keys._take()
    assert all(isinstance(key, Key) for key in keys.keys)
    assert keys.keys
    secret = data.decode("utf-8", "ignore").strip()
    assert len(secret) < 12 or secret not in repr(keys) + str(keys.fault)


@target(
    "text",
    b"write to ann@example.com or +49 30 901820, card 4111 1111 1111 1111",
    b"DE89 3704 0044 0532 0130 00 and 2001:db8::7 or 192.0.2.7, eyJhbGciOiJIUzI1NiJ9.e30.abc",
    "a\N{FULLWIDTH COMMERCIAL AT}example.com %40 &#64; \N{ZERO WIDTH SPACE}".encode(),
)
def text(data: bytes) -> None:
    """Text is scrubbed once and for all, whatever it holds."""
    given = data.decode("utf-8", "replace")
    if data[:1] == b"\xed":  # half a character, as Python reads it in the name of a file
        given = data.decode("utf-8", "surrogateescape")
    clean = _blockers.scrub(given)
    assert _blockers.is_personal(clean) is None
    assert _blockers.scrub(clean) == clean
    assert (_blockers.is_personal(given) is None) == (clean == given)


@target(
    "statement",
    b"SELECT * FROM orders WHERE mail = 'ann@example.com' AND id IN (1, 2.5e3, 0xff) -- ann",
    b"INSERT INTO t VALUES (E'it''s', $$ann$$, :name, %(name)s, $1, ?)",
    b"WITH a AS (SELECT \"b\" FROM [c]) UPDATE `d` SET e = -1 /* ann */ WHERE f->>'g' = N'h'",
)
def statement(data: bytes) -> None:
    """Of a statement no text and no number is left, and what is left stays as it is."""
    left = _sql.without_values(data.decode("latin-1"))
    if left is not None:
        assert "'" not in left
        assert '"' not in left
        assert _sql.without_values(left) == left


@target(
    "settings",
    b"spool_max_bytes\n64 MiB",
    b"spool_max_age\n1.5d",
    b"trusted_hosts\n*.example.com, ::1",
    b"sample\n1e-3",
    b"spool\n~nobody/x",
    b"metrics_opt_in\ncx.channel.name,cx.x",
    b"exporter\nfile:a.jsonl",
    b"signals_off\nemotion,nudge",
)
def settings(data: bytes) -> None:
    """A setting is parsed, or refused as a ConfigurationError, from environment and file."""
    name, _, value = data.decode("utf-8", "surrogateescape").partition("\n")
    parse = _settings._parsers().get(name)
    if parse is None:
        return
    for given in (value, value.split("\n"), _json(value)):
        told = ""
        try:
            _settings._parsed(parse, given, "here", secret=name == "key")
        except ConfigurationError as error:
            told = str(error)
        _errors_of(told)
        assert name != "key" or len(value) < 8 or value not in told


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (RecursionError, ValueError):
        return None


@target(
    "project",
    b'[tool.cxtrace]\nservice_name = "shop"\nsample = 0.5\ntrusted_hosts = ["a"]',
    b"[tool]\ncxtrace = 1",
    b"a = [[[[[[[{}]]]]]]]",
)
def project(data: bytes) -> None:
    """A pyproject.toml is read, or refused as a ConfigurationError."""
    folder = _folder() / "project"
    folder.mkdir(exist_ok=True)
    (folder / "pyproject.toml").write_bytes(data)
    with suppress(ConfigurationError, MapError):
        _settings.settle({}, {}, folder)


_MARKER: Final = bytes.fromhex("00ff10a55aa501fe")
_RECORD: Final = spool_format.packed(_MARKER, "spans", 3, 1, b"three spans")


@target(
    "spool",
    spool_format.header(_MARKER) + _RECORD * 2,
    spool_format.header(_MARKER) + _RECORD[:-4] + _RECORD,
    _MARKER * 50,
)
def spool(data: bytes) -> None:
    """A segment is read to its end: records that are whole, and damage, one after the other."""
    descriptor = os.open(_folder() / "segment", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        os.write(descriptor, data)
        begin = spool_format.header(_MARKER)
        at = len(begin) if data.startswith(begin) else 0
        for found in spool_format.contents(descriptor, _MARKER):
            if isinstance(found, Damage):
                assert found.size > 0
                at += found.size
                continue
            assert isinstance(found, Record)
            assert found.start == at
            payload = spool_format.payload_of(descriptor, found)
            assert payload is None or payload == data[found.payload_start : found.end]
            at = found.end
        assert at == max(len(data), at if at == len(begin) else 0)
    finally:
        os.close(descriptor)


_SPAN: Final = {
    "resourceSpans": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "a"}}]},
            "scopeSpans": [
                {
                    "spans": [
                        {
                            "traceId": "0" * 32,
                            "spanId": "1" * 16,
                            "name": "a",
                            "kind": 2,
                            "startTimeUnixNano": "1",
                            "endTimeUnixNano": 2,
                            "status": {"code": 2},
                            "attributes": [
                                {
                                    "key": "a",
                                    "value": {"arrayValue": {"values": [{"intValue": 1}]}},
                                },
                                {"key": "b", "value": {"kvlistValue": {"values": []}}},
                                {"key": "c", "value": {"bytesValue": "YQ=="}},
                                {"key": "d", "value": {"doubleValue": 1e400}},
                            ],
                            "events": [{"name": "e", "timeUnixNano": 3}],
                            "links": [{"traceId": "2", "spanId": "3"}],
                        }
                    ]
                }
            ],
        }
    ]
}


@target("otlp-json", json.dumps(_SPAN).encode(), b'{"resourceLogs": []}\n{', b"[[[[[")
def otlp_json(data: bytes) -> None:
    """Lines of OTLP JSON are read, and others are counted."""
    file = _folder() / "spans.jsonl"
    file.write_bytes(data)
    found = read_spans(file)
    assert all(isinstance(span, RecordedSpan) for span in found)
    assert found.skipped <= data.count(b"\n") + 1


# Webhooks


def _visits(payload: Any) -> Iterator[Visit]:
    signals = [Signal(verb, tuple(given)) for verb, given in payload["say"]]
    yield Visit(signals, customer=payload["who"], journey=payload.get("walk"))


_RECEIVERS: Final = (
    Receiver(
        touchpoint="support.ticket",
        check=HmacSignature("s3cret", header="x-sig", timestamp="x-at", signed="{timestamp}{body}"),
        translate=_visits,
        delivery_id="x-id",
        max_bytes=4096,
    ),
    Receiver(
        touchpoint="survey.answer",
        check=HmacSignature("s3cret", header="x-sig", encoding="base64", prefix="v1="),
        translate=_visits,
    ),
    Receiver(touchpoint="social", check=SharedToken("s3cret"), translate=_visits),
)


@target(
    "webhook",
    b'x-sig: 00\nx-at: 1790000000\n\n{"who": 7, "say": [["complaint", ["opened"]]]}',
    b'x-sig: v1=YQ==\nauthorization: Bearer a\n\n{"who": "a", "say": [["feedback", ["nps", 9]]]}',
    b'x-at: 2026-11-22T09:00:00Z\nx-id: 1\n\n{"walk": "w", "who": null, "say": []}',
)
def webhook(data: bytes) -> None:
    """A delivery that is not signed is refused, and one that is signed never raises."""
    head, _, body = data.partition(b"\n\n")
    lines = [line.partition(b":") for line in head.split(b"\n")]
    headers = {n.decode("latin-1"): v.strip().decode("latin-1") for n, _, v in lines}
    right = base64.b64encode(hmac.digest(b"s3cret", body, "sha256")).decode()
    with _decided("signed"):
        for receiver in _RECEIVERS:
            receipt = receiver.receive(body, headers)
            assert b"s3cret" in data or receipt.status in (400, 401, 413)
        told = _RECEIVERS[1].receive(body, {"x-sig": f"v1={right}"})
        assert told.reason != "signature"
