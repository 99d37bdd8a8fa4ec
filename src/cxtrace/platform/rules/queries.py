"""The queries of the rules, and the names under which their answers are kept.

``cx:promise_broken:increase1h`` is how often a promise was broken within an hour. What is kept of
short windows is summed up for long ones, so that no rule reads a month of raw samples.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from cxtrace import attributes as names
from cxtrace.platform import prometheus
from cxtrace.platform.prometheus import metric, selector

Rule: TypeAlias = dict[str, Any]
"""A rule of Prometheus, as its file has it."""

FRICTIONS: Final = metric(names.METRIC_TOUCHPOINT_FRICTIONS)
HANDOFFS: Final = metric(names.METRIC_HANDOFF_DURATION)
UNRESOLVED: Final = metric(names.METRIC_COMPLAINT_UNRESOLVED)

BY_PROMISE: Final = (names.PROMISE_ID, names.OWNER_FUNCTION)
BY_TOUCHPOINT: Final = (names.TOUCHPOINT_NAME, names.STAGE_NAME, names.OWNER_FUNCTION)
BY_HANDOFF: Final = (names.HANDOFF_FROM_FUNCTION, names.HANDOFF_TO_FUNCTION)
BY_JOURNEY: Final = (names.JOURNEY_NAME,)
BY_OWNER: Final = (names.OWNER_FUNCTION,)

SERVICE: Final = "service"
"""The label under which ``busiest`` names a service."""

BROKEN: Final = {names.PROMISE_RESULT: "broken"}


def record(name: str, expression: str, labels: Mapping[str, str] | None = None) -> Rule:
    """A recording rule."""
    rule: Rule = {"record": name, "expr": expression}
    return rule if labels is None else {**rule, "labels": dict(labels)}


def series(
    name: str, equal: Mapping[str, str], only: Mapping[str, str], other: Iterable[str] = ()
) -> str:
    """A metric with labels that equal something, and other conditions on labels."""
    return prometheus.series(name, *other, selector({**only, **equal}))


def or_zero(expression: str, where: str) -> str:
    """Zero where ``where`` has a value and the expression has none: a counter begins unseen."""
    return f"{expression}\nor\n{where} * 0"


def share(part: str, whole: str) -> str:
    """A part of a whole, and nothing where there is no whole."""
    return f"{part} / ({whole} > 0)"


def longer(kept: str, window: str, step: str) -> str:
    """What was kept of one step, summed up over a window of many."""
    return f"sum_over_time({kept}[{window}:{step}])"


def busiest(function: str, name: str, labels: Iterable[str], equal: Mapping[str, str]) -> str:
    """The service in which most of something has happened within a day, for ``printf`` of Go.

    Prometheus has its name in ``job``, after its namespace, VictoriaMetrics in ``service_name``.

    Args:
        function: ``increase`` of a counter, or ``max_over_time`` of what goes up and down.
        name: Of the metric.
        labels: Those that have the values of the alert, which come in for each ``%q``.
        equal: More labels, and what they equal.
    """
    fixed = selector(equal).replace("%", "%%")
    which = prometheus.series(name, fixed, *(f"{each}=%q" for each in labels))
    found = f"{function}({which}[1d])"
    for source, pattern in (("job", "(?:.*/)?(.+)"), ("service_name", "(.+)")):
        found = f'label_replace({found}, "{SERVICE}", "$1", "{source}", "{pattern}")'
    return f"topk(1, sum by ({SERVICE}) ({found}))"
