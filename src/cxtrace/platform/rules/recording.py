"""Recording rules: what alerts compare, and the scores that dashboards show."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from cxtrace import attributes as names
from cxtrace._model import Promise, Touchpoint
from cxtrace.journey_map import JourneyMap
from cxtrace.platform.prometheus import (
    EVALUATIONS,
    MEASURED,
    VISITS,
    increase,
    label,
    metric,
    number,
    one_of,
    total,
    unequal,
)
from cxtrace.platform.rules import queries as q
from cxtrace.platform.rules.options import Options
from cxtrace.platform.rules.promises import places_of, watched
from cxtrace.platform.rules.queries import Rule, record

SHORT: Final = ("5m", "30m", "1h", "2h")
"""Windows that are read from the counters themselves."""
LONG: Final = {"6h": ("5m", "5m"), "1d": ("5m", "5m"), "3d": ("5m", "5m"), "30d": ("1h", "1h")}
"""Windows that are summed up, each from the kept window, at steps of its length."""
NORM: Final = "7d"
"""The window that says what is usual."""


def groups(journey_map: JourneyMap, options: Options) -> list[dict[str, Any]]:
    """The groups of rules that record: first what every map has, then one for each promise."""
    found = [{"name": name, "rules": list(rules(options))} for name, rules in _COMMON.items()]
    objectives = {each.promise.id: each.objective for each in watched(journey_map)}
    places = places_of(journey_map)
    for promise in journey_map.promises.values():
        rules = [
            *_objective(promise, objectives.get(promise.id)),
            *_apdex(promise, places[promise.id], options),
        ]
        if rules:
            found.append({"name": f"cx-promise-{promise.id}", "rules": rules})
    return found


def _promises(options: Options) -> Iterator[Rule]:
    every = q.series(EVALUATIONS, {}, options.only, [MEASURED])
    broken = q.series(EVALUATIONS, q.BROKEN, options.only)
    for window in SHORT:
        evaluated = f"cx:promise_evaluations:increase{window}"
        yield record(evaluated, increase(q.BY_PROMISE, every, window))
        found = q.or_zero(increase(q.BY_PROMISE, broken, window), evaluated)
        yield record(f"cx:promise_broken:increase{window}", found)
        yield _ratio("promise_broken", "promise_evaluations", "ratio", window)
    for window, (kept, step) in LONG.items():
        for name in ("promise_evaluations", "promise_broken"):
            whole = q.longer(f"cx:{name}:increase{kept}", window, step)
            yield record(f"cx:{name}:increase{window}", whole)
        yield _ratio("promise_broken", "promise_evaluations", "ratio", window)


def _ratio(part: str, whole: str, word: str, window: str) -> Rule:
    expression = q.share(f"cx:{part}:increase{window}", f"cx:{whole}:increase{window}")
    return record(f"cx:{part}:{word}{window}", expression)


def _against_the_norm(part: str, whole: str, word: str) -> Iterator[Rule]:
    """The share of the last hour, and that of the last week."""
    yield _ratio(part, whole, word, "1h")
    for name in (whole, part):
        kept = q.longer(f"cx:{name}:increase1h", NORM, "1h")
        yield record(f"cx:{name}:increase{NORM}", kept)
    yield _ratio(part, whole, word, NORM)


def _touchpoints(options: Options) -> Iterator[Rule]:
    every = q.series(VISITS, {}, options.only)
    visits = "cx:touchpoint_visits:increase1h"
    yield record(visits, increase(q.BY_TOUCHPOINT, every, "1h"))
    frictions = increase(q.BY_TOUCHPOINT, q.series(q.FRICTIONS, {}, options.only), "1h")
    yield record("cx:touchpoint_frictions:increase1h", q.or_zero(frictions, visits))
    yield from _against_the_norm("touchpoint_frictions", "touchpoint_visits", "per_visit")


def _handoffs(options: Options) -> Iterator[Rule]:
    for name, suffix in (("handoffs", "_count"), ("handoff_wait_seconds", "_sum")):
        counter = q.series(q.HANDOFFS + suffix, {}, options.only)
        yield record(f"cx:{name}:increase1h", increase(q.BY_HANDOFF, counter, "1h"))
    yield from _against_the_norm("handoff_wait_seconds", "handoffs", "mean")


def _journeys(options: Options) -> Iterator[Rule]:
    in_a_journey = unequal(names.JOURNEY_NAME, "")
    visits = "cx:journey_visits:increase1h"
    every = q.series(VISITS, {}, options.only, [in_a_journey])
    yield record(visits, increase(q.BY_JOURNEY, every, "1h"))
    lost = one_of(names.TOUCHPOINT_OUTCOME, ("abandoned", "failed"))
    severe = one_of(names.FRICTION_SEVERITY, ("high", "blocking"))
    harms = [
        q.or_zero(increase(q.BY_JOURNEY, counter, "1h"), visits)
        for counter in (
            q.series(VISITS, {}, options.only, [in_a_journey, lost]),
            q.series(q.FRICTIONS, {}, options.only, [in_a_journey, severe]),
        )
    ]
    yield record("cx:journey_harms:increase1h", "(\n{}\n)\n+\n(\n{}\n)".format(*harms))
    yield from _against_the_norm("journey_harms", "journey_visits", "per_visit")
    at_risk = q.series(
        metric(names.METRIC_VALUE_ATTRIBUTED), {names.VALUE_TYPE: "at_risk"}, options.only
    )
    by = (names.OWNER_FUNCTION, names.VALUE_CURRENCY)
    yield record("cx:value_at_risk:increase1d", increase(by, at_risk, "1d"))


def _complaints(options: Options) -> Iterator[Rule]:
    now = "cx:complaint_unresolved:sum"
    yield record(now, total(q.BY_OWNER, q.series(q.UNRESOLVED, {}, options.only)))
    yield record(f"cx:complaint_unresolved:mean{NORM}", f"avg_over_time({now}[{NORM}:1h])")
    time = metric(names.METRIC_COMPLAINT_RESOLUTION_DURATION)
    seconds, resolved = (
        increase(q.BY_OWNER, q.series(time + suffix, {}, options.only), "1d")
        for suffix in ("_sum", "_count")
    )
    yield record("cx:complaint_resolution_seconds:mean1d", q.share(seconds, resolved))


def _scores(options: Options) -> Iterator[Rule]:
    """Scores are never sent: they come from their parts, with the size of the sample beside."""
    parts = (names.FEEDBACK_TYPE, names.FEEDBACK_CATEGORY)
    answers = q.series(metric(names.METRIC_FEEDBACK_RESPONSES), {}, options.only)
    yield record("cx:feedback_responses:increase1h", increase(parts, answers, "1h"))
    month = "cx:feedback_responses:increase30d"
    yield record(month, q.longer("cx:feedback_responses:increase1h", "30d", "1h"))
    size = "cx:feedback_sample:increase30d"
    yield record(size, total([names.FEEDBACK_TYPE], month))
    promoters, detractors, satisfied = (
        _answers(month, size, *part)
        for part in (("nps", "promoter"), ("nps", "detractor"), ("csat", "satisfied"))
    )
    nps = f"({promoters})\n-\n({detractors})"
    yield record("cx:feedback_nps:score30d", f"100 * (\n{nps}\n)\n/ {_sample(size, 'nps')}")
    yield record("cx:feedback_csat:ratio30d", f"({satisfied})\n/ {_sample(size, 'csat')}")
    score = metric(names.METRIC_FEEDBACK_NORMALIZED_SCORE)
    yield _mean("cx:feedback_normalized_score:mean1d", score, (names.FEEDBACK_TYPE,), options)
    effort = metric(names.METRIC_TOUCHPOINT_EFFORT)
    yield _mean("cx:touchpoint_effort:mean1d", effort, q.BY_TOUCHPOINT, options)


def _answers(month: str, size: str, kind: str, category: str) -> str:
    found = q.series(month, {names.FEEDBACK_TYPE: kind, names.FEEDBACK_CATEGORY: category}, {})
    every = q.series(size, {names.FEEDBACK_TYPE: kind}, {})
    return f"{total([names.FEEDBACK_TYPE], found)} or {every} * 0"


def _sample(size: str, kind: str) -> str:
    return f"({q.series(size, {names.FEEDBACK_TYPE: kind}, {})} > 0)"


def _mean(name: str, histogram: str, by: tuple[str, ...], options: Options) -> Rule:
    whole, count = (
        increase(by, q.series(histogram + suffix, {}, options.only), "1d")
        for suffix in ("_sum", "_count")
    )
    return record(name, q.share(whole, count))


def _objective(promise: Promise, objective: float | None) -> Iterator[Rule]:
    if objective is None:
        return
    which = {label(names.PROMISE_ID): promise.id}
    yield record("cx:promise:objective", f"vector({number(objective)})", which)


def _apdex(promise: Promise, places: Iterable[Touchpoint], options: Options) -> Iterator[Rule]:
    """Satisfied up to T, tolerating up to 4 T; who failed or left is frustrated, however fast."""
    target = promise.seconds
    if target is None or promise.metric != "touchpoint.duration" or promise.op[0] != "<":
        return
    buckets = metric(names.METRIC_TOUCHPOINT_DURATION) + "_bucket"
    for place in places:
        here = {names.TOUCHPOINT_NAME: place.name}
        visits = increase(q.BY_TOUCHPOINT, q.series(VISITS, here, options.only), "1d")
        done = {**here, names.TOUCHPOINT_OUTCOME: "completed"}
        satisfied, tolerating = (
            q.or_zero(increase(q.BY_TOUCHPOINT, counter, "1d"), visits)
            for counter in (
                q.series(buckets, done, options.only, [_le(bound)])
                for bound in (target, 4 * target)
            )
        )
        parts = f"(\n(\n{satisfied}\n)\n+\n(\n{tolerating}\n)\n) / 2"
        which = {label(names.PROMISE_ID): promise.id, label(names.TOUCHPOINT_NAME): place.name}
        yield record("cx:touchpoint_apdex:ratio1d", f"{parts}\n/ ({visits} > 0)", which)


def _le(bound: float) -> str:
    """A boundary; who scrapes may have it with a point."""
    text = number(bound)
    return f'le="{text}"' if "." in text else f'le=~"{text}([.]0)?"'


_COMMON: Final = {
    "cx-promises": _promises,
    "cx-touchpoints": _touchpoints,
    "cx-handoffs": _handoffs,
    "cx-journeys": _journeys,
    "cx-complaints": _complaints,
    "cx-scores": _scores,
}
