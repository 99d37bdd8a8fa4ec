"""The objective of a promise: how often it is kept, and what room is left."""

from collections.abc import Mapping
from typing import Final

from cxtrace import attributes as names
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.dashboards import links, promql, variables, words
from cxtrace.platform.dashboards.facts import Board, Column, Key, Panel, Query, Row, Steps, rising
from cxtrace.platform.dashboards.promql import RANGE, STEP, Scope
from cxtrace.platform.links.boards import PROMISE
from cxtrace.platform.prometheus import equal

NAME: Final = PROMISE

_ONE: Final = Scope({names.PROMISE_ID: PROMISE, names.OWNER_FUNCTION: "owner"})
_ALL: Final = Scope({names.OWNER_FUNCTION: "owner"})
_WINDOWS: Final = ("1h", "6h", "3d")
"""Those of the usual alerts: gone in two days, in five, in a month."""


def board(journey_map: JourneyMap, uids: Mapping[str, str]) -> Board:
    """The board of one promise of a map.

    Args:
        journey_map: The map.
        uids: The address of each board, by its name.
    """
    return Board(
        NAME,
        "Promise",
        "One promise to customers: how often it is kept, by how much it is missed, what is left.",
        (variables.owners(), variables.promise(), variables.service()),
        (
            Row("Leading", _numbers(journey_map)),
            Row("Over time", _lines(journey_map)),
            Row("All promises", (_table(journey_map, uids),)),
        ),
    )


def objective(scope: Scope, journey_map: JourneyMap) -> str:
    """The objective of each promise that has one and was evaluated."""

    def seen(condition: str) -> str:
        return scope.seen(names.METRIC_PROMISE_EVALUATIONS, names.PROMISE_ID, condition)

    found = promql.objectives(journey_map)
    # Some query must be there, and a map may have no objective.
    return promql.planned(names.PROMISE_ID, found, seen) or "vector(1) < 0"


def burn_rate(scope: Scope, journey_map: JourneyMap, within: str) -> str:
    """How fast promises use up their error budget: 1 is what the objective allows."""
    broken = scope.broken(names.PROMISE_ID, within=within)
    return f"({broken}) / (1 - ({objective(scope, journey_map)}))"


def _numbers(journey_map: JourneyMap) -> tuple[Panel, ...]:
    evaluations = names.METRIC_PROMISE_EVALUATIONS
    unmeasured = equal(names.PROMISE_RESULT, "unmeasured")
    return (
        words.number(
            "Objective",
            "The share of customers for whom the promise must hold, as the map says.",
            objective(_ONE, journey_map),
            "percentunit",
        ),
        words.number(
            "Kept",
            "Kept or exceeded, of those that could be measured.",
            f"1 - ({_ONE.broken()})",
            "percentunit",
        ),
        words.number(
            "Leading · Error budget left",
            "Of the broken promises that the objective allows. Below 0 the objective is missed.",
            f"1 - ({burn_rate(_ONE, journey_map, RANGE)})",
            "percentunit",
            words.BUDGET,
        ),
        words.number(
            "Leading · Gap",
            "How far what is delivered is from the target; more than 0 is worse than promised.",
            _ONE.gap(),
            "percentunit",
            words.GAP,
        ),
        words.number("Evaluated", "How often it was evaluated.", _ONE.grown(evaluations), "short"),
        words.number(
            "Not measured",
            "Evaluations without a result. Where it is large, the rest says little.",
            promql.share(_ONE.grown(evaluations, where=(unmeasured,)), _ONE.grown(evaluations)),
            "percentunit",
            rising(0.05, 0.25),
        ),
    )


def _lines(journey_map: JourneyMap) -> tuple[Panel, ...]:
    burn = Panel(
        "series",
        "Leading · Burn rate",
        "1 uses up the error budget in just its period; 14.4 over an hour is worth a page.",
        tuple(
            Query(burn_rate(_ONE, journey_map, window), f"within {window}") for window in _WINDOWS
        ),
        steps=rising(1, 14),
        width=8,
        links=links.broken_promise(links.chosen(PROMISE)),
    )
    by = names.PROMISE_RESULT
    results = Panel(
        "series",
        "Results",
        "How evaluations ended.",
        (Query(_ONE.grown(names.METRIC_PROMISE_EVALUATIONS, by, within=STEP), words.line_of(by)),),
        stacked=True,
        width=8,
    )
    gap = Panel(
        "series",
        "Leading · Gap",
        "The mean distance from the target, and what nine in ten do not exceed.",
        (
            Query(_ONE.gap(within=STEP), "mean"),
            Query(
                f"{_ONE.quantile(0.9, names.METRIC_PROMISE_DELIVERED_RATIO, within=STEP)} - 1",
                "90 in 100",
            ),
        ),
        unit="percentunit",
        steps=words.GAP,
        width=8,
    )
    return burn, results, gap


def _table(journey_map: JourneyMap, uids: Mapping[str, str]) -> Panel:
    by = names.PROMISE_ID
    leads = links.promise(uids, links.VALUE)

    def column(name: str, expr: str, unit: str = "percentunit", steps: Steps = ()) -> Column:
        return Column(name, promql.copied(expr, by, "claim"), unit, steps)

    evaluated = _ALL.grown(names.METRIC_PROMISE_EVALUATIONS, by)
    return Panel(
        "table",
        "Promises",
        "Every promise that was evaluated. No objective in the map, no error budget.",
        width=24,
        height=10,
        keys=(
            Key(by, "Promise", leads),
            Key("claim", "Claim", words=words.kept_words(journey_map)),
        ),
        columns=(
            column("Evaluated", evaluated, "short"),
            column("Objective", objective(_ALL, journey_map)),
            column("Broken", _ALL.broken(by)),
            column(
                "Error budget left",
                f"1 - ({burn_rate(_ALL, journey_map, RANGE)})",
                steps=words.BUDGET,
            ),
            column("Gap", _ALL.gap(by), steps=words.GAP),
        ),
        sort_by="Error budget left",
    )
