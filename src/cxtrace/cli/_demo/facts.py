"""What the rooms of the demo tell each other: walks, checks, and what a run found."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from cxtrace import attributes as names
from cxtrace._tree import RecordedSpan
from cxtrace.journey_map import JourneyMap

SERVICES: Final = ("storefront", "payments", "fulfilment")
"""Those that record spans, in the order in which customers meet them."""

START_JAEGER: Final = (
    "docker run --rm -p 16686:16686 -p 4317:4317 -p 4318:4318 jaegertracing/jaeger"
)
"""The command that the user may start a Jaeger with."""


class DemoError(Exception):
    """The demo cannot go on; the message tells why."""


@attrs.frozen
class Walk:
    """What came of one person's way through the shop."""

    person: Mapping[str, str] = attrs.field(repr=False)
    journey: str
    id: str
    story: str = ""
    error: str = ""
    diary: Mapping[str, int] = attrs.field(factory=dict, repr=False)
    """What they did, and how many times."""


@attrs.frozen
class Check:
    """Something that the demo looks for in what was recorded."""

    what: str
    passed: bool
    detail: str = ""


@attrs.frozen
class Found:
    """The result of a run."""

    journey_map: JourneyMap
    walks: Sequence[Walk]
    spans: Sequence[RecordedSpan] | None
    """None where they were sent to something that cannot be asked."""
    checks: Sequence[Check]
    seconds: float
    folder: Path
    file: Path | None
    otlp: str | None
    jaeger_ui: str | None
    refused: Sequence[str] = ()
    """Which of metrics and logs the endpoint does not take, so that they were not sent."""


def of_journey(spans: Iterable[RecordedSpan], walk: Walk) -> list[RecordedSpan]:
    """Those of the spans that were recorded on a walk."""
    return [span for span in spans if span.attributes.get(names.JOURNEY_ID) == walk.id]


def services_of(spans: Iterable[RecordedSpan]) -> list[str]:
    """The services of some spans, in the order in which customers meet them."""
    met = {span.service_name for span in spans}
    return [*(name for name in SERVICES if name in met), *sorted(met.difference(SERVICES))]
