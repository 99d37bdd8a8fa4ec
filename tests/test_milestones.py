"""What a touchpoint means to its journey: start, change of stage, hand-off, and the end."""

from typing import Any

import pytest

from cxtrace import (
    _clock,
    _guard,
    _journeys,
    _runtime,
    customer,
    identify,
    interaction,
    journey,
    touchpoint,
)
from cxtrace._journeys import JourneyState
from cxtrace.journey_map import JourneyMap
from tests.conftest import Capture, Clock, Meters, Records

MAP = JourneyMap.loads(
    """
schema = "cxtrace.map/1"
name = "shop"
version = "7"
functions = { shop = {}, service = {} }
[[stage]]
name = "look"
phase = "pre_customer"
[[stage]]
name = "buy"
phase = "customer"
[promise.delivery]
claim = "At your door within 48 hours"
source = "brand_claim"
metric = "journey.duration"
begins = "cart.pay"
ends = "cart.ship"
op = "<="
target = 48.0
unit = "h"
exceeded_at = 24.0
[promise.week]
claim = "Done in a week"
source = "expectation"
metric = "journey.duration"
op = "<="
target = 1.0
unit = "wk"
[promise.begun]
claim = "Done an hour after you pay"
source = "expectation"
metric = "journey.duration"
begins = "cart.pay"
op = "<="
target = 1.0
unit = "h"
[promise.answer]
claim = "We take over within a minute"
source = "expectation"
metric = "handoff.duration"
op = "<="
target = 1.0
unit = "min"
[[touchpoint]]
name = "home.visit"
stage = "look"
owner = "shop"
[[touchpoint]]
name = "cart.pay"
stage = "buy"
owner = "shop"
[[touchpoint]]
name = "cart.ship"
stage = "buy"
owner = "shop"
[[touchpoint]]
name = "desk.call"
stage = "buy"
owner = "service"
promises = ["answer"]
[[touchpoint]]
name = "cart.done"
stage = "buy"
owner = "shop"
[[journey]]
name = "order"
goal = "cart.done"
[journey.routes]
fast = ["home.visit", "cart.pay", "cart.done"]
"""
)
HOUR = 3_600


@pytest.fixture
def shop(cx: Capture, meters: Meters, clock: Clock) -> Capture:
    """Put the map in force."""
    cx.use(journey_map=MAP)
    return cx


def visit(*names: str) -> None:
    """Go from touchpoint to touchpoint."""
    for name in names:
        with touchpoint(name):
            pass


def results(cx: Capture, promise: str) -> list[tuple[Any, Any]]:
    """Result and delivered value of each evaluation of a promise."""
    return [
        (event["cx.promise.result"], event.get("cx.promise.delivered"))
        for event in cx.events("cx.promise.evaluated")
        if event["cx.promise.id"] == promise
    ]


# Start


def test_a_journey_begins_at_its_first_touchpoint(shop: Capture) -> None:
    """The start is told once, with who it is and where, as far as consent allows."""
    with journey("order") as way, customer("A", kind="person", consent="granted"):
        visit("home.visit", "home.visit")

    assert shop.event("cx.journey.start") == {
        "cx.journey.name": "order",
        "cx.journey.id": way.id,
        "cx.stage.name": "look",
        "cx.map.version": "7",
        "cx.customer.kind": "person",
        "cx.customer.key_id": _runtime.pseudonymiser().key_id,
        "enduser.pseudo.id": shop.pseudonym("A"),
    }


def test_a_start_of_someone_who_refused(shop: Capture) -> None:
    """Where consent is refused the start names the journey, and neither its id nor the customer."""
    with journey("order"), customer("A", kind="person", consent="denied"):
        visit("home.visit")

    assert shop.event("cx.journey.start") == {
        "cx.journey.name": "order",
        "cx.stage.name": "look",
        "cx.map.version": "7",
        "cx.customer.kind": "person",
    }


@pytest.mark.parametrize("consent", ["denied", "withdrawn"])
def test_who_refuses_later_is_taken_out_of_events(shop: Capture, consent: Any) -> None:
    """Ids and pseudonyms disappear from events of a span that is open when consent is refused."""
    with journey("order", id="w-1"):
        visit("home.visit")
    with journey("order") as way, customer("A", consent="granted"):
        with shop.tracer.start_as_current_span("host") as host:
            host.add_event("its own", {"session.id": "s", "kept": 1})
            host.add_event("bare")
            with touchpoint("home.visit"), touchpoint("cart.pay"):
                identify("A", consent=consent)
        way.outcome("abandoned")
    told = [event for span in shop.spans for event in span.events]

    assert way.id not in str([event.attributes for event in told])
    assert shop.pseudonym("A") not in str([event.attributes for event in told])
    assert shop.event("its own") == {"kept": 1}
    assert [event["cx.journey.name"] for event in shop.events("cx.journey.start")] == ["order"]


def test_events_are_told_as_they_were_to_logs(shop: Capture, records: Records) -> None:
    """A log record that is on its way stays as it was made."""
    with journey("order") as way, customer("A", consent="granted"), touchpoint("home.visit"):
        identify("A", consent="withdrawn")
    (record,) = records.named("cx.journey.start")

    assert record.attributes["cx.journey.id"] == way.id
    assert "cx.journey.id" not in shop.event("cx.journey.start")


def test_a_journey_that_goes_on_does_not_begin(shop: Capture) -> None:
    """With an id the journey began elsewhere, and inside of itself it goes on."""
    with journey("order", id="w-1"):
        visit("home.visit")
    with journey("order"), journey("order"):
        visit("home.visit")

    assert len(shop.events("cx.journey.start")) == 1


def test_a_journey_without_a_map(cx: Capture, meters: Meters) -> None:
    """Without a map a start has no version, and without a stage none."""
    cx.use()
    with journey("order", id=None) as way, touchpoint("a"):
        pass

    assert cx.event("cx.journey.start") == {
        "cx.journey.name": "order",
        "cx.journey.id": way.id,
    }


# Change of stage


def test_a_change_of_stage(shop: Capture, meters: Meters) -> None:
    """From stage to stage, there and back, each change is told and counted; the first is none."""
    with journey("order", id="w-1"):
        visit("home.visit", "home.visit", "cart.pay", "cart.ship", "home.visit")
    way = {"cx.journey.name": "order"}
    there = {"cx.transition.from_stage": "look", "cx.transition.to_stage": "buy"}
    back = {"cx.transition.from_stage": "buy", "cx.transition.to_stage": "look"}

    assert shop.events("cx.stage.transition") == [
        {**way, "cx.journey.id": "w-1", **there},
        {**way, "cx.journey.id": "w-1", **back},
    ]
    assert meters.values("cx.stage.transitions") == [({**way, **back}, 1), ({**way, **there}, 1)]


def test_a_touchpoint_without_a_stage_changes_none(shop: Capture) -> None:
    """Where no stage is known the customer stays where they were."""
    with journey("order"):
        visit("home.visit", "elsewhere", "home.visit")

    assert shop.events("cx.stage.transition") == []


def test_two_customers_do_not_share_a_stage(shop: Capture) -> None:
    """Each journey is at its own stage, also with the journeys of one process mixed."""
    for walk in ("w-1", "w-2", "w-1", "w-2"):
        with journey("order", id=walk):
            visit("home.visit")

    assert shop.events("cx.stage.transition") == []


def test_outside_of_a_journey_nothing_is_told(shop: Capture, meters: Meters) -> None:
    """A touchpoint that belongs to no journey is no step on one."""
    visit("home.visit", "cart.pay", "cart.done")

    assert [event.name for span in shop.spans for event in span.events] == []
    assert set(meters.everything()) == {"cx.touchpoint.duration"}


# Promises over several touchpoints


@pytest.mark.parametrize(
    ("hours", "result"), [(12, "exceeded"), (24, "exceeded"), (48, "kept"), (49, "broken")]
)
def test_a_promise_between_two_touchpoints(
    shop: Capture, meters: Meters, clock: Clock, hours: int, result: str
) -> None:
    """The time runs from the end of one touchpoint to the end of another, in the unit promised."""
    with journey("order"):
        with touchpoint("cart.pay"):
            clock.tick(HOUR)
        clock.tick((hours - 1) * HOUR)
        with touchpoint("cart.ship"):
            clock.tick(HOUR)

    assert results(shop, "delivery") == [(result, float(hours))]
    assert [
        labels["cx.promise.result"] for labels, _ in meters.values("cx.promise.evaluations")
    ] == [result]


def test_a_promise_whose_start_nobody_saw(shop: Capture) -> None:
    """Without a beginning that is known the promise is unmeasured, on a journey and outside."""
    with journey("order"):
        visit("cart.ship")
    visit("cart.ship")

    assert results(shop, "delivery") == [("unmeasured", None), ("unmeasured", None)]


def test_a_promise_is_spent_when_it_is_measured(shop: Capture, clock: Clock) -> None:
    """What was delivered once is not delivered again by a second visit."""
    with journey("order"):
        visit("cart.pay", "cart.ship", "cart.ship")

    assert results(shop, "delivery") == [("exceeded", 0.0), ("unmeasured", None)]


def test_only_a_completed_visit_begins_and_ends_a_promise(shop: Capture, clock: Clock) -> None:
    """A payment that failed promises nothing, and a parcel that was not shipped ends nothing."""
    with journey("order"):
        with touchpoint("cart.pay") as tp:
            tp.fail("declined")
        clock.tick(HOUR)
        visit("cart.pay")
        clock.tick(HOUR)
        with touchpoint("cart.ship") as tp:
            tp.outcome("deferred")
        clock.tick(HOUR)
        visit("cart.ship")

    assert results(shop, "delivery") == [("exceeded", 2.0)]


def test_deliver_stands_above_the_clock(shop: Capture, clock: Clock) -> None:
    """A value that the code hands in counts instead of the one that was measured."""
    with journey("order"):
        visit("cart.pay")
        with touchpoint("cart.ship") as tp:
            tp.deliver("delivery", 50)

    assert results(shop, "delivery") == [("broken", 50.0)]


def test_a_promise_ends_in_another_service(shop: Capture, clock: Clock) -> None:
    """What another service is told by the clock is enough to measure there."""
    with journey("order", id="w-1"):
        visit("home.visit", "cart.pay")
    told = _journeys.memory.state_of("order", "w-1").clock()
    clock.tick(30 * HOUR)
    _journeys.forget_all()
    _journeys.memory.state_of("order", "w-1").learn(told)
    with journey("order", id="w-1"):
        visit("cart.ship")

    assert results(shop, "delivery") == [("kept", 30.0)]


def test_a_clock_that_was_set_back_gives_no_negative_time(shop: Capture, clock: Clock) -> None:
    """Times between touchpoints are never less than nothing."""
    with journey("order"):
        visit("cart.pay")
        clock.set_back(HOUR)
        visit("cart.ship")

    assert results(shop, "delivery") == [("exceeded", 0.0)]


# Hand-off


@pytest.mark.parametrize(("seconds", "result"), [(60, "kept"), (61, "broken")])
def test_a_handoff_is_a_promise(
    shop: Capture, meters: Meters, clock: Clock, seconds: int, result: str
) -> None:
    """How long the customer waited to be taken over is compared where they arrive."""
    with journey("order"):
        with touchpoint("cart.pay") as tp:
            tp.handoff("service")
        clock.tick(seconds)
        visit("desk.call", "desk.call")

    assert results(shop, "answer") == [(result, seconds / 60)]
    assert [value for _, value in meters.values("cx.handoff.duration")] == [(1, float(seconds))]


def test_a_handoff_counts_once_where_it_ends(shop: Capture, meters: Meters, clock: Clock) -> None:
    """A calling service goes on telling of the hand-off, which it cannot know to be over."""
    _journeys.memory.state_of("order", "w-1").handoff = ("shop", "service", _clock.wall())
    told = _journeys.memory.state_of("order", "w-1").clock()
    for _ in range(3):
        clock.tick(60)
        _journeys.memory.state_of("order", "w-1").learn(told)
        with journey("order", id="w-1"):
            visit("desk.call")

    assert [value for _, value in meters.values("cx.handoff.duration")] == [(1, 60.0)]


def begun_elsewhere(clock: Clock) -> None:
    """Learn from a calling service that the customer is being handed over for a minute."""
    there = JourneyState()
    there.handoff = ("shop", "service", _clock.wall())
    _journeys.memory.state_of("order", "w-1").learn(there.clock())
    clock.tick(60)


def test_a_handoff_of_others_is_not_measured_where_handoffs_are_off(
    shop: Capture, meters: Meters, clock: Clock
) -> None:
    """A fleet that wants no hand-offs gets neither the metric nor the fact, whoever began it."""
    shop.use(journey_map=MAP, signals_off=frozenset({"handoff"}))
    begun_elsewhere(clock)
    with journey("order", id="w-1"):
        visit("desk.call")

    assert meters.values("cx.handoff.duration") == []
    assert results(shop, "answer") == []
    assert _journeys.memory.state_of("order", "w-1").handoff is None


@pytest.mark.parametrize("consent", ["denied", "withdrawn"])
def test_a_handoff_of_others_is_measured_of_who_refused(
    shop: Capture, meters: Meters, clock: Clock, consent: Any
) -> None:
    """How long somebody waited is a fact about two functions: the metric names no customer."""
    begun_elsewhere(clock)
    with customer("A", consent=consent), journey("order", id="w-1"):
        visit("desk.call")

    assert meters.values("cx.handoff.duration") == [
        (
            {
                "cx.handoff.from_function": "shop",
                "cx.handoff.to_function": "service",
                "cx.journey.name": "order",
            },
            (1, 60.0),
        )
    ]


def test_a_promise_counts_once_where_it_ends(shop: Capture, clock: Clock) -> None:
    """Neither does a promise run on because the caller still tells of it."""
    _journeys.memory.state_of("order", "w-1").promises["delivery"] = _clock.wall()
    told = _journeys.memory.state_of("order", "w-1").clock()
    for _ in range(2):
        clock.tick(HOUR)
        _journeys.memory.state_of("order", "w-1").learn(told)
        with journey("order", id="w-1"):
            visit("cart.ship")

    assert results(shop, "delivery") == [("exceeded", 1.0), ("unmeasured", None)]


def test_nobody_arrives_twice(shop: Capture, meters: Meters, clock: Clock) -> None:
    """On the way of another function the wait goes on."""
    with journey("order"):
        with touchpoint("cart.pay") as tp:
            tp.handoff("service")
        visit("cart.ship")
        clock.set_back(5)
        visit("desk.call")

    assert [value for _, value in meters.values("cx.handoff.duration")] == [(1, 0.0)]


# The end


def test_a_journey_ends_at_its_goal(shop: Capture, meters: Meters, clock: Clock) -> None:
    """Where the goal is completed the journey is achieved: told once, with its time."""
    with journey("order", route="fast") as way:
        visit("home.visit")
        clock.tick(2 * HOUR)
        with touchpoint("cart.done") as tp:
            tp.fail("x")
        visit("cart.done", "cart.done")
    labels = {"cx.journey.name": "order", "cx.journey.outcome": "achieved"}

    assert shop.event("cx.journey.end") == {
        **labels,
        "cx.journey.id": way.id,
        "cx.journey.route": "fast",
        "cx.stage.name": "buy",
    }
    assert meters.values("cx.journey.duration") == [(labels, (1, 2.0 * HOUR))]


@pytest.mark.parametrize(("days", "result"), [(7, "kept"), (8, "broken")])
def test_a_promise_over_the_whole_journey(
    shop: Capture, clock: Clock, days: int, result: str
) -> None:
    """Without ``ends`` a promise is measured when the journey ends, from its beginning."""
    with journey("order"):
        visit("home.visit")
        clock.tick((days * 24 - 2) * HOUR)
        visit("cart.pay")
        clock.tick(2 * HOUR)
        visit("cart.done")

    assert results(shop, "week") == [(result, days / 7)]
    assert results(shop, "begun") == [("broken", 2.0)]


def test_a_promise_over_the_whole_journey_that_is_delivered(shop: Capture) -> None:
    """What the code hands in where the journey ends counts instead of what is measured there."""
    with journey("order"), touchpoint("cart.done") as tp:
        tp.deliver("week", 2.0)

    assert results(shop, "week") == [("broken", 2.0)]


def test_the_goal_of_another_journey_is_no_end(shop: Capture, meters: Meters) -> None:
    """A journey that the map does not know ends only by word."""
    with journey("other") as way:
        visit("cart.done")
        assert shop.events("cx.journey.end") == []
        way.outcome("achieved")

    assert meters.values("cx.journey.duration")[0][0] == {
        "cx.journey.name": "other",
        "cx.journey.outcome": "achieved",
    }


@pytest.mark.parametrize("inside", [True, False], ids=["in a touchpoint", "between them"])
def test_an_end_by_word(shop: Capture, meters: Meters, clock: Clock, inside: bool) -> None:
    """The code may say how the journey ended; the first word counts, and breaks no promise."""
    span = shop.tracer.start_as_current_span("server")
    with span, journey("order") as way, customer("A", consent="denied"):
        visit("home.visit")
        clock.tick(30)
        with touchpoint("cart.pay") if inside else interaction("x"):
            assert way.outcome("abandoned").outcome("failed") is way
    labels = {"cx.journey.name": "order", "cx.journey.outcome": "abandoned"}

    assert shop.event("cx.journey.end") == {
        **labels,
        "cx.stage.name": "buy" if inside else "look",
    }
    assert meters.values("cx.journey.duration") == [(labels, (1, 30.0))]
    assert results(shop, "week") == []


def test_an_end_with_nobody_known(shop: Capture, meters: Meters) -> None:
    """Said after the block, the end is counted with what is remembered of the journey."""
    with journey("order") as way:
        visit("home.visit")
    way.outcome("superseded")

    assert [labels for labels, _ in meters.values("cx.journey.duration")] == [
        {"cx.journey.name": "order", "cx.journey.outcome": "superseded"}
    ]


@pytest.mark.parametrize("late", [False, True])
def test_the_end_for_who_refused_within(shop: Capture, records: Records, late: bool) -> None:
    """Outside of the block of a customer who refused, the end of their journey has no id either."""
    with journey("order") as way:
        with customer("A", consent="denied"):
            visit("home.visit")
        if late:
            way.outcome("abandoned")
    way.outcome("abandoned")
    (record,) = records.named("cx.journey.end")

    assert "cx.journey.id" not in record.attributes


def test_the_end_within_the_touchpoint_of_another(shop: Capture) -> None:
    """What a customer refuses holds at a touchpoint that was open before they were known."""
    with touchpoint("home.visit"), customer("A", consent="denied"), journey("order") as way:
        way.outcome("abandoned")

    assert "cx.journey.id" not in shop.event("cx.journey.end")


def test_who_agrees_again_has_an_id_at_the_end(shop: Capture) -> None:
    """The last word on consent counts."""
    with customer("A", consent="denied"), journey("order", id="w-1"):
        visit("home.visit")
    with customer("A", consent="granted"), journey("order", id="w-1"):
        visit("cart.done")

    assert shop.event("cx.journey.end")["cx.journey.id"] == "w-1"


def test_a_wrong_end_is_refused(shop: Capture, meters: Meters) -> None:
    """A word that is no outcome of a journey is counted and changes nothing."""
    with journey("order") as way, touchpoint("home.visit"):
        way.outcome("completed")  # type: ignore[arg-type]

    assert _guard.counts() == {"refused.journey.outcome": 1}
    assert shop.events("cx.journey.end") == []


def test_an_end_that_fails_inside(shop: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of ours at the end is swallowed and counted."""
    with journey("order") as way, touchpoint("home.visit") as tp:
        monkeypatch.setattr(tp.endings, "end_journey", None)
        way.outcome("failed")

    assert _guard.counts() == {"errors.journey.outcome": 1}


def test_an_end_with_nobody_listening(nobody: None) -> None:
    """With no SDK a journey can end, and nothing happens."""
    with journey("order") as way:
        assert way.outcome("failed") is way

    assert _guard.counts() == {}


def test_a_journey_that_began_while_nobody_listened(cx: Capture, meters: Meters) -> None:
    """What was opened before anybody configured has a name and an id, and no milestones."""
    _runtime.use(_runtime.Runtime(tracing=_runtime.NoTracing()))
    with journey("order") as way:
        cx.use(journey_map=MAP)
        visit("home.visit", "cart.pay", "cart.done")
        with touchpoint("cart.pay") as tp:
            tp.complaint("opened").handoff("service")
        way.outcome("failed")

    assert cx.span("home.visit").attributes["cx.journey.id"] == way.id  # type: ignore[index]
    assert [event.name for span in cx.spans for event in span.events] == [
        "cx.complaint",
        "cx.handoff",
    ]
    assert _guard.counts() == {}


def test_an_end_of_a_journey_whose_start_is_not_known(shop: Capture, meters: Meters) -> None:
    """Without a start there is an event, but no duration."""
    with journey("order", id="w-1"):
        visit("cart.done")

    assert len(shop.events("cx.journey.end")) == 1
    assert meters.values("cx.journey.duration") == []
    assert results(shop, "week") == [("unmeasured", None)]


def test_without_meters_there_are_events(cx: Capture, clock: Clock) -> None:
    """Where nobody measures, all milestones are told on the spans."""
    cx.use(journey_map=MAP)
    with journey("order") as way:
        visit("home.visit", "cart.pay")
        with touchpoint("cart.ship") as tp:
            tp.handoff("service").complaint("opened").complaint("resolved")
        visit("desk.call", "cart.done")
        way.outcome("failed")

    found = {event.name for span in cx.spans for event in span.events}
    assert {
        "cx.journey.start",
        "cx.stage.transition",
        "cx.promise.evaluated",
        "cx.handoff",
        "cx.journey.end",
    } <= found
    assert _guard.counts() == {}


def test_a_state_without_a_journey() -> None:
    """A new state knows nothing."""
    state = JourneyState()

    assert (state.started, state.stage, state.promises, state.handoff) == (None, None, {}, None)
    assert (state.begins_here, state.ended) == (False, False)
