"""What attributes stand on, in this process: the registry's groups, and those that it has not.

Besides attributes, each span, event and number has a frame: ids, names and times.
"""

from collections.abc import Iterator
from typing import Final

from cxtrace import _baggage
from cxtrace import attributes as names
from cxtrace._settings import OPT_IN
from cxtrace.platform.explain.live import Live
from cxtrace.platform.explain.registry import Attribute, Group, Kind, registry

STAMPED: Final = "every span under a touchpoint"
ON_LINES: Final = "log lines of the application"

MARKS: Final = (names.SYNTHETIC_TYPE, names.WALKTHROUGH_ID, names.WALKTHROUGH_PERSONA)
"""What stands on everything in a walkthrough."""

CALLS: Final = {
    names.EVENT_EMOTION: "emotion()",
    names.EVENT_NUDGE_EXPOSURE: "nudge()",
    names.EVENT_NUDGE_OUTCOME: "accepted() and its like on what nudge() returns",
    names.EVENT_FEEDBACK: "feedback()",
    names.EVENT_COMPLAINT: "complaint()",
    names.EVENT_MENTION: "mention()",
    names.EVENT_HANDOFF: "handoff()",
    names.EVENT_VALUE: "value()",
    names.EVENT_FORECAST: "forecast()",
    "cx.interaction": "interaction()",
}
"""What is sent only where the code calls it."""

_OTHERWISE: Final = {
    names.EVENT_FRICTION: "the code calls friction(), or a rule of the map finds it",
    names.EVENT_PROMISE_EVALUATED: "the map makes a promise at the touchpoint",
    names.EVENT_TOUCHPOINT_ABANDONED: "the touchpoint ends as abandoned",
    names.METRIC_PROMISE_EVALUATIONS: "the map makes a promise at the touchpoint",
    names.METRIC_PROMISE_DELIVERED_RATIO: "the map makes a promise at the touchpoint",
    names.METRIC_FUNCTION_VERDICTS: "a function of the map says what a happy customer is",
    names.METRIC_HANDOFF_DURATION: "the code calls handoff(), here or in a service before this one",
    names.EXCEPTION: "an exception flies out of a touchpoint or micro-interaction",
}

_OPEN: Final = "if somebody asks for it"
_ASKED: Final = "if the code gives it"
_WHERE_CODE: Final = {
    ("cx.touchpoint", names.CONTEXT): _ASKED,
    ("cx.touchpoint", names.QUALITY): _ASKED,
    ("cx.touchpoint", names.SESSION_ID): _ASKED,
    ("cx.touchpoint", names.TOUCHPOINT_FIRST_CONTACT): _ASKED,
    ("cx.touchpoint", names.CUSTOMER_SEGMENT): _ASKED,
    ("cx.touchpoint", names.CUSTOMER_KIND): _ASKED,
    ("cx.touchpoint", names.CUSTOMER_PSEUDONYM): "if customer() or identify() names somebody",
    ("cx.journey.start", names.CUSTOMER_PSEUDONYM): "if customer() or identify() names somebody",
}
"""Conditions that the registry leaves to the implementation."""

_RESERVED: Final = {
    ("cx.interaction", names.EFFORT_ACTIONS),
    (names.EVENT_FRICTION, names.ERROR_TYPE),
}
"""What the registry allows there, and this version does not send."""

_WALKED: Final = "in a walkthrough"
_LABELS: Final = "if `metrics_opt_in` asks for it, as here"

TIME: Final = "time"
FRAME: Final[tuple[tuple[Kind, str, Attribute], ...]] = (
    (
        "span",
        "trace id and span id",
        Attribute("Random ids that join the spans of one request.", "linkable", "high", "link"),
    ),
    (
        "span",
        "name, kind and status",
        Attribute(
            "The touchpoint or interaction; whether it failed, without any text.",
            *("none", "bounded", "journey"),
        ),
    ),
    (
        "span",
        "start and end",
        Attribute("When it happened, to the nanosecond.", "linkable", "unbounded", "experience"),
    ),
    (
        "span",
        "link",
        Attribute(
            "Trace and span id of the request of a stranger that a `public_endpoint` did not join.",
            *("linkable", "high", "link"),
        ),
    ),
    (
        "baggage",
        "traceparent and tracestate",
        Attribute(
            "Trace id and span id, which OpenTelemetry sends with every request, to everybody.",
            *("linkable", "high", "link"),
        ),
    ),
    (
        "event",
        TIME,
        Attribute("When it happened, to the nanosecond.", "linkable", "unbounded", "journey"),
    ),
    (
        "event",
        "trace id and span id of a log record",
        Attribute("The span that the event belongs to.", "linkable", "high", "link"),
    ),
    (
        "metric",
        "example",
        Attribute(
            "Value, time, trace id and span id of one measurement among many.",
            *("linkable", "high", "link"),
        ),
    ),
    (
        "metric",
        "values and times",
        Attribute("Sums, counts and buckets of an interval.", "none", "unbounded", "experience"),
    ),
)
"""What stands around attributes."""

SIGNATURE: Final = Attribute(
    "Key id, time and signature over the other members; and since when the journey, its open "
    "promises and hand-offs run.",
    *("linkable", "unbounded", "link"),
)


def is_in_frame(kind: Kind, name: str, live: Live) -> bool:
    """Whether a part of the frame is sent."""
    if live.state == "disabled":
        return False
    if kind == "baggage":
        return live.joins_requests
    if name == "link":
        return bool(live.settings.get("public_endpoint")) and live.carries_spans
    if name == "example":
        return bool(live.of("metrics")) and live.is_measuring_by_trace
    if name.endswith("of a log record"):
        return live.has_log_events
    there = {
        "span": live.carries_spans,
        "event": live.has_span_events or live.has_log_events or live.has_exceptions,
        "metric": bool(live.of("metrics")),
    }
    return there[kind]


def groups(live: Live) -> Iterator[Group]:
    """All that attributes can stand on, by this version."""
    for group in registry().groups:
        yield Group(group.kind, group.name, group.meaning, _attributes(group))
    tags = {**dict.fromkeys(names.TAGS, "if it is known"), **dict.fromkeys(MARKS, _WALKED)}
    meaning = "Spans of everybody, such as a framework or a database driver."
    yield Group("stamp", STAMPED, meaning, tags)
    lines = dict.fromkeys(tags, "if the code puts a filter or processor of cxtrace.logs in")
    yield Group("line", ON_LINES, "What the application itself logs.", lines)
    yield Group(
        "baggage", "baggage", "A header of requests and messages that go out.", _members(live)
    )
    resource = dict.fromkeys(live.resource, "")
    yield Group("resource", "resource", "What is said of the process, with all it sends.", resource)


def _attributes(group: Group) -> dict[str, str]:
    sent = registry().sent
    return {
        name: _WHERE_CODE.get((group.name, name), _level(group, condition))
        for name, condition in group.attributes.items()
        if name in sent and not _is_reserved(group, name, condition)
    }


def _is_reserved(group: Group, name: str, condition: str) -> bool:
    """Whether this version does not send it there; to some labels nobody can opt in so far."""
    is_label = group.kind == "metric" and condition == _OPEN
    return (group.name, name) in _RESERVED or (is_label and name not in OPT_IN)


def _level(group: Group, condition: str) -> str:
    if condition != _OPEN:
        return condition
    return _LABELS if group.kind == "metric" else _ASKED


def _members(live: Live) -> dict[str, str]:
    ours = "if the destination is yours"
    blindly = live.settings.get("unknown_destination") == "names"
    either = f"{ours}, or cannot be told" if blindly else ours
    found = dict.fromkeys((*_baggage.NAMES, _baggage.SIGNATURE), either)
    marks = dict.fromkeys(MARKS, f"{_WALKED}, {either}")
    return {**found, **marks, **dict.fromkeys(_baggage.IDS, ours)}


def condition_of(group: Group) -> str:
    """When a span, event or metric is there at all; empty is with every touchpoint or journey."""
    if group.name in _OTHERWISE:
        return f"if {_OTHERWISE[group.name]}"
    return f"if the code calls {CALLS[group.name]}" if group.name in CALLS else ""
