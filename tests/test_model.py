"""The facts of a journey map are values: immutable, comparable, hashable."""

from typing import get_args

import attrs
import pytest

from cxtrace._model import (
    FRICTION_RULES,
    FRICTION_TYPES,
    SECONDS,
    Friction,
    FrictionRule,
    Journey,
    Match,
    OutcomeRule,
    Place,
    Promise,
    Requests,
    Teller,
    TimeUnit,
    Touchpoint,
)


def test_a_fact_cannot_be_changed() -> None:
    """Assigning to a field of a touchpoint is refused."""
    touchpoint = Touchpoint("cart.view", "purchase", "sales")

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        touchpoint.owner = "it"  # type: ignore[misc]


def test_mappings_cannot_be_changed() -> None:
    """Neither weights, nor routes, nor rules are writable."""
    friction = Friction({"slow": FrictionRule("slow", after=1.0)})
    touchpoint = Touchpoint("cart.view", "purchase", "sales", influence={"it": 1.0})
    journey = Journey("look", routes={"only": ["cart.view"]})

    for mapping in (touchpoint.influence, journey.routes, friction.rules):
        with pytest.raises(TypeError):
            mapping["x"] = 1  # type: ignore[index]


def test_a_fact_does_not_follow_what_it_was_made_of() -> None:
    """Changing the dict or the list that a touchpoint was made of does not change it."""
    weights, channels = {"it": 1.0}, ["web"]
    touchpoint = Touchpoint("a", "b", "it", channels=channels, influence=weights)  # type: ignore[arg-type]
    weights["it"] = 0.5
    channels.append("email")

    assert touchpoint == Touchpoint("a", "b", "it", channels=("web",), influence={"it": 1.0})


def test_equal_facts_have_equal_hashes() -> None:
    """Touchpoints and journeys can stand in sets, mappings and all."""
    points = {
        Touchpoint("a", "b", "it", influence={"it": 1.0}, match=[Match(route="GET /")]),
        Touchpoint("a", "b", "it", influence={"it": 1.0}, match=(Match(route="GET /"),)),
    }
    ways = {Journey("j", routes={"r": ("a",)}), Journey("j", routes={"r": ["a"]})}

    assert (len(points), len(ways)) == (1, 1)


def test_rules_for_requests_are_values() -> None:
    """What was given as lists is kept as tuples, and compares so."""
    tellers, outcomes = [Teller(header="X-Id")], [OutcomeRule("failed", status="4xx")]
    match = Match("GET /", outcome=outcomes, customer=tellers, journey=tellers)
    requests = Requests(tellers, tellers)
    tellers.clear()
    outcomes.clear()

    assert match.outcome == (OutcomeRule("failed", status="4xx"),)
    assert match.customer == match.journey == requests.customer == (Teller(header="X-Id"),)
    assert hash(requests) == hash(Requests(requests.customer, [*requests.journey]))


def test_a_place_reads_as_editors_jump_to_it() -> None:
    """A place is written as file, colon, line."""
    assert str(Place("journeys.toml", 3)) == "journeys.toml:3"


@pytest.mark.parametrize(
    ("target", "unit", "seconds"),
    [
        (9.0, "ms", 0.009),
        (2.5, "s", 2.5),
        (10.0, "min", 600.0),
        (48.0, "h", 172_800.0),
        (7.0, "d", 604_800.0),
        (1.0, "wk", 604_800.0),
        (3.0, "{action}", None),
    ],
)
def test_a_promise_knows_its_target_in_seconds(
    target: float, unit: str, seconds: float | None
) -> None:
    """Targets in units of time are converted without losing a digit; others are no times."""
    promise = Promise("p", "c", "sla", "delivered", "<=", target, unit)

    assert promise.seconds == seconds


def test_every_unit_of_time_has_its_seconds() -> None:
    """The table of factors is complete."""
    assert tuple(SECONDS) == get_args(TimeUnit)


def test_a_rule_says_what_it_finds_and_who_found_it() -> None:
    """Each rule finds a kind of friction, and is named with its version."""
    rule = FRICTION_RULES["validation_loop"]

    assert (rule.type, rule.detector) == ("validation_rejected", "validation_loop@1")
    assert set(FRICTION_RULES) == set(FRICTION_TYPES)
