"""The living map as one page of HTML."""

from cxtrace.platform.live import cards, lanes, tables
from cxtrace.platform.live.measured import LiveMap
from cxtrace.platform.pages.frame import Section, page
from cxtrace.platform.pages.markup import join, tag


def html(live: LiveMap, command: str, jaeger: str | None = None) -> str:
    """The page; it needs no network and no script.

    Args:
        live: What was measured.
        command: What makes the page, as people type it.
        jaeger: Where Jaeger's pages begin, for links to traces.
    """
    places = {name: f"#t{number}" for number, name in enumerate(live.plan.touchpoints, start=1)}
    head = [
        tag("p", "Living map", class_="eyebrow"),
        tag("h1", live.plan.name),
        tag(
            "p",
            f"What was planned in version {live.plan.version}, and what customers met.",
            class_="soft",
        ),
        cards.totals(live),
    ]
    foot = join([cards.notes(live), tag("p", "Made by ", tag("code", command), ".")])
    return page(f"{live.plan.name}: living map", head, _sections(live, places, jaeger), foot)


def _sections(live: LiveMap, places: dict[str, str], jaeger: str | None) -> list[Section]:
    return [
        Section("first", "Look here first", cards.first(live, places)),
        Section(
            "journeys",
            "Journeys",
            join(lanes.journeys(live, places)),
            "The customer's way through the lanes of those who own its steps. Visits are those "
            "within the journey, on whichever of its routes.",
        ),
        Section(
            "stages",
            "Stages and owners",
            tables.stages_by_owner(live),
            "Share of visits that failed or were abandoned, where each function answers for it.",
        ),
        Section(
            "promises",
            "Promises",
            tables.promises(live),
            "What the brand said against what was delivered. The mark in a bar is the objective.",
        ),
        Section("friction", "Friction", tables.frictions(live, places)),
        Section(
            "happiness",
            "Where functions disagree",
            tables.happiness(live),
            "Each function says in the map what a happy customer is to it. The same visits, "
            "as each sees them.",
        ),
        Section("handoffs", "Hand-offs", tables.handoffs(live)),
        Section(
            "value",
            "Value",
            tables.values(live),
            "Each amount is shared out among functions by their influence.",
        ),
        Section("touchpoints", "Touchpoints", join(cards.touchpoints(live, places, jaeger))),
        Section(
            "unplanned",
            "Not on the map",
            tables.unplanned(live),
            "Customers met these, and the map does not name them.",
        ),
    ]
