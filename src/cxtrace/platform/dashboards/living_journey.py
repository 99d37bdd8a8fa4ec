"""The living journey: what the map plans, stage by stage, and what customers get."""

from collections.abc import Mapping
from typing import Final

from cxtrace import attributes as names
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.dashboards import links, promql, variables, words
from cxtrace.platform.dashboards.facts import Board, Column, Key, Panel, Query, Row
from cxtrace.platform.dashboards.promql import STEP, Scope
from cxtrace.platform.links.searches import Search, search_for

NAME: Final = "living-journey"

_WHERE: Final = {
    names.JOURNEY_NAME: "journey",
    names.STAGE_NAME: "stage",
    names.OWNER_FUNCTION: "owner",
}
_SCOPE: Final = Scope({**_WHERE, names.VALUE_CURRENCY: "currency"})


def board(journey_map: JourneyMap, uids: Mapping[str, str]) -> Board:
    """The board of a map.

    Args:
        journey_map: The map.
        uids: The address of each board, by its name.
    """
    return Board(
        NAME,
        "Living journey",
        "What customers live through, stage by stage: promises, friction, effort, outcome, value.",
        (
            variables.journeys(),
            variables.stages(journey_map),
            variables.owners(),
            variables.currency(),
            variables.service(),
        ),
        (
            Row("Leading above, lagging below", words.numbers(_SCOPE)),
            Row("Stage by stage", _stages(journey_map, uids)),
            Row("Experience and value over time", _lines()),
            Row("Ways and waits", _ways()),
            Row("Functions and feelings", (words.disagreement(_SCOPE, journey_map), _emotions())),
        ),
    )


def _stages(journey_map: JourneyMap, uids: Mapping[str, str]) -> tuple[Panel, ...]:
    by = names.STAGE_NAME
    leads = (
        links.board(uids["stage"], "This stage", {"stage": links.VALUE}),
        *links.traces(search_for("stage", links.VALUE)),
    )
    order = Column("#", promql.listed(by, journey_map.stages), is_narrow=True)

    def table(title: str, about: str, width: int, *columns: Column) -> Panel:
        return Panel(
            "table",
            title,
            f"Every stage of the map, in its order, also where nothing has happened. {about}",
            width=width,
            height=9,
            links=(links.tempo(Search({}), _WHERE),),
            keys=(Key(by, "Stage", leads),),
            columns=(order, *columns),
            sort_by="#",
        )

    return (
        table(
            "Leading · Stages",
            (
                "Effort is actions a visit. Broken is the share of the promises measured there;"
                " a gap of more than 0 is worse than promised."
            ),
            14,
            words.visits_column(_SCOPE, by),
            words.frictions_column("Frictions / 100", _SCOPE, by),
            Column("Effort", _SCOPE.mean(names.METRIC_TOUCHPOINT_EFFORT, by)),
            Column("Broken", _SCOPE.broken(by), "percentunit", words.BROKEN),
            Column("Gap", _SCOPE.gap_by_stage(), "percentunit", words.GAP),
        ),
        table(
            "Lagging · Stages",
            "Complaints are those that are open, value that of the chosen currency.",
            10,
            words.completed_column("Completed", _SCOPE, by),
            Column("Complaints", _SCOPE.now(names.METRIC_COMPLAINT_UNRESOLVED, by)),
            Column("Net value", _SCOPE.net_value(by)),
        ),
    )


def _lines() -> tuple[Panel, ...]:
    by = names.STAGE_NAME
    broken = words.lines(
        "Leading · Promises broken, by stage",
        "The share of broken promises, of those that could be measured.",
        _SCOPE.broken(by, within=STEP),
        words.line_of(by),
        "percentunit",
    )
    return (
        words.frictions_lines(_SCOPE),
        words.complaints_lines(_SCOPE, by),
        broken,
        words.outcome_lines(_SCOPE),
        words.value_lines(_SCOPE),
        words.nps_lines(_SCOPE),
    )


def _ways() -> tuple[Panel, ...]:
    way = (names.TRANSITION_FROM_STAGE, names.TRANSITION_TO_STAGE)
    moved = promql.top(words.MOST_LINES * 2, _SCOPE.grown(names.METRIC_STAGE_TRANSITIONS, *way))
    by = names.JOURNEY_NAME
    duration = _SCOPE.quantile(0.9, names.METRIC_JOURNEY_DURATION, by)
    return (
        Panel(
            "bars",
            "From stage to stage",
            "How many went on, and whereto. Where the bars get short, customers get lost.",
            (Query(f"sort_desc({moved})", " → ".join(map(words.line_of, way))),),
            width=8,
        ),
        words.waits(_SCOPE, "Leading · Waits between functions"),
        Panel(
            "bars",
            "Lagging · Duration of journeys",
            "What nine journeys in ten do not exceed, of those that have ended.",
            (Query(promql.top(words.MOST_LINES, duration), words.line_of(by)),),
            unit="s",
            width=8,
            value_links=links.traces(Search({by: links.line_label(by)})),
        ),
    )


def _emotions() -> Panel:
    by = names.EMOTION_LABEL
    expr = _SCOPE.grown(names.METRIC_EMOTION_SIGNALS, by, within=STEP)
    about = "Leading: what customers felt, as they or their behaviour said."
    return words.stacked(words.lines("Leading · Emotions", about, expr, words.line_of(by)))
