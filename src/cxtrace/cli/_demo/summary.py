"""A run as plain data: what ``--json`` prints, and what the report is drawn from."""

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

import attrs

from cxtrace import attributes as names
from cxtrace._tree import RecordedSpan
from cxtrace.cli._demo.facts import Found, of_journey, services_of
from cxtrace.cli._demo.reading import jaeger_url
from cxtrace.journey_map import JourneyMap


def summary(found: Found) -> dict[str, Any]:
    """Everything that a run found."""
    spans = found.spans or ()
    return {
        "seconds": round(found.seconds, 1),
        "logs": str(found.folder),
        "file": found.file and str(found.file),
        "otlp": found.otlp,
        "refused": list(found.refused),
        "spans": None if found.spans is None else len(found.spans),
        "journeys": [
            {
                "name": walk.journey,
                "id": walk.id,
                "story": walk.story or walk.error,
                "spans": len(of_journey(spans, walk)),
                "services": services_of(of_journey(spans, walk)),
                "jaeger_url": found.jaeger_ui and jaeger_url(found.jaeger_ui, walk.id),
            }
            for walk in found.walks
        ],
        "stages": stages(spans, found.journey_map),
        "frictions": frictions(spans, found.journey_map),
        "promises": promises(spans, found.journey_map),
        "checks": [attrs.asdict(check) for check in found.checks],
    }


def stages(spans: Iterable[RecordedSpan], journey_map: JourneyMap) -> list[dict[str, Any]]:
    """What happened at each stage of the map, and at each of its touchpoints."""
    met = [span for span in spans if names.TOUCHPOINT_OUTCOME in span.attributes]
    return [
        {
            "name": stage.name,
            "phase": stage.phase,
            **_told([span for span in met if span.attributes.get(names.STAGE_NAME) == stage.name]),
            "touchpoints": [
                {"name": planned.name, "owner": planned.owner, **_told(_at(met, planned.name))}
                for planned in journey_map.touchpoints.values()
                if planned.stage == stage.name
            ],
        }
        for stage in sorted(journey_map.stages.values(), key=lambda stage: stage.order)
    ]


def frictions(spans: Iterable[RecordedSpan], journey_map: JourneyMap) -> list[dict[str, Any]]:
    """What hindered customers, at each stage where something did; the most frequent first."""
    met: dict[str, Counter[str]] = {name: Counter() for name in _in_order(journey_map)}
    for _, told in _events(spans, names.EVENT_FRICTION):
        if told.get(names.STAGE_NAME) in met:
            met[told[names.STAGE_NAME]][told[names.FRICTION_TYPE]] += 1
    return [
        {"stage": stage, "count": sum(types.values()), "types": dict(types.most_common())}
        for stage, types in met.items()
        if types
    ]


def promises(spans: Iterable[RecordedSpan], journey_map: JourneyMap) -> list[dict[str, Any]]:
    """What became of each promise, and which functions were happy where it was broken."""
    results: dict[str, Counter[str]] = {name: Counter() for name in journey_map.promises}
    happy: dict[str, Counter[str]] = {name: Counter() for name in journey_map.promises}
    for span, told in _events(spans, names.EVENT_PROMISE_EVALUATED):
        promise, result = told.get(names.PROMISE_ID), told.get(names.PROMISE_RESULT)
        if promise in results:
            results[promise][str(result)] += 1
            if result == "broken":
                happy[promise].update(_happy(span, journey_map))
    return [
        {
            "id": promise,
            "results": {each: met[each] for each in get_args(names.PromiseResult) if met[each]},
            "happy_though_broken": dict(happy[promise].most_common()),
        }
        for promise, met in results.items()
    ]


def _happy(span: RecordedSpan, journey_map: JourneyMap) -> list[str]:
    return [
        function
        for function in journey_map.functions
        if span.attributes.get(f"{names.FUNCTION_HAPPY}.{function}") is True
    ]


def _events(
    spans: Iterable[RecordedSpan], name: str
) -> Iterable[tuple[RecordedSpan, Mapping[str, Any]]]:
    for span in spans:
        yield from ((span, event.attributes) for event in span.events if event.name == name)


def _in_order(journey_map: JourneyMap) -> list[str]:
    stages = sorted(journey_map.stages.values(), key=lambda stage: stage.order)
    return [stage.name for stage in stages]


def _at(spans: Iterable[RecordedSpan], touchpoint: str) -> list[RecordedSpan]:
    return [span for span in spans if span.attributes.get(names.TOUCHPOINT_NAME) == touchpoint]


def _told(spans: Sequence[RecordedSpan]) -> dict[str, Any]:
    outcomes = Counter(str(span.attributes[names.TOUCHPOINT_OUTCOME]) for span in spans)
    seconds = [(span.end_ns - span.start_ns) / 1e9 for span in spans]
    return {
        "count": len(spans),
        "outcomes": {name: outcomes[name] for name in sorted(outcomes, key=_place_of_outcome)},
        "median_s": round(statistics.median(seconds), 6) if seconds else None,
    }


def _place_of_outcome(outcome: str) -> tuple[int, str]:
    known = get_args(names.Outcome)
    return (known.index(outcome) if outcome in known else len(known), outcome)
