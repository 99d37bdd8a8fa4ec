"""Unit tests of the rules for ``promtool test rules``: for each alert, when it comes and when not.

All promises are tested at once, in four ways that they can be broken; what rises, in two.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import frozen

from cxtrace import attributes as names
from cxtrace._model import Touchpoint
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.prometheus import EVALUATIONS, VISITS, label, number
from cxtrace.platform.rules import alerts
from cxtrace.platform.rules import queries as q
from cxtrace.platform.rules.alerts import COUNT, DURATION, OWNER, PROMISE, RATE, SHARE, Alert
from cxtrace.platform.rules.options import Options
from cxtrace.platform.rules.promises import Watched, watched
from cxtrace.platform.rules.words import Filled

_SOON: Final = 30
"""Minutes after which promises are looked at."""
_LATE: Final = 360
"""Minutes after which the last hour differs from what was usual."""
_HOUR: Final = 60

Series = dict[str, str]


def document(
    groups: Iterable[Mapping[str, Any]], journey_map: JourneyMap, options: Options
) -> dict[str, Any]:
    """The file of tests, which lies beside the folder of the rules.

    Args:
        groups: Of rules, in the order in which they build upon each other.
        journey_map: The map of which the rules are made.
        options: With which they are made.
    """
    promises = list(watched(journey_map))
    tests = [*_promises(promises, journey_map, options), *_rising(journey_map, options)]
    return {
        "rule_files": ["../rules/recording.yaml", "../rules/alerts.yaml"],
        "evaluation_interval": "5m",
        "group_eval_order": [group["name"] for group in groups],
        "tests": tests,
    }


def _test(name: str, series: Iterable[Series], expected: Iterable[Any]) -> dict[str, Any]:
    return {
        "name": name,
        "interval": "1m",
        "input_series": list(series),
        "alert_rule_test": list(expected),
    }


def _series(name: str, labels: Mapping[str, str], values: str, options: Options) -> Series:
    return {"series": q.series(name, labels, options.only), "values": values}


# Promises


def _promises(
    promises: list[Watched], journey_map: JourneyMap, options: Options
) -> Iterator[dict[str, Any]]:
    if not promises:
        return
    least = max(options.least, 1)
    ways: Mapping[str, Any] = {
        "promises that are never kept": lambda _: (least, 0.0, 1.0),
        "promises with a burn rate for a ticket, and not for a page": lambda it: _broken(
            least, _slow(it)
        ),
        "promises within their error budget": lambda it: _broken(least, it.budget / 2),
        "promises broken for a few": lambda _: ((least - 0.5) / _SOON, 0.0, None),
    }
    for name, way in ways.items():
        series: list[Series] = []
        expected: list[Any] = []
        for promise in promises:
            broken, kept, share = way(promise)
            series += _evaluations(promise, broken, kept, options)
            expected += _burning(promise, share, journey_map, options)
        yield _test(name, series, [_expect("CXPromiseBroken", _SOON, expected)])


def _slow(promise: Watched) -> float:
    """A share of broken promises that is too much for days, and not for hours."""
    return min(2 * promise.budget, (1 + promise.budget) / 2)


def _broken(least: int, share: float) -> tuple[float, float, float]:
    """Broken and kept for each minute, and the share of the broken."""
    return least, least / share - least, share


def _evaluations(
    promise: Watched, broken: float, kept: float, options: Options
) -> Iterator[Series]:
    for result, each_minute in (("broken", broken), ("kept", kept)):
        labels = {
            names.PROMISE_ID: promise.promise.id,
            names.OWNER_FUNCTION: promise.owners[0],
            names.PROMISE_RESULT: result,
        }
        values = f"0+{number(each_minute)}x{_SOON}"
        yield _series(EVALUATIONS, labels, values, options)


def _burning(
    promise: Watched, share: float | None, journey_map: JourneyMap, options: Options
) -> Iterator[Any]:
    """The alerts that fire where this share is broken in every window; none where too few are."""
    if share is None:
        return
    labels = {PROMISE: promise.promise.id, OWNER: promise.owners[0]}
    for alert in alerts.of_promise(promise, journey_map, options):
        burns = alerts.possible(promise, alert.labels["severity"])
        if any(share > burn.rate * promise.budget for burn in burns):
            yield _firing(alert, labels, {SHARE: f"{share * 100:.4g}%"})


def _firing(alert: Alert, labels: Mapping[str, str], values: Mapping[str, str]) -> Any:
    carried = {**alert.labels, **labels}
    return {"exp_labels": carried, "exp_annotations": alert.says(Filled(carried, values))}


def _expect(alert: str, minutes: int, firing: list[Any]) -> dict[str, Any]:
    return {"eval_time": f"{minutes}m", "alertname": alert, "exp_alerts": firing}


# What rises


def _rising(journey_map: JourneyMap, options: Options) -> Iterator[dict[str, Any]]:
    least = max(options.least, 1)
    before, after = f"0x{_LATE - _HOUR}", f" {least}+{least}x{_HOUR - 1}"
    steady = f"0+{least}x{_LATE}"
    waits = f"0+{60 * least}x{_LATE - _HOUR}"
    waits_longer = f" {60 * least * (_LATE - _HOUR) + 600 * least}+{600 * least}x{_HOUR - 1}"
    open_, many = f"{least}x{_LATE - _HOUR}", f" {10 * least}x{_HOUR - 1}"
    found = list(_about(journey_map, options))
    for name, events, waiting, unresolved in (
        ("what has risen", before + after, waits + waits_longer, open_ + many),
        ("what is as usual", steady, f"0+{60 * least}x{_LATE}", f"{least}x{_LATE}"),
    ):
        values = {
            "visits": f"0+{10 * least}x{_LATE}",
            "handed over": steady,
            "events": events,
            "waiting": waiting,
            "unresolved": unresolved,
        }
        series = [
            _series(metric, labels, values[kind], options)
            for about in found
            for metric, labels, kind in about.series
        ]
        risen: dict[str, list[Any]] = {about.alert.name: [] for about in found}
        for about in found:
            if name == "what has risen":
                firing = _firing(about.alert, about.labels, about.values)
                risen[about.alert.name].append(firing)
        expected = [_expect(alert, _LATE, firing) for alert, firing in risen.items()]
        yield _test(name, series, expected)


@frozen
class _About:
    """What makes an alert fire that compares the last hour with what is usual.

    Attributes:
        series: Metric, labels, and the kind of its values.
        labels: Of the alert that fires.
        values: Of the alert, as the filters of its text show it.
    """

    alert: Alert
    series: Sequence[tuple[str, Mapping[str, str], str]]
    labels: Mapping[str, str]
    values: Mapping[str, str]


def _about(journey_map: JourneyMap, options: Options) -> Iterator[_About]:
    functions = list(journey_map.functions)
    friction, handoff, *journeys = alerts.leading(journey_map, options)
    (complaints,) = alerts.lagging(journey_map, options)
    for place in list(journey_map.touchpoints.values())[:1]:
        yield _of_friction(friction, place)
    if functions:
        yield _of_handoff(handoff, functions[0], functions[-1])
        yield _of_complaints(complaints, functions[0], 10 * max(options.least, 1))
    for alert, name in zip(journeys, journey_map.journeys, strict=True):
        yield _of_journey(alert, name)


def _of_friction(alert: Alert, place: Touchpoint) -> _About:
    at = {
        names.TOUCHPOINT_NAME: place.name,
        names.STAGE_NAME: place.stage,
        names.OWNER_FUNCTION: place.owner,
    }
    done = {**at, names.TOUCHPOINT_OUTCOME: "completed"}
    hurt = {**at, names.FRICTION_TYPE: "error", names.FRICTION_SEVERITY: "medium"}
    series = [(VISITS, done, "visits"), (q.FRICTIONS, hurt, "events")]
    return _About(alert, series, _labels(at), {RATE: "0.1"})


def _of_handoff(alert: Alert, giver: str, taker: str) -> _About:
    way = {names.HANDOFF_FROM_FUNCTION: giver, names.HANDOFF_TO_FUNCTION: taker}
    series = [
        (f"{q.HANDOFFS}_count", way, "handed over"),
        (f"{q.HANDOFFS}_sum", way, "waiting"),
    ]
    labels = {**_labels(way), OWNER: taker}
    return _About(alert, series, labels, {DURATION: "10m 0s"})


def _of_complaints(alert: Alert, owner: str, count: int) -> _About:
    who = {names.OWNER_FUNCTION: owner}
    values = {COUNT: str(count)}
    return _About(alert, [(q.UNRESOLVED, who, "unresolved")], _labels(who), values)


def _of_journey(alert: Alert, name: str) -> _About:
    which = {names.JOURNEY_NAME: name}
    done, failed = (
        {**which, names.TOUCHPOINT_OUTCOME: outcome} for outcome in ("completed", "failed")
    )
    series = [(VISITS, done, "visits"), (VISITS, failed, "events")]
    # Of eleven visits one fails.
    return _About(alert, series, _labels(which), {RATE: f"{1 / 11:.2g}"})


def _labels(attributes: Mapping[str, str]) -> dict[str, str]:
    return {label(name): value for name, value in attributes.items()}
