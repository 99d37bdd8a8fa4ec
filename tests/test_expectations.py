"""What the journey map expects of one touchpoint."""

from pathlib import Path

import pytest

from cxtrace._expectations import NOTHING, expectations_of
from cxtrace.context import Journey, Place
from cxtrace.journey_map import JourneyMap

EXAMPLE = Path(__file__).parents[1] / "examples" / "journeys.toml"
MAP = JourneyMap.loads(
    """
schema = "cxtrace.map/1"
name = "shop"
version = "7"

[functions]
product = { happy = "touchpoint.outcome == 'completed'" }
finance = {}

[friction]
repeat_action = { count = 3, within = "10s" }

[[stage]]
name = "purchase"
phase = "customer"

[[stage]]
name = "delivery"
phase = "customer"

[promise.fast]
claim = "Fast"
source = "brand_claim"
metric = "touchpoint.duration"
op = "<="
target = 2.0
unit = "s"

[promise.delivery]
claim = "At your door within 48 hours"
source = "brand_claim"
metric = "journey.duration"
begins = "checkout.pay"
ends = "delivery.ship"
op = "<="
target = 48.0
unit = "h"

[promise.all]
claim = "Done in a week"
source = "expectation"
metric = "journey.duration"
op = "<="
target = 1.0
unit = "wk"

[[touchpoint]]
name = "checkout.pay"
stage = "purchase"
owner = "product"
initiator = "customer"
influence = { product = 0.75, finance = 0.25 }
expected_actions = 3
promises = ["fast"]

[[touchpoint]]
name = "delivery.ship"
stage = "delivery"
owner = "finance"
initiator = "company"

[[journey]]
name = "first_order"
goal = "delivery.ship"
[journey.routes]
express = ["checkout.pay", "delivery.ship"]
back = ["delivery.ship", "checkout.pay"]
"""
)
PAY = Place("checkout.pay", "purchase", "product")
SHIP = Place("delivery.ship", "delivery", "finance")


def ids(promises: object) -> list[str]:
    """The ids of promises."""
    return [promise.id for promise in promises]  # type: ignore[attr-defined]


def test_without_a_map_nothing_is_expected() -> None:
    """Where there is no map there is no promise, no rule and no opinion."""
    found = expectations_of(None, PAY)

    assert found is NOTHING
    assert (found.measured, found.rules, found.happiness) == ((), (), ())


def test_a_planned_touchpoint() -> None:
    """All that the map says of a touchpoint is at hand."""
    found = expectations_of(MAP, PAY)

    assert (found.version, found.phase) == ("7", "customer")
    assert (found.by_customer, found.actions) == (True, 3)
    assert found.influence == {"product": 0.75, "finance": 0.25}
    assert ids(found.measured) == ["fast"]
    assert ids(found.begun) == ["delivery"]
    assert ids(found.whole) == ["all"]
    assert set(found.promises) == {"fast", "delivery", "all"}
    assert found.goal_of == set()
    assert [rule.name for rule in found.rules] == ["repeat_action", "slow"]
    assert [function for function, _ in found.happiness] == ["product"]
    assert found.stage_order == 1


def test_where_a_promise_ends() -> None:
    """A promise is measured where its time ends, which is also the goal of a journey here."""
    found = expectations_of(MAP, SHIP)

    assert (ids(found.measured), ids(found.begun)) == (["delivery"], [])
    assert found.goal_of == {"first_order"}
    assert not found.by_customer


def test_an_unplanned_touchpoint() -> None:
    """What the map does not know is expected to do nothing, and judged as all others are."""
    found = expectations_of(MAP, Place("else", "elsewhere", "product"))

    assert (found.phase, found.stage_order) == (None, None)
    assert (found.measured, found.rules, found.influence) == ((), (), {})
    assert [function for function, _ in found.happiness] == ["product"]


def test_a_touchpoint_without_a_stage() -> None:
    """Neither phase nor place among the stages is known where there is no stage."""
    found = expectations_of(MAP, Place("else"))

    assert (found.phase, found.stage_order) == (None, None)


@pytest.mark.parametrize(
    ("journey", "step"),
    [
        (Journey("first_order", "w", "express"), 1),
        (Journey("first_order", "w", "back"), 0),
        (Journey("first_order", "w", "other"), None),
        (Journey("other", "w", "express"), None),
        (Journey("first_order", "w"), 2),
        (Journey("other", "w"), 2),
    ],
)
def test_how_far_the_customer_is(journey: Journey, step: int | None) -> None:
    """On a known route the place on it counts, without a route the order of the stages."""
    assert expectations_of(MAP, SHIP).step(journey) == step


def test_the_example_map_can_be_asked() -> None:
    """Of every touchpoint of the example all is expected that the map says of it."""
    journey_map = JourneyMap.load(EXAMPLE)
    for name, planned in journey_map.touchpoints.items():
        found = expectations_of(journey_map, Place(name, planned.stage, planned.owner))

        assert found.measured == journey_map.promises_at(name)
        assert found.rules == journey_map.friction_at(name)
        assert all(promise.begins == name for promise in found.begun)
        assert ids(found.whole) == ["done_in_a_week"]
