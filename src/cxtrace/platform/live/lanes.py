"""Journeys as swim lanes: a lane for each function, and the customer's way from one to the next."""

from collections.abc import Sequence

from cxtrace._model import Journey
from cxtrace.platform.live.measured import LiveMap, Walked, share
from cxtrace.platform.live.words import duration, number, percent, times
from cxtrace.platform.pages.markup import Html, Part, breakable, tag


def journeys(live: LiveMap, places: dict[str, str]) -> list[Html]:
    """Each journey with its routes.

    Args:
        live: What was measured.
        places: Where the page tells more of each touchpoint.
    """
    return [_journey(each, live, places) for each in live.plan.journeys.values()]


def _journey(journey: Journey, live: LiveMap, places: dict[str, str]) -> Html:
    walked = live.journeys[journey.name]
    routes = [
        [
            tag("h4", "Route ", name),
            _route(f"{journey.name} {name}", steps, journey.goal, live, walked, places),
        ]
        for name, steps in journey.routes.items()
    ]
    description = tag("p", journey.description, class_="soft") if journey.description else None
    return tag("div", tag("h3", journey.name), description, tag("p", _ends(walked)), routes)


def _ends(walked: Walked) -> Part:
    ended = sum(walked.outcomes.values())
    if not ended:
        return "No journey of this name has ended yet."
    ways = ", ".join(f"{number(n)} {outcome}" for outcome, n in walked.outcomes.items())
    half = f"Half took at most {duration(walked.p50)}, nine of ten at most {duration(walked.p90)}."
    return [tag("strong", times(ended, "journey")), f" ended: {ways}. {half}"]


def _route(
    title: str,
    steps: Sequence[str],
    goal: str | None,
    live: LiveMap,
    walked: Walked,
    places: dict[str, str],
) -> Html:
    owners = [live.plan.touchpoints[step].owner for step in steps]
    lanes = list(dict.fromkeys(owners))
    rows = [lanes.index(owner) + 1 for owner in owners]
    named = [
        tag("div", tag("span", lane), class_="lane", style=f"--r:{row}")
        for row, lane in enumerate(lanes, start=1)
    ]
    cards = [
        _step(step, place, row, live, walked, places, is_goal=step == goal)
        for place, (step, row) in enumerate(zip(steps, rows, strict=True), start=1)
    ]
    return tag(
        "div",
        tag(
            "div",
            tag("div", named, class_="names", aria_hidden="true"),
            _way(rows, len(lanes)),
            tag("ol", cards),
            class_="route",
            style=f"--n:{len(steps)};--m:{len(lanes)}",
        ),
        class_="lanes",
        role="region",
        aria_label=f"{title}, its steps in lanes of their owners",
        tabindex=0,
    )


def _way(rows: Sequence[int], lanes: int) -> Html:
    points = " ".join(f"{column + 0.5} {row - 0.5}" for column, row in enumerate(rows))
    return tag(
        "svg",
        tag("path", d=f"M{points}"),
        class_="way",
        viewBox=f"0 0 {len(rows)} {lanes}",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def _step(
    name: str,
    place: int,
    row: int,
    live: LiveMap,
    walked: Walked,
    places: dict[str, str],
    *,
    is_goal: bool,
) -> Html:
    visits = walked.visits.get(name, 0.0)
    hurt = share(walked.hurt.get(name, 0.0), visits)
    short = live.broken_at(name) if visits else []
    promises = f"✗ {times(len(short), 'promise')}" if short else ""
    said = (
        [times(visits, "visit"), tag("br"), f"{percent(hurt)} hurt"] if visits else "not measured"
    )
    return tag(
        "li",
        tag("a", breakable(name), href=places[name]),
        tag("span", live.plan.touchpoints[name].owner, class_="owner"),
        said,
        [tag("br"), tag("span", promises, class_="bad")] if promises else None,
        [" ", tag("span", "◎ goal", class_="soft")] if is_goal else None,
        class_=f"step {_mood(hurt, is_short=bool(short))}",
        style=f"--c:{place};--r:{row}",
    )


def _mood(hurt: float | None, *, is_short: bool) -> str:
    if hurt is None:
        return "none"
    if is_short or hurt >= 0.1:
        return "hurts"
    return "some" if hurt else "fine"
