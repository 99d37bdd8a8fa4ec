"""Staff and scripts that walk a journey: marked on every span, and counted in no metric."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from opentelemetry import baggage
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cxtrace import (
    _baggage,
    _guard,
    _instruments,
    _journeys,
    _marks,
    _runtime,
    current_context,
    customer,
    identify,
    interaction,
    journey,
    touchpoint,
    walkthrough,
)
from cxtrace import attributes as names
from cxtrace._runtime import Runtime
from cxtrace._settings import OPT_IN
from cxtrace.journey_map import JourneyMap
from cxtrace.privacy import Key
from cxtrace.propagation import CXPropagator
from tests.conftest import Capture, Clock, Meters, Records
from tests.test_visit import Asked, arrive, shop

ROOT: Final = Path(__file__).parents[1]
OURS: Final = {"http.url": "http://orders.internal/"}
STRANGER: Final = {"http.url": "https://example.com/"}
PROPAGATOR: Final = CompositePropagator(
    [TraceContextTextMapPropagator(), W3CBaggagePropagator(), CXPropagator()]
)
TYPE: Final = names.SYNTHETIC_TYPE
MARKS: Final = {TYPE: "test", names.WALKTHROUGH_ID: "2026-09-ceo", names.WALKTHROUGH_PERSONA: "ceo"}
CEO: Final = walkthrough("2026-09-ceo", persona="ceo")

MAP: Final = JourneyMap.load(ROOT / "semconv/example-map.toml")


@contextmanager
def within(context: Context) -> Iterator[None]:
    """Do something under another context, such as that of another request."""
    token = attach(context)
    yield
    detach(token)


def sent(cx: Capture, to: dict[str, str] = OURS) -> dict[str, str]:
    """Our members in the headers of a request from here."""
    headers: dict[str, str] = {}
    with cx.tracer.start_as_current_span("GET", kind=SpanKind.CLIENT, attributes=to):
        PROPAGATOR.inject(headers)
    return dict(_baggage.parse(headers.get("baggage", "")).ours)


def received(members: dict[str, str]) -> Context:
    """The context of a request that comes in with these members."""
    return PROPAGATOR.extract({"baggage": ",".join(f"{k}={v}" for k, v in members.items())})


def marks(cx: Capture, name: str) -> dict[str, str]:
    """What marks the exported span of that name."""
    return {key: value for key, value in cx.tags(name).items() if key in MARKS}


def live(who: str) -> None:
    """All that a customer can live through, and every signal there is."""
    with journey("first_order") as way, customer(who, segment="smb", consent="granted"):
        with touchpoint("home.search") as tp, interaction("type"):
            tp.mention("friends", valence=0.5).handoff("service").retry(1.0)
        with touchpoint("desk", owner="service", stage="purchase"):
            pass
        with touchpoint("checkout.pay") as tp:
            tp.friction("slow", severity="high").emotion("anger", source="text", valence=-0.5)
            tp.feedback("nps", 3).value(5, "EUR", type="revenue").complaint("opened")
            tp.complaint("resolved").handoff("service", waited=3.0)
            tp.nudge("bar", technique="incentive").accepted()
            tp.forecast("churn", probability=0.5, model="r@1").deliver("fast", 1.0)
        way.outcome("superseded")
    with journey("win_back") as back, touchpoint("store.visit") as tp:
        tp.fail("sold_out")
    back.outcome("abandoned")


# Metrics


@pytest.fixture
def measured(cx: Capture, meters: Meters, clock: Clock) -> Meters:
    """Everything that can be measured is, over a clock that stands still."""
    cx.use(journey_map=MAP, metrics_opt_in=frozenset(OPT_IN))
    return meters


def test_every_metric_is_of_customers(measured: Meters) -> None:
    """What a customer lives through reaches every metric of the registry."""
    live("A")
    with journey("first_order"), touchpoint("home.search"):
        pass

    assert set(measured.everything()) == {*_instruments.SPECS, names.METRIC_JOURNEY_ACTIVE}


WALKS: Final[dict[str, Any]] = {
    "walkthrough": lambda: CEO,
    "robot": lambda: walkthrough("nightly", persona="buyer", type="bot"),
    "customer": lambda: customer("ceo", kind="walkthrough", consent="not_required"),
}


@pytest.mark.parametrize("walk", WALKS.values(), ids=WALKS)
def test_no_metric_is_of_a_walkthrough(measured: Meters, walk: Any) -> None:
    """A walkthrough that lives through the very same is in no metric at all."""
    with walk():
        live("A")
    with walk(), journey("first_order"), touchpoint("home.search"):
        pass

    assert measured.everything() == {}


def test_exact_with_walkthroughs_between(measured: Meters, monkeypatch: pytest.MonkeyPatch) -> None:
    """Customers with staff between them measure exactly what customers alone do."""
    live("A")
    live("B")
    alone = measured.everything()
    again = Meters(monkeypatch)
    _journeys.forget_all()
    _runtime.use(_again(_runtime.current))
    live("A")
    with CEO:
        live("A")
    live("B")
    with customer("staff", kind="walkthrough"):
        live("B")

    assert again.everything() == alone
    again.provider.shutdown()


def _again(runtime: Runtime) -> Runtime:
    return Runtime(
        tracing=runtime.tracing,
        key=runtime.key,
        pseudonymiser=runtime.pseudonymiser,
        journey_map=runtime.journey_map,
        metrics_opt_in=runtime.metrics_opt_in,
    )


def test_a_walkthrough_that_is_known_late(measured: Meters, cx: Capture) -> None:
    """Who turns out to be staff is in no metric that is recorded from then on."""
    with touchpoint("checkout.pay") as tp:
        tp.friction("slow")
        identify("ceo", kind="walkthrough")
        tp.friction("slow")

    assert list(measured.everything()) == ["cx.touchpoint.frictions"]
    assert [value for _, value in measured.values("cx.touchpoint.frictions")] == [1]
    assert cx.tags("checkout.pay")[TYPE] == "test"


def test_an_unsampled_walkthrough(measured: Meters, cx: Capture) -> None:
    """What the sampler has dropped is in no metric either."""
    parent = NonRecordingSpan(SpanContext(1, 2, False))
    with within(set_span_in_context(parent, Context())), CEO:
        live("A")

    assert measured.everything() == {}


def test_a_journey_that_is_walked_is_not_under_way(measured: Meters) -> None:
    """Journeys in progress are those of customers, also where staff are known late."""
    with journey("first_order"), touchpoint("home.search"):
        identify("ceo", kind="walkthrough")
    with journey("first_order"), touchpoint("home.search"):
        pass

    assert [value for _, value in measured.values("cx.journey.active")] == [1]


# Marks


def test_every_span_is_marked(cx: Capture, records: Records) -> None:
    """Touchpoints, interactions and spans of others inside say so, and none outside."""
    with touchpoint("around"):
        with CEO, journey("order"), touchpoint("pay") as tp, interaction("type"):
            tp.friction("slow")
            cx.tracer.start_span("SELECT").end()
        with touchpoint("after"):
            pass

    for name in ("pay", "type", "SELECT"):
        assert marks(cx, name) == MARKS
    for name in ("around", "after"):
        assert marks(cx, name) == {}
    (start,) = records.named("cx.journey.start")
    assert not set(start.attributes) & set(MARKS)


def test_late_and_for_the_whole_request(cx: Capture) -> None:
    """Who turns out to be staff marks what is open in the request, the server's span too."""
    with cx.tracer.start_as_current_span("server"), touchpoint("pay"):
        with cx.tracer.start_as_current_span("SELECT"):
            identify("ceo", kind="walkthrough", consent="not_required")
        cx.tracer.start_span("after").end()

    for name in ("server", "pay", "SELECT", "after"):
        assert marks(cx, name) == {TYPE: "test"}


def test_whoever_is_named_inside(cx: Capture) -> None:
    """A customer, a consent or a late identity inside takes nothing of the marks away."""
    with CEO, touchpoint("a"), customer("A", consent="granted"), touchpoint("b"):
        identify("A", consent="withdrawn")
        with touchpoint("c"):
            identify("B", consent="granted")

    for name in "abc":
        assert marks(cx, name) == MARKS
    assert cx.tags("c")[names.CUSTOMER_PSEUDONYM] == cx.pseudonym("B")


@pytest.mark.parametrize("form", ["decorator", "generator", "with by hand"])
def test_forms(cx: Capture, form: str) -> None:
    """It works wherever a touchpoint does."""
    if form == "decorator":

        @CEO
        @touchpoint("pay")
        def pay() -> str:
            return "done"

        assert pay() == "done"
    elif form == "generator":

        @CEO
        def pays() -> Iterator[int]:
            with touchpoint("pay"):
                yield 1

        assert list(pays()) == [1]
    else:
        with CEO as entered, touchpoint("pay"):
            assert not entered.ended
        assert entered.ended

    assert marks(cx, "pay") == MARKS
    assert current_context() is None


WRONG: Final[list[tuple[Any, Any, Any, str, str]]] = [
    ("ann@example.com", "ceo", "test", "walkthrough", "test"),
    ("a" * 65, "ceo", "test", "walkthrough", "test"),
    ("", "ceo", "test", "walkthrough", "test"),
    (7, "ceo", "test", "walkthrough", "test"),
    ("4111111111111111", "ceo", "test", "walkthrough", "test"),
    ("ok", "Ann <ann@example.com>", "bot", "walkthrough", "bot"),
    ("ok", None, "test", "walkthrough", "test"),
    ("ok", "ceo", "human", "walkthrough.type", "test"),
]


@pytest.mark.parametrize(("walk", "persona", "kind", "counted", "expected"), WRONG)
def test_what_is_no_code(
    cx: Capture, walk: Any, persona: Any, kind: Any, counted: str, expected: str
) -> None:
    """What may name somebody is not sent, and counted; it is a walkthrough all the same."""
    with walkthrough(walk, persona=persona, type=kind), touchpoint("pay"):
        pass
    rest = {} if counted == "walkthrough" else {k: cx.tags("pay")[k] for k in MARKS if k != TYPE}

    assert marks(cx, "pay") == {TYPE: expected, **rest}
    assert _guard.counts() == {f"refused.{counted}": 1}


def test_a_name_that_was_forgotten() -> None:
    """The decorator whose parentheses were forgotten is found while the module is imported."""
    with pytest.raises(TypeError, match="the name of the walkthrough is missing"):
        walkthrough(lambda: None, persona="ceo")  # type: ignore[arg-type]


def test_nothing_is_done_for_nobody(nobody: None) -> None:
    """Where nobody listens it does nothing."""
    with CEO as entered:
        assert current_context() is None
        assert not entered.ended


def test_an_error_of_ours_stays_here(cx: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong in here is counted, and the host's block runs."""
    monkeypatch.setattr(_marks, "given", None)
    with CEO, touchpoint("pay"):
        pass

    assert marks(cx, "pay") == {}
    assert _guard.counts() == {"errors.walkthrough": 1}


# Between services


def test_the_next_service_knows(cx: Capture, meters: Meters) -> None:
    """Signed baggage tells it, with and without a journey; nothing there is counted."""
    with CEO:
        bare = sent(cx)
        with journey("order"), touchpoint("pay"):
            full = sent(cx)
    for number, members in enumerate((bare, full)):
        with within(received(members)), touchpoint(f"there {number}"):
            onward = sent(cx)
        assert MARKS.items() <= onward.items()
        assert marks(cx, f"there {number}") == MARKS

    assert meters.everything() == {}


def test_strangers_are_not_told(cx: Capture) -> None:
    """A host that is not ours learns nothing of walkthroughs."""
    with CEO, journey("order"), touchpoint("pay"):
        assert sent(cx, STRANGER) == {}


@pytest.mark.parametrize("trust", ["signed", "always", "never"])
def test_strangers_do_not_hide(cx: Capture, meters: Meters, trust: Any) -> None:
    """Without our signature nobody says that they are no customer, whoever is trusted."""
    cx.use(trust_inbound=trust)
    with within(received(MARKS)), touchpoint("pay"):
        pass

    assert marks(cx, "pay") == {}
    assert [value[0] for _, value in meters.values("cx.touchpoint.duration")] == [1]


def test_a_signature_of_others_hides_nobody(cx: Capture, meters: Meters) -> None:
    """Signed with another key, or changed after it was signed: counted as a customer."""
    with CEO, touchpoint("pay"):
        good = sent(cx)
    other = _baggage.signed(MARKS, Key(b"x" * 32), time.time())
    forged = {**good, names.WALKTHROUGH_ID: "other"}
    added = {**sent_by_customer(cx), TYPE: "test"}
    for number, context in enumerate(
        (PROPAGATOR.extract({"baggage": other}), received(forged), received(added))
    ):
        with within(context), touchpoint(f"there {number}"):
            pass
        assert marks(cx, f"there {number}") == {}

    assert sum(value[0] for _, value in meters.values("cx.touchpoint.duration")) == 4


def sent_by_customer(cx: Capture) -> dict[str, str]:
    """What goes out for a customer."""
    with journey("order"), touchpoint("cart"):
        return sent(cx)


@pytest.mark.parametrize("kind", ["human", "", None])
def test_what_is_signed_and_no_type(cx: Capture, kind: str | None) -> None:
    """A type that OpenTelemetry does not have marks nothing."""
    members = {**MARKS, TYPE: kind} if kind is not None else {names.WALKTHROUGH_ID: "x"}
    text = _baggage.signed({k: v for k, v in members.items() if v}, key_of(), time.time())
    with within(PROPAGATOR.extract({"baggage": text})), touchpoint("pay"):
        pass

    assert marks(cx, "pay") == {}


def key_of() -> Key:
    """The key in force."""
    return _runtime.key()


def test_the_header_of_others_is_not_theirs_to_write(cx: Capture) -> None:
    """OpenTelemetry's own baggage does not carry a stranger's mark on either."""
    context = received({TYPE: "bot", "their.key": "1"})

    assert dict(baggage.get_all(context)) == {"their.key": "1"}


# By the map


@pytest.mark.parametrize("way", ["session", "user", "claim"])
def test_what_the_application_knows(cx: Capture, meters: Meters, way: str) -> None:
    """A rule of the map may say that whoever is in the session, or logged in, is staff."""
    rule = f'customer = {{ {way} = "staff", kind = "walkthrough" }}'
    visit = arrive(cx, shop(rule), Asked(**{way: {"staff": "7"}}))
    visit.leave()

    assert cx.tags("pay")[TYPE] == "test"
    assert cx.tags("pay")[names.CUSTOMER_KIND] == "walkthrough"
    assert meters.everything() == {}


@pytest.mark.parametrize("way", ["header", "cookie", "query"])
def test_what_anybody_can_write(cx: Capture, meters: Meters, way: str) -> None:
    """A header, a cookie or a query makes nobody staff: anyone could leave the metrics by it."""
    rule = f'customer = {{ {way} = "staff", kind = "walkthrough" }}'
    visit = arrive(cx, shop(rule), Asked(**{way: {"staff": "7"}}))
    visit.leave()

    assert TYPE not in cx.tags("pay")
    assert names.CUSTOMER_KIND not in cx.tags("pay")
    assert _guard.counts()["walkthrough.not_trusted"] == 1
    assert "cx.touchpoint.duration" in meters.everything()


def test_context_is_what_it_was(cx: Capture) -> None:
    """After the block all is as before."""
    before = get_current()
    with CEO:
        assert get_current() is not before
    assert get_current() is before
    again_is_free = touchpoint("free")
    with again_is_free:
        pass

    assert marks(cx, "free") == {}
