"""Mermaid diagrams of a journey map can be read by Mermaid, whatever the names are."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxtrace._model import Function, Journey, Stage, Touchpoint
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.mermaid import journey_diagram, map_diagram, plain_text

ROOT = Path(__file__).parent.parent
nasty = st.text(max_size=15) | st.text('#:;,%{}<>\n \t"journeytitlesection', max_size=15)
"""Names that try to be more than names."""


def small(name: str = "cart.view", stage: str = "buy", owner: str = "it") -> JourneyMap:
    """A map of one touchpoint."""
    point = Touchpoint(name, stage, owner)
    return JourneyMap(
        name="small",
        functions={point.owner: Function(point.owner)},
        stages={point.stage: Stage(point.stage, "customer", 1)},
        touchpoints={point.name: point},
        journeys={"look": Journey("look", routes={"only": [point.name]})},
    )


def test_the_whole_map_has_a_section_for_each_stage() -> None:
    """Stages come in order; actors are the owner and then those with influence."""
    diagram = map_diagram(JourneyMap.load(ROOT / "semconv/example-map.toml"))

    assert diagram.splitlines() == [
        "journey",
        "    title retail",
        "    section awareness",
        "        home.search: 3: marketing, it",
        "        store.visit: 3: sales",
        "    section purchase",
        "        phone.order: 3: sales, it",
        "        checkout.pay: 3: product, it, finance",
        "    section former_customer",
        "        newsletter.winback: 3: marketing",
    ]


def test_a_journey_has_a_section_for_each_route() -> None:
    """Touchpoints come in the order of the route."""
    diagram = journey_diagram(JourneyMap.load(ROOT / "semconv/example-map.toml"), "first_order")

    assert diagram.splitlines()[1:5] == [
        "    title first_order",
        "    section express",
        "        home.search: 3: marketing, it",
        "        checkout.pay: 3: product, it, finance",
    ]


def test_an_unknown_journey_is_a_key_error() -> None:
    """There is nothing to draw for a name that the map does not have."""
    with pytest.raises(KeyError):
        journey_diagram(small(), "none")


@pytest.mark.parametrize(("score", "drawn"), [(4.4, 4), (-7.0, 1), (9.9, 5)])
def test_a_measured_score_is_drawn(score: float, drawn: int) -> None:
    """Scores are rounded into the range that Mermaid draws faces for."""
    assert f"cart.view: {drawn}: it" in map_diagram(small(), {"cart.view": score})
    assert f"cart.view: {drawn}: it" in journey_diagram(small(), "look", {"cart.view": score})


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("cart.view", "cart.view"),
        ("a: b; #c, 50% <b>", "a∶ b； ＃c‚ 50％ ‹b›"),  # noqa: RUF001
        ("two\nlines\u2028more\x07", "two lines more"),
        (" \n", "unnamed"),
    ],
)
def test_marks_of_the_grammar_become_lookalikes(text: str, plain: str) -> None:
    """Text keeps its look and loses its power."""
    assert plain_text(text) == plain


@pytest.mark.parametrize("name", ["journey.start", "Title", "section one", "accTitle", "accdescr"])
def test_a_task_is_not_taken_for_a_keyword(name: str) -> None:
    """A touchpoint may be called what Mermaid's own words are."""
    task = map_diagram(small(name=name)).splitlines()[-1]

    assert task == f"        \u200b{name}: 3: it"


@given(nasty, nasty, nasty)
def test_no_name_breaks_out_of_its_line(name: str, stage: str, owner: str) -> None:
    """Each line of a diagram is what it is meant to be, by the rules of Mermaid's lexer."""
    head, title, section, task, *rest = map_diagram(
        small(name=name, stage=stage, owner=owner)
    ).split("\n")

    assert (head, title, rest) == ("journey", "    title small", [""])
    assert re.fullmatch(r" {4}section [^#:;%]+", section)
    assert re.fullmatch(r" {8}(?!journey|title|section|acc)[^#:;%]+: 3: [^#:;%,]+", task, re.I)
