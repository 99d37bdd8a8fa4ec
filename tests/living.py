"""Maps and recordings of any size, for the tests of the living map and of the page of journeys."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cxtrace import attributes as names
from cxtrace._tree import RecordedEvent, RecordedSpan
from cxtrace.journey_map import JourneyMap

OUTCOMES = ("completed", "completed", "completed", "failed", "abandoned", "handed_off")
SECOND = 1_000_000_000
BEGIN = 1_800_000_000 * SECOND


def large_map(touchpoints: int, functions: int = 40, stages: int = 10) -> JourneyMap:
    """A map of a large company; every fifth touchpoint makes a promise, and journeys are long."""
    lines = ['schema = "cxtrace.map/1"', 'name = "large"', "[functions]"]
    lines += [
        f"function_{n} = {{ happy = \"touchpoint.outcome == 'completed'\" }}"
        for n in range(functions)
    ]
    lines += [f'[[stage]]\nname = "stage_{n}"\nphase = "customer"' for n in range(stages)]
    for n in range(touchpoints):
        owner, other = n % functions, (n + 1) % functions
        lines += [
            *("[[touchpoint]]", f'name = "area_{n % 20}.touchpoint_{n}"'),
            f'stage = "stage_{n * stages // touchpoints}"',
            *(f'owner = "function_{owner}"', "expected_actions = 2"),
            f"influence = {{ function_{owner} = 0.7, function_{other} = 0.3 }}",
            f'promises = ["promise_{n}"]' if n % 5 == 0 else "",
        ]
        if n % 5 == 0:
            lines += [
                *(f"[promise.promise_{n}]", f'claim = "Promise {n}"', 'source = "sla"'),
                *('metric = "touchpoint.duration"', 'op = "<="', "target = 2.0", 'unit = "s"'),
                "objective = 0.95",
            ]
    for n in range(touchpoints // 25):
        steps = [f'"area_{at % 20}.touchpoint_{at}"' for at in range(n * 25, n * 25 + 25)]
        lines += ["[[journey]]", f'name = "journey_{n}"', "[journey.routes]"]
        lines += [f"usual = [{', '.join(steps)}]"]
    return JourneyMap.loads("\n".join(lines))


def visit(number: int, **told: Any) -> RecordedSpan:
    """The span of a touchpoint, two seconds long, as it comes out of a file."""
    begin = BEGIN + number * 10 * SECOND
    facts = {
        names.TOUCHPOINT_NAME: "checkout.pay",
        names.STAGE_NAME: "purchase",
        names.OWNER_FUNCTION: "product",
        names.TOUCHPOINT_OUTCOME: "completed",
        **{key: value for key, value in told.items() if "." in key},
    }
    return RecordedSpan(
        trace_id=told.get("trace_id", f"{number:032x}"),
        span_id=f"{number:016x}",
        name=facts[names.TOUCHPOINT_NAME],
        start_ns=begin,
        end_ns=begin + int(told.get("seconds", 2) * SECOND),
        service_name="shop",
        attributes=facts,
        events=tuple(told.get("events", ())),
    )


def event(name: str, at: int = 0, **told: Any) -> RecordedEvent:
    """A signal, so many seconds after all began."""
    return RecordedEvent(name, BEGIN + at * SECOND, told)


def lived(journey_map: JourneyMap, spans: int) -> Iterator[RecordedSpan]:
    """Visits to every touchpoint of a map, one after the other, in journeys of 25 visits."""
    planned = list(journey_map.touchpoints.values())
    journeys = list(journey_map.journeys)
    for n in range(spans):
        at = planned[n % len(planned)]
        promises = [
            event(
                names.EVENT_PROMISE_EVALUATED,
                10 * n,
                **{
                    names.PROMISE_ID: each,
                    names.PROMISE_RESULT: "broken" if n % 3 else "kept",
                    names.PROMISE_GAP: 0.5 if n % 3 else -0.5,
                },
            )
            for each in at.promises
        ]
        friction = event(
            names.EVENT_FRICTION,
            10 * n,
            **{names.TOUCHPOINT_NAME: at.name, names.FRICTION_TYPE: ("slow", "error")[n % 2]},
        )
        yield visit(
            n,
            **{
                names.TOUCHPOINT_NAME: at.name,
                names.STAGE_NAME: at.stage,
                names.OWNER_FUNCTION: at.owner,
                names.TOUCHPOINT_OUTCOME: OUTCOMES[n % len(OUTCOMES)],
                names.EFFORT_ACTIONS: n % 4,
                names.JOURNEY_ID: f"{n // 25:032x}",
                names.JOURNEY_NAME: journeys[n // 25 % len(journeys)],
                **{f"{names.FUNCTION_HAPPY}.{owner}": n % 4 > 0 for owner in at.influence},
                "events": [*promises, *([friction] if n % 4 == 0 else [])],
            },
        )


def write_spans(path: Path, spans: Iterator[RecordedSpan]) -> None:
    """Write spans as OTLP JSON lines, a hundred in each."""
    found = [_otlp(span) for span in spans]
    service = {"attributes": _pairs({"service.name": "shop"})}
    with path.open("w", encoding="utf-8") as file:
        for at in range(0, len(found), 100):
            scope = {"spans": found[at : at + 100]}
            message = {"resourceSpans": [{"resource": service, "scopeSpans": [scope]}]}
            file.write(json.dumps(message) + "\n")


def _otlp(span: RecordedSpan) -> dict[str, Any]:
    return {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "parentSpanId": span.parent_id or "",
        "name": span.name,
        "kind": 1,
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": _pairs(span.attributes),
        "events": [
            {"name": e.name, "timeUnixNano": str(e.time_ns), "attributes": _pairs(e.attributes)}
            for e in span.events
        ],
    }


def _pairs(attributes: Any) -> list[dict[str, Any]]:
    kinds = {bool: "boolValue", int: "intValue", float: "doubleValue", str: "stringValue"}
    return [{"key": k, "value": {kinds[type(v)]: v}} for k, v in attributes.items()]
