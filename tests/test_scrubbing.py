"""What spans of others say, made fit to leave: by an allow-list, and without changing the span."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceState

import cxtrace
from cxtrace import _guard, attributes
from cxtrace._records import decode_spans, encode_spans
from cxtrace._scrubbing import OTHER, Scrubber
from cxtrace.exceptions import ConfigurationError
from cxtrace.exporters import FileSpanExporter, ScrubbingSpanExporter, TreeExporter
from tests.conftest import Capture

ANN: Final = "ann@example.com"
URL: Final = f"https://shop.example.com:8443/users/{ANN}/orders?mail={ANN}&n=1#{ANN}"


@pytest.fixture(autouse=True)
def counted() -> Iterator[None]:
    """Nothing is counted when a test begins."""
    _guard.reset()
    yield
    _guard.reset()


def span(given: dict[str, Any] | None = None, name: str = "GET", **more: Any) -> ReadableSpan:
    """A span with these attributes."""
    context = SpanContext(1, 2, False)
    return ReadableSpan(name, context, resource=Resource({}), attributes=given or {}, **more)


def scrubbed(one: ReadableSpan, *keep: str) -> ReadableSpan:
    """What may leave of a span."""
    (found,) = Scrubber(keep)([one])
    return found


def left(given: dict[str, Any], *keep: str) -> dict[str, Any]:
    """What may leave of attributes."""
    return dict(scrubbed(span(given), *keep).attributes or {})


# Attributes


LEAKS: Final = {
    "url.query": f"mail={ANN}",
    "exception.message": f"no {ANN}",
    "exception.stacktrace": f"File x\n  {ANN}",
    "http.request.header.authorization": ["Bearer ann"],
    "http.response.header.set_cookie": ("ann",),
    "http.user_agent": "ann",
    "user_agent.original": "ann",
    "client.address": "10.1.2.3",
    "http.client_ip": "10.1.2.3",
    "net.peer.ip": "10.1.2.3",
    "net.sock.peer.addr": "10.1.2.3",
    "network.peer.address": "10.1.2.3",
    "enduser.id": "ann",
    "enduser.role": "ann",
    "user.id": "ann",
    "user.email": ANN,
    "user.name": "Ann",
    "messaging.message.id": "ann",
    "messaging.message.conversation_id": "ann",
    "messaging.kafka.message.key": "ann",
    "db.query.parameter.0": "ann",
    "db.user": "ann",
    "rpc.grpc.request.metadata.cookie": ["ann"],
    "http.host": "ann.example.com",
    "celery.retry.reason": ANN,
    "code.stacktrace": ANN,
    "app.customer": "ann",
    "gen_ai.prompt": "ann",
    "": "ann",
}


@pytest.mark.parametrize("key", LEAKS)
def test_what_is_not_on_the_list_does_not_leave(key: str) -> None:
    """A key that nobody has put on the list is taken out, and counted."""
    assert left({key: LEAKS[key], "http.method": "GET"}) == {"http.method": "GET"}
    assert _guard.counts() == {"scrub.attributes_removed": 1}


def test_what_is_on_the_list_leaves_as_it_is() -> None:
    """Names that developers choose, numbers of protocols and all of ours stay untouched."""
    given = {
        "http.request.method": "POST",
        "http.route": "/users/{id}",
        "http.response.status_code": 404,
        "server.address": "10.0.0.1",
        "server.port": 8080,
        "db.system": "postgresql",
        "db.operation.name": "SELECT",
        "messaging.destination.name": "orders",
        "rpc.service": "shop.Orders",
        "error.type": "builtins.ValueError",
        "exception.escaped": "False",
        "cx.journey.id": "01J9Z6",
        "cx.context.weather": "rain",
        attributes.CUSTOMER_PSEUDONYM: "v1.abc",
        attributes.SESSION_ID: "s-1",
        "user_agent.synthetic.type": "test",
    }

    assert left(given) == given
    assert _guard.counts() == {}


REDUCED: Final = [
    ("db.collection.name", f"of {ANN}", "of <email>"),
    ("messaging.destination.name", ["a", ANN], ("a", "<email>")),
    ("db.name", b"ann", None),
    ("url.full", URL, "https://shop.example.com:8443/{}/{}/{}"),
    ("http.url", "http://ann:pw@[::1]:80/", "http://[::1]:80/"),
    ("http.url", "http://shop", "http://shop"),
    ("url.full", "http://shop/" + "a/" * 40, "http://shop/" + "/".join(["{}"] * 16)),
    ("url.full", "mailto:ann@example.com", None),
    ("url.full", "http://[", None),
    ("url.full", "http://an n/", None),
    ("url.full", f"http://{ANN}%20/x", None),
    ("url.full", 7, None),
    ("url.full", [URL], None),
    ("url.path", "/users/ann", "/{}/{}"),
    ("url.path", "/", "/"),
    ("url.path", "", ""),
    ("http.target", f"/users/?mail={ANN}", "/{}/"),
    ("db.statement", "SELECT * FROM t WHERE a = 'ann'", "SELECT * FROM t WHERE a = ?"),
    ("db.query.text", "GET user:ann", None),
    ("db.query.text", 7, None),
    ("http.method", f"GET {ANN}", None),
    ("http.method", "4111111111111111", None),
    ("http.status_code", 200, 200),
    ("http.status_code", ["ann"], None),
    ("error.type", f"no {ANN}", None),
    ("http.route", f"/users/{ANN}", None),
    ("http.route", 7, None),
]


@pytest.mark.parametrize(("key", "value", "expected"), REDUCED)
def test_what_leaves_in_part(key: str, value: Any, expected: Any) -> None:
    """Of addresses, paths and statements the shape leaves; what is not understood does not."""
    found = left({key: value})

    assert found == ({} if expected is None else {key: expected})


@pytest.mark.parametrize(
    "key", ["server.address", "net.peer.name", "cx.context.weather", "session.id", "db.name"]
)
def test_somebodys_address_does_not_leave_under_a_key_that_does(key: str) -> None:
    """Whoever wrote it there: what is on the list is looked through, ours included."""
    assert left({key: ANN}) == {key: "<email>"}
    assert left({key: (ANN, "rain")}) == {key: ("<email>", "rain")}


def test_ids_are_not_looked_into() -> None:
    """A hash may look like a number of somebody; it leaves whole."""
    given = {"cx.journey.id": "4111111111111111", "enduser.pseudo.id": "v1.4111111111111111-abc_e"}

    assert left(given) == given


def test_the_host_of_whoever_calls_does_not_leave() -> None:
    """On the span of a server the peer is the caller; on that of a client it is a server."""
    given = {"net.peer.name": "anns-phone.example.com"}

    assert left(given) == given
    assert not scrubbed(span(given, kind=SpanKind.SERVER)).attributes


def test_path_as_the_route_says() -> None:
    """Where the framework knows the template of the path, the path becomes that."""
    given = {
        "http.target": "/users/7?a=1",
        "url.full": "http://shop/users/7",
        "url.path": "/users/7",
    }

    assert left({**given, "http.route": "/users/{id}"}) == {
        "http.target": "/users/{id}",
        "url.full": "http://shop/users/{id}",
        "url.path": "/users/{id}",
        "http.route": "/users/{id}",
    }
    assert left({"url.path": "/users/7", "http.route": "users/<int:id>"})["url.path"] == (
        "/users/<int:id>"
    )
    assert left({"url.path": "/x/7", "url.template": "/x/{y}"})["url.path"] == "/x/{y}"
    assert left({"url.path": "/x/7", "http.route": ANN}) == {"url.path": "/{}/{}"}


def test_keep() -> None:
    """What the user wants beside the list leaves as it is: keys, beginnings of keys, paths."""
    given = {"app.tenant": "a", "app.x.y": "b", "apps": "c", "url.query": "d", "url.path": "/p/7/r"}

    assert left(given, "app.*", "url.query", "/p/{id}/r") == {
        "app.tenant": "a",
        "app.x.y": "b",
        "url.query": "d",
        "url.path": "/p/{id}/r",
    }
    assert left({"url.path": "/p/7/s"}, "/p/{id}/r") == {"url.path": "/{}/{}/{}"}
    long = "/p/" + "7" * 600 + "/r"
    assert left({"url.path": long}, "/p/{id}/r") == {"url.path": "/{}/{}/{}"}
    assert left({"url.full": URL}, "url.full") == {"url.full": URL}


WRONG: Final = ["app.*", b"app", {"a": 1}, 7, None, [7], [""], ["a*"], ["*"], ["a b"], ["/a?b"]]


@pytest.mark.parametrize("keep", WRONG, ids=repr)
def test_keep_that_makes_no_sense(keep: Any) -> None:
    """What cannot be a key or a path is refused where it is written, and says what to write."""
    with pytest.raises(ConfigurationError, match="keep must be a list of keys"):
        ScrubbingSpanExporter(InMemorySpanExporter(), keep)


# Names, events, links, status


NAMES: Final = [
    ("GET", {}, "GET"),
    ("GET /users/{id}", {}, "GET /{}/{}"),
    ("GET /users/{id}", {"http.route": "/users/{id}"}, "GET /users/{id}"),
    ("GET users/<int:id>/x", {"http.route": "users/<int:id>/x"}, "GET users/<int:id>/x"),
    (f"GET /users/{ANN}", {"http.route": "/users/{id}"}, "GET /users/{}"),
    ("shop.Orders/Pay", {"rpc.service": "shop.Orders", "rpc.method": "Pay"}, "shop.Orders/Pay"),
    ("run/shop.pay", {"celery.action": "run", "celery.task_name": "shop.pay"}, "run/shop.pay"),
    ("SELECT shop.orders", {}, "SELECT shop.orders"),
    (f"mail to {ANN}", {}, "mail to <email>"),
    ("order 4711000", {"db.response.returned_rows": 4711000}, "order 4711000"),
    ("order 4711000", {}, "order {}"),
    ("orders receive", {}, "orders receive"),
    ("", {}, ""),
]


@pytest.mark.parametrize(("name", "given", "expected"), NAMES)
def test_name_of_a_span(name: str, given: dict[str, Any], expected: str) -> None:
    """Of a name the words stay, and of a path in it what attributes on the list say as well."""
    assert scrubbed(span(given, name)).name == expected


def test_events() -> None:
    """Events stay, with their time: an exception as its class, others without what they say."""
    one = span(
        events=[
            Event("exception", {"exception.type": "ValueError", "exception.message": ANN}, 1),
            Event(f"{ANN} logged in", {"cx.friction.type": "slow"}, 2),
            Event("cx.friction", {"cx.friction.type": "slow"}, 3),
            Event("logged in", None, 4),
        ]
    )
    found = [
        (each.name, dict(each.attributes or {}), each.timestamp) for each in scrubbed(one).events
    ]

    assert found == [
        ("exception", {"exception.type": "ValueError"}, 1),
        (OTHER, {"cx.friction.type": "slow"}, 2),
        ("cx.friction", {"cx.friction.type": "slow"}, 3),
        (OTHER, {}, 4),
    ]
    assert scrubbed(one, "app.x").events[3].name == OTHER


STATUSES: Final = [
    (Status(StatusCode.ERROR, f"ValueError: {ANN}"), "ValueError"),
    (Status(StatusCode.ERROR, "shop.NotFound"), "shop.NotFound"),
    (Status(StatusCode.ERROR, "NotFound: 7"), "NotFound"),
    (Status(StatusCode.ERROR, f"{ANN}: no"), None),
    (Status(StatusCode.ERROR, "Ann: no"), None),
    (Status(StatusCode.ERROR), None),
    (Status(StatusCode.OK), None),
    (Status(), None),
]


@pytest.mark.parametrize(("status", "expected"), STATUSES)
def test_status(status: Status, expected: str | None) -> None:
    """A status stays; of its description the class of an error, as the span names it elsewhere."""
    raised = [Event("exception", {"exception.type": "ValueError"})]
    found = scrubbed(span({"error.type": "shop.NotFound"}, status=status, events=raised)).status

    assert (found.status_code, found.description) == (status.status_code, expected)


def test_links() -> None:
    """Links stay, with the trace state, and without attributes that are not on the list."""
    there = SpanContext(3, 4, True, trace_state=TraceState([("a", "b")]))
    (link,) = scrubbed(span(links=[Link(there, {"user.id": "ann", "db.name": "x"})])).links

    assert link.context == there
    assert link.attributes == {"db.name": "x"}


# The whole span


def full(exporter: SpanExporter) -> TracerProvider:
    """A provider with small limits that exports at once."""
    limits = SpanLimits(max_span_attributes=3, max_events=2, max_links=1, max_event_attributes=1)
    provider = TracerProvider(span_limits=limits, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


def test_all_else_stays() -> None:
    """Ids, parent, kind, times, resource, scope and what the limits have dropped stay."""
    raw, inner = InMemorySpanExporter(), InMemorySpanExporter()
    provider = full(raw)
    provider.add_span_processor(SimpleSpanProcessor(ScrubbingSpanExporter(inner)))
    tracer = provider.get_tracer("stock", "1.2")
    other = SpanContext(7, 8, True)
    with (
        tracer.start_as_current_span("outer"),
        tracer.start_as_current_span(
            "GET", kind=SpanKind.CLIENT, links=[Link(other), Link(other)]
        ) as one,
    ):
        one.set_attributes({"a": 1, "b": 2, "http.method": "GET", "url.full": URL})
        for _ in range(3):
            one.add_event("exception", {"user.id": "ann", "exception.type": "X"})
    before, _ = raw.get_finished_spans()
    after, _ = inner.get_finished_spans()

    for what in (
        *("context", "parent", "kind", "start_time", "end_time", "resource"),
        *("instrumentation_scope", "dropped_attributes", "dropped_events", "dropped_links"),
    ):
        assert getattr(after, what) == getattr(before, what), what
    assert (after.dropped_attributes, after.dropped_events, after.dropped_links) == (1, 1, 1)
    assert after.events[0].dropped_attributes == 1
    assert after.attributes == {
        "http.method": "GET",
        "url.full": "https://shop.example.com:8443/{}/{}/{}",
    }


def test_others_see_all() -> None:
    """The span itself is not changed: what another exporter gets, before or after, is all."""
    inner, after = InMemorySpanExporter(), InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(ScrubbingSpanExporter(inner)))
    provider.add_span_processor(SimpleSpanProcessor(after))
    with (
        pytest.raises(ValueError, match="ann"),
        provider.get_tracer("x").start_as_current_span(
            f"mail {ANN}",
            attributes={"url.full": URL},
            links=[Link(SpanContext(1, 2, False), {"a": 1})],
        ),
    ):
        raise ValueError(ANN)
    (theirs,), (ours,) = after.get_finished_spans(), inner.get_finished_spans()

    assert theirs.name == f"mail {ANN}"
    assert theirs.attributes == {"url.full": URL}
    assert theirs.status.description == f"ValueError: {ANN}"
    assert ANN in theirs.to_json()
    assert ANN not in ours.to_json()
    assert ours.status.description == "ValueError"


def test_spans_of_ours_keep_their_names(cx: Capture) -> None:
    """The name of a touchpoint is the map's word, whatever it looks like."""
    with (
        cxtrace.journey("order"),
        cxtrace.customer("A"),
        cxtrace.touchpoint("pay 10000/month") as tp,
    ):
        tp.friction("slow").set({"session.id": "s-1"})
    (one,) = cx.spans
    found = scrubbed(one)

    assert found.name == "pay 10000/month"
    assert found.attributes == one.attributes
    assert [(e.name, e.attributes) for e in found.events] == [
        (e.name, e.attributes) for e in one.events
    ]


class Odd(ReadableSpan):
    """A span of which something cannot be read."""

    def __init__(self, *broken: str) -> None:
        super().__init__("odd", SpanContext(1, 2, False), resource=Resource({}))
        self._broken = broken

    def __getattribute__(self, name: str) -> Any:
        if name != "_broken" and name in getattr(self, "_broken", ()):
            raise RuntimeError(ANN)
        return super().__getattribute__(name)


class Hostile(str):
    """A text that does not do what it is asked."""

    __slots__ = ()

    def partition(self, sep: str, /) -> tuple[str, str, str]:
        raise RuntimeError(ANN)


def test_an_error_costs_an_attribute() -> None:
    """What cannot be looked at is dropped by itself, and counted."""
    assert left({"url.path": Hostile("/x"), "db.name": "x"}) == {"db.name": "x"}
    assert _guard.counts() == {"errors.scrub.attribute": 1, "scrub.attributes_removed": 1}


def test_an_error_costs_no_span() -> None:
    """Of a span that cannot be read, ids and times leave; the others of the batch are as ever."""
    broken, fine = Odd("attributes"), span({"db.name": "x"}, "fine")
    found = Scrubber()([broken, fine])

    assert [(each.name, each.context.span_id) for each in found] == [("{}", 2), ("fine", 2)]
    assert _guard.counts() == {"errors.scrub.span": 1}


def test_a_span_that_is_none_is_left_out() -> None:
    """What has not even an identity cannot be sent, and costs nobody else anything."""
    assert [each.name for each in Scrubber()([Odd("attributes", "parent"), span()])] == ["GET"]
    assert _guard.counts() == {"errors.scrub.span": 2}


def test_memory_is_bounded() -> None:
    """Keys that nobody has seen are not remembered for ever."""
    scrubber = Scrubber(["app.*"])
    for at in range(30):
        scrubber([span({f"app.{at}.{n}": 1 for n in range(100)})])

    assert len(scrubber._rules) == 2_000
    assert left({"app.new": 1}, "app.*") == {"app.new": 1}


# Any span


PLANTED: Final = (
    "zyx.ann@example.com",
    "4111111111111111",
    "DE89370400440532013000",
    "zyxann 5000",
)
SAID: Final = st.sampled_from(PLANTED)
AROUND: Final = st.text(max_size=2)
SURROUNDED: Final = st.builds("{}{}{}".format, AROUND, SAID, AROUND)
FREE: Final = SURROUNDED | st.lists(SURROUNDED, max_size=2) | st.integers() | st.text(max_size=9)
SHAPED: Final = {
    "url.full": SAID.map(lambda said: f"https://x/{said}?q={said}") | SURROUNDED,
    "http.url": SAID.map(lambda said: f"http://{said.replace(' ', '')}@x/a/{said}") | SURROUNDED,
    "url.path": SAID.map(lambda said: f"/a/{said}") | SURROUNDED,
    "http.target": SURROUNDED,
    "db.statement": SAID.map(lambda said: f"SELECT * FROM a WHERE b = '{said}'") | SURROUNDED,
    "db.query.text": SAID.map(lambda said: f"SELECT 1 /* {said} */") | SURROUNDED,
    "http.method": SURROUNDED,
    "error.type": SURROUNDED,
    "exception.type": SURROUNDED,
    "rpc.method": SURROUNDED,
}
ALLOWED: Final = st.sampled_from(
    ["http.route", "db.name", "server.address", "cx.stage.name", "app.kept"]
)
KEYS: Final = st.sampled_from(sorted(set(LEAKS) - {""})) | st.text(max_size=9).map("x{}".format)


@st.composite
def attributes_of(draw: Any) -> dict[str, Any]:
    """Attributes that leak under any key, and in the values of those that leave in part."""
    found: dict[str, Any] = draw(st.dictionaries(KEYS, FREE, max_size=2))
    for key in draw(st.sets(st.sampled_from(sorted(SHAPED)), max_size=2)):
        found[key] = draw(SHAPED[key])
    return found | dict.fromkeys(draw(st.sets(ALLOWED, max_size=2)), "/kept")


EVENTS: Final = st.builds(Event, SURROUNDED | st.just("exception"), attributes_of(), st.just(1))

LINKS: Final = st.builds(Link, st.just(SpanContext(1, 2, True)), attributes_of())


@st.composite
def spans(draw: Any) -> ReadableSpan:
    """Any span, with something planted wherever something can stand."""
    return ReadableSpan(
        draw(st.text(max_size=9) | SAID.map(lambda said: f"GET /{said}")),
        SpanContext(1, 2, False),
        resource=Resource({}),
        attributes=draw(attributes_of()),
        events=draw(st.lists(EVENTS, max_size=2)),
        links=draw(st.lists(LINKS, max_size=1)),
        status=draw(st.builds(Status, st.just(StatusCode.ERROR), SURROUNDED | st.none())),
        start_time=1,
        end_time=2,
    )


def words(one: ReadableSpan) -> str:
    """Everything that an exporter could send of a span."""
    return f"{one.to_json()}" + repr([one.name, *(dict(e.attributes or {}) for e in one.events)])


@given(spans())
def test_any_span(one: ReadableSpan) -> None:
    """Nothing planted leaves; what is allowed leaves untouched; the span is what it was."""
    before = one.to_json()
    kept = {key: value for key, value in (one.attributes or {}).items() if value == "/kept"}
    scrubber = Scrubber(["app.kept"])
    (found,) = scrubber([one])
    (again,) = scrubber([found])

    assert one.to_json() == before
    assert found.context == one.context
    assert (len(found.events), len(found.links)) == (len(one.events), len(one.links))
    assert [said for said in (*PLANTED, "zyx", "4111") if said in words(found)] == []
    assert kept.items() <= (found.attributes or {}).items()
    assert again.to_json() == found.to_json()


# Exporters


class Remembering(SpanExporter):
    """Notes how it is called."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.calls.append([each.name for each in spans])
        return SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        self.calls.append(timeout_millis)
        return False

    def shutdown(self) -> None:
        self.calls.append("shutdown")

    def after_fork(self) -> None:
        """Begin anew."""
        self.calls.append("after_fork")


def test_the_exporter_within_is_asked() -> None:
    """Results, flushes, the end and a fork are those of the exporter within."""
    inner = Remembering()
    outer = ScrubbingSpanExporter(ScrubbingSpanExporter(inner))

    assert outer.export([span(name=ANN)]) is SpanExportResult.FAILURE
    assert not outer.force_flush(7)
    outer.after_fork()
    outer.shutdown()
    ScrubbingSpanExporter(InMemorySpanExporter()).after_fork()
    assert inner.calls == [["<email>"], 7, "after_fork", "shutdown"]


def test_what_stands_in_a_file(tmp_path: Path) -> None:
    """OTLP JSON lines hold what may leave, and the file reads back."""
    path = tmp_path / "spans.jsonl"
    exporter = ScrubbingSpanExporter(FileSpanExporter(path))
    exporter.export([span({"url.full": URL, "user.id": "ann"}, start_time=1, end_time=2)])
    exporter.shutdown()
    text = path.read_text()

    assert json.loads(text)
    assert "ann" not in text
    assert "https://shop.example.com:8443/{}/{}/{}" in text


def test_what_a_person_reads(capsys: pytest.CaptureFixture[str]) -> None:
    """The tree on the console is drawn of what may leave."""
    exporter = ScrubbingSpanExporter(TreeExporter())
    exporter.export([span(name=f"mail {ANN}", start_time=1, end_time=2)])
    exporter.shutdown()
    shown = capsys.readouterr()

    assert "mail <email>" in shown.err + shown.out
    assert ANN not in shown.err + shown.out


def test_what_lies_on_disk_and_comes_back() -> None:
    """Scrubbed spans are OTLP like any others; scrubbed once more, they stay as they are."""
    scrubber = Scrubber()
    given = {"url.full": URL, "db.statement": "SELECT 'ann'", "http.route": "/u/{id}"}
    once = scrubber([span(given, f"GET /u/{ANN}", start_time=1, end_time=2)])
    again = scrubber(decode_spans(encode_spans(once)))

    assert b"ann" not in encode_spans(once)
    assert encode_spans(again) == encode_spans(once)
