"""The facts of a journey map are values: immutable, comparable, hashable."""

import attrs
import pytest

from cxtrace._model import Journey, Place, Touchpoint, freeze


def test_a_fact_cannot_be_changed() -> None:
    """Assigning to a field of a touchpoint is refused."""
    touchpoint = Touchpoint("cart.view", "purchase", "sales")

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        touchpoint.owner = "it"  # type: ignore[misc]


def test_mappings_cannot_be_changed() -> None:
    """Neither weights, nor routes, nor the tables inside of settings can be written to."""
    touchpoint = Touchpoint(
        "cart.view", "purchase", "sales", influence={"it": 1.0}, friction={"slow": {"after": "1s"}}
    )
    journey = Journey("look", routes={"only": ["cart.view"]})

    for mapping in (touchpoint.influence, touchpoint.friction["slow"], journey.routes):
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
    points = {Touchpoint("a", "b", "it", influence={"it": 1.0}, match=[{"route": "/"}])} | {
        Touchpoint("a", "b", "it", influence={"it": 1.0}, match=[{"route": "/"}])
    }
    ways = {Journey("j", routes={"r": ("a",)}), Journey("j", routes={"r": ["a"]})}

    assert (len(points), len(ways)) == (1, 1)


def test_freezing_reaches_all_the_way_down() -> None:
    """Lists inside of tables become tuples."""
    assert freeze({"a": [1, {"b": [2]}]}) == {"a": (1, {"b": (2,)})}


def test_a_place_reads_as_editors_jump_to_it() -> None:
    """A place is written as file, colon, line."""
    assert str(Place("journeys.toml", 3)) == "journeys.toml:3"
