"""A run as plain data: what ``--json`` prints, and what the map in the report is drawn from."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
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
