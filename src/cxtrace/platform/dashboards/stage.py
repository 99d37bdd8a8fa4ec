"""One stage: its touchpoints, and where customers are hurt."""

from collections.abc import Mapping
from typing import Final

from cxtrace import attributes as names
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.dashboards import links, promql, variables, words
from cxtrace.platform.dashboards.facts import Board, Panel, Query, Row
from cxtrace.platform.dashboards.promql import STEP, Scope

NAME: Final = "stage"

_SCOPE: Final = Scope(
    {
        names.JOURNEY_NAME: "journey",
        names.STAGE_NAME: "stage",
        names.OWNER_FUNCTION: "owner",
        names.VALUE_CURRENCY: "currency",
    }
)


def board(journey_map: JourneyMap, uids: Mapping[str, str]) -> Board:
    """The board of one stage of a map.

    Args:
        journey_map: The map.
        uids: The address of each board, by its name.
    """
    return Board(
        NAME,
        "Stage",
        "One stage of the relationship: its touchpoints, and where customers are hurt.",
        (
            variables.stages(journey_map, many=False),
            variables.journeys(),
            variables.owners(),
            variables.currency(),
            variables.service(),
        ),
        (
            Row("Leading above, lagging below", words.numbers(_SCOPE)),
            Row("Touchpoints", (words.touchpoints(_SCOPE, uids),)),
            Row("Leading and lagging, side by side", _lines(uids)),
        ),
    )


def _lines(uids: Mapping[str, str]) -> tuple[Panel, ...]:
    by = names.PROMISE_ID
    broken = Panel(
        "series",
        "Leading · Promises broken",
        "The share of broken promises, of those that could be measured in this stage.",
        (Query(promql.top(words.MOST_LINES, _SCOPE.broken(by, within=STEP)), words.line_of(by)),),
        unit="percentunit",
        value_links=links.promise(uids, links.line_label(by)),
    )
    return (
        words.frictions_lines(_SCOPE, names.TOUCHPOINT_NAME),
        words.complaints_lines(_SCOPE, names.OWNER_FUNCTION),
        broken,
        words.outcome_lines(_SCOPE),
        words.value_lines(_SCOPE),
        words.nps_lines(_SCOPE),
    )
