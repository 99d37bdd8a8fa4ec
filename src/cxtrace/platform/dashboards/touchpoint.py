"""One touchpoint: how long it takes, what gets in the way, and how it ends."""

from collections.abc import Mapping
from typing import Final

from attrs import evolve

from cxtrace import attributes as names
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.dashboards import links, promql, variables, words
from cxtrace.platform.dashboards.facts import Board, Panel, Query, Row
from cxtrace.platform.dashboards.promql import STEP, Scope
from cxtrace.platform.links.boards import PROMISE
from cxtrace.platform.links.searches import Search, search_for
from cxtrace.platform.prometheus import equal, unequal

NAME: Final = "touchpoint"

_SCOPE: Final = Scope({names.TOUCHPOINT_NAME: "touchpoint"})
_TRACES: Final = links.traces(search_for("touchpoint", links.chosen("touchpoint")))


def board(journey_map: JourneyMap, uids: Mapping[str, str]) -> Board:
    """The board of one touchpoint of a map.

    Args:
        journey_map: The map.
        uids: The address of each board, by its name.
    """
    return Board(
        NAME,
        "Touchpoint",
        "One touchpoint: how long it takes, what gets in the way, and how it ends.",
        (
            variables.stages(journey_map),
            variables.owners(),
            variables.touchpoint(),
            variables.service(),
        ),
        (
            Row("Leading above, lagging below", _numbers()),
            Row("What was planned, and what is", _planned(journey_map, uids)),
            Row("Leading and lagging, side by side", _lines()),
        ),
    )


def _numbers() -> tuple[Panel, ...]:
    duration = _SCOPE.quantile(0.9, names.METRIC_TOUCHPOINT_DURATION)
    abandoned = equal(names.TOUCHPOINT_OUTCOME, "abandoned")
    gave_up = promql.share(_SCOPE.visits(where=(abandoned,)), _SCOPE.visits())
    return (
        words.frictions_number(_SCOPE),
        words.number(
            "Leading · Duration",
            "Leading: what nine visits in ten do not exceed.",
            duration,
            "s",
        ),
        words.number(
            "Leading · Effort",
            "Leading: actions that a visit takes the customer.",
            _SCOPE.mean(names.METRIC_TOUCHPOINT_EFFORT),
            "short",
        ),
        words.visits_number(_SCOPE),
        words.completed_number(_SCOPE),
        words.number(
            "Lagging · Abandoned",
            "Lagging: visits at which customers gave up.",
            gave_up,
            "percentunit",
            words.BROKEN,
        ),
    )


def _planned(journey_map: JourneyMap, uids: Mapping[str, str]) -> tuple[Panel, ...]:
    promises = links.board(uids[PROMISE], "Promises", {})
    return tuple(
        evolve(panel, links=(*_TRACES, promises))
        for panel in (_duration(journey_map), _effort(journey_map))
    )


def _duration(journey_map: JourneyMap) -> Panel:
    percentiles = tuple(
        Query(
            _SCOPE.quantile(q, names.METRIC_TOUCHPOINT_DURATION, within=STEP),
            f"{int(100 * q)} in 100",
            exemplars=q == 0.9,
        )
        for q in (0.5, 0.9, 0.99)
    )
    return Panel(
        "series",
        "Leading · Duration, against the promise",
        "How long visits take. Each dot is one visit, and leads to its trace.",
        (*percentiles, *_promised("promised", promised_seconds(journey_map))),
        unit="s",
    )


def _effort(journey_map: JourneyMap) -> Panel:
    expected = {
        each.name: float(each.expected_actions)
        for each in journey_map.touchpoints.values()
        if each.expected_actions is not None
    }
    mean = Query(_SCOPE.mean(names.METRIC_TOUCHPOINT_EFFORT, within=STEP), "actions a visit")
    return Panel(
        "series",
        "Leading · Effort, against the plan",
        "Actions that a visit takes the customer, beside those that the map expects.",
        (mean, *_promised("expected", expected)),
    )


def promised_seconds(journey_map: JourneyMap) -> Mapping[str, float]:
    """How long each touchpoint may take, where a promise says so."""
    found: dict[str, float] = {}
    for name in journey_map.touchpoints:
        for promise in journey_map.promises_at(name):
            if promise.metric == "touchpoint.duration" and promise.seconds is not None:
                found[name] = min(promise.seconds, found.get(name, promise.seconds))
    return found


def _promised(legend: str, numbers: Mapping[str, float]) -> tuple[Query, ...]:
    """A line of what the map says; none where it says nothing of any touchpoint."""

    def seen(condition: str) -> str:
        visits = names.METRIC_TOUCHPOINT_DURATION
        return _SCOPE.seen(visits, names.TOUCHPOINT_NAME, condition, STEP, "_count")

    expr = promql.planned(names.TOUCHPOINT_NAME, numbers, seen)
    return (Query(expr, legend),) if expr else ()


def _lines() -> tuple[Panel, ...]:
    kinds = words.frictions_lines(_SCOPE)
    friction = links.line_label(names.FRICTION_TYPE)
    failed = _SCOPE.visits(names.ERROR_TYPE, where=(unequal(names.ERROR_TYPE, ""),), within=STEP)
    reasons = words.lines(
        "Lagging · Failures, by reason",
        "Lagging: visits at which the customer failed, and why.",
        promql.top(words.MOST_LINES, failed),
        words.line_of(names.ERROR_TYPE),
    )
    steps = _SCOPE.grown(names.METRIC_TOUCHPOINT_INTERACTIONS, within=STEP)
    interactions = words.lines(
        "Interactions a visit",
        "The little things within a visit: each click that the code or the map knows.",
        f"{steps} / {_SCOPE.visits(within=STEP)}",
        "interactions",
    )
    return (
        evolve(kinds, value_links=links.traces(Search({names.FRICTION_TYPE: friction}))),
        words.stacked(reasons),
        interactions,
        words.outcome_lines(_SCOPE),
    )
