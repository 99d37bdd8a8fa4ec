"""The trust boundary: what strangers send changes no tag, and what we send strangers never get."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, attach, get_current
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import DefaultGetter, Setter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import cxtrace
from cxtrace import _baggage, _guard, _journeys, _runtime, _withdrawals, propagation
from cxtrace import attributes as names
from cxtrace._runtime import Runtime
from cxtrace._tracing import tracing_of
from cxtrace.context import CXContext, cx_of
from cxtrace.privacy import HmacPseudonymiser, Key
from cxtrace.processors import StampProcessor
from cxtrace.propagation import CXPropagator

KEY = Key(b"0123456789abcdef0123456789abcdef")
OTHER_KEY = Key(b"another key of thirty-two bytes!!")
NOW = 1_790_000_000.0
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"

MEMBERS = {
    names.JOURNEY_NAME: "first_order",
    names.JOURNEY_ID: "01j9z6",
    names.STAGE_NAME: "purchase",
    names.TOUCHPOINT_NAME: "checkout.pay",
    names.OWNER_FUNCTION: "payments",
    names.CONSENT_STATE: "granted",
    names.CUSTOMER_PSEUDONYM: "v1.abc",
}
GOOD = _baggage.signed(MEMBERS, KEY, NOW)
OURS = {"http.url": "http://orders.internal/"}
STRANGER = {"http.url": "https://evil.example.com/"}
UNKNOWN = {"http.method": "GET"}
IDS = (names.JOURNEY_ID, names.CUSTOMER_PSEUDONYM)


class Bench:
    """A private provider, the decisions in force, and the stock propagators with ours behind."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.memory = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(StampProcessor())
        self.provider.add_span_processor(SimpleSpanProcessor(self.memory))
        self.tracer = self.provider.get_tracer("stock")
        self.propagator = CompositePropagator(
            [TraceContextTextMapPropagator(), W3CBaggagePropagator(), CXPropagator()]
        )
        self._monkeypatch = monkeypatch
        self.decide()

    def decide(self, **settings: Any) -> None:
        """Put other decisions in force."""
        settings = {"key": KEY, "pseudonymiser": HmacPseudonymiser(KEY), **settings}
        runtime = Runtime(tracing=tracing_of(self.provider, "1"), **settings)
        self._monkeypatch.setattr(_runtime, "current", runtime)

    def extract(self, *lines: str, **headers: str) -> Context:
        """The context of a request with these ``baggage`` lines."""
        carrier: dict[str, Any] = {**headers}
        if lines:
            carrier["baggage"] = list(lines)
        return self.propagator.extract(carrier, Context())

    def inject(
        self,
        attributes: dict[str, str] | None,
        carrier: Any = None,
        kind: SpanKind = SpanKind.CLIENT,
    ) -> Any:
        """The headers of a request that goes out under a span with these attributes."""
        carrier = {} if carrier is None else carrier
        with self.tracer.start_as_current_span("request", kind=kind, attributes=attributes):
            self.propagator.inject(carrier)
        return carrier


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Put counters, decisions and context back to what they were."""
    runtime, context = _runtime.current, get_current()
    _runtime.use(Runtime())
    _guard.reset()
    yield
    _runtime.use(runtime)
    _guard.reset()
    _journeys.forget_all()
    _withdrawals.forget_all()
    attach(context)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench with the clock at ``NOW``, nothing counted, and a context of its own."""
    monkeypatch.setattr(propagation, "time", SimpleNamespace(time=lambda: NOW))
    attach(Context())
    return Bench(monkeypatch)


def cx_in(context: Context) -> CXContext:
    """Our value in the context, which must be there."""
    found = cx_of(context)
    assert found is not None
    return found


def is_bare(context: Context) -> bool:
    """Whether no tag at all would be set under the context."""
    cx = cx_in(context)
    return cx.tags() == {} and cx.identity == _runtime.current.anonymous and cx.journey is None


def members_of(carrier: Any) -> dict[str, str]:
    """Our members in the headers, without the signature."""
    ours = dict(_baggage.parse(carrier.get("baggage", "")).ours)
    ours.pop(_baggage.SIGNATURE, None)
    return ours


# Inbound


def test_signed_members_count(bench: Bench) -> None:
    """A fresh signature of our key: journey, place, consent and customer go on here."""
    cx = cx_in(bench.extract(GOOD))

    assert cx.tags() == {k: v for k, v in MEMBERS.items() if k != names.CONSENT_STATE}
    assert cx.identity.consent == "granted"
    assert cx.identity.key_id == KEY.key_id
    assert cxtrace.report().counts == {}


def resigned(changes: dict[str, str], key: Key = KEY, age: int = 0) -> str:
    """A header that was rightly signed, over other members or at another time."""
    return _baggage.signed({**MEMBERS, **changes}, key, NOW - age)


REFUSED = {
    "unsigned": (["cx.journey.name=evil,cx.journey.id=1"], "unsigned"),
    "pseudonym alone": (["enduser.pseudo.id=john"], "unsigned"),
    "enduser.id": (["enduser.id=john"], "unsigned"),
    "empty signature": (["cx.journey.name=evil,cx.sig="], "unsigned"),
    "half a signature": (["cx.journey.name=evil,cx.sig=v1:"], "unsigned"),
    "forged value": ([GOOD.replace("first_order", "second_order")], "forged"),
    "forged consent": ([GOOD.replace("granted", "not_required")], "forged"),
    "member left out": ([GOOD.replace("cx.consent.state=granted,", "")], "forged"),
    "member put in": ([f"{GOOD},cx.walkthrough.id=1"], "forged"),
    "other key": ([resigned({}, OTHER_KEY)], "other_key"),
    "other key under our id": (
        [resigned({}, OTHER_KEY).replace(OTHER_KEY.key_id, KEY.key_id)],
        "forged",
    ),
    "stale": ([resigned({}, age=301)], "stale"),
    "from the future": ([resigned({}, age=-61)], "stale"),
    "truncated in the signature": ([GOOD[:-1]], "forged"),
    "truncated before it": ([GOOD[: GOOD.index("cx.sig")]], "unsigned"),
    "oversized": ([f"{GOOD},padding={'x' * 8_192}"], "oversized"),
    "oversized in lines": ([GOOD, *(f"a{n}={'x' * 999}" for n in range(9))], "oversized"),
    "duplicated": ([f"{GOOD},cx.journey.name=evil"], "repeated"),
    "duplicated in front": ([f"cx.journey.name=evil,{GOOD}"], "repeated"),
    "duplicated in another line": ([GOOD, "cx.journey.name=evil"], "repeated"),
    "duplicated and encoded": ([f"{GOOD},cx%2Ejourney.name=evil"], "repeated"),
    "duplicated signature": ([f"{GOOD},cx.sig=x"], "repeated"),
    "mixed case": (["CX.Journey.Name=evil"], "unsigned"),
    "mixed case beside good ones": ([f"{GOOD},Cx.journey.name=evil"], "forged"),
    "percent-encoded key": (["cx%2Ejourney.id=1"], "unsigned"),
    "all percent-encoded": (["%63%78%2e%6aourney.id=1"], "unsigned"),
    "key behind a blank": (["%20cx.journey.id=1"], "unsigned"),
    "key behind a plus": (["+cx.journey.id=1"], "unsigned"),
    "not UTF-8": ([GOOD.replace("first_order", "%FF%FE")], "forged"),
    "overlong UTF-8": (["cx%c0%aejourney=1,cx.journey.id=1"], "unsigned"),
    "property": (["cx.journey.name=evil;cx.sig=v1"], "unsigned"),
    "split over lines": (["cx.journey.name=evil", "cx.journey.id=1"], "unsigned"),
    "half signed in lines": ([GOOD, "cx.walkthrough.id=1"], "forged"),
    "melted members": (
        [
            GOOD.replace(
                "cx.consent.state=granted,cx.journey.id",
                "cx.consent.state%3Dgranted%0Acx.journey.id",
            )
        ],
        "forged",
    ),
}


@pytest.mark.parametrize(("lines", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_strangers_send_changes_no_tag(bench: Bench, lines: list[str], reason: str) -> None:
    """Members without a fresh signature of ours set nothing, and are counted under their fault."""
    context = bench.extract(*lines)

    assert is_bare(context)
    assert not any(_baggage.is_ours(key) for key in baggage.get_all(context))
    assert cxtrace.report().counts == {f"baggage.{reason}": 1}


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [""],
        ["a=1"],
        [",,,"],
        ["%"],
        ["=;=;="],
        ["\ud800=\udfff"],
        ["a=1", "b=2"],
        ["é=" + "x" * 8_000],
    ],
)
def test_header_without_our_members_is_not_counted(bench: Bench, lines: list[str]) -> None:
    """Where nobody claims anything about the journey, nothing is refused."""
    assert is_bare(CXPropagator().extract({"baggage": lines}, Context()))
    assert cxtrace.report().counts == {}


def test_good_members_split_over_lines(bench: Bench) -> None:
    """A proxy may put members into several header lines; together they are what was signed."""
    members = GOOD.split(",")
    cx = cx_in(CXPropagator().extract({"baggage": [*members]}, Context()))

    assert cx.journey is not None
    assert cx.journey.id == "01j9z6"


def test_property_at_a_good_member_is_dropped(bench: Bench) -> None:
    """A property behind a signed value does not become a part of the tag."""
    cx = cx_in(bench.extract(GOOD.replace("=01j9z6", "=01j9z6;prop=1")))

    assert cx.tags()[names.JOURNEY_ID] == "01j9z6"


@pytest.mark.parametrize("age", [300, 0, -60])
def test_age_within_the_bounds(bench: Bench, age: int) -> None:
    """Five minutes back and one minute ahead are fresh."""
    assert cx_in(bench.extract(resigned({}, age=age))).journey is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (names.JOURNEY_NAME, "x" * 65),
        (names.JOURNEY_NAME, "a\nb"),
        (names.JOURNEY_NAME, ""),
        (names.TOUCHPOINT_NAME, "\x1b[31m"),
    ],
)
def test_odd_value_is_dropped_though_signed(bench: Bench, name: str, value: str) -> None:
    """A signed value that is empty, long or unprintable sets no tag; the others do."""
    tags = cx_in(bench.extract(resigned({name: value}))).tags()

    assert name not in tags
    assert tags[names.CUSTOMER_PSEUDONYM] == "v1.abc"


def test_signed_members_without_a_journey(bench: Bench) -> None:
    """Signed members that name neither journey nor touchpoint make neither."""
    text = _baggage.signed({names.JOURNEY_ID: "1", names.STAGE_NAME: "s"}, KEY, NOW)
    cx = cx_in(bench.extract(text))

    assert (cx.journey, cx.place) == (None, None)
    assert is_bare(bench.extract(_baggage.signed({}, KEY, NOW)))


def test_journey_name_without_id(bench: Bench) -> None:
    """A caller that may not tell the id of the journey still tells its name."""
    cx = cx_in(bench.extract(_baggage.signed({names.JOURNEY_NAME: "first_order"}, KEY, NOW)))

    assert cx.tags() == {names.JOURNEY_NAME: "first_order"}
    assert cx.identity.consent == "unknown"
    assert cx.identity.key_id is None


@pytest.mark.parametrize("consent", ["denied", "withdrawn"])
def test_refused_consent_comes_along(bench: Bench, consent: str) -> None:
    """Where the caller says that consent is refused, its ids set no tag here, even if sent."""
    tags = cx_in(bench.extract(resigned({names.CONSENT_STATE: consent}))).tags()

    assert not tags.keys() & set(IDS)
    assert tags[names.JOURNEY_NAME] == "first_order"


def test_unknown_word_for_consent_is_unknown_consent(bench: Bench) -> None:
    """A state that we do not know counts as unknown, which is denied where consent is required."""
    text = resigned({names.CONSENT_STATE: "maybe"})

    assert cx_in(bench.extract(text)).identity.consent == "unknown"
    assert cx_in(bench.extract(text)).identity.linkable
    bench.decide(consent_required=True)
    assert not cx_in(bench.extract(text)).tags().keys() & set(IDS)


def test_never_trusts_nobody(bench: Bench) -> None:
    """``trust_inbound=never`` refuses even what is rightly signed, and counts it."""
    bench.decide(trust_inbound="never")

    assert is_bare(bench.extract(GOOD))
    assert cxtrace.report().counts == {"baggage.never_trusted": 1}


def test_always_trusts_the_unsigned(bench: Bench) -> None:
    """``trust_inbound=always`` takes members without a signature, with a stale or foreign one."""
    bench.decide(trust_inbound="always")
    unsigned = "cx.journey.name=a,cx.journey.id=7;p=1,cx.touchpoint.name=t"

    for text in (unsigned, resigned({}, OTHER_KEY, 999)):
        assert cx_in(bench.extract(text)).journey is not None
    assert cx_in(bench.extract(unsigned)).tags() == {
        names.JOURNEY_NAME: "a",
        names.JOURNEY_ID: "7",
        names.TOUCHPOINT_NAME: "t",
    }
    assert cxtrace.report().counts == {}


@pytest.mark.parametrize(("trust", "started"), [("signed", 1.5), ("always", None)])
def test_a_clock_needs_a_signature(bench: Bench, trust: Any, started: float | None) -> None:
    """Since when a journey runs is told by those alone who can sign it."""
    bench.decide(trust_inbound=trust)
    _journeys.forget_all()
    text = _baggage.signed({names.JOURNEY_NAME: "a", names.JOURNEY_ID: "7"}, KEY, NOW, "1500")

    journey = cx_in(bench.extract(text)).journey

    assert journey is not None
    assert journey.state.started == started


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("cx.journey.name=a,cx.journey.name=b", "repeated"),
        ("cx.journey.name=a,x=" + "y" * 8_192, "oversized"),
    ],
)
def test_always_has_bounds(bench: Bench, text: str, reason: str) -> None:
    """Even where all are trusted, a header that is too long or contradicts itself is refused."""
    bench.decide(trust_inbound="always")

    assert is_bare(CXPropagator().extract({"baggage": text}, Context()))
    assert cxtrace.report().counts == {f"baggage.{reason}": 1}


def test_other_key_is_explained_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A fleet with two keys finds out from one line in the log, not from one a request."""
    for _ in range(3):
        bench.extract(resigned({}, OTHER_KEY))

    assert len(caplog.records) == 1
    assert "signed with another key" in caplog.text
    assert cxtrace.report().counts == {"baggage.other_key": 3}


def test_members_of_others_come_in_as_they_are(bench: Bench) -> None:
    """OpenTelemetry's baggage keeps what others sent, and gets nothing of ours."""
    for ours in (GOOD, "cx.journey.name=evil,CX.a=1,%20enduser.id=john"):
        context = bench.extract(f"a=1,{ours},b=2;prop=x")

        assert baggage.get_all(context) == {"a": "1", "b": "2;prop=x"}


def test_context_of_the_caller_stays(bench: Bench) -> None:
    """Whatever else is in the context that is given stays in it; the given one is not changed."""
    given_context = Context({"theirs": 1})
    found = CXPropagator().extract({"baggage": GOOD}, given_context)

    assert found["theirs"] == 1
    assert cx_of(given_context) is None


def test_default_context_is_empty(bench: Bench) -> None:
    """Without a context an empty one is built on, not the current one of another request."""
    with cxtrace.journey("other"):
        found = CXPropagator().extract({"baggage": "theirs=1"})

    assert is_bare(found)


def test_requests_share_nothing(bench: Bench) -> None:
    """Each request that comes in has a scope of its own, also when nothing is known about it."""
    one, two = bench.extract(), bench.extract()

    assert cx_in(one).scope is not cx_in(two).scope


class Broken(DefaultGetter):
    """A getter that returns what no getter should."""

    def __init__(self, found: Any) -> None:
        self.found = found

    def get(self, carrier: Any, key: str) -> Any:
        """Return it, or raise it."""
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


@pytest.mark.parametrize("found", [ValueError("secret"), [b"cx.journey.name=evil"], [None], 7])
def test_broken_getter_fails_safe(bench: Bench, found: Any) -> None:
    """If the header cannot be read the request is a stranger's; the host notices nothing."""
    bench.decide(public_endpoint=True)
    carrier = {"traceparent": f"{CALLER}-00", "baggage": "cx.journey.name=evil,a=1"}
    stock = CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])
    context = stock.extract(carrier, Context())
    context = CXPropagator().extract(carrier, context, Broken(found))

    assert is_bare(context)
    assert baggage.get_all(context) == {"a": "1"}
    assert not get_current_span(context).get_span_context().is_valid
    assert cxtrace.report().counts == {"errors.extract": 1}


@given(st.lists(st.text(st.characters()), max_size=4))
def test_noise_never_raises(lines: list[str]) -> None:
    """Whatever the header lines hold, reading them raises nothing and sets no tag."""
    cx = cx_in(CXPropagator().extract({"baggage": lines}, Context()))

    assert cx.tags() == {}


# Public endpoints


@pytest.mark.parametrize("flags", ["00", "01"])
@pytest.mark.parametrize(
    "lines", [[], ["a=1"], ["cx.journey.name=evil"], [resigned({}, OTHER_KEY)]]
)
def test_strangers_do_not_decide_what_is_sampled(
    bench: Bench, flags: str, lines: list[str]
) -> None:
    """At a public endpoint an unsigned request starts a new trace, linked to the caller's span."""
    bench.decide(public_endpoint=True)
    attach(bench.extract(*lines, traceparent=f"{CALLER}-{flags}", tracestate="evil=1"))
    with (
        bench.tracer.start_as_current_span("GET /", kind=SpanKind.SERVER),
        cxtrace.touchpoint("first"),
        cxtrace.touchpoint("second"),
    ):
        pass
    second, first, server = bench.memory.get_finished_spans()

    assert server.parent is None
    assert format(server.context.trace_id, "032x") not in CALLER
    assert not server.context.trace_state
    assert [format(link.context.span_id, "016x") for link in first.links] == ["b7ad6b7169203331"]
    assert [format(link.context.trace_id, "032x") in CALLER for link in first.links] == [True]
    assert second.links == ()
    assert server.links == ()


def test_touchpoint_without_a_server_span_is_a_linked_root(bench: Bench) -> None:
    """Without an instrumented server the touchpoint itself is the new root with the link."""
    bench.decide(public_endpoint=True)
    attach(bench.extract(traceparent=f"{CALLER}-00"))
    with cxtrace.touchpoint("first"):
        pass
    (first,) = bench.memory.get_finished_spans()

    assert first.parent is None
    assert len(first.links) == 1


@pytest.mark.parametrize("text", [GOOD, _baggage.signed({}, KEY, NOW)])
def test_signed_callers_are_continued(bench: Bench, text: str) -> None:
    """At a public endpoint a caller that proves to be one of us goes on with its trace."""
    bench.decide(public_endpoint=True)
    attach(bench.extract(text, traceparent=f"{CALLER}-01"))
    with cxtrace.touchpoint("first"):
        pass
    (first,) = bench.memory.get_finished_spans()

    assert first.parent is not None
    assert format(first.parent.span_id, "016x") == "b7ad6b7169203331"
    assert first.links == ()


@pytest.mark.parametrize(("flags", "spans"), [("00", 0), ("01", 1)])
def test_default_is_parent_based(bench: Bench, flags: str, spans: int) -> None:
    """Elsewhere OpenTelemetry's rule holds: the caller decides, signed or not."""
    attach(bench.extract(traceparent=f"{CALLER}-{flags}"))
    with cxtrace.touchpoint("first"):
        pass

    assert len(bench.memory.get_finished_spans()) == spans


def test_public_endpoint_without_a_caller(bench: Bench) -> None:
    """A request without a trace is just a new trace: there is nothing to link to."""
    bench.decide(public_endpoint=True)
    for headers in ({}, {"traceparent": "nonsense"}):
        attach(bench.extract(**headers))
        with cxtrace.touchpoint("first"):
            pass

    assert [span.links for span in bench.memory.get_finished_spans()] == [(), ()]


def test_public_endpoint_does_not_cut_a_local_trace(bench: Bench) -> None:
    """Extracting under a span of this process, as a test client does, leaves that span alone."""
    bench.decide(public_endpoint=True)
    with bench.tracer.start_as_current_span("local") as span:
        context = CXPropagator().extract({}, get_current())

    assert get_current_span(context) is span


# Outbound


def send(bench: Bench, attributes: dict[str, str] | None, **options: Any) -> Any:
    """The headers of a request made at a touchpoint of a known customer on a journey."""
    with (
        cxtrace.journey("first_order", id="01j9z6"),
        cxtrace.customer("cust-42", consent=options.pop("consent", "granted")),
        cxtrace.touchpoint("checkout.pay", stage="purchase", owner="payments"),
    ):
        return bench.inject(attributes, **options)


def test_our_hosts_get_everything_signed(bench: Bench) -> None:
    """A request to a host that is ours carries names, ids and a signature that holds."""
    carrier = send(bench, OURS)
    header = _baggage.parse(carrier["baggage"])

    assert members_of(carrier) == {
        **MEMBERS,
        names.CUSTOMER_PSEUDONYM: HmacPseudonymiser(KEY).pseudonym("cust-42"),
    }
    assert _baggage.fault(header.ours, KEY, NOW) is None
    assert len(header.ours) <= _baggage.MAX_MEMBERS
    assert len(carrier["baggage"]) <= _baggage.MAX_BYTES
    assert cxtrace.report().counts == {}


def test_what_we_send_we_take(bench: Bench) -> None:
    """What one service sends is what the next one knows."""
    carrier = send(bench, OURS)
    tags = cx_in(bench.propagator.extract(carrier, Context())).tags()

    assert tags == {k: v for k, v in members_of(carrier).items() if k != names.CONSENT_STATE}
    assert len(tags) == 6


@pytest.mark.parametrize(
    ("attributes", "count"),
    [
        (STRANGER, "baggage.not_sent_to_strangers"),
        ({**OURS, "server.address": "evil.example.com"}, "baggage.not_sent_to_strangers"),
        (UNKNOWN, "baggage.not_sent_blindly"),
        (None, "baggage.not_sent_blindly"),
    ],
)
def test_strangers_get_nothing(bench: Bench, attributes: dict[str, str] | None, count: str) -> None:
    """A host that is not ours, or not known, is told nothing, and that is counted."""
    carrier = send(bench, attributes)

    assert carrier.keys() == {"traceparent"}
    assert cxtrace.report().counts == {count: 1}


@pytest.mark.parametrize("kind", [SpanKind.INTERNAL, SpanKind.SERVER, SpanKind.CONSUMER])
def test_only_a_client_span_names_a_destination(bench: Bench, kind: SpanKind) -> None:
    """The URL of a request that came in is not where the one that goes out will go."""
    assert "baggage" not in send(bench, OURS, kind=kind)


def test_producer_span_leads_to_a_broker(bench: Bench) -> None:
    """A message that is sent carries the members."""
    carrier = send(bench, {"messaging.system": "kafka"}, kind=SpanKind.PRODUCER)

    assert members_of(carrier).keys() == MEMBERS.keys()


def test_names_alone_go_where_nobody_knows(bench: Bench) -> None:
    """``unknown_destination=names`` tells the unknown names and consent, and no id."""
    bench.decide(unknown_destination="names")
    carrier = send(bench, UNKNOWN)

    assert members_of(carrier).keys() == MEMBERS.keys() - set(IDS)
    assert "01j9z6" not in str(carrier)
    assert "v1." not in carrier["baggage"].replace("cx.sig=v1:", "")


def test_names_alone_never_go_to_strangers(bench: Bench) -> None:
    """``unknown_destination=names`` changes nothing for a destination that is known."""
    bench.decide(unknown_destination="names")

    assert send(bench, STRANGER).keys() == {"traceparent"}
    assert set(IDS) < members_of(send(bench, OURS)).keys()


@pytest.mark.parametrize("consent", ["denied", "withdrawn"])
def test_no_ids_without_consent(bench: Bench, consent: str) -> None:
    """Under refused consent our own hosts get the names and the refusal, and no id."""
    carrier = send(bench, OURS, consent=consent)

    assert members_of(carrier) == {
        **{key: value for key, value in MEMBERS.items() if key not in IDS},
        names.CONSENT_STATE: consent,
    }
    assert "01j9z6" not in str(carrier)


@pytest.mark.parametrize(("required", "ids"), [(True, set()), (False, set(IDS))])
def test_unknown_consent_goes_by_the_setting(bench: Bench, required: bool, ids: set[str]) -> None:
    """Unknown consent keeps the ids back only where consent is required."""
    bench.decide(consent_required=required)

    assert members_of(send(bench, OURS, consent="unknown")).keys() & set(IDS) == ids


def test_consent_that_is_withdrawn_late_counts_at_once(bench: Bench) -> None:
    """After ``identify(consent=withdrawn)`` the next request carries no id."""
    with cxtrace.journey("first_order"), cxtrace.customer("cust-42", consent="granted"):
        assert set(IDS) < members_of(bench.inject(OURS)).keys()
        cxtrace.identify("cust-42", consent="withdrawn")
        assert not members_of(bench.inject(OURS)).keys() & set(IDS)


def test_nothing_to_tell_is_not_told(bench: Bench) -> None:
    """Outside of any journey and touchpoint nothing is written and nothing counted."""
    with cxtrace.customer("cust-42"):
        assert bench.inject(OURS).keys() == {"traceparent"}
    assert bench.inject(OURS).keys() == {"traceparent"}
    assert cxtrace.report().counts == {}


class Foreign(NonRecordingSpan):
    """A client's span of another SDK, with its attributes in a mapping of another type."""

    kind = SpanKind.CLIENT

    def __init__(self, attributes: Any) -> None:
        super().__init__(SpanContext(7, 8, False))
        self.attributes = attributes

    def is_recording(self) -> bool:
        """It does."""
        return True


@pytest.mark.parametrize(
    ("attributes", "count"),
    [(OURS, None), (STRANGER, "to_strangers"), ({}, "blindly"), (None, "blindly")],
)
def test_span_of_another_sdk_names_a_destination(
    bench: Bench, attributes: Any, count: str | None
) -> None:
    """Whoever made the client's span, its attributes say where the request goes."""
    carrier: dict[str, str] = {}
    with cxtrace.journey("first_order"):
        CXPropagator().inject(carrier, set_span_in_context(Foreign(attributes)))

    assert bool(members_of(carrier)) is (count is None)
    assert cxtrace.report().counts == ({f"baggage.not_sent_{count}": 1} if count else {})


def test_context_may_be_given(bench: Bench) -> None:
    """The context that is given counts, not the current one."""
    carrier: dict[str, str] = {}
    with (
        cxtrace.journey("first_order"),
        bench.tracer.start_as_current_span("r", kind=SpanKind.CLIENT, attributes=OURS),
    ):
        context = get_current()
        attach(Context())
        CXPropagator().inject(carrier, context)
        attach(context)

    assert members_of(carrier)[names.JOURNEY_NAME] == "first_order"


def test_members_that_do_not_fit_stay_here(bench: Bench) -> None:
    """More than 1,024 bytes of ours are not sent at all, which is counted."""
    with cxtrace.journey("\U0001f600" * 64), cxtrace.touchpoint("\U0001f600" * 64):
        assert "baggage" not in bench.inject(OURS)
    assert cxtrace.report().counts == {"baggage.no_room": 1}


def test_a_clock_that_does_not_fit_stays_here(bench: Bench) -> None:
    """Where names and clock are too long together, the journey goes out without its clock."""
    name = "n " * 31 + "n"
    who = cxtrace.customer("A", consent="granted")
    place = cxtrace.touchpoint(name, stage=name, owner=name)
    with cxtrace.journey(name, id="i" * 64), who, place:
        state = _journeys.memory.state_of(name, "i" * 64)
        state.promises = {f"{number}{'p' * 63}": 1e9 for number in range(4)}
        state.handoff = ("a" * 64, "b" * 64, 1e9)
        members = _baggage.parse(bench.inject(OURS)["baggage"]).ours

    assert members[names.JOURNEY_NAME] == name
    assert _baggage.clock_of(members) == ""
    assert _baggage.fault(members, KEY, NOW) is None
    assert cxtrace.report().counts == {"baggage.no_room_for_clock": 1}


def test_capitals_do_not_hide_the_header() -> None:
    """Headers that a gateway hands on carry nothing of ours, however the header is spelt."""
    carrier = {"Baggage": "cx.journey.id=w-1,a=1", "baggage": "b=2", "Host": "x"}
    CXPropagator().inject(carrier)
    assert carrier == {"baggage": "a=1,b=2", "Host": "x"}

    pairs = [("Baggage", "cx.journey.id=w-1")]
    CXPropagator().inject(pairs)
    assert pairs == []


def test_others_leave_no_room(bench: Bench) -> None:
    """Where members of others fill the header, ours stay away and theirs go out whole."""
    theirs = ",".join(f"k{n}={'x' * 1_015}" for n in range(8))
    with cxtrace.journey("first_order"):
        carrier = {"baggage": theirs}
        with bench.tracer.start_as_current_span("r", kind=SpanKind.CLIENT, attributes=OURS):
            CXPropagator().inject(carrier)

    assert carrier == {"baggage": theirs}
    assert cxtrace.report().counts == {"baggage.no_room": 1}


@pytest.mark.parametrize("attributes", [OURS, STRANGER, UNKNOWN])
def test_members_of_others_go_out_as_they_are(bench: Bench, attributes: dict[str, str]) -> None:
    """What the stock propagator writes for others goes out byte for byte, in order, in front."""
    attach(baggage.set_baggage("tenant", "a b", baggage.set_baggage("cart", "7;p")))
    header = send(bench, attributes)["baggage"]

    assert header.startswith("cart=7%3Bp,tenant=a+b")
    assert ("cx." in header) is (attributes is OURS)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a=1,b=2;p", "a=1,b=2;p"),
        ("a=%zz, b = 2", "a=%zz, b = 2"),
        (f"a=1,{GOOD},b=2;p", "a=1,b=2;p"),
        ("a=1,cx.journey.id=7,CX.x=1,%63x.y=1", "a=1"),
    ],
)
def test_redirect_carries_nothing_along(bench: Bench, before: str, after: str) -> None:
    """Members of ours that an earlier hop left in the headers do not go on to a stranger."""
    assert send(bench, STRANGER, carrier={"baggage": before})["baggage"] == after


def test_header_with_nothing_left_is_taken_away(bench: Bench) -> None:
    """If only ours were left in the headers of a redirect the whole header goes."""
    assert send(bench, STRANGER, carrier={"baggage": GOOD}).keys() == {"traceparent"}


def test_members_are_not_written_twice(bench: Bench) -> None:
    """A retry with the same headers carries the members once, freshly signed."""
    carrier = send(bench, OURS, carrier={"baggage": f"a=1,{GOOD}"})

    assert not _baggage.parse(carrier["baggage"]).repeated
    assert carrier["baggage"].startswith("a=1,cx.")


class Pairs(Setter[Any]):
    """Headers as a list of pairs, as message brokers have them."""

    def set(self, carrier: Any, key: str, value: str) -> None:
        """Append the pair."""
        carrier.append((key, value))


@pytest.mark.parametrize(("attributes", "keys"), [(OURS, ["baggage"]), (STRANGER, [])])
def test_carrier_need_not_be_a_mapping(
    bench: Bench, attributes: dict[str, str], keys: list[str]
) -> None:
    """Any carrier with a setter is served."""
    carrier: list[tuple[str, str]] = []
    with (
        cxtrace.journey("first_order"),
        bench.tracer.start_as_current_span("r", kind=SpanKind.CLIENT, attributes=attributes),
    ):
        CXPropagator().inject(carrier, setter=Pairs())

    assert [key for key, _ in carrier] == keys


class Shaped(Setter[Any]):
    """Values in a shape of their own, as some brokers have them."""

    def __init__(self, shape: Any) -> None:
        self.shape = shape

    def set(self, carrier: Any, key: str, value: str) -> None:
        """Put or append the value."""
        if isinstance(carrier, list):
            carrier.append((key, self.shape(value)))
        else:
            carrier[key] = self.shape(value)


@pytest.mark.parametrize("shape", [str.encode, lambda text: {"StringValue": text}, str])
@pytest.mark.parametrize("carrier", [{}, []], ids=["mapping", "pairs"])
@pytest.mark.parametrize("attributes", [OURS, STRANGER])
def test_members_of_others_stay_in_any_shape(
    bench: Bench, shape: Any, carrier: Any, attributes: dict[str, str]
) -> None:
    """Where values are bytes or structures, the host's own baggage still goes out, once."""
    carrier = type(carrier)()
    setter = Shaped(shape)
    attach(baggage.set_baggage("tenant", "acme"))
    with (
        cxtrace.journey("first_order"),
        bench.tracer.start_as_current_span("r", kind=SpanKind.CLIENT, attributes=attributes),
    ):
        for propagator in (W3CBaggagePropagator(), CXPropagator()):
            propagator.inject(carrier, setter=setter)

    ((_, written),) = carrier if isinstance(carrier, list) else carrier.items()
    text = written.decode() if isinstance(written, bytes) else str(written)
    assert text.count("tenant=acme") == 1
    assert ("cx.journey.id" in text) is (attributes is OURS)


@pytest.mark.parametrize("value", [None, 7, ["cx.journey.id=7"]])
def test_header_that_is_no_text_is_left_alone(bench: Bench, value: Any) -> None:
    """A value of another type is not ours to judge."""
    carrier = {"baggage": value}
    with bench.tracer.start_as_current_span("r", kind=SpanKind.CLIENT, attributes=STRANGER):
        CXPropagator().inject(carrier)

    assert carrier == {"baggage": value}


def test_broken_setter_never_reaches_the_host(bench: Bench) -> None:
    """A setter that raises is swallowed and counted."""
    carrier: tuple[str, ...] = ()
    with (
        cxtrace.journey("first_order"),
        bench.tracer.start_as_current_span("r", kind=SpanKind.CLIENT, attributes=OURS),
    ):
        CXPropagator().inject(carrier, setter=Pairs())

    assert cxtrace.report().counts == {"errors.inject": 1}


def test_fields_are_what_is_written() -> None:
    """The propagator declares the one header that it writes."""
    assert CXPropagator().fields == {"baggage"}


# Composition in real processes

HOP = """
import json, sys
from opentelemetry import propagate, trace, baggage
from opentelemetry.context import attach
from opentelemetry.trace import SpanKind
import cxtrace
cxtrace.configure(exporter="none", key="0123456789abcdef0123456789abcdef")
attach(propagate.extract(json.loads(sys.argv[1])))
tracer = trace.get_tracer("t")
sent = []
with cxtrace.journey("first_order"), cxtrace.touchpoint("checkout.pay"):
    for url in ("http://orders.internal/", "https://evil.example.com/"):
        with tracer.start_as_current_span("r", kind=SpanKind.CLIENT, attributes={"http.url": url}):
            headers = {}
            propagate.inject(headers)
            sent.append(headers)
print(json.dumps([*sent, dict(baggage.get_all()), cxtrace.report().to_dict()["counts"]]))
"""


def hop(tmp_path: Path, headers: dict[str, str], propagators: str | None) -> Any:
    """What a service of its own process sends to us and to a stranger, knows and counts."""
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "CXTRACE_"))
    }
    if propagators is not None:
        environ["OTEL_PROPAGATORS"] = propagators
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", HOP, json.dumps(headers)],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(found.stdout)


@pytest.mark.parametrize(
    ("propagators", "theirs"),
    [
        ("tracecontext,cxtrace", {}),
        ("tracecontext,baggage,cxtrace", {"tenant": "7"}),
        (None, {"tenant": "7"}),
    ],
)
def test_propagators_by_name(
    tmp_path: Path, propagators: str | None, theirs: dict[str, str]
) -> None:
    """``OTEL_PROPAGATORS`` finds ours; what strangers claim is stopped, ours goes only to us."""
    headers = {"baggage": "tenant=7,cx.journey.name=evil", "traceparent": f"{CALLER}-01"}
    to_us, to_strangers, known, counts = hop(tmp_path, headers, propagators)

    assert counts == {"baggage.unsigned": 1, "baggage.not_sent_to_strangers": 1}
    assert known == theirs
    assert to_us["traceparent"][:35] == to_strangers["traceparent"][:35] == CALLER[:35]
    assert members_of(to_us)[names.JOURNEY_NAME] == "first_order"
    assert to_strangers.get("baggage", "") == ",".join(f"{k}={v}" for k, v in theirs.items())

    again_to_us, again_to_strangers, known, counts = hop(tmp_path, to_us, propagators)

    assert counts == {"baggage.not_sent_to_strangers": 1}
    assert members_of(again_to_us)[names.JOURNEY_ID] == members_of(to_us)[names.JOURNEY_ID]
    assert known == theirs
    assert "cx." not in str(again_to_strangers)


def test_a_call_within_the_process_goes_on_where_it_is(cx) -> None:
    """Where nothing came in and nothing is there, what is current counts: that of an eager task."""
    propagator = CXPropagator()
    assert propagator.extract({}) != {}

    with cxtrace.touchpoint("cart.view"):
        assert propagator.extract({}) == {}
        assert propagator.extract({"baggage": "theirs=1"}) != {}
