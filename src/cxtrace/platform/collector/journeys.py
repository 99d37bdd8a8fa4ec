"""How a Collector keeps a journey together, which only knows traces, and which journeys it keeps.

Before spans are spread and decided upon, the id of their journey takes the place of the id of their
trace, which waits in an attribute; behind, it is put back. So a stock Collector sends all traces of
a journey to one gateway and decides on them together. A span without a journey keeps its trace.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from cxtrace import _instruments
from cxtrace import attributes as names
from cxtrace.journey_map import JourneyMap
from cxtrace.platform import series
from cxtrace.platform.collector.parts import variable
from cxtrace.platform.collector.redaction import Part

TRACE: Final = "collector.trace_id"
"""Where the id of the trace waits between two tiers of gateways."""

_ID: Final = f'span.attributes["{names.JOURNEY_ID}"]'
_TRACE: Final = f'span.attributes["{TRACE}"]'

DIMENSIONS: Final = tuple(
    label for label in series.LABELS[names.METRIC_TOUCHPOINT_DURATION] if label != names.ERROR_TYPE
)
"""What span metrics tell apart beside service, name, kind and status of a span."""

_MOST_SERIES: Final = 20_000
_SHORTEST: Final = 1e-9
"""Seconds; Go knows no shorter time."""

_OF_CALLS: Final = (0.005, 0.01, 0.025, 0.05)
"""Boundaries, in seconds, for spans within touchpoints, of which most are shorter than these."""


def together() -> Part:
    """A ``transform`` that puts the journey in the place of the trace."""
    with_journey = f"where {_ID} != nil"
    return {
        "error_mode": "propagate",
        "trace_statements": [
            f"set({_TRACE}, span.trace_id.string) {with_journey}",
            f"set(span.trace_id.string, Substring(SHA256({_ID}), 0, 32)) {with_journey}",
        ],
    }


def apart() -> Part:
    """A ``transform`` that puts the trace back."""
    return {
        "error_mode": "propagate",
        "trace_statements": [
            f"set(span.trace_id.string, {_TRACE}) where {_TRACE} != nil",
            f'delete_key(span.attributes, "{TRACE}")',
        ],
    }


def sampling() -> Part:
    """The processor ``tail_sampling``: journeys that were hurt, and a share of the others."""
    return {
        "decision_wait": variable("CX_DECISION_WAIT"),
        "num_traces": 50_000,
        "decision_cache": {
            # What is kept is kept to the end, also what comes when the decision is long made.
            "sampled_cache_size": 200_000,
            # What is dropped is forgotten at once: if it is hurt later, it is kept from there on.
            "non_sampled_cache_size": 1,
        },
        "policies": [
            {"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}},
            _values("outcomes", names.TOUCHPOINT_OUTCOME, ["failed", "abandoned"]),
            _event("frictions", names.EVENT_FRICTION),
            _event(
                "broken_promises",
                names.EVENT_PROMISE_EVALUATED,
                f'spanevent.attributes["{names.PROMISE_RESULT}"] == "broken"',
            ),
            _event("complaints", names.EVENT_COMPLAINT),
            _event(
                "lost_journeys",
                names.EVENT_JOURNEY_END,
                f'(spanevent.attributes["{names.JOURNEY_OUTCOME}"] == "failed"'
                f' or spanevent.attributes["{names.JOURNEY_OUTCOME}"] == "abandoned")',
            ),
            _condition(
                "long",
                f'span.attributes["{names.TOUCHPOINT_NAME}"] != nil'
                f' and span.end_time - span.start_time > Duration("{variable("CX_LONG")}")',
            ),
            _condition("walkthroughs", f'span.attributes["{names.WALKTHROUGH_ID}"] != nil'),
            {
                "name": "rest",
                "type": "probabilistic",
                "probabilistic": {"sampling_percentage": variable("CX_KEEP_PERCENT")},
            },
        ],
    }


def _values(name: str, key: str, values: Sequence[str]) -> Part:
    wanted = {"key": key, "values": list(values)}
    return {"name": name, "type": "string_attribute", "string_attribute": wanted}


def _event(name: str, event: str, *conditions: str) -> Part:
    condition = " and ".join([f'spanevent.name == "{event}"', *conditions])
    return _ottl(name, {"spanevent": [condition]})


def _condition(name: str, condition: str) -> Part:
    return _ottl(name, {"span": [condition]})


def _ottl(name: str, conditions: Mapping[str, Any]) -> Part:
    return {
        "name": name,
        "type": "ottl_condition",
        "ottl_condition": {"error_mode": "ignore", **conditions},
    }


def span_metrics(journey_map: JourneyMap) -> Part:
    """The connector ``span_metrics``: calls and durations by touchpoint, of every span there is.

    No dimension is of a customer or of one journey. Among the boundaries are those of
    ``cx.touchpoint.duration``, promises of the map included.
    """
    of_touchpoints = _instruments.boundaries(names.METRIC_TOUCHPOINT_DURATION, journey_map)
    boundaries = sorted({*_OF_CALLS, *of_touchpoints})
    return {
        "dimensions": [{"name": name} for name in DIMENSIONS],
        "histogram": {
            # As Jaeger's monitor tab takes them, whatever it is told.
            "unit": "ms",
            "explicit": {"buckets": [_seconds(each) for each in boundaries if each >= _SHORTEST]},
        },
        "exemplars": {"enabled": True, "max_per_data_point": 1},
        "metrics_flush_interval": "15s",
        "metrics_expiration": "1h",
        "resource_metrics_key_attributes": ["service.name"],
        "aggregation_cardinality_limit": _MOST_SERIES,
    }


def _seconds(value: float) -> str:
    # Go reads no exponents.
    return f"{value:.9f}".rstrip("0").rstrip(".") + "s"
