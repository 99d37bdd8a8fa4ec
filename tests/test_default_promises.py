"""The twelve promises that hold by default, each shown on a service as anybody would write it.

The list for readers, with the words of each promise, is ``docs/explanation/threat-model.md``. Each
service here runs in a process of its own that is told where to send, and nothing else unless the
test says so. What is searched is everything that it sent, logged and printed.
"""

import http.server
import json
import os
import random
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
from attrs import frozen

from cxtrace import attributes as names
from cxtrace.platform.explain.registry import registry
from cxtrace.privacy import HmacPseudonymiser, Key
from tests.explained import MAP, SERVICE
from tests.leaks import Planter, leaks

KEY: Final = "one key of 32 bytes for all of these services"
BEGINNING: Final = """\
import json, sys
import cxtrace
from cxtrace import customer, identify, interaction, journey, touchpoint, walkthrough
cxtrace.configure()
"""
END: Final = """
told = cxtrace.shutdown(), cxtrace.report().counts
print(json.dumps(told))
"""
WEATHER: Final = 'schema = "cxtrace.map/1"\nname = "shop"\ncontext = ["weather"]\n'
OPT_IN: Final = ("cx.emotion", "cx.feedback", "cx.forecast", "cx.value")

Attributes: TypeAlias = dict[str, Any]


def _plain(value: Mapping[str, Any]) -> Any:
    if "arrayValue" in value:
        return [_plain(each) for each in value["arrayValue"].get("values", ())]
    ((kind, found),) = value.items()
    return int(found) if kind == "intValue" else found


def _attributes(item: Mapping[str, Any]) -> Attributes:
    return {pair["key"]: _plain(pair["value"]) for pair in item.get("attributes", ())}


@frozen
class Left:
    """What left a service.

    Attributes:
        sent: Every byte that was exported.
        printed: What it printed; the last line has what ``shutdown()`` said, and the counters.
        logged: What it wrote to its error output.
    """

    sent: bytes
    printed: str
    logged: str

    def _within(self, resources: str, scopes: str, items: str) -> Iterator[dict[str, Any]]:
        for line in self.sent.splitlines():
            for resource in json.loads(line).get(resources, ()):
                for scope in resource[scopes]:
                    yield from scope[items]

    @property
    def spans(self) -> list[dict[str, Any]]:
        """All spans."""
        return list(self._within("resourceSpans", "scopeSpans", "spans"))

    @property
    def tags(self) -> list[Attributes]:
        """The attributes of each span."""
        return [_attributes(span) for span in self.spans]

    @property
    def events(self) -> list[tuple[str, Attributes]]:
        """Events on spans and log records, each with its attributes."""
        on_spans = [event for span in self.spans for event in span.get("events", ())]
        records = self._within("resourceLogs", "scopeLogs", "logRecords")
        return [
            *((event["name"], _attributes(event)) for event in on_spans),
            *((record.get("eventName", ""), _attributes(record)) for record in records),
        ]

    @property
    def points(self) -> list[tuple[str, Attributes, Any]]:
        """The data points of our metrics: name, labels, and the number or how many values."""
        return [
            (metric["name"], _attributes(point), _number(point))
            for metric in self._within("resourceMetrics", "scopeMetrics", "metrics")
            for kind in ("sum", "gauge", "histogram")
            for point in metric.get(kind, {}).get("dataPoints", ())
            if metric["name"].startswith("cx.")
        ]

    @property
    def said(self) -> set[str]:
        """Names of all attributes, events and metrics."""
        of_events = {key for _, given in self.events for key in given}
        of_metrics = {key for _, labels, _ in self.points for key in labels}
        things = {name for name, _ in self.events} | {name for name, _, _ in self.points}
        return {key for tags in self.tags for key in tags} | of_events | of_metrics | things

    @property
    def was_delivered(self) -> bool:
        """What ``shutdown()`` said."""
        return bool(json.loads(self.printed.splitlines()[-1])[0])

    @property
    def counts(self) -> dict[str, int]:
        """The counters of ``report()``."""
        found: dict[str, int] = json.loads(self.printed.splitlines()[-1])[1]
        return found

    def leaks(self, planter: Planter) -> list[str]:
        """Where a mark is, as it is or in disguise, and where a hash without a key is."""
        places = ("sent", self.sent), ("printed", self.printed), ("logged", self.logged)
        return leaks(
            planter,
            [(where, what if isinstance(what, bytes) else what.encode()) for where, what in places],
        )


def _number(point: Mapping[str, Any]) -> Any:
    return point.get("count", point.get("asInt", point.get("asDouble")))


Service: TypeAlias = Callable[..., Left]


@pytest.fixture
def service(tmp_path: Path) -> Service:
    """Run a service with some arguments, in a new folder, with few variables."""
    runs = iter(range(100))

    def run(program: str, *arguments: object, **variables: str) -> Left:
        folder = tmp_path / str(next(runs))
        folder.mkdir()
        (folder / "journeys.toml").write_text(WEATHER, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", BEGINNING + program + END, *map(str, arguments)],
            cwd=folder,
            env=_environment({"CXTRACE_EXPORTER": "file:left.jsonl", **variables}),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        file = folder / "left.jsonl"
        sent = file.read_bytes() if file.exists() else b""
        return Left(sent, done.stdout, done.stderr)

    return run


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    mine = {k: v for k, v in os.environ.items() if not k.startswith(("CXTRACE_", "OTEL_"))}
    return {**mine, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **variables}


@pytest.fixture
def planter() -> Planter:
    """Marks to plant and to search for."""
    return Planter(random.Random(11), "")


# Who it was


RAW = """
import logging
text, number = sys.argv[1], int(sys.argv[2])
for given in (text, number):
    with journey("first_order"), customer(given, consent="granted") as one:
        with touchpoint("checkout.pay") as tp:
            identify(given)
            tp.friction("slow")
            logging.getLogger("shop").warning("paid by %r in %r", one, cxtrace.current_context())
"""


def test_01_no_raw_identifier_leaves(service: Service, planter: Planter) -> None:
    """A pseudonym under the key is sent; without a key, under one that is drawn for the process."""
    mail = f"{planter.word}@example.com"
    planter.planted |= {mail, planter.digits}
    with_key = service(RAW, mail, planter.digits, CXTRACE_KEY=KEY)
    without, again = (service(RAW, mail, planter.digits) for _ in range(2))

    pseudonyms = []
    for left in (with_key, without, again):
        assert left.leaks(planter) == []
        pseudonyms.append({tags[names.CUSTOMER_PSEUDONYM] for tags in left.tags})
    ours = HmacPseudonymiser(Key(KEY.encode()))
    assert pseudonyms[0] == {ours.pseudonym(mail), ours.pseudonym(planter.digits)}
    assert len(pseudonyms[1] | pseudonyms[2]) == 4
    assert {tags[names.CUSTOMER_KEY_ID] for tags in without.tags} == {"ephemeral"}
    assert "CXTRACE_KEY" in without.logged


# What is on the list


LISTED = """
mark = sys.argv[1]
with touchpoint("checkout.pay") as tp:
    given = {"favourite.colour": mark, "user.email": mark, "cx.context.mood": mark}
    tp.set({**given, "cx.touchpoint.name": mark, "enduser.id": mark, mark: 1})
    tp.set({"cx.context.weather": "rainy"})
    with interaction("search") as found:
        found.set(given)
"""


def test_02_attributes_that_are_on_no_list_stay(service: Service, planter: Planter) -> None:
    """Of what code sets, the registry's and the map's keys leave; the rest is dropped, counted."""
    left = service(LISTED, planter.word, CXTRACE_MAP="journeys.toml")

    assert left.leaks(planter) == []
    assert {"cx.context.weather": "rainy"}.items() <= left.tags[-1].items()
    assert left.said - set(registry().attributes) - set(registry().sent) == {"cx.context.weather"}
    assert left.counts["refused.attribute"] == 9


BLOCKED = """
for given in sys.argv[1:]:
    with journey("first_order", id=given), customer("cust-42", segment=given):
        with touchpoint("checkout.pay", owner="sales", channel=given) as tp:
            tp.set({"cx.context.weather": given, "session.id": given})
            tp.handoff(given).forecast("churn", probability=0.5, model=given).fail(given)
            tp.nudge(given, technique="reminder", flag=given, variant=given)
        with touchpoint(given, stage=given, owner=given), interaction(given):
            pass
"""


def test_03_what_looks_like_somebodys_is_blocked(service: Service) -> None:
    """E-mail address, telephone, card and IBAN stay, wherever they are given, and are counted."""
    given = {
        "email": "jane@example.com",
        "phone": "+4915228817386",
        "card": "4111111111111111",
        "iban": "DE89370400440532013000",
    }
    left = service(BLOCKED, *given.values(), CXTRACE_MAP="journeys.toml")
    everything = left.sent + left.printed.encode() + left.logged.encode()

    assert [value for value in given.values() if value.encode() in everything] == []
    assert all(left.counts[f"personal.{kind}"] >= 4 for kind in given)
    assert len(left.spans) == 12


CALLED = """
import asyncio, contextlib

class Shop:
    @touchpoint("shop.method")
    def method(self, *given, **named):
        return given

    @classmethod
    @touchpoint("shop.of_class")
    def of_class(cls, given):
        return given

@touchpoint("function")
def function(card, *, cvc="000"):
    return {"card": card}

@interaction("step")
def step(given):
    return given

@touchpoint("coroutine")
async def coroutine(given):
    return given

@touchpoint("items")
def items(given):
    yield (yield given)

@touchpoint("stream")
async def stream(given):
    yield given

async def all_of_stream(given):
    return [each async for each in stream(given)]

mark = sys.argv[1]
Shop().method(mark, card=mark)
Shop.of_class(mark)
function(mark, cvc=mark)
step(mark)
asyncio.run(coroutine(mark))
asyncio.run(all_of_stream(mark))
walk = items(mark)
next(walk)
with contextlib.suppress(StopIteration):
    walk.send(mark)
    walk.send(mark)
"""


def test_04_arguments_and_return_values_are_never_captured(
    service: Service, planter: Planter
) -> None:
    """Not of functions, methods, coroutines or generators, nor what is sent into a generator."""
    left = service(CALLED, planter.word)

    assert left.leaks(planter) == []
    assert {span["name"] for span in left.spans} == {
        *("shop.method", "shop.of_class", "function", "step", "coroutine", "items", "stream")
    }


# Metrics


MANY = """
for number in range(int(sys.argv[1])):
    with journey("first_order", id=f"{number:032x}"), customer(f"cust-{number}", segment="smb"):
        with touchpoint("checkout.pay") as tp:
            with interaction(f"step {number}"):
                tp.friction("slow")
            tp.handoff(f"agent-{number}", waited=1.0)
            tp.fail(f"order_{number}_declined")
"""


def test_05_no_metric_names_anybody(service: Service) -> None:
    """However many customers come, the series stay few, and no label has an id or a pseudonym."""
    few, many = service(MANY, 200), service(MANY, 600)
    labels = [label for left in (few, many) for _, label, _ in left.points]
    ids = {names.CUSTOMER_PSEUDONYM, names.JOURNEY_ID, names.SESSION_ID, names.CUSTOMER_KEY_ID}
    pseudonyms = {str(tags.get(names.CUSTOMER_PSEUDONYM)) for tags in many.tags}

    assert len(pseudonyms) >= 600
    assert all(ids.isdisjoint(label) for label in labels)
    assert pseudonyms.isdisjoint(str(each) for label in labels for each in label.values())
    assert len(many.points) == len(few.points) <= 300


# Other hosts


CALLS = """
import socket, urllib.request
from opentelemetry import propagate
from opentelemetry.instrumentation.urllib import URLLibInstrumentor

resolve = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **more: resolve("127.0.0.1", *rest, **more)
hosts = "localhost", "orders.internal", "shop.partner.example", "maps.stranger.example"
for consent in ("granted", "denied"):
    URLLibInstrumentor().instrument()
    with journey("first_order"), customer("cust-42", consent=consent), touchpoint("checkout.pay"):
        for host in hosts:
            with urllib.request.urlopen(f"http://{host}:{sys.argv[1]}/{consent}"):
                pass
        URLLibInstrumentor().uninstrument()
        unknown = {}
        propagate.inject(unknown)
        url = f"http://unknown:{sys.argv[1]}/{consent}"
        with urllib.request.urlopen(urllib.request.Request(url, headers=unknown)):
            pass
"""


class Listener(http.server.BaseHTTPRequestHandler):
    """Keeps the headers of each request, by path and host."""

    heard: dict[tuple[str, str], dict[str, str]]

    def do_GET(self) -> None:
        """Answer with nothing."""
        sent = {name.lower(): value for name, value in self.headers.items()}
        self.heard[self.path, sent.pop("host").partition(":")[0]] = sent
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def listener() -> Iterator[http.server.ThreadingHTTPServer]:
    """A server to which every name leads."""
    kind = type("Kept", (Listener,), {"heard": {}})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_06_baggage_goes_to_our_hosts_alone(
    service: Service, listener: http.server.ThreadingHTTPServer
) -> None:
    """Ours get it signed, with the pseudonym if consent allows; a stranger hears nothing of it."""
    pytest.importorskip("opentelemetry.instrumentation.urllib")
    heard: Any = listener.RequestHandlerClass.heard  # type: ignore[attr-defined]
    left = service(
        *(CALLS, listener.server_port),
        CXTRACE_TRUSTED_HOSTS="*.partner.example",
        no_proxy="*",
    )
    (pseudonym,) = {tags.get(names.CUSTOMER_PSEUDONYM) for tags in left.tags} - {None}
    assert len(heard) == 10

    for host in ("localhost", "orders.internal", "shop.partner.example"):
        members = dict(each.split("=") for each in heard["/granted", host]["baggage"].split(","))
        assert members[names.CUSTOMER_PSEUDONYM] == pseudonym
        assert members["cx.sig"].startswith("v1:")
        refused = heard["/denied", host]["baggage"]
        assert "cx.consent.state=denied" in refused
        assert names.CUSTOMER_PSEUDONYM not in refused
        assert names.JOURNEY_ID not in refused
    for path in ("/granted", "/denied"):
        for host in ("maps.stranger.example", "unknown"):
            assert "traceparent" in heard[path, host]
            assert "baggage" not in heard[path, host]
            assert not re.search(r"cx\.|first_order|checkout|v1\.", str(heard[path, host]))


TRACED = """
from opentelemetry import propagate, trace

for number in range(20):
    with customer(sys.argv[1], consent="granted"), journey("first_order"):
        with touchpoint("checkout.pay"):
            where = {"server.address": "orders.internal"}
            tracer, headers = trace.get_tracer("http"), {}
            with tracer.start_as_current_span("GET", kind=trace.SpanKind.CLIENT, attributes=where):
                propagate.inject(headers)
            print(json.dumps(headers))
"""


def test_07_the_trace_does_not_tell_the_customer(service: Service) -> None:
    """Nothing is written into ``tracestate``, and ids of traces are drawn anew for each visit."""
    visits = [service(TRACED, "cust-42", CXTRACE_KEY=KEY) for _ in range(2)]
    headers = [json.loads(line) for left in visits for line in left.printed.splitlines()[:-1]]
    traces = [span["traceId"] for left in visits for span in left.spans if "parentSpanId" in span]

    assert len(headers) == 40
    assert all("cx.sig" in each["baggage"] for each in headers)
    assert [each for each in headers if "tracestate" in each] == []
    assert {span.get("traceState", "") for left in visits for span in left.spans} == {""}
    assert len(set(traces)) == 40
    randomness = [int(trace[-14:], 16) for trace in traces]
    assert len(set(randomness)) == 40


# What is only sent if somebody says it


QUIET = """
with journey("first_order"), customer("cust-42", consent="granted"):
    with touchpoint("checkout.pay") as tp:
        for _ in range(6):
            with interaction("retype card"):
                tp.friction("validation_rejected", severity="high")
        tp.complaint("opened")
        tp.mention("friends", valence=-0.5)
        tp.fail("card_declined")
"""
SAID = """
with journey("first_order"), customer("cust-42", consent=sys.argv[1]):
    with touchpoint("checkout.pay") as tp:
        tp.emotion("anger", source="text", valence=-0.5)
        tp.feedback("nps", 3)
        tp.value(49.9, "EUR", type="revenue")
        tp.forecast("churn", probability=0.3, model="rule@1")
"""


def _opted_in(left: Left) -> set[str]:
    return {family for family in OPT_IN for name in left.said if name.startswith(family)}


def test_08_feelings_and_forecasts_only_if_code_says_them(service: Service) -> None:
    """None is guessed; the call is the opt-in, consent stops it, and so does ``signals_off``."""
    every = ",".join(family.partition(".")[2] for family in OPT_IN)

    assert _opted_in(service(SAID, "granted")) == set(OPT_IN)
    assert _opted_in(service(QUIET + SAID, "denied")) == set()
    assert _opted_in(service(SAID, "granted", CXTRACE_SIGNALS_OFF=every)) == set()


FREE = """
import contextlib, logging

mark = f"no account for Jane {sys.argv[1]} <jane@example.com>"

@touchpoint("checkout.pay")
def pay():
    with interaction("enter card"):
        try:
            raise KeyError(mark)
        except KeyError as error:
            trouble = LookupError(mark)
            trouble.__notes__ = [mark]
            raise trouble from error

with contextlib.suppress(LookupError):
    pay()
with touchpoint("contact.write", owner="sales") as tp:
    tp.friction(mark).complaint(mark).mention(mark).feedback(mark, mark, category=mark)
    tp.emotion(mark, source=mark).handoff(mark).fail(mark).outcome(mark)
    tp.forecast("churn", probability=0.5, model=mark)
    tp.nudge(mark, technique="reminder", flag=mark, variant=mark)
    tp.set({"cx.context.weather": mark * 2, "exception.message": mark})
"""


def test_09_no_free_text_and_no_text_of_exceptions(service: Service, planter: Planter) -> None:
    """A failure has its class and no text; asked for, the text has its addresses taken out."""
    left = service(FREE, planter.word, CXTRACE_MAP="journeys.toml")

    assert left.leaks(planter) == []
    assert "LookupError" in {tags.get("error.type") for tags in left.tags}
    assert [span["status"] for span in left.spans if span["status"].get("message")] == []
    assert "exception" not in {name for name, _ in left.events}

    asked = service(FREE, planter.word, CXTRACE_RECORD_EXCEPTIONS="scrubbed")
    texts = [given["exception.message"] for name, given in asked.events if name == "exception"]
    assert texts == [f"no account for Jane {planter.word} <<email>>"] * 2
    assert b"jane@example.com" not in asked.sent


# Who is no customer


LIVED = """
def live():
    with journey("first_order") as walk, touchpoint("checkout.pay") as tp:
        walk.outcome("achieved")
        tp.friction("slow").emotion("anger", source="text", valence=-0.5)
        tp.feedback("nps", 3).value(49.9, "EUR", type="revenue").complaint("opened")
        tp.handoff(to="service", waited=1.0).fail("card_declined")
        tp.nudge("bar", technique="reminder").accepted()

for number in range(3):
    with customer(f"cust-{number}", kind="person", consent="granted"):
        live()
    if sys.argv[1:] == ["and staff"]:
        with walkthrough("2026-09-ceo-1", persona="first-time buyer"):
            live()
        with customer("employee-7", kind="walkthrough", consent="not_required"):
            live()
"""


def test_10_walkthroughs_never_count_as_customers(service: Service) -> None:
    """With staff and scripts between customers, each metric is what it is without; spans say so."""
    alone, among = service(LIVED), service(LIVED, "and staff")
    marked = [tags for tags in among.tags if tags.get(names.SYNTHETIC_TYPE) == "test"]

    def counted(left: Left) -> list[str]:
        return sorted(json.dumps(point, sort_keys=True) for point in left.points)

    assert counted(alone) == counted(among)
    assert len({name for name, _, _ in alone.points}) > 5
    assert (len(alone.tags), len(among.tags), len(marked)) == (3, 9, 6)


# Never in the way


BROKEN = """
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor

class Bad(SpanProcessor):
    def on_start(self, span, parent_context=None):
        raise RuntimeError("the host's processor")

class Odd:
    def __str__(self):
        raise RuntimeError("asked")
    __repr__ = __hash__ = __eq__ = __float__ = __len__ = __iter__ = __str__

class OwnError(Exception):
    pass

trace.get_tracer_provider().add_span_processor(Bad())

@touchpoint("checkout.pay")
def pay(number):
    if number % 10 == 0:
        raise OwnError(number)
    return number

for given in (None, Odd(), -1, float("nan"), "x" * 10_000, [{}], b"\\xff"):
    with journey(given, id=given), customer(given, segment=given, consent=given):
        with touchpoint(given, stage=given) as tp, interaction(given):
            tp.friction(given).emotion(given, source=given).value(given, given)
            tp.deliver(given, given).set(given).fail(given).outcome(given)
            identify(given)
answers, errors = [], []
for number in range(6_000):
    try:
        answers.append(pay(number))
    except OwnError as error:
        errors.append(error.args[0])
assert answers == [number for number in range(6_000) if number % 10]
assert errors == [number for number in range(6_000) if number % 10 == 0]
cxtrace.flush(0.1)
found = cxtrace.report().spans
print(json.dumps([found.created, found.exported, found.queued, found.lost, found.is_balanced]))
"""


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a receiver that takes every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        yield listening.getsockname()[1]


def test_11_telemetry_that_fails_costs_the_service_nothing(service: Service, silent: int) -> None:
    """With a receiver that hangs and a processor that raises: answers stay, memory is bounded."""
    left = service(
        BROKEN,
        CXTRACE_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{silent}",
    )
    created, exported, queued, lost, is_balanced = json.loads(left.printed.splitlines()[0])

    assert not left.was_delivered
    assert created > 6_000
    assert (exported, is_balanced) == (0, True)
    assert queued <= 2_048 + 512
    assert lost == created - queued
    assert any(kind.startswith("errors.") for kind in left.counts)
    assert any(kind.startswith("refused.") for kind in left.counts)


# What is published


def test_12_what_is_sent_was_listed_before(tmp_path: Path) -> None:
    """``cxtrace explain`` lists all that leaves, with a class for each, as a record too."""
    (tmp_path / "map.toml").write_text(MAP, encoding="utf-8")
    (tmp_path / "service.py").write_text(SERVICE, encoding="utf-8")
    variables = {"CXTRACE_EXPORTER": "file:left.jsonl", "CXTRACE_MAP": "map.toml"}

    def python(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env=_environment(variables),
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    command = "import sys; from cxtrace.cli import main; sys.exit(main(sys.argv[1:]))"
    told = json.loads(python("-c", command, "explain", "--json"))
    record = json.loads(python("-c", command, "explain", "--record", "--json"))
    python("service.py", "granted")
    left = Left((tmp_path / "left.jsonl").read_bytes(), "", "")
    listed = {each["name"] for each in told["sent"]}
    templates = tuple(name.removesuffix("<key>") for name in listed if name.endswith(".<key>"))

    unlisted = {name for name in left.said - listed if not name.startswith(templates)}
    assert unlisted == {"server.address"}, "which the service itself has put on a span of its own"
    assert len(left.said) > 50
    assert [each["name"] for each in told["sent"] if not each["pii_class"]] == []
    assert "30(1)" in json.dumps(record)
