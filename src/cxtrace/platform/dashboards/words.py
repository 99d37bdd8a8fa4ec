"""Pieces that several boards have."""

from collections.abc import Mapping
from typing import Final

from attrs import evolve

from cxtrace import attributes as names
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.dashboards import links, promql
from cxtrace.platform.dashboards.facts import (
    NEUTRAL,
    Column,
    Key,
    Panel,
    Query,
    Steps,
    falling,
    rising,
)
from cxtrace.platform.dashboards.promql import STEP, Scope
from cxtrace.platform.links.searches import search_for
from cxtrace.platform.prometheus import label

LEADING: Final = "Leading"
LAGGING: Final = "Lagging"

KEPT: Final = falling(0.9, 0.95)
"""A share of customers for whom it went well, where the map has no objective."""
BROKEN: Final = rising(0.01, 0.05)
FRICTIONS: Final = rising(5, 20)
"""For every 100 visits."""
GAP: Final = rising(0.0, 0.25)
"""0 is as promised: the target of each promise, whatever its unit."""
BUDGET: Final = falling(0.0, 0.25)
"""What is left of the room that the objective of each promise leaves; below 0 it is missed."""
NPS: Final = falling(0, 30)

MOST_LINES: Final = 10
"""Lines of a panel, where there may be one for each of hundreds of touchpoints."""


def kept_words(journey_map: JourneyMap) -> Mapping[str, str]:
    """What was promised, by the promise's id."""
    return {each.id: each.claim for each in journey_map.promises.values()}


def contacts(journey_map: JourneyMap) -> Mapping[str, str]:
    """How to reach each function that says so."""
    functions = journey_map.functions.values()
    return {each.name: each.contact for each in functions if each.contact is not None}


def number(title: str, description: str, expr: str, unit: str, steps: Steps = NEUTRAL) -> Panel:
    """One number. Three lie side by side: with six, laptops cut their titles."""
    return Panel(
        "stat", title, description, (Query(expr),), unit=unit, steps=steps, width=8, height=4
    )


def lines(title: str, description: str, expr: str, legend: str, unit: str = "short") -> Panel:
    """Lines over time, two panels of which fill a row."""
    return Panel("series", title, description, (Query(expr, legend),), unit=unit)


def line_of(attribute: str) -> str:
    """The name of a line by one of its labels."""
    return f"{{{{{label(attribute)}}}}}"


def stacked(panel: Panel) -> Panel:
    """The same with one line upon the other."""
    return evolve(panel, stacked=True)


def visits_number(scope: Scope) -> Panel:
    """How many visits there were."""
    about = "Visits of touchpoints. All other shares are of these."
    return number("Visits", about, scope.visits(), "short")


def completed_number(scope: Scope) -> Panel:
    """The share of visits that ended well."""
    about = "Lagging: visits at which customers did what they came for."
    return number("Lagging · Completed", about, scope.completed(), "percentunit", KEPT)


def frictions_number(scope: Scope) -> Panel:
    """Frictions, by visits."""
    about = "Leading: frictions for every 100 visits, declared by code or found by the map's rules."
    title = "Leading · Frictions per 100 visits"
    return number(title, about, scope.frictions(), "short", FRICTIONS)


def broken_number(scope: Scope) -> Panel:
    """The share of broken promises."""
    about = "Leading: promises that were broken, of those that could be measured."
    return number("Leading · Promises broken", about, scope.broken(), "percentunit", BROKEN)


def complaints_number(scope: Scope) -> Panel:
    """Complaints that wait."""
    expr = promql.or_zero(scope.now(names.METRIC_COMPLAINT_UNRESOLVED))
    about = "Lagging: complaints that nobody has resolved."
    return number("Lagging · Complaints open", about, expr, "short", rising(1, 10))


def value_number(scope: Scope) -> Panel:
    """What customers brought, net."""
    about = (
        "Lagging: revenue less refunds, credits and cost to serve, in the chosen currency,"
        " attributed by the influence that the map gives."
    )
    return number("Lagging · Net value, $currency", about, scope.net_value(), "short")


def numbers(scope: Scope) -> tuple[Panel, ...]:
    """The six of a board that is about all that customers live through."""
    return (
        visits_number(scope),
        frictions_number(scope),
        broken_number(scope),
        completed_number(scope),
        complaints_number(scope),
        value_number(scope),
    )


def frictions_lines(scope: Scope, by: str = names.FRICTION_TYPE) -> Panel:
    """Frictions over time."""
    expr = scope.grown(names.METRIC_TOUCHPOINT_FRICTIONS, by, within=STEP)
    about = "Leading: what got in the way, before anybody complains."
    return stacked(lines("Leading · Frictions", about, promql.top(MOST_LINES, expr), line_of(by)))


def complaints_lines(scope: Scope, by: str) -> Panel:
    """Open complaints over time."""
    expr = promql.top(MOST_LINES, scope.now(names.METRIC_COMPLAINT_UNRESOLVED, by))
    about = "Lagging: complaints that nobody has resolved. Frictions come before them."
    return lines("Lagging · Complaints open", about, expr, line_of(by))


def outcome_lines(scope: Scope) -> Panel:
    """How visits end, over time."""
    expr = scope.visits(names.TOUCHPOINT_OUTCOME, within=STEP)
    about = "How visits end for the customer, whatever the status of the request."
    return stacked(lines("Lagging · Outcomes", about, expr, line_of(names.TOUCHPOINT_OUTCOME)))


def value_lines(scope: Scope) -> Panel:
    """Value over time, by what it is."""
    expr = scope.grown(names.METRIC_VALUE_ATTRIBUTED, names.VALUE_TYPE, within=STEP)
    about = (
        "Lagging: revenue beside what it cost, and leading: what is at risk, in the chosen"
        " currency. `margin` is a part of `revenue`."
    )
    legend = line_of(names.VALUE_TYPE)
    return lines("Value beside experience, $currency", about, expr, legend)


def visits_column(scope: Scope, by: str) -> Column:
    """Visits by a label."""
    return Column("Visits", scope.visits(by))


def completed_column(name: str, scope: Scope, by: str) -> Column:
    """The share of visits that ended well, by a label."""
    return Column(name, scope.completed(by), "percentunit", KEPT)


def frictions_column(name: str, scope: Scope, by: str) -> Column:
    """Frictions for every 100 visits, by a label."""
    return Column(name, scope.frictions(by), "short", FRICTIONS)


def disagreement(scope: Scope, journey_map: JourneyMap) -> Panel:
    """Where functions disagree about happiness."""
    by = names.FUNCTION_NAME
    return Panel(
        "table",
        "Where functions disagree about happiness",
        (
            "All functions judge the same touchpoints, each by what `happy` says in the map."
            " The larger the last column, the more broken promises a function is happy with."
        ),
        keys=(Key(by, "Function"), Key("contact", "Contact", words=contacts(journey_map))),
        columns=(
            Column("Happy", promql.copied(scope.happy(by), by, "contact"), "percentunit", KEPT),
            Column(
                "Happy when broken",
                promql.copied(scope.happy_while_broken(by), by, "contact"),
                "percentunit",
                rising(0.1, 0.5),
            ),
        ),
        sort_by="-Happy when broken",
    )


def nps_lines(scope: Scope) -> Panel:
    """NPS over time, by stage."""
    by = names.STAGE_NAME
    about = "Lagging: promoters less detractors, of all who answered, from -100 to 100."
    panel = lines("Lagging · NPS", about, scope.nps(by, within=STEP), line_of(by))
    return evolve(panel, steps=NPS)


def waits(scope: Scope, title: str, *where: str) -> Panel:
    """How long customers wait between functions."""
    way = (names.HANDOFF_FROM_FUNCTION, names.HANDOFF_TO_FUNCTION)
    expr = scope.quantile(0.9, names.METRIC_HANDOFF_DURATION, *way, where=where)
    return Panel(
        "bars",
        title,
        "Leading: what nine hand-offs in ten do not exceed, the longest waits only.",
        (Query(f"sort_desc({promql.top(MOST_LINES, expr)})", " → ".join(map(line_of, way))),),
        unit="s",
        width=8,
    )


def touchpoints(scope: Scope, uids: Mapping[str, str]) -> Panel:
    """A table of touchpoints, those with most friction first."""
    by = names.TOUCHPOINT_NAME
    leads = (
        links.board(uids["touchpoint"], "This touchpoint", {"touchpoint": links.VALUE}),
        *links.traces(search_for("touchpoint", links.VALUE)),
    )
    duration = scope.quantile(0.9, names.METRIC_TOUCHPOINT_DURATION, by)
    return Panel(
        "table",
        "Touchpoints",
        "Each touchpoint with visits. Duration is what nine visits in ten do not exceed.",
        width=24,
        height=10,
        keys=(Key(by, "Touchpoint", leads),),
        columns=(
            visits_column(scope, by),
            frictions_column("Leading · Frictions / 100", scope, by),
            Column("Leading · Effort", scope.mean(names.METRIC_TOUCHPOINT_EFFORT, by)),
            Column("Leading · Duration", duration, "s"),
            completed_column("Lagging · Completed", scope, by),
        ),
        sort_by="-Leading · Frictions / 100",
    )
