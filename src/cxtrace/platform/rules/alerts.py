"""Alerts: promises that burn their error budget, and what rises before or after complaints.

The windows and burn rates are those of Google's SRE workbook, as Sloth has them too:
https://sre.google/workbook/alerting-on-slos/
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from attrs import frozen

from cxtrace import attributes as names
from cxtrace._model import Journey, Touchpoint
from cxtrace._signal_words import unit_word
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.links import boards, urls
from cxtrace.platform.links.searches import Search, search_for
from cxtrace.platform.prometheus import EVALUATIONS, VISITS, label, number
from cxtrace.platform.rules import queries as q
from cxtrace.platform.rules.options import Options
from cxtrace.platform.rules.promises import Watched, watched
from cxtrace.platform.rules.words import (
    NOBODY,
    Annotations,
    Speaker,
    Template,
    contacts_of,
    listed,
)

OWNER: Final = label(names.OWNER_FUNCTION)
PROMISE: Final = label(names.PROMISE_ID)
TOUCHPOINT: Final = label(names.TOUCHPOINT_NAME)
GIVER: Final = label(names.HANDOFF_FROM_FUNCTION)
TAKER: Final = label(names.HANDOFF_TO_FUNCTION)
JOURNEY: Final = label(names.JOURNEY_NAME)
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})

SHARE: Final = "humanizePercentage"
DURATION: Final = "humanizeDuration"
RATE: Final = 'printf "%.2g"'
COUNT: Final = 'printf "%.0f"'

RISEN: Final = 2
"""So many times what is usual is more than chance."""


@frozen
class Burn:
    """A burn rate that an error budget has, over both windows: 1 is as fast as it lasts."""

    rate: float
    long: str
    short: str


BURNS: Final[Mapping[str, Sequence[Burn]]] = {
    "page": (Burn(14.4, "1h", "5m"), Burn(6, "6h", "30m")),
    "ticket": (Burn(3, "1d", "2h"), Burn(1, "3d", "6h")),
}
"""What wakes somebody up, and what can wait for the morning."""


@frozen
class Alert:
    """An alert, whose text is told by a template or by its test."""

    name: str
    expression: str
    labels: Mapping[str, str]
    says: Annotations

    def rule(self) -> q.Rule:
        """The alert as the file of rules has it."""
        return {
            "alert": self.name,
            "expr": self.expression,
            "labels": dict(self.labels),
            "annotations": self.says(Template()),
        }


def groups(journey_map: JourneyMap, options: Options) -> list[dict[str, Any]]:
    """The groups of alerts: one for each promise, then what leads and what lags."""
    found = {
        f"cx-promise-{each.promise.id}-alerts": of_promise(each, journey_map, options)
        for each in watched(journey_map)
    }
    found["cx-leading-alerts"] = leading(journey_map, options)
    found["cx-lagging-alerts"] = lagging(journey_map, options)
    return [
        {"name": name, "rules": [alert.rule() for alert in alerts]}
        for name, alerts in found.items()
        if alerts
    ]


# Promises


def of_promise(promise: Watched, journey_map: JourneyMap, options: Options) -> list[Alert]:
    """The alerts of one promise, but for those that not even a promise never kept could cause."""
    says = _of_promise(promise, journey_map, options)
    return [
        Alert(
            "CXPromiseBroken",
            "\nor\n".join(_burning(burn, promise, options) for burn in burns),
            {
                "severity": severity,
                "indicator": promise.indicator,
                PROMISE: Template().text(promise.promise.id),
            },
            says,
        )
        for severity in BURNS
        if (burns := possible(promise, severity))
    ]


def possible(promise: Watched, severity: str) -> list[Burn]:
    """The burns that can happen: all customers are no more than 1."""
    return [burn for burn in BURNS[severity] if burn.rate * promise.budget < 1]


def _burning(burn: Burn, promise: Watched, options: Options) -> str:
    which = {names.PROMISE_ID: promise.promise.id}
    long, short, count = (
        q.series(f"cx:promise_broken:{name}", which, {})
        for name in (f"ratio{burn.long}", f"ratio{burn.short}", f"increase{burn.long}")
    )
    threshold = f"({number(burn.rate)} * {number(promise.budget)})"
    lines = (
        f"{long} > {threshold}",
        f"and {short} > {threshold}",
        f"and {count} >= {options.least}",
    )
    return "(\n  " + "\n  ".join(lines) + "\n)"


def _of_promise(promise: Watched, journey_map: JourneyMap, options: Options) -> Annotations:
    made = promise.promise
    contacts = contacts_of(promise.owners, journey_map)
    limit = f"{number(made.target)} {unit_word(made.unit)}".rstrip()
    kept_if = f"{made.metric} {made.op} {limit}"
    objective = number(promise.objective * 100)
    places = listed(place.name for place in promise.places)
    traces = _Traces(journey_map, options, [PROMISE], EVALUATIONS, equal=q.BROKEN)

    def says(speak: Speaker) -> dict[str, str]:
        owner = speak.label(OWNER)
        share = speak.value(SHARE)
        return {
            "summary": f"“{speak.text(made.claim)}” is broken for {share} of customers",
            "description": (
                f"{owner} promises it at {speak.text(places)}. It is kept if"
                f" {speak.text(kept_if)}, and should be for {objective}% of customers"
                f" ({made.source}).\n"
                "What to do: open the traces. Which touchpoint, outcome and error.type do they"
                " share, and which span takes the time? Was there a release, or a change of the"
                f" map? Tell {owner}."
            ),
            "owner": owner,
            "contact": speak.contact(OWNER, contacts),
            **traces.link(speak, search_for("promise", made.id)),
            **_dashboard(made.id, journey_map, options),
        }

    return says


@frozen
class _Traces:
    """The link to the traces behind an alert.

    Attributes:
        labels: The labels of the alert that its metric has as well.
        metric: What the alert is about.
        function: That tells how much of it there was lately.
        equal: What other labels of the metric equal.
    """

    journey_map: JourneyMap
    options: Options
    labels: Sequence[str]
    metric: str
    function: str = "increase"
    equal: Mapping[str, str] = _NOTHING

    def link(self, speak: Speaker, search: Search) -> dict[str, str]:
        """The annotation; none where nobody has said where Jaeger is."""
        options = self.options
        if options.jaeger_url is None:
            return {}
        service = options.service or options.service_of_series()
        if service is None:
            equal = {**options.only, **self.equal}
            query = q.busiest(self.function, self.metric, self.labels, equal)
            service = speak.service(query, self.labels, self.journey_map.name)
        return {"traces_url": urls.jaeger(options.jaeger_url, search, service)}


def _dashboard(promise: str, journey_map: JourneyMap, options: Options) -> dict[str, str]:
    if options.grafana_url is None:
        return {}
    board = boards.uid(journey_map, boards.PROMISE)
    return {"dashboard_url": boards.url(options.grafana_url, board, {boards.PROMISE: promise})}


# What rises


def leading(journey_map: JourneyMap, options: Options) -> list[Alert]:
    """What hurts customers before they complain."""
    journeys = [
        _at_risk(journey, journey_map, options) for journey in journey_map.journeys.values()
    ]
    return [_friction(journey_map, options), _handoff(journey_map, options), *journeys]


def lagging(journey_map: JourneyMap, options: Options) -> list[Alert]:
    """What customers say once they are hurt."""
    return [_complaints(journey_map, options)]


def _risen(now: str, usual: str, count: str, least: int) -> str:
    return f"{now} > {RISEN} * {usual}\nand {count} >= {least}"


def _labels(indicator: str, **more: str) -> dict[str, str]:
    return {"severity": "ticket", "indicator": indicator, **more}


def _friction(journey_map: JourneyMap, options: Options) -> Alert:
    owners = dict.fromkeys(place.owner for place in journey_map.touchpoints.values())
    contacts = contacts_of(owners, journey_map)
    traces = _Traces(journey_map, options, [TOUCHPOINT], q.FRICTIONS)

    def says(speak: Speaker) -> dict[str, str]:
        place, owner = speak.label(TOUCHPOINT), speak.label(OWNER)
        rate = speak.value(RATE)
        found = search_for("touchpoint", speak.in_link(TOUCHPOINT))
        return {
            "summary": f"Friction at {place} has risen to {rate} for each visit",
            "description": (
                f"That is more than {RISEN} times what is usual there, over the last hour against"
                " the last 7 days, and it comes before complaints.\n"
                "What to do: see which cx.friction.type has risen, and since when. Repeated"
                " actions and errors speak of a release, waiting of something slow behind it."
                f" Tell {owner}."
            ),
            "owner": owner,
            "contact": speak.contact(OWNER, contacts),
            **traces.link(speak, found),
        }

    name = "cx:touchpoint_frictions:"
    rising = _risen(f"{name}per_visit1h", f"{name}per_visit7d", f"{name}increase1h", options.least)
    return Alert("CXFrictionRising", rising, _labels("leading"), says)


def _handoff(journey_map: JourneyMap, options: Options) -> Alert:
    contacts = contacts_of(journey_map.functions, journey_map)
    traces = _Traces(journey_map, options, [GIVER, TAKER], f"{q.HANDOFFS}_count")

    def says(speak: Speaker) -> dict[str, str]:
        giver, taker = speak.label(GIVER), speak.label(TAKER)
        waiting = speak.value(DURATION)
        both = (names.HANDOFF_FROM_FUNCTION, names.HANDOFF_TO_FUNCTION)
        found = Search({name: speak.in_link(label(name)) for name in both})
        return {
            "summary": f"Customers wait {waiting} between {giver} and {taker}",
            "description": (
                f"That is more than {RISEN} times what is usual, on average over the last hour"
                " against the last 7 days.\n"
                f"What to do: ask {taker} what has piled up, and {giver} whether more is handed"
                f" over than before. Tell {taker}."
            ),
            "owner": taker,
            "contact": speak.contact(TAKER, contacts),
            **traces.link(speak, found),
        }

    name = "cx:handoff_wait_seconds:"
    rising = _risen(f"{name}mean1h", f"{name}mean7d", "cx:handoffs:increase1h", options.least)
    owner = _labels("leading", **{OWNER: Template().label(TAKER)})
    return Alert("CXHandoffSlow", rising, owner, says)


def _at_risk(journey: Journey, journey_map: JourneyMap, options: Options) -> Alert:
    goal = goal_of(journey, journey_map)
    which = {names.JOURNEY_NAME: journey.name}
    contact = "this journey has no goal"
    if goal is not None:
        contact = contacts_of([goal.owner], journey_map).get(goal.owner, NOBODY)
    traces = _Traces(journey_map, options, [JOURNEY], VISITS)

    def says(speak: Speaker) -> dict[str, str]:
        name = speak.text(journey.name)
        owner = "nobody alone" if goal is None else speak.text(goal.owner)
        rate = speak.value(RATE)
        return {
            "summary": f"Journeys of {name} are at risk: {rate} harms for each visit",
            "description": (
                "A harm is a visit that failed or was given up, or a friction that is high or"
                f" blocking. There are more than {RISEN} times as many as usual, over the last hour"
                " against the last 7 days.\n"
                "What to do: find the touchpoint at which customers get lost, and its owner. The"
                f" goal of the journey is owned by {owner}."
            ),
            "owner": owner,
            "contact": speak.text(contact),
            **traces.link(speak, Search(which)),
        }

    now, usual, count = (
        q.series(f"cx:journey_harms:{name}", which, {})
        for name in ("per_visit1h", "per_visit7d", "increase1h")
    )
    text = Template().text
    owned = {} if goal is None else {OWNER: text(goal.owner)}
    rising = _risen(now, usual, count, options.least)
    labels = _labels("leading", **{JOURNEY: text(journey.name)}, **owned)
    return Alert("CXJourneyAtRisk", rising, labels, says)


def goal_of(journey: Journey, journey_map: JourneyMap) -> Touchpoint | None:
    """The touchpoint at which a journey has succeeded."""
    return None if journey.goal is None else journey_map.touchpoints.get(journey.goal)


def _complaints(journey_map: JourneyMap, options: Options) -> Alert:
    contacts = contacts_of(journey_map.functions, journey_map)
    traces = _Traces(journey_map, options, [OWNER], q.UNRESOLVED, "max_over_time")

    def says(speak: Speaker) -> dict[str, str]:
        owner = speak.label(OWNER)
        opened = {names.OWNER_FUNCTION: speak.in_link(OWNER), names.COMPLAINT_STATE: "opened"}
        count = speak.value(COUNT)
        return {
            "summary": f"{count} complaints for {owner} are not resolved",
            "description": (
                f"That is more than {RISEN} times the mean of the last 7 days. It lags: these"
                " customers were hurt before, and friction may have shown it.\n"
                "What to do: see what was hurt before them, at which touchpoint and by which"
                f" friction, and mend that first. Tell {owner}."
            ),
            "owner": owner,
            "contact": speak.contact(OWNER, contacts),
            **traces.link(speak, Search(opened)),
        }

    now = "cx:complaint_unresolved:sum"
    rising = _risen(now, "cx:complaint_unresolved:mean7d", now, options.least)
    return Alert("CXComplaintsPileUp", rising, _labels("lagging"), says)
