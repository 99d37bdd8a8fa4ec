"""What a configuration leaves out: each rule says when it is in force, what of, why, and what else.

A new setting that switches something off is one more rule.
"""

from collections.abc import Callable, Iterator
from typing import Final

from attrs import frozen

from cxtrace import attributes as names
from cxtrace._measures import GATED
from cxtrace._settings import OPT_IN, SIGNALS
from cxtrace.context import LINKING
from cxtrace.platform.explain.live import TEXTS, Live
from cxtrace.platform.explain.registry import Group

CONSENTS: Final = ("granted", "not_required", "unknown", "denied", "withdrawn")
"""States of consent, from what allows most."""


@frozen
class Rule:
    """What leaves something out.

    Attributes:
        holds: Whether it is in force.
        covers: Whether it leaves out an attribute of a group; of None, the group itself.
        why: In a sentence.
        change: What would send it.
    """

    holds: Callable[[Live], bool]
    covers: Callable[[Group, str | None], bool]
    why: str
    change: str


def kind_of(name: str) -> str:
    """The kind of signal that an event, a metric or an attribute belongs to, else its family."""
    if name == names.METRIC_TOUCHPOINT_FRICTIONS:
        return "friction"
    first, _, rest = name.partition(".")
    family = rest.partition(".")[0] if first == "cx" else first
    return family.removesuffix("s") if name == names.METRIC_MENTIONS else family


def is_gated(group: Group, attribute: str | None) -> bool:
    """Whether a refused consent forbids it."""
    if attribute in LINKING or kind_of(group.name) in GATED:
        return True
    # A mention may have a feeling, which is an emotion.
    return attribute is not None and group.kind == "event" and kind_of(attribute) in GATED


def is_allowed(consent: str, live: Live) -> bool:
    """Whether a state of consent allows what tells one customer from another."""
    if consent == "unknown":
        return not live.settings.get("consent_required")
    return consent in {"granted", "not_required"}


def _whole(*kinds: str) -> Callable[[Group, str | None], bool]:
    return lambda group, attribute: attribute is None and group.kind in kinds


def _everything(_group: Group, attribute: str | None) -> bool:
    return attribute is None


def _named(*wanted: str) -> Callable[[Group, str | None], bool]:
    """Groups or attributes by their names; a template by its beginning."""
    return lambda group, attribute: (group.name if attribute is None else attribute) in wanted


def _is_off(kind: str) -> Callable[[Live], bool]:
    return lambda live: kind in live.settings.get("signals_off", ())


def _of_signal(kind: str) -> Callable[[Group, str | None], bool]:
    def covers(group: Group, attribute: str | None) -> bool:
        if attribute is None:
            # A hand-off that began in another service is measured here all the same.
            is_elsewhere = group.name == names.METRIC_HANDOFF_DURATION
            is_signal = group.kind in {"event", "metric"} and not is_elsewhere
            return is_signal and kind_of(group.name) == kind
        return kind == "emotion" and group.kind == "event" and attribute == names.EMOTION_VALENCE

    return covers


def _is_not_wanted(name: str) -> Callable[[Live], bool]:
    return lambda live: name not in live.settings.get("metrics_opt_in", ())


def _opt_in(name: str) -> Callable[[Group, str | None], bool]:
    def covers(group: Group, attribute: str | None) -> bool:
        return group.kind == "metric" and (group.name if attribute is None else attribute) == name

    return covers


def _map_lacks(facet: str) -> Callable[[Live], bool]:
    return lambda live: live.journey_map is not None and facet not in live.journey_map.has


def _no_map(live: Live) -> bool:
    return live.journey_map is None


_ONLY_WITH_MAP: Final = (names.MAP_VERSION, names.TOUCHPOINT_PLANNED)
_PROMISES: Final = (
    names.EVENT_PROMISE_EVALUATED,
    names.METRIC_PROMISE_EVALUATIONS,
    names.METRIC_PROMISE_DELIVERED_RATIO,
)

_FACETS: Final = {
    "context": (names.CONTEXT,),
    "promises": _PROMISES,
    "happy": (names.FUNCTION_HAPPY, names.METRIC_FUNCTION_VERDICTS),
    "influence": (names.OWNER_INFLUENCE,),
    "type": (names.TOUCHPOINT_TYPE,),
    "initiator": (names.TOUCHPOINT_INITIATOR,),
    "expected_actions": (names.EFFORT_EXPECTED_ACTIONS,),
    "friction": (names.FRICTION_DETECTOR,),
}
"""What only a facet of the map adds."""

_WORDS: Final = {
    "context": "The journey map lists no `context` keys.",
    "promises": "The journey map makes no promise.",
    "happy": "No function of the journey map says what a `happy` customer is.",
    "influence": "The journey map shares out no `influence`.",
    "type": "The journey map gives no touchpoint a `type`.",
    "initiator": "The journey map names no `initiator`.",
    "expected_actions": "The journey map has no `expected_actions`.",
    "friction": "The journey map has no rules for friction.",
}


def _of_map() -> Iterator[Rule]:
    found = (*_ONLY_WITH_MAP, *(name for facet in _FACETS.values() for name in facet))
    yield Rule(_no_map, _named(*found), "There is no journey map.", "Set CXTRACE_MAP.")
    yield Rule(_no_map, _phase_of_span, "There is no journey map.", "Set CXTRACE_MAP.")
    for facet, wanted in _FACETS.items():
        word = {"promises": "[[promise]]"}.get(facet, facet)
        yield Rule(_map_lacks(facet), _named(*wanted), _WORDS[facet], f"Write `{word}` in the map.")


def _phase_of_span(group: Group, attribute: str | None) -> bool:
    """A mention may have a phase without a map."""
    return group.kind == "span" and attribute == names.STAGE_PHASE


def _is_stopped(text: str) -> Callable[[Live], bool]:
    return lambda live: not any(each.lets_through(text) for each in live.of("traces"))


def _no_events(live: Live) -> bool:
    return not live.has_span_events and not live.has_log_events


def _signals(group: Group, attribute: str | None) -> bool:
    """Events that can become log records too."""
    return attribute is None and group.kind == "event" and group.name != names.EXCEPTION


def _spans(group: Group, attribute: str | None) -> bool:
    """Spans, and what can stand on nothing else."""
    is_on_spans = group.kind in {"span", "stamp"} or group.name == names.EXCEPTION
    return attribute is None and is_on_spans


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        lambda live: live.state == "disabled",
        _everything,
        "OpenTelemetry is switched off.",
        "Unset OTEL_SDK_DISABLED.",
    ),
    Rule(
        lambda live: not live.carries_spans,
        _spans,
        "Nobody takes spans.",
        "Set CXTRACE_EXPORTER or OTEL_EXPORTER_OTLP_ENDPOINT.",
    ),
    Rule(
        lambda live: not live.of("metrics"),
        _whole("metric"),
        "Nobody takes metrics.",
        "Set OTEL_METRICS_EXPORTER or OTEL_EXPORTER_OTLP_ENDPOINT.",
    ),
    Rule(
        lambda live: not live.destinations,
        _whole("resource"),
        "Nobody takes anything.",
        "Set CXTRACE_EXPORTER or OTEL_EXPORTER_OTLP_ENDPOINT.",
    ),
    Rule(
        _no_events,
        _signals,
        "Nobody takes events, neither with spans nor as log records.",
        "Set CXTRACE_EXPORTER, or look at `event_signal`.",
    ),
    Rule(
        lambda live: not live.has_exceptions,
        _named(names.EXCEPTION),
        "`record_exceptions` does not ask for it.",
        "Set `record_exceptions` to scrubbed.",
    ),
    Rule(
        lambda live: "CXPropagator" not in live.propagators,
        _whole("baggage"),
        "The propagator of cxtrace is not in force.",
        "Set OTEL_PROPAGATORS=tracecontext,baggage,cxtrace.",
    ),
    *(
        Rule(
            _is_stopped(name),
            _named(name),
            "`scrub` takes it out of what every exporter gets.",
            f"Put {name} into `scrub`.",
        )
        for name in TEXTS
    ),
    *(
        Rule(
            _is_off(kind),
            _of_signal(kind),
            f"`signals_off` has {kind}.",
            f"Take {kind} out of `signals_off`.",
        )
        for kind in SIGNALS
    ),
    *(
        Rule(
            _is_not_wanted(name),
            _opt_in(name),
            "`metrics_opt_in` does not ask for it.",
            f"Put {name} into `metrics_opt_in`.",
        )
        for name in OPT_IN
    ),
    *_of_map(),
)
"""In the order in which a reason is told: what leaves out most comes first."""
