"""Spans put together again as journeys: each across all of its traces."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import attrs

from cxtrace import attributes as names
from cxtrace._tree import RecordedSpan
from cxtrace.platform.live.measured import HURT
from cxtrace.platform.live.recordings import is_visit

Trace: TypeAlias = tuple[RecordedSpan, ...]
"""Spans of one trace, in the order of their beginning."""


@attrs.frozen
class Way:
    """One customer's way: a journey, or a single trace that belongs to none.

    Attributes:
        id: Of the journey; of the trace, where there is no journey.
        name: Of the journey; empty where there is none.
        outcome: How the journey ended, if that was recorded.
        traces: In the order of their beginning.
    """

    id: str
    name: str
    outcome: str
    traces: tuple[Trace, ...]

    @property
    def spans(self) -> list[RecordedSpan]:
        """All of them, trace by trace."""
        return [span for trace in self.traces for span in trace]

    @property
    def visits(self) -> list[RecordedSpan]:
        """The touchpoints, in the order in which the customer met them."""
        return sorted(filter(is_visit, self.spans), key=lambda span: span.start_ns)

    @property
    def start_ns(self) -> int:
        """When it began."""
        return self.traces[0][0].start_ns

    @property
    def end_ns(self) -> int:
        """When its last span ended."""
        return max(span.end_ns for span in self.spans)

    @property
    def frictions(self) -> Counter[str]:
        """What hindered the customer, by type."""
        return Counter(
            str(event.attributes.get(names.FRICTION_TYPE, ""))
            for span in self.spans
            for event in span.events
            if event.name == names.EVENT_FRICTION
        )

    @property
    def rows(self) -> int:
        """How many lines it takes: one for each span, and one for each signal."""
        signals = (event.name.startswith("cx.") for span in self.spans for event in span.events)
        return len(self.spans) + sum(signals)

    @property
    def is_hurt(self) -> bool:
        """Whether a touchpoint failed or was abandoned, or there was friction."""
        ends = {str(visit.attributes[names.TOUCHPOINT_OUTCOME]) for visit in self.visits}
        return bool(ends & {*HURT}) or bool(self.frictions)


@attrs.frozen
class Ways:
    """Everything that a recording tells of customers.

    Attributes:
        journeys: In the order of their beginning.
        others: Spans of traces in which no customer met a touchpoint.
    """

    journeys: tuple[Way, ...]
    others: int


def ways(spans: Iterable[RecordedSpan]) -> Ways:
    """Put spans together as journeys.

    A span that names no journey goes with the journey that most spans of its trace name.
    """
    traces: dict[str, list[RecordedSpan]] = defaultdict(list)
    for span in spans:
        traces[span.trace_id].append(span)
    journeys: dict[str, list[Trace]] = defaultdict(list)
    singles: list[Way] = []
    others = 0
    for trace_id, inside in traces.items():
        inside.sort(key=lambda span: span.start_ns)
        parts = _by_journey(inside)
        for journey, part in parts.items():
            journeys[journey].append(tuple(part))
        if not parts and any(map(is_visit, inside)):
            singles.append(Way(trace_id, "", "", (tuple(inside),)))
        elif not parts:
            others += len(inside)
    found = [*(_way(journey, parts) for journey, parts in journeys.items()), *singles]
    return Ways(tuple(sorted(found, key=lambda way: way.start_ns)), others)


def _by_journey(trace: Sequence[RecordedSpan]) -> Mapping[str, list[RecordedSpan]]:
    told = Counter(
        str(span.attributes[names.JOURNEY_ID])
        for span in trace
        if names.JOURNEY_ID in span.attributes
    )
    if not told:
        return {}
    most = told.most_common(1)[0][0]
    parts: dict[str, list[RecordedSpan]] = defaultdict(list)
    for span in trace:
        parts[str(span.attributes.get(names.JOURNEY_ID, most))].append(span)
    return parts


def _way(journey: str, traces: list[Trace]) -> Way:
    ordered = tuple(sorted(traces, key=lambda trace: trace[0].start_ns))
    spans = [span for trace in ordered for span in trace]
    name = next(
        (s.attributes[names.JOURNEY_NAME] for s in spans if names.JOURNEY_NAME in s.attributes), ""
    )
    ends = [
        str(event.attributes.get(names.JOURNEY_OUTCOME, ""))
        for span in spans
        for event in span.events
        if event.name == names.EVENT_JOURNEY_END
    ]
    return Way(journey, str(name), ends[-1] if ends else "", ordered)
