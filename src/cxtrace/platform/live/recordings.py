"""Measurements out of files of OTLP JSON lines: of their spans, or of the metrics in them.

Metrics are exact whatever is sampled, and spans tell each duration and each trace. So spans are
counted, unless metrics in the same files know of more visits.
"""

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from cxtrace import attributes as names
from cxtrace._otlp_file import read_spans
from cxtrace._tree import RecordedEvent, RecordedSpan
from cxtrace.platform.live.spread import Spread
from cxtrace.platform.live.tally import COUNTS, HISTOGRAMS, Tally

_OURS: Final = frozenset({*COUNTS, *HISTOGRAMS})
_HURT: Final = ("failed", "abandoned")
_DELTA: Final = 1
_BROKEN: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


def read(paths: Sequence[str | os.PathLike[str]]) -> Tally:
    """Count what files hold.

    Raises:
        OSError: A file cannot be read.
    """
    recording = read_spans(*paths)
    source = ", ".join(Path(path).name for path in paths)
    of_spans = from_spans(recording.spans, source)
    if recording.skipped:
        of_spans.notes.append(f"{recording.skipped} lines are no OTLP JSON and were passed over.")
    of_metrics = from_metrics(_metric_lines(paths), source)
    if of_metrics.visits <= of_spans.visits:
        return of_spans
    of_metrics.traces, of_metrics.notes = of_spans.traces, of_spans.notes
    of_metrics.notes.append(
        f"The metrics in the files tell of {of_metrics.visits:g} visits and the spans of "
        f"{of_spans.visits:g}: numbers are those of the metrics, percentiles are estimates."
    )
    return of_metrics


def from_spans(spans: Iterable[RecordedSpan], source: str = "") -> Tally:
    """Count spans as the SDK would have counted what they tell of; walkthroughs are left out."""
    tally = Tally(source)
    real = [span for span in spans if names.SYNTHETIC_TYPE not in span.attributes]
    slowest: dict[str, tuple[bool, int]] = {}
    for span in real:
        if names.TOUCHPOINT_OUTCOME in span.attributes:
            _visit(span, tally)
            _look_at(span, slowest, tally)
        for event in span.events:
            _signal(span, event, tally)
    _ways(real, tally)
    return tally


def is_visit(span: RecordedSpan) -> bool:
    """Whether a span is that of a touchpoint, and not one that is below it."""
    return names.TOUCHPOINT_OUTCOME in span.attributes


def _visit(span: RecordedSpan, tally: Tally) -> None:
    told = span.attributes
    seconds = max(span.end_ns - span.start_ns, 0) / 1e9
    tally.measure(names.METRIC_TOUCHPOINT_DURATION, told, seconds)
    actions = _number(told, names.EFFORT_ACTIONS)
    if actions is not None:
        tally.measure(names.METRIC_TOUCHPOINT_EFFORT, told, actions)
    worst = _worst(span)
    for key, happy in told.items():
        if key.startswith(f"{names.FUNCTION_HAPPY}."):
            function = key.removeprefix(f"{names.FUNCTION_HAPPY}.")
            verdict = "happy" if happy else "unhappy"
            labels = {
                names.STAGE_NAME: told.get(names.STAGE_NAME, ""),
                names.FUNCTION_NAME: function,
                names.FUNCTION_VERDICT: verdict,
                names.PROMISE_RESULT: worst,
            }
            tally.measure(names.METRIC_FUNCTION_VERDICTS, labels, 1)
            tally.verdicts[str(told.get(names.TOUCHPOINT_NAME, "")), function, verdict] += 1


def _worst(span: RecordedSpan) -> str:
    """The worst result of the promises at a visit; empty where there was none."""
    results = {event.attributes.get(names.PROMISE_RESULT) for event in span.events}
    order = ("broken", "unmeasured", "kept", "exceeded")
    return next((result for result in order if result in results), "")


def _look_at(span: RecordedSpan, slowest: dict[str, tuple[bool, int]], tally: Tally) -> None:
    """Keep the trace of the visit that went wrong, or of the slowest."""
    name = str(span.attributes.get(names.TOUCHPOINT_NAME, ""))
    hurt = span.attributes[names.TOUCHPOINT_OUTCOME] in _HURT or _worst(span) == "broken"
    rank = (hurt, span.end_ns - span.start_ns)
    if rank > slowest.get(name, (False, -1)):
        slowest[name] = rank
        tally.traces[name] = span.trace_id


def _signal(span: RecordedSpan, event: RecordedEvent, tally: Tally) -> None:
    told = event.attributes
    if event.name == names.EVENT_FRICTION:
        tally.measure(names.METRIC_TOUCHPOINT_FRICTIONS, told, 1)
    elif event.name == names.EVENT_PROMISE_EVALUATED:
        tally.measure(names.METRIC_PROMISE_EVALUATIONS, told, 1)
        gap = _number(told, names.PROMISE_GAP)
        if gap is not None:
            tally.measure(names.METRIC_PROMISE_DELIVERED_RATIO, told, max(1 + gap, 0.0))
    elif event.name == names.EVENT_VALUE:
        amount = _number(told, names.VALUE_AMOUNT) or 0.0
        for function, share in _influence(span.attributes, told).items():
            labels = {**told, names.OWNER_FUNCTION: function}
            tally.measure(names.METRIC_VALUE_ATTRIBUTED, labels, amount * share)


def _number(told: Mapping[str, Any], key: str) -> float | None:
    """A number of a span; None where there is none, or something else."""
    value = told.get(key)
    return float(value) if isinstance(value, (int, float)) else None


def _influence(span: Mapping[str, Any], told: Mapping[str, Any]) -> Mapping[str, float]:
    start = f"{names.OWNER_INFLUENCE}."
    shares = {
        key.removeprefix(start): _number(span, key) or 0.0 for key in span if key.startswith(start)
    }
    return shares or {str(told.get(names.OWNER_FUNCTION, "")): 1.0}


def _ways(spans: Iterable[RecordedSpan], tally: Tally) -> None:
    """Durations of journeys and of hand-offs, which lie between spans."""
    moments = sorted(
        (item for span in spans for item in _moments(span)), key=lambda moment: moment[0]
    )
    began: dict[Any, int] = {}
    given: dict[Any, tuple[int, str, str]] = {}
    for at, name, told in moments:
        journey = told.get(names.JOURNEY_ID)
        if name == names.EVENT_JOURNEY_START:
            began[journey] = at
        elif name == names.EVENT_JOURNEY_END and journey in began:
            tally.measure(names.METRIC_JOURNEY_DURATION, told, (at - began.pop(journey)) / 1e9)
        elif name == names.EVENT_HANDOFF:
            _hand_over(at, told, given, tally)
        elif journey in given and given[journey][2] == told.get(names.OWNER_FUNCTION):
            since, giver, taker = given.pop(journey)
            _waited(giver, taker, (at - since) / 1e9, tally)


def _hand_over(
    at: int, told: Mapping[str, Any], given: dict[Any, tuple[int, str, str]], tally: Tally
) -> None:
    giver = str(told.get(names.HANDOFF_FROM_FUNCTION, ""))
    taker = str(told.get(names.HANDOFF_TO_FUNCTION, ""))
    waited = _number(told, names.EFFORT_WAIT_TIME)
    if waited is not None:
        _waited(giver, taker, waited, tally)
    elif names.JOURNEY_ID in told:
        given[told[names.JOURNEY_ID]] = (at, giver, taker)


def _waited(giver: str, taker: str, seconds: float, tally: Tally) -> None:
    labels = {names.HANDOFF_FROM_FUNCTION: giver, names.HANDOFF_TO_FUNCTION: taker}
    tally.measure(names.METRIC_HANDOFF_DURATION, labels, seconds)


def _moments(span: RecordedSpan) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    journey = {
        key: span.attributes[key]
        for key in (names.JOURNEY_ID, names.JOURNEY_NAME)
        if key in span.attributes
    }
    if is_visit(span):
        yield span.start_ns, "", span.attributes
    for event in span.events:
        yield event.time_ns, event.name, {**journey, **event.attributes}


# Metrics


def _metric_lines(paths: Iterable[str | os.PathLike[str]]) -> Iterator[bytes]:
    for path in paths:
        lines = Path(path).read_bytes().split(b"\n")
        yield from (line for line in lines if b'"resourceMetrics"' in line)


def from_metrics(lines: Iterable[str | bytes], source: str = "") -> Tally:
    """Count lines of OTLP metrics; of a cumulative series, its last point."""
    last: dict[tuple[str, ...], tuple[int, Mapping[str, Any]]] = {}
    for line in lines:
        for key, at, point in _read(line):
            if at >= last.get(key, (0, {}))[0]:
                last[key] = at, point
    tally = Tally(source)
    for (_, instrument, *_), (_, point) in last.items():
        with suppress(*_BROKEN):
            _count(instrument, point, tally)
    return tally


def _read(line: str | bytes) -> list[tuple[tuple[str, ...], int, Mapping[str, Any]]]:
    """The points of a line, each with its series and its time; none where it is no OTLP."""
    try:
        found = _points(json.loads(line))
        return [(key, int(point.get("timeUnixNano", 0)), point) for key, point in found]
    except _BROKEN:
        return []


def _count(instrument: str, point: Mapping[str, Any], tally: Tally) -> None:
    labels = {each["key"]: each["value"].get("stringValue", "") for each in _pairs(point)}
    if instrument in HISTOGRAMS:
        count, total = float(point.get("count", 0)), float(point.get("sum", 0.0))
        tally.add(instrument, labels, count, total, _spread(point))
    else:
        tally.add(instrument, labels, float(point.get("asInt", point.get("asDouble", 0.0))))


def _pairs(item: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [pair for pair in item.get("attributes", ()) if isinstance(pair.get("value"), dict)]


def _points(
    message: Mapping[str, Any],
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    for resource in message["resourceMetrics"]:
        who = json.dumps(resource.get("resource", {}), sort_keys=True)
        for scope in resource.get("scopeMetrics", ()):
            for metric in scope.get("metrics", ()):
                if metric.get("name") not in _OURS:
                    continue
                data = metric.get("histogram") or metric.get("sum") or {}
                for point in data.get("dataPoints", ()):
                    labels = json.dumps(point.get("attributes", ()), sort_keys=True)
                    began = str(point.get("startTimeUnixNano", ""))
                    is_delta = data.get("aggregationTemporality") == _DELTA
                    end = str(point.get("timeUnixNano", "")) if is_delta else ""
                    yield (who, metric["name"], labels, began, end), point


def _spread(point: Mapping[str, Any]) -> Spread:
    bounds = [*map(float, point.get("explicitBounds", ())), math.inf]
    counts = map(float, point.get("bucketCounts", ()))
    return Spread(below=dict(zip(bounds, counts, strict=False)))
