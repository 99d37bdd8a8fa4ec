"""While a touchpoint is visited: effort, friction rules, who is told, and what is kept apart."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind

import cxtrace
from cxtrace import (
    ContextThreadPoolExecutor,
    _guard,
    _observers,
    customer,
    identify,
    interaction,
    journey,
    touchpoint,
)
from cxtrace._measures import Friction
from cxtrace.journey_map import JourneyMap
from tests.conftest import Capture, Clock, Meters

EXAMPLE = JourneyMap.load(Path(__file__).parents[1] / "examples" / "journeys.toml")
RULES = """
schema = "cxtrace.map/1"
name = "shop"
functions = { it = {} }
[friction]
repeat_action = { count = 3, within = "10s" }
error_streak = { count = 2, within = "10s" }
validation_loop = { count = 2, within = "10s" }
repeat_contact = { count = 4, within = "10s" }
slow = { after = "5s" }
backtrack = {}
[[stage]]
name = "first"
phase = "customer"
[[stage]]
name = "last"
phase = "customer"
[[touchpoint]]
name = "page.one"
stage = "first"
owner = "it"
[[touchpoint]]
name = "page.two"
stage = "last"
owner = "it"
[[touchpoint]]
name = "page.quiet"
stage = "last"
owner = "it"
[touchpoint.friction]
suppress = ["repeat_action", "slow"]
[[journey]]
name = "walk"
[journey.routes]
straight = ["page.one", "page.two"]
"""
MAP = JourneyMap.loads(RULES)


@pytest.fixture
def shop(cx: Capture, meters: Meters, clock: Clock) -> Capture:
    """Put the map with all rules in force."""
    cx.use(journey_map=MAP)
    return cx


def detectors(cx: Capture) -> list[Any]:
    """The rules that have fired, in order."""
    return [event.get("cx.friction.detector") for event in cx.events("cx.friction")]


def effort(cx: Capture, name: str) -> tuple[Any, Any, Any]:
    """Actions, retries and waiting time of a touchpoint."""
    tags = cx.tags(name)
    kinds = ("actions", "retries", "wait_time")
    return tuple(tags.get(f"cx.effort.{kind}") for kind in kinds)  # type: ignore[return-value]


# Effort


def test_interactions_are_actions(shop: Capture, meters: Meters, clock: Clock) -> None:
    """Each interaction is an action, the same again is a retry, and their time is waiting."""
    with touchpoint("page.one"):
        clock.tick(1)
        for name in ("type", "click", "type"):
            with interaction(name):
                clock.tick(0.5)
        clock.tick(1)
    labels = {
        "cx.touchpoint.name": "page.one",
        "cx.stage.name": "first",
        "cx.owner.function": "it",
    }

    assert effort(shop, "page.one") == (3, 1, 1.5)
    assert meters.values("cx.touchpoint.effort") == [(labels, (1, 3))]
    assert meters.values("cx.touchpoint.interactions") == [(labels, 3)]
    assert meters.values("cx.touchpoint.duration") == [
        ({**labels, "cx.touchpoint.outcome": "completed"}, (1, 3.5))
    ]


def test_a_retry_of_the_service_is_waiting(shop: Capture, clock: Clock) -> None:
    """What the service tries again costs the customer time, and no action; no second twice."""
    with touchpoint("page.one") as tp:
        with interaction("type"):
            clock.tick(0.5)
            assert tp.retry(0.25) is tp  # within what is measured already
        clock.tick(2)
        cxtrace.current_touchpoint().retry(1.5).retry()

    assert effort(shop, "page.one") == (1, 0, 2.0)
    assert shop.tags("page.one")["cx.effort.service_retries"] == 3


def test_a_retry_in_a_touchpoint_within(shop: Capture, clock: Clock) -> None:
    """A retry counts where it happens: not for the touchpoint around, which measures its own."""
    with touchpoint("page.one"), interaction("type"), touchpoint("page.two") as inner:
        clock.tick(0.5)
        inner.retry(0.25)

    assert shop.tags("page.two")["cx.effort.service_retries"] == 1
    assert "cx.effort.service_retries" not in shop.tags("page.one")
    assert effort(shop, "page.one") == (1, 0, 0.5)
    assert effort(shop, "page.two") == (None, None, None)


@pytest.mark.parametrize("wait", [-1.0, float("nan"), float("inf"), "soon", None])
def test_a_retry_without_a_right_time(shop: Capture, clock: Clock, wait: Any) -> None:
    """A time that is none is refused; the retry counts."""
    with touchpoint("page.one") as tp:
        with interaction("type"):
            clock.tick(0.5)
        tp.retry(wait)

    assert shop.tags("page.one")["cx.effort.service_retries"] == 1
    assert effort(shop, "page.one") == (1, 0, 0.5)


def test_a_retry_that_comes_too_late(shop: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the end and outside of any touchpoint nothing happens; our own errors are ours."""
    with touchpoint("page.one") as tp:
        pass
    tp.retry(1.0)
    cxtrace.current_touchpoint().retry(1.0)
    with touchpoint("page.two") as broken:
        monkeypatch.setattr(type(broken.measures), "retry", None)
        broken.retry(1.0)

    assert "cx.effort.service_retries" not in shop.tags("page.one")
    assert _guard.counts() == {"errors.retry": 1}


def test_without_actions_there_is_no_effort(shop: Capture, meters: Meters) -> None:
    """What the company does costs the customer nothing, and nothing is said of it."""
    with touchpoint("page.one"):
        pass

    assert effort(shop, "page.one") == (None, None, None)
    assert meters.values("cx.touchpoint.effort") == []


def test_what_the_customer_begins_is_an_action(cx: Capture, meters: Meters, clock: Clock) -> None:
    """A touchpoint that the customer begins is one action, and all of it is waiting."""
    cx.use(journey_map=EXAMPLE)
    with touchpoint("home.visit"):
        clock.tick(2)
    with touchpoint("order.confirm"):
        clock.tick(2)

    assert effort(cx, "home.visit") == (1, 0, 2.0)
    assert effort(cx, "order.confirm") == (None, None, None)
    assert [value for _, value in meters.values("cx.touchpoint.effort")] == [(1, 1)]


def test_nobody_waits_longer_than_it_lasts(shop: Capture, clock: Clock) -> None:
    """Interactions side by side do not make the customer wait twice."""
    with touchpoint("page.one"), interaction("a"), interaction("b"):
        clock.tick(2)

    assert effort(shop, "page.one") == (2, 0, 2.0)


def test_nested_touchpoints_do_not_mix(shop: Capture, clock: Clock) -> None:
    """Actions and signals belong to the innermost touchpoint."""
    with touchpoint("page.one"):
        with interaction("a"):
            clock.tick(0.25)
        with touchpoint("page.two") as inner:
            with journey("walk"), customer("A"), interaction("a"):
                clock.tick(0.5)
            inner.friction("slow")
        with interaction("b"):
            clock.tick(1)

    assert effort(shop, "page.one") == (2, 0, 1.25)
    assert effort(shop, "page.two") == (1, 0, 0.5)
    assert shop.events("cx.friction", "page.one") == []


def test_threads_work_for_one_visit(shop: Capture, meters: Meters) -> None:
    """Interactions in a pool that carries the context count in the touchpoint, every one."""

    def work(name: str) -> None:
        for _ in range(50):
            with interaction(name):
                cxtrace.mention("friends")

    with touchpoint("page.quiet"), ContextThreadPoolExecutor(4) as pool:
        list(pool.map(work, "abca"))

    assert effort(shop, "page.quiet")[:2] == (200, 197)
    assert [value for _, value in meters.values("cx.touchpoint.interactions")] == [200]
    assert [value for _, value in meters.values("cx.mentions")] == [200]


def test_tasks_do_not_mix(shop: Capture) -> None:
    """Two visits in two tasks of one thread each have their own effort."""

    async def visit(name: str, times: int) -> None:
        async with touchpoint(name):
            for _ in range(times):
                async with interaction("a"):
                    await asyncio.sleep(0)

    async def both() -> None:
        await asyncio.gather(visit("page.one", 2), visit("page.quiet", 5))

    asyncio.run(both())

    assert effort(shop, "page.one")[:2] == (2, 1)
    assert effort(shop, "page.quiet")[:2] == (5, 4)


def test_an_interaction_outside_counts_nowhere(shop: Capture, meters: Meters) -> None:
    """An interaction without a touchpoint, or after its end, is a span and nothing more."""
    with interaction("alone"):
        pass
    with touchpoint("page.one") as tp:
        pass
    tp.act("late")

    assert shop.names == ["alone", "page.one"]
    assert meters.values("cx.touchpoint.interactions") == []


def test_an_error_while_counting_is_swallowed(
    shop: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors of ours while measuring are counted; span, outcome and host go on."""
    with touchpoint("page.one") as tp:
        pass
    measures, endings = tp.measures, tp.endings
    for part, method in ((measures, "arrive"), (measures, "act"), (endings, "leave")):
        monkeypatch.setattr(part, method, None)
    with journey("walk"), touchpoint("page.one"), interaction("a"):
        pass

    assert _guard.counts() == {"errors.arrive": 1, "errors.act": 1, "errors.leave": 1}
    assert [span.attributes["cx.touchpoint.outcome"] for span in shop.spans[::2]] == [  # type: ignore[index]
        "completed",
        "completed",
    ]


# Friction found by rules


def test_a_rule_tells_what_it_is(shop: Capture, meters: Meters, clock: Clock) -> None:
    """Friction that a rule has found has its detector, and counts as any other."""
    with touchpoint("page.one"):
        clock.tick(5.5)
    place = {
        "cx.touchpoint.name": "page.one",
        "cx.stage.name": "first",
        "cx.owner.function": "it",
    }
    what = {"cx.friction.type": "slow", "cx.friction.severity": "medium"}

    assert shop.event("cx.friction") == {
        **place,
        **what,
        "cx.friction.source": "rule",
        "cx.friction.detector": "slow@1",
    }
    assert meters.values("cx.touchpoint.frictions") == [({**place, **what}, 1)]


@pytest.mark.parametrize(("seconds", "found"), [(5, []), (5.25, ["slow@1"])])
def test_slow(shop: Capture, clock: Clock, seconds: float, found: list[str]) -> None:
    """A visit that lasts longer than ``after`` is slow."""
    with touchpoint("page.one"):
        clock.tick(seconds)

    assert detectors(shop) == found


@pytest.mark.parametrize(("times", "found"), [(2, []), (3, ["repeat_action@1"])])
@pytest.mark.parametrize("joined", [True, False], ids=["journey", "nobody"])
def test_repeat_action(shop: Capture, times: int, found: list[str], joined: bool) -> None:
    """The same interaction again and again is found, on a journey and within any visit."""
    with journey("walk") if joined else customer(None), touchpoint("page.one"):
        for _ in range(times):
            with interaction("click"):
                pass

    assert detectors(shop) == found


@pytest.mark.parametrize("place", ["journey", "customer"])
def test_repeat_entry(shop: Capture, clock: Clock, place: str) -> None:
    """The same touchpoint three times within ten seconds is a repeat, on a journey or not."""
    with journey("walk") if place == "journey" else customer("A"):
        for _ in range(3):
            with touchpoint("page.one"):
                clock.tick(1)

    assert detectors(shop) == ["repeat_action@1"]


def test_strangers_are_not_joined(shop: Capture) -> None:
    """Visits of nobody, and of different customers, are no repeats of one another."""
    for number in range(9):
        with customer(f"c-{number}"), touchpoint("page.one"):
            pass
        with touchpoint("page.one"):
            pass

    assert detectors(shop) == []


def test_who_refused_is_not_watched(shop: Capture) -> None:
    """Of a customer who refused consent no two visits are joined, not even on one journey."""
    with journey("walk"), customer("A", consent="denied"):
        for _ in range(9):
            with touchpoint("page.one"):
                pass

    assert detectors(shop) == []


@pytest.mark.parametrize(
    ("reasons", "found"),
    [(["a"], []), (["a", "b"], ["error_streak@1"]), (["a", None, "b"], [])],
)
def test_error_streak(shop: Capture, reasons: list[str | None], found: list[str]) -> None:
    """Failures one after the other are found, and a success in between begins anew."""
    with journey("walk"):
        for reason in reasons:
            with touchpoint("page.quiet") as tp:
                if reason is not None:
                    tp.fail(reason)

    assert detectors(shop) == found
    assert [event["cx.friction.type"] for event in shop.events("cx.friction")] == [
        "error" for _ in found
    ]


def test_validation_loop(shop: Capture) -> None:
    """Input that is rejected again and again is a loop."""
    with journey("walk"), touchpoint("page.one") as tp:
        tp.friction("validation_rejected").friction("validation_rejected")

    assert detectors(shop) == [None, None, "validation_loop@1"]


def test_repeat_contact(shop: Capture, clock: Clock) -> None:
    """The same customer comes four times, on one journey after another."""
    for _ in range(4):
        with journey("walk"), customer("A"), touchpoint("page.quiet"):
            clock.tick(1)

    assert detectors(shop) == ["repeat_contact@1"]


@pytest.mark.parametrize("route", ["straight", None])
def test_backtrack(shop: Capture, route: str | None) -> None:
    """Going back on the route, or among the stages, is found once until one goes on."""
    with journey("walk", route=route):
        for name in ("page.one", "page.two", "page.one", "page.two"):
            with touchpoint(name):
                pass

    assert detectors(shop) == ["backtrack@1"]
    assert shop.event("cx.friction")["cx.touchpoint.name"] == "page.one"


def test_who_refused_is_not_seen_to_go_back(shop: Capture) -> None:
    """The way of a customer who refused consent is not followed from visit to visit."""
    with journey("walk", route="straight"), customer("A", consent="denied"):
        for name in ("page.one", "page.two", "page.one"):
            with touchpoint(name):
                pass

    assert detectors(shop) == []


def test_who_withdraws_is_not_joined_to_the_visits_before(shop: Capture) -> None:
    """What fails after consent was withdrawn is no part of a streak."""
    for consent in (None, "withdrawn"):
        with journey("walk", id="w-1"), customer("A"), touchpoint("page.one") as tp:
            if consent is not None:
                identify("A", consent="withdrawn")
            tp.fail("a")

    assert detectors(shop) == []


def test_off_the_route_is_no_way_back(shop: Capture) -> None:
    """A touchpoint that the route does not have says nothing about the way."""
    with journey("walk", route="straight"):
        for name in ("page.one", "page.two", "page.quiet", "page.two"):
            with touchpoint(name):
                pass

    assert detectors(shop) == []


def test_what_is_suppressed_is_not_found(shop: Capture, clock: Clock) -> None:
    """A touchpoint has only the rules that the map leaves it."""
    with journey("walk"), touchpoint("page.quiet"):
        for _ in range(9):
            with interaction("click"):
                clock.tick(1)

    assert detectors(shop) == []


def test_friction_can_be_switched_off(cx: Capture, meters: Meters, clock: Clock) -> None:
    """With ``friction`` in ``signals_off`` rules find nothing either, and nobody is told."""
    told: list[Any] = []
    cx.use(journey_map=MAP, signals_off=frozenset({"friction"}), on_friction=told.append)
    with touchpoint("page.one") as tp:
        tp.friction("slow")
        clock.tick(9)

    assert (detectors(cx), meters.values("cx.touchpoint.frictions"), told) == ([], [], [])


def test_watching_goes_on_unsampled(forgetful: None, meters: Meters, clock: Clock) -> None:
    """Rules find friction in touchpoints whose spans nobody keeps."""
    told: list[Any] = []
    cx = Capture(sampler=ALWAYS_OFF)
    cx.use(journey_map=MAP, on_friction=told.append)
    with touchpoint("page.one"), touchpoint("page.two"):
        clock.tick(9)

    assert _observers.drain(60)
    assert [friction.touchpoint for friction in told] == ["page.two", "page.one"]


def test_an_attached_touchpoint_is_watched(shop: Capture, clock: Clock) -> None:
    """A touchpoint that is the server's own span has the rules of any other."""
    server = shop.tracer.start_as_current_span("GET", kind=SpanKind.SERVER)
    with server, touchpoint("page.one", attach=True):
        clock.tick(9)

    assert detectors(shop) == ["slow@1"]
    assert shop.span("GET").attributes["cx.touchpoint.name"] == "page.one"  # type: ignore[index]


# The hook


def test_on_friction_is_told(cx: Capture, clock: Clock) -> None:
    """The hook is told what happened where, by rule or by word, and about nobody."""
    told: list[Friction] = []
    cx.use(journey_map=MAP, on_friction=told.append)
    with journey("walk"), customer("A"), touchpoint("page.one") as tp:
        tp.friction("error", severity="blocking", source="agent")
        clock.tick(9)

    place = ("page.one", "first", "it")
    assert _observers.drain(60)
    assert told == [
        Friction(*place, "error", "blocking", "agent"),
        Friction(*place, "slow", "medium", "rule", "slow@1"),
    ]


def test_what_is_found_at_the_end_counts_for_promises_and_facts(cx: Capture, clock: Clock) -> None:
    """Friction found when the visit is over still belongs to it."""
    cx.use(
        journey_map=JourneyMap.loads(
            RULES.replace(
                "it = {}", "it = { happy = \"friction.type != 'slow' and friction.count < 1\" }"
            )
        )
    )
    with touchpoint("page.one"):
        clock.tick(9)
    with touchpoint("page.two"):
        pass

    assert cx.tags("page.one")["cx.function.happy.it"] is False
    assert cx.tags("page.two")["cx.function.happy.it"] is True
