"""Consent as a state machine: what each state lets out, and what moves from one to another."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, Final, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cxtrace import (
    _baggage,
    _scope,
    _withdrawals,
    current_context,
    customer,
    identify,
    interaction,
    journey,
    touchpoint,
)
from cxtrace import attributes as names
from cxtrace._observers import Whereabouts
from cxtrace._scope import RequestScope, _Naming
from cxtrace.attributes import Consent
from cxtrace.context import LINKING, Identity, cx_of
from cxtrace.propagation import CXPropagator
from tests.conftest import Capture, Clock, Meters, Records
from tests.test_visit import again, shop

OURS: Final = {"http.url": "http://orders.internal/"}
PROPAGATOR: Final = CompositePropagator(
    [TraceContextTextMapPropagator(), W3CBaggagePropagator(), CXPropagator()]
)
PSEUDONYM: Final = names.CUSTOMER_PSEUDONYM
STATE: Final = names.CONSENT_STATE
IDS: Final = {names.JOURNEY_ID, PSEUDONYM}

NO: Final = ("denied", "withdrawn")
YES: Final = ("granted", "not_required")


@contextmanager
def within(context: Context) -> Iterator[None]:
    """Do something under another context, such as that of another request."""
    token = attach(context)
    yield
    detach(token)


def links(cx: Capture, name: str) -> set[str]:
    """What links one visit to another, on the exported span of that name and in its events."""
    span = cx.span(name)
    found = [span.attributes or {}, *(event.attributes or {} for event in span.events)]
    return {key for each in found for key in each if key in LINKING and each[key]}


def sent(cx: Capture) -> dict[str, str]:
    """Our members in the headers of a request to a host of ours, from here."""
    headers: dict[str, str] = {}
    with cx.tracer.start_as_current_span("GET", kind=SpanKind.CLIENT, attributes=OURS):
        PROPAGATOR.inject(headers)
    return dict(_baggage.parse(headers.get("baggage", "")).ours)


def received(members: dict[str, str]) -> Context:
    """The context of a request that comes in with these members and the signature over them."""
    return PROPAGATOR.extract({"baggage": ",".join(f"{k}={v}" for k, v in members.items())})


# The table

ALLOWED: Final = {
    ("granted", False): True,
    ("granted", True): True,
    ("not_required", False): True,
    ("not_required", True): True,
    ("unknown", False): True,
    ("unknown", True): False,
    ("denied", False): False,
    ("denied", True): False,
    ("withdrawn", False): False,
    ("withdrawn", True): False,
}
"""Whether a state links, with ``consent_required`` off and on."""


def test_the_table_has_every_state() -> None:
    """No state of the registry is left out of the table."""
    assert {state for state, _ in ALLOWED} == set(get_args(Consent))
    assert len(ALLOWED) == 2 * len(get_args(Consent))


@pytest.fixture(params=ALLOWED, ids=lambda case: f"{case[0]}{' required' * case[1]}")
def case(request: pytest.FixtureRequest, cx: Capture) -> tuple[Any, bool]:
    """One cell of the table: the state, in force, and whether it links."""
    state, required = request.param
    cx.use(consent_required=required)
    return state, ALLOWED[request.param]


def test_spans_in_each_state(cx: Capture, case: tuple[Any, bool]) -> None:
    """A touchpoint, an interaction and a span of others link as the table says; all are sent."""
    state, allowed = case
    with (
        journey("order"),
        customer("A", kind="person", segment="smb", consent=state),
        touchpoint("pay") as tp,
        interaction("type"),
    ):
        tp.set({"session.id": "s-1"})
        cx.tracer.start_span("SELECT").end()

    assert links(cx, "pay") == (set(LINKING) if allowed else set())
    assert links(cx, "type") == links(cx, "SELECT") == (IDS if allowed else set())
    assert cx.tags("pay")[STATE] == state
    for name in ("pay", "SELECT"):
        assert cx.tags(name)["cx.journey.name"] == "order"
    assert cx.tags("pay")["cx.customer.segment"] == "smb"


def test_events_and_records_in_each_state(
    cx: Capture, records: Records, case: tuple[Any, bool]
) -> None:
    """Events and log records link as the table says, and gated signals are sent as it says."""
    state, allowed = case
    with journey("order"), customer("A", consent=state), touchpoint("pay") as tp:
        tp.friction("slow").emotion("anger", source="text").feedback("nps", 3)
        tp.value(5, "EUR", type="revenue").forecast("churn", probability=0.5, model="r@1")
    told = {each.log_record.event_name: each.log_record.attributes or {} for each in records.all}

    assert set(told) == {"cx.journey.start", "cx.friction"} | (
        {"cx.emotion", "cx.feedback", "cx.value", "cx.forecast"} if allowed else set()
    )
    assert set(told["cx.journey.start"]) & set(LINKING) == (
        {*IDS, names.CUSTOMER_KEY_ID} if allowed else set()
    )
    assert [event.name for event in cx.span("pay").events] == list(told)


def test_metrics_in_each_state(cx: Capture, meters: Meters, case: tuple[Any, bool]) -> None:
    """The touchpoint and its friction are counted in every state, and no label names anybody."""
    state, allowed = case
    cx.use(consent_required=state == "unknown" and not allowed)
    with journey("order", id="w-1"), customer("A", consent=state), touchpoint("pay") as tp:
        tp.friction("slow").emotion("anger", source="text")
    found = meters.everything()

    assert set(found) == {
        "cx.touchpoint.duration",
        "cx.touchpoint.frictions",
        *(["cx.emotion.signals"] if allowed else []),
    }
    assert found["cx.touchpoint.frictions"][0][1] == 1
    assert found["cx.touchpoint.duration"][0][1][0] == 1
    assert "w-1" not in str(found)
    assert cx.pseudonym("A") not in str(found)


def test_baggage_in_each_state(cx: Capture, case: tuple[Any, bool]) -> None:
    """What goes to the next service has ids as the table says, and the state in any case."""
    state, allowed = case
    with journey("order"), customer("A", consent=state), touchpoint("pay"):
        members = sent(cx)
    there = cx_of(received(members))
    assert there is not None

    assert set(members) & IDS == (IDS if allowed else set())
    assert members[STATE] == state
    assert set(there.tags()) & IDS == (IDS if allowed else set())
    assert there.identity.consent == state


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("then", get_args(Consent))
@pytest.mark.parametrize("first", get_args(Consent))
def test_every_change_of_state(cx: Capture, first: Consent, then: Consent, required: bool) -> None:
    """From any state to any other within one request: open spans of anyone follow at once.

    Unknown is no word: after a withdrawal it lets nothing out.
    """
    cx.use(consent_required=required)
    with (
        journey("order"),
        customer("A", consent=first),
        touchpoint("pay"),
        cx.tracer.start_as_current_span("SELECT"),
    ):
        identify("A", consent=then)
        members = sent(cx)
        cx.tracer.start_span("after").end()
    is_held = (first, then) == ("withdrawn", "unknown") and not required
    state = "withdrawn" if is_held else then
    allowed = ALLOWED[state, required]

    for name in ("SELECT", "after"):
        assert links(cx, name) == (IDS if allowed else set())
    assert links(cx, "pay") >= IDS if allowed else links(cx, "pay") == set()
    assert cx.tags("pay")[STATE] == members[STATE] == state
    assert set(members) & IDS == (IDS if allowed else set())


# Withdrawn: at once, and everywhere in the process


def test_what_is_within_a_block_hears_what_is_said_around_it(cx: Capture) -> None:
    """A withdrawal that reaches the request reaches the blocks for the same customer inside."""
    with touchpoint("request"):
        identify("A", consent="granted")
        outside = copy_context()
        with journey("order"), customer("A"), touchpoint("pay"):
            outside.run(identify, "A", consent="withdrawn")
            with touchpoint("next"):
                members = sent(cx)

    for name in ("request", "pay", "next"):
        assert links(cx, name) == set()
        assert cx.tags(name)[STATE] == "withdrawn"
    assert not set(members) & IDS


def test_blocks_beside_each_other_hear_it(cx: Capture) -> None:
    """Two tasks of one request have a block each: what one hears counts for the other."""
    with touchpoint("request"):
        one, two = copy_context(), copy_context()
        inner = {}

        def enter(name: str) -> None:
            block = customer("A", consent="granted")
            point = touchpoint(name)
            block.__enter__()
            point.__enter__()
            inner[name] = (point, block)

        def leave(name: str) -> None:
            for each in inner[name]:
                each.__exit__(None, None, None)

        one.run(enter, "one")
        two.run(enter, "two")
        one.run(identify, "A", consent="withdrawn")
        one.run(leave, "one")
        two.run(leave, "two")

    assert links(cx, "one") == links(cx, "two") == set()


def test_another_request_of_the_same_customer_hears_it(cx: Capture) -> None:
    """A request that is under way when its customer withdraws in another one is told as well."""
    with (
        customer("A", kind="person", segment="smb", consent="granted"),
        journey("order"),
        touchpoint("pay"),
        cx.tracer.start_as_current_span("SELECT"),
        within(Context()),
        customer("A", consent="withdrawn"),
        touchpoint("settings"),
    ):
        pass

    assert links(cx, "pay") == links(cx, "SELECT") == set()
    assert cx.tags("pay")[STATE] == "withdrawn"
    assert cx.tags("pay")["cx.customer.segment"] == "smb"


def test_a_withdrawal_without_a_name_is_of_who_is_known(cx: Capture) -> None:
    """Code that says only the word says it of the customer here, in all that they do."""
    with within(Context()), customer("A"), touchpoint("account.settings"):
        identify(None, consent="withdrawn")  # type: ignore[arg-type]
    with within(Context()), customer("A"), touchpoint("later"):
        pass
    with within(Context()), touchpoint("anybody"):
        identify(None, consent="withdrawn")  # type: ignore[arg-type]
    with within(Context()), customer("B"), touchpoint("another's"):
        pass

    assert links(cx, "account.settings") == links(cx, "later") == links(cx, "anybody") == set()
    assert PSEUDONYM in links(cx, "another's")


def test_others_are_left_alone(cx: Capture) -> None:
    """A withdrawal of one customer changes nothing for another, in a block around it or beside."""
    with (
        customer("B", consent="granted"),
        touchpoint("b"),
        customer("A", consent="withdrawn"),
        touchpoint("a"),
    ):
        pass

    assert links(cx, "b") >= {PSEUDONYM}
    assert links(cx, "a") == set()


def test_a_later_request_that_says_nothing(cx: Capture, clock: Clock) -> None:
    """Nobody says anything of consent in the next request: the withdrawal still counts."""
    with customer("A", consent="withdrawn"), touchpoint("first"):
        pass
    with customer("A"), touchpoint("second"):
        pass
    with customer("A", consent="unknown"), touchpoint("third"):
        pass
    clock.tick(_withdrawals.MAX_AGE)
    with customer("A"), touchpoint("an hour later"):
        pass

    assert links(cx, "second") == links(cx, "third") == set()
    assert cx.tags("third")[STATE] == "withdrawn"
    assert links(cx, "an hour later") == {PSEUDONYM, names.CUSTOMER_KEY_ID}


def test_an_outer_yes_is_no_word_for_who_has_withdrawn(cx: Capture) -> None:
    """A block inherits consent; a customer in it who has withdrawn does not."""
    identify("A", consent="withdrawn")
    with (
        customer("firm", kind="account", consent="granted"),
        touchpoint("outer"),
        customer("A"),
        touchpoint("inner"),
    ):
        pass

    assert PSEUDONYM in links(cx, "outer")
    assert links(cx, "inner") == set()


@pytest.mark.parametrize("word", YES)
def test_a_word_of_the_code_counts_again(cx: Capture, word: Consent) -> None:
    """Who agrees after a withdrawal is a customer like any other, in this request and the next."""
    with customer("A", consent="withdrawn"), touchpoint("first"):
        identify("A", consent=word)
    with customer("A"), touchpoint("second"):
        pass

    assert PSEUDONYM in links(cx, "first")
    assert PSEUDONYM in links(cx, "second")


def test_what_was_kept_back_comes_with_the_consent(cx: Capture) -> None:
    """Where consent is required and comes late, open spans get pseudonym and journey id."""
    cx.use(consent_required=True)
    with (
        cx.tracer.start_as_current_span("server"),
        journey("order") as way,
        touchpoint("pay"),
        interaction("type"),
        cx.tracer.start_as_current_span("SELECT"),
    ):
        identify("A", consent="granted")

    for name in ("pay", "type", "SELECT"):
        assert links(cx, name) >= IDS
        assert cx.tags(name)["cx.journey.id"] == way.id
    assert links(cx, "server") == {PSEUDONYM}


def test_a_denial_inside_is_for_the_one_inside(cx: Capture) -> None:
    """Within a block of a customer who refused, nobody is named who has not agreed."""
    with journey("order"), customer("A", consent="denied"), touchpoint("a"):
        with customer("B"), touchpoint("b"):
            pass
        with customer("A"), touchpoint("again"):
            pass
        with customer("C", consent="granted"), touchpoint("c"):
            pass

    assert links(cx, "a") == links(cx, "b") == links(cx, "again") == set()
    assert PSEUDONYM in links(cx, "c")


# Others who do not know of it


def test_a_caller_that_has_not_heard_of_it(cx: Capture) -> None:
    """A customer withdraws in this service; the caller goes on to tell that they agreed."""
    with journey("order"), customer("A", consent="granted"), touchpoint("pay"):
        members = sent(cx)
    with within(received(members)), touchpoint("first call"):
        identify("A", consent="withdrawn")
    with within(received(members)), touchpoint("second call"):
        onward = sent(cx)

    assert members[STATE] == "granted"
    assert links(cx, "first call") == links(cx, "second call") == set()
    assert cx.tags("second call")[STATE] == onward[STATE] == "withdrawn"
    assert not set(onward) & IDS


def test_a_caller_says_it_again_while_it_is_said(cx: Capture) -> None:
    """A request that the caller has signed for before, and that is under way, hears it too."""
    with journey("order"), customer("A", consent="granted"), touchpoint("pay"):
        members = sent(cx)
    with (
        within(received(members)),
        touchpoint("under way"),
        cx.tracer.start_as_current_span("SELECT"),
    ):
        with within(Context()):
            identify("A", consent="withdrawn")
        onward = sent(cx)

    assert links(cx, "under way") == links(cx, "SELECT") == set()
    assert not set(onward) & IDS


@pytest.mark.parametrize("no", NO)
def test_a_journey_whose_customer_has_refused(cx: Capture, no: Consent) -> None:
    """Who refuses on a journey is not found again by the journey's id where nobody is named."""
    with journey("order", id="w-1"), customer("A", consent=no), touchpoint("first"):
        pass
    with journey("order", id="w-1"), touchpoint("second"):
        members = sent(cx)
    with journey("order", id="w-1"), touchpoint("third"), customer("A"), touchpoint("fourth"):
        pass

    for name in ("first", "second", "third", "fourth"):
        assert links(cx, name) == set()
        assert cx.tags(name)[STATE] == no
    assert not set(members) & IDS


def test_a_journey_whose_customer_has_withdrawn_elsewhere(cx: Capture) -> None:
    """What was said in a request off the journey counts on it, also where nobody is named."""
    with within(Context()), journey("order", id="o-1"), customer("A"), touchpoint("cart"):
        pass
    with within(Context()), touchpoint("account.settings"):
        identify("A", consent="withdrawn")
    with within(Context()), journey("order", id="o-1"), touchpoint("pay"):
        pass
    with within(Context()), journey("order", id="o-2"), touchpoint("another's"):
        pass

    assert links(cx, "cart") >= IDS
    assert links(cx, "pay") == set()
    assert links(cx, "another's") == {names.JOURNEY_ID}


def test_a_journey_is_known_again_with_a_yes(cx: Capture) -> None:
    """A yes within a journey whose customer had refused counts for it, and for the request."""
    with journey("order", id="w-1"), customer("A", consent="denied"):
        pass
    with journey("order", id="w-1"), touchpoint("second"):
        identify("A", consent="granted")
    with journey("order", id="w-1"), touchpoint("third"):
        pass

    assert links(cx, "second") >= IDS
    assert links(cx, "third") == {names.JOURNEY_ID}


def test_a_caller_on_a_journey_whose_customer_has_refused(cx: Capture) -> None:
    """A caller that says nothing of consent does not bring the journey's id back."""
    with journey("order"), touchpoint("there"):
        members = sent(cx)
    with within(received(members)), touchpoint("first"):
        identify("A", consent="denied")
    with within(received(members)), touchpoint("second"):
        pass

    assert members[STATE] == "unknown"
    assert links(cx, "first") == links(cx, "second") == set()


def test_a_journey_without_an_id_has_no_memory(cx: Capture) -> None:
    """A caller that tells the journey's name alone says nothing of who refused on it."""
    cx.use(journey_map=shop())
    with journey("order"), customer("A", consent="denied"), touchpoint("there"):
        members = sent(cx)
    with within(received(members)):
        again().leave()

    assert cx.tags("pay")["cx.journey.name"] == "order"
    assert cx.tags("pay")[STATE] == "denied"


# Odd places


def test_a_thread_with_an_old_context(cx: Capture) -> None:
    """A thread that was started before goes on with a copy: what it opens then is anonymous."""
    withdrawn, seen = threading.Event(), {}

    def work() -> None:
        with cx.tracer.start_as_current_span("thread"):
            assert withdrawn.wait(10)
            with touchpoint("late"):
                seen.update(sent(cx))

    with ThreadPoolExecutor(1) as pool:
        with journey("order"), customer("A", consent="granted"), touchpoint("pay"):
            done = pool.submit(copy_context().run, work)
        with touchpoint("elsewhere"):
            identify("A", consent="withdrawn")
        withdrawn.set()
        done.result(10)

    assert links(cx, "thread") == links(cx, "late") == set()
    assert not set(seen) & IDS


def test_a_generator_that_goes_on(cx: Capture) -> None:
    """A generator that is resumed after the withdrawal goes on without what linked it."""

    @customer("A", consent="granted")
    @touchpoint("export")
    def rows() -> Iterator[int]:
        yield 1
        with touchpoint("row"):
            yield 2

    with journey("order"):
        found = rows()
        next(found)
        identify("A", consent="withdrawn")
        assert list(found) == [2]

    assert links(cx, "export") == links(cx, "row") == set()


def test_a_span_that_ended_and_waits(cx: Capture) -> None:
    """Of a request that keeps its ended spans, those that wait are blanked; others stay."""
    with journey("order"), customer("A", consent="granted"):
        current_context().scope.expect()  # type: ignore[union-attr]
        with touchpoint("ended") as ended:
            pass
        identify("A", consent="withdrawn")
    kept = ended.span.attributes  # type: ignore[attr-defined]

    assert kept[PSEUDONYM] == kept["cx.journey.id"] == ""
    assert kept[STATE] == "withdrawn"


def test_what_the_hook_of_a_friction_is_told_under(cx: Capture) -> None:
    """A withdrawal while a hook waits counts for what the hook does."""
    with journey("order"), customer("A", consent="granted"), touchpoint("pay") as tp:
        scope = current_context()
        assert scope is not None
        assert scope.place is not None
        where = Whereabouts(
            scope.place, scope.journey, None, tp.identity, tp.span.get_span_context()
        )
        identify("A", consent="withdrawn")
    told = cx_of(where.context())
    assert told is not None

    assert not set(told.tags()) & IDS
    assert told.identity.consent == "withdrawn"


def test_a_scope_of_ours_that_others_hold(cx: Capture) -> None:
    """A context that is attached again after the withdrawal, as by a job, is anonymous."""
    with journey("order"), customer("A", consent="granted"):
        kept = get_current()
    identify("A", consent="withdrawn")
    with within(kept), touchpoint("job"):
        pass

    assert links(cx, "job") == set()


def test_scopes_that_are_gone_are_not_kept(cx: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many customers come by, those of open requests alone are remembered, and all told."""
    naming = _Naming()
    monkeypatch.setattr(_scope, "_naming", naming)
    with customer("A", consent="granted"), touchpoint("early"):
        for number in range(5_000):
            with customer(f"customer {number}"):
                pass
        with customer("A"), touchpoint("late"), within(Context()):
            assert len(naming._scopes) <= 1_001
            identify("A", consent="withdrawn")

    assert links(cx, "early") == links(cx, "late") == set()


def test_clearing_is_done_by_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes while another clears goes on, also where that one was left behind by a fork."""
    naming = _Naming()
    kept = [RequestScope(Identity()) for _ in range(1_100)]
    with naming.clearing:
        for scope in kept:
            naming.add(scope)
    monkeypatch.setattr(_scope, "_naming", naming)
    naming.clearing.acquire()
    _scope._after_fork()
    naming.add(kept[0])

    assert len(list(naming.all())) == 1_101
    assert not naming.clearing.locked()
    assert naming._most == 2_202


# The memory


@pytest.fixture
def memory(clock: Clock) -> Iterator[Clock]:
    """The memory of withdrawals, empty, under a clock that stands still."""
    _withdrawals.forget_all()
    yield clock
    _withdrawals.forget_all()


def test_the_memory_is_bounded(memory: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the limit those who withdrew first are forgotten first; again counts as new."""
    monkeypatch.setattr(_withdrawals, "MAX_NAMES", 2)
    for pseudonym in ("a", "b", "a", "c"):
        _withdrawals.consent_of((pseudonym,), "withdrawn", "withdrawn")

    assert [_withdrawals.has_withdrawn(each) for each in "abc"] == [True, False, True]


WORDS: Final = st.sampled_from([None, *get_args(Consent)])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.lists(st.tuples(st.sampled_from("ab"), WORDS), max_size=12))
def test_no_word_but_yes_undoes_a_withdrawal(
    memory: Clock, said: list[tuple[str, Consent | None]]
) -> None:
    """Whatever is said in whichever order: after a withdrawal of one, only their yes counts."""
    _withdrawals.forget_all()
    withdrawn: set[str] = set()
    for who, word in said:
        found = _withdrawals.consent_of((who,), word, word or "granted")
        if word == "withdrawn":
            withdrawn.add(who)
        elif word in YES:
            withdrawn.discard(who)
        if word != "denied":
            assert (found == "withdrawn") == (who in withdrawn)
        assert _withdrawals.has_withdrawn(who) == (who in withdrawn)
