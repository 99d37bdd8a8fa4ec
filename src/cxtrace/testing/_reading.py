"""From spans, log records and data points to what they say about the customer's experience."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from cxtrace import attributes as names
from cxtrace._instruments import SPECS
from cxtrace.testing._records import (
    Effort,
    Journey,
    Metric,
    MetricPoint,
    Promise,
    Signal,
    Touchpoint,
)

KINDS: Final = tuple(
    dict.fromkeys(
        value.split(".")[1] for name, value in vars(names).items() if name.startswith("EVENT_")
    )
)
"""Kinds of signals, and of what else is told by events."""

_METRICS: Final = (*SPECS, names.METRIC_JOURNEY_ACTIVE)
_KEYS: Final = frozenset(
    value.replace(".", "_")
    for name, value in vars(names).items()
    if isinstance(value, str) and name.isupper() and not name.startswith(("METRIC_", "EVENT_"))
)


class _Told(NamedTuple):
    where: int
    event: str
    attributes: Mapping[str, Any]
    at: int


class Reading:
    """All spans and events of a capture, put together.

    Attributes:
        touchpoints: Those that have ended, in the order in which they began.
        signals: In the order in which they were told.
        open: Names of the touchpoints that have not ended.
    """

    def __init__(self, spans: Iterable[Any], records: Iterable[Any] | None, began: int) -> None:
        self._spans = {span.get_span_context().span_id: span for span in spans}
        self._began = began
        told = _told_by_spans(self._spans) if records is None else _told_by_records(records)
        found = [(event.where, self._signal(event)) for event in told]
        self.signals = [signal for _, signal in found]
        self._signals: dict[int, list[Signal]] = {}
        for where, signal in found:
            self._signals.setdefault(where, []).append(signal)
        self._interactions: dict[int, list[str]] = {}
        for span in self._spans.values():
            if names.INTERACTION_NAME in span.attributes:
                self._interactions.setdefault(self._visit(span), []).append(span.name)
        visits = [span for span in self._spans.values() if _is_touchpoint(span)]
        self.touchpoints = [self._touchpoint(span) for span in visits if span.end_time is not None]
        self.open = [span.name for span in visits if span.end_time is None]

    def journeys(self) -> list[Journey]:
        """Every walk that was captured, in the order in which they began."""
        walks: dict[tuple[str, str | None], list[Touchpoint]] = {}
        for each in self.touchpoints:
            if each.journey is not None:
                walks.setdefault((each.journey, each.journey_id), []).append(each)
        ended = {
            (signal.attributes[names.JOURNEY_NAME], signal.attributes.get(names.JOURNEY_ID)): signal
            for signal in self.signals
            if signal.name == names.EVENT_JOURNEY_END
        }
        for walk in ended:
            walks.setdefault(walk, [])
        found = []
        for walk, touchpoints in walks.items():
            end = ended.get(walk)
            outcome = None if end is None else end.attributes[names.JOURNEY_OUTCOME]
            found.append(Journey(*walk, outcome, tuple(touchpoints)))
        return found

    def _signal(self, told: _Told) -> Signal:
        span = self._spans.get(told.where)
        place = {} if span is None else span.attributes
        touchpoint = told.attributes.get(names.TOUCHPOINT_NAME, place.get(names.TOUCHPOINT_NAME))
        return Signal(told.event, touchpoint, self._since(told.at), told.attributes)

    def _since(self, at: int) -> float:
        return (at - self._began) / 1e9

    def _visit(self, span: Any) -> int:
        """The span of the touchpoint around a span, or 0."""
        while span is not None and span.parent is not None:
            span = self._spans.get(span.parent.span_id)
            if span is not None and _is_touchpoint(span):
                return int(span.get_span_context().span_id)
        return 0

    def _touchpoint(self, span: Any) -> Touchpoint:
        said = span.attributes
        own = span.get_span_context().span_id
        around = self._spans.get(self._visit(span))
        return Touchpoint(
            name=said[names.TOUCHPOINT_NAME],
            outcome=said.get(names.TOUCHPOINT_OUTCOME),
            error=said.get(names.ERROR_TYPE),
            stage=said.get(names.STAGE_NAME),
            owner=said.get(names.OWNER_FUNCTION),
            journey=said.get(names.JOURNEY_NAME),
            journey_id=said.get(names.JOURNEY_ID),
            customer=said.get(names.CUSTOMER_PSEUDONYM),
            parent=None if around is None else around.attributes[names.TOUCHPOINT_NAME],
            started=self._since(span.start_time),
            duration=(span.end_time - span.start_time) / 1e9,
            effort=_effort(said),
            interactions=tuple(self._interactions.get(own, ())),
            signals=tuple(self._signals.get(own, ())),
            attributes=said,
        )


def _is_touchpoint(span: Any) -> bool:
    said, scope = span.attributes, span.instrumentation_scope
    ours = scope is not None and scope.name == "cxtrace" and names.INTERACTION_NAME not in said
    return names.TOUCHPOINT_OUTCOME in said or (ours and names.TOUCHPOINT_NAME in said)


def _effort(said: Mapping[str, Any]) -> Effort | None:
    if names.EFFORT_ACTIONS not in said:
        return None
    return Effort(
        said[names.EFFORT_ACTIONS], said[names.EFFORT_RETRIES], said[names.EFFORT_WAIT_TIME]
    )


def _told_by_spans(spans: Mapping[int, Any]) -> list[_Told]:
    return [
        _Told(span_id, event.name, event.attributes, event.timestamp)
        for span_id, span in spans.items()
        for event in span.events
        if _is_ours(event.name)
    ]


def _told_by_records(records: Iterable[Any]) -> list[_Told]:
    return [
        _Told(record.span_id, record.event_name, record.attributes, record.timestamp)
        for record in records
        if _is_ours(record.event_name)
    ]


def _is_ours(event: str | None) -> bool:
    """Whether an event is one of the registry's."""
    return event is not None and event.startswith("cx.") and event.split(".")[1] in KINDS


def promise_of(signal: Signal) -> Promise:
    """What ``cx.promise.evaluated`` says."""
    said = signal.attributes
    return Promise(
        said[names.PROMISE_ID],
        said[names.PROMISE_RESULT],
        said[names.PROMISE_TARGET],
        said.get(names.PROMISE_DELIVERED),
        said[names.PROMISE_UNIT],
        said.get(names.PROMISE_GAP),
        signal.touchpoint,
    )


def metric_of(data: Any, name: str, labels: Mapping[str, Any]) -> Metric:
    """The points of a metric that have these labels.

    Raises:
        ValueError: The registry has no such metric.
    """
    if name not in _METRICS:
        from difflib import get_close_matches

        near = get_close_matches(name, _METRICS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"the registry has no metric {name!r}{hint}")
    prefixes = checked_keys(labels, "label")
    found = [
        MetricPoint(point.attributes, *_sum_and_count(point))
        for resource in (() if data is None else data.resource_metrics)
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
        if has(point.attributes, labels, prefixes)
    ]
    return Metric(name, tuple(found), name in SPECS and SPECS[name].kind == "histogram")


def _sum_and_count(point: Any) -> tuple[float, int | None]:
    count = getattr(point, "count", None)
    return (point.value, None) if count is None else (point.sum, count)


def checked_keys(wanted: Iterable[str], what: str, kind: str = "") -> tuple[str, ...]:
    """What may be left out in front of a key: ``cx_``, and the kind of the signal after it.

    Raises:
        ValueError: One of the keys is none of the registry, so that nothing could ever have it.
    """
    prefixes = ("", "cx_", f"cx_{kind}_") if kind else ("", "cx_")
    for key in wanted:
        if not any(prefix + key in _KEYS for prefix in prefixes):
            raise ValueError(
                f"the registry has no {what} {key!r}: write its name with _ for each dot, "
                "as in touchpoint_name for cx.touchpoint.name"
            )
    return prefixes


def has(said: Mapping[str, Any], wanted: Mapping[str, Any], prefixes: tuple[str, ...]) -> bool:
    """Whether attributes have all these values, under keys that are written with ``_``."""
    found = {key.replace(".", "_"): value for key, value in said.items()}
    return all(
        any(prefix + key in found and found[prefix + key] == value for prefix in prefixes)
        for key, value in wanted.items()
    )
