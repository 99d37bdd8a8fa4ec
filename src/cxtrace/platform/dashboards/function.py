"""One function of the business: what it answers for, and how it judges."""

from collections.abc import Mapping
from typing import Final

from attrs import evolve

from cxtrace import attributes as names
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.dashboards import links, promql, variables, words
from cxtrace.platform.dashboards.facts import Board, Column, Key, Panel, Row, rising
from cxtrace.platform.dashboards.promql import STEP, Scope
from cxtrace.platform.links.searches import search_for

NAME: Final = "function"

_SCOPE: Final = Scope(
    {
        names.JOURNEY_NAME: "journey",
        names.OWNER_FUNCTION: "owner",
        names.FUNCTION_NAME: "owner",
        names.VALUE_CURRENCY: "currency",
    }
)


def board(journey_map: JourneyMap, uids: Mapping[str, str]) -> Board:
    """The board of one owning function of a map.

    Args:
        journey_map: The map.
        uids: The address of each board, by its name.
    """
    return Board(
        NAME,
        "Function",
        "One function: the touchpoints it answers for, its promises, its waits, its verdicts.",
        (
            variables.owners(many=False),
            variables.journeys(),
            variables.currency(),
            variables.service(),
        ),
        (
            Row("Leading above, lagging below", _numbers()),
            Row("What it answers for", (words.touchpoints(_SCOPE, uids),)),
            Row("Promises and waits", (_promises(journey_map, uids), *_waits())),
            Row("Leading and lagging, side by side", _lines()),
            Row("How it judges, and who disagrees", _verdicts(journey_map)),
        ),
    )


def _numbers() -> tuple[Panel, ...]:
    return (
        words.frictions_number(_SCOPE),
        words.broken_number(_SCOPE),
        words.number(
            "Leading · Happy while a promise is broken",
            "Broken promises at which this function is happy with the customer all the same.",
            _SCOPE.happy_while_broken(),
            "percentunit",
            rising(0.1, 0.5),
        ),
        words.completed_number(_SCOPE),
        words.complaints_number(_SCOPE),
        words.value_number(_SCOPE),
    )


def _promises(journey_map: JourneyMap, uids: Mapping[str, str]) -> Panel:
    by = names.PROMISE_ID
    leads = links.promise(uids, links.VALUE)
    return Panel(
        "table",
        "Leading · Promises",
        "What is promised at its touchpoints. A gap of more than 0 is worse than promised.",
        keys=(
            Key(by, "Promise", leads),
            Key("claim", "Claim", words=words.kept_words(journey_map)),
        ),
        columns=(
            Column(
                "Broken",
                promql.copied(_SCOPE.broken(by), by, "claim"),
                "percentunit",
                words.BROKEN,
            ),
            Column("Gap", promql.copied(_SCOPE.gap(by), by, "claim"), "percentunit", words.GAP),
        ),
        sort_by="-Broken",
    )


def _waits() -> tuple[Panel, ...]:
    to, given = (
        promql.chosen(name, "owner")
        for name in (names.HANDOFF_TO_FUNCTION, names.HANDOFF_FROM_FUNCTION)
    )
    return (
        evolve(words.waits(_SCOPE, "Leading · Waits for this function", to), width=6),
        evolve(words.waits(_SCOPE, "Leading · Waits after this function", given), width=6),
    )


def _lines() -> tuple[Panel, ...]:
    traces = links.traces(search_for("owner", links.chosen("owner")))
    return (
        evolve(words.frictions_lines(_SCOPE, names.TOUCHPOINT_NAME), links=traces),
        words.complaints_lines(_SCOPE, names.STAGE_NAME),
        words.outcome_lines(_SCOPE),
        words.value_lines(_SCOPE),
    )


def _verdicts(journey_map: JourneyMap) -> tuple[Panel, ...]:
    by = names.FUNCTION_VERDICT
    verdicts = _SCOPE.grown(names.METRIC_FUNCTION_VERDICTS, by, within=STEP)
    about = "Its verdicts on all touchpoints, by what `happy` says in the map."
    everybody = Scope({names.JOURNEY_NAME: "journey"})
    return (
        words.stacked(words.lines("Verdicts", about, verdicts, words.line_of(by))),
        words.disagreement(everybody, journey_map),
    )
