"""The explanation: every name that a configuration can send, and every one that it leaves out."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from attrs import asdict, field, frozen

from cxtrace import _baggage
from cxtrace import attributes as names
from cxtrace._version import version
from cxtrace.platform.explain.groups import (
    FRAME,
    SIGNATURE,
    TIME,
    condition_of,
    groups,
    is_in_frame,
)
from cxtrace.platform.explain.live import Live
from cxtrace.platform.explain.registry import CLASSES, PURPOSES, Attribute, Group, Kind, registry
from cxtrace.platform.explain.rules import CONSENTS, RULES, Rule, is_allowed, is_gated, kind_of

What: TypeAlias = Literal["attribute", "event", "metric", "frame"]
LeftOut: TypeAlias = What | Kind

EVERYBODY: Final = "everybody who is called"
_AROUND: Final[Mapping[str, str]] = {
    "span": "span",
    "event": "event",
    "metric": "metric",
    "baggage": "request",
}
_OF_OTHERS: Final = Attribute(
    "Set by OpenTelemetry or by you, about the process.", "none", "low", "operation"
)

NEVER: Final = (
    "The customer's identifier as the code gives it: it becomes a pseudonym, or is dropped.",
    "The tenant of a customer: it only changes the pseudonym.",
    "Arguments and return values of functions, and values of variables.",
    "Words of customers: of feedback, only score and category are taken.",
    "A feeling read from a face, a voice or a body.",
    "Attributes that are neither in this list nor, as context, in the journey map.",
    "The pseudonym, the journey id or the session as a label of a metric.",
)
"""What no setting sends."""

LIMITS: Final = (
    "Metrics and logs of others, and spans where `scrub` is off, are sent as others made them.",
    "The text of an exception, where it is recorded, says whatever code wrote into it.",
    "Names, and ids of journeys and sessions, are sent as code gives them, if they look opaque.",
    "What code calls is not looked at: an event that it never calls is never sent.",
    "How long a backend keeps what it gets, and who reads it there, is up to the backend.",
)
"""What this explanation cannot say."""


@frozen
class Use:
    """Where an attribute stands.

    Attributes:
        kind: Of the group.
        name: Of the group.
        condition: Under which it is there; empty is always.
        consent: The states of consent under which it is there.
    """

    kind: str
    name: str
    condition: str
    consent: tuple[str, ...]


@frozen
class Entry:
    """Something that can be sent.

    Attributes:
        what: What it is.
        name: Of the registry, or in words.
        meaning: In a sentence.
        pii_class: What it can say about a person; of an event or metric, the most personal of its
            attributes.
        cardinality: How many values it has; None for an event or metric.
        purpose: What it is for, in a sentence.
        condition: Under which it is there at all; empty is always.
        consent: The states of consent under which it is there.
        uses: Where an attribute stands; of an event or metric, none.
        attributes: What an event or metric has; of an attribute, none.
        goes_to: Numbers of destinations, ``baggage``, ``lines`` (of the application's own log), or
            everybody who is called.
        keys: What can stand for ``<key>`` at the end of a name, where the journey map says it.
    """

    what: What
    name: str
    meaning: str
    pii_class: str
    cardinality: str | None
    purpose: str
    condition: str = ""
    consent: tuple[str, ...] = CONSENTS
    uses: tuple[Use, ...] = ()
    attributes: tuple[str, ...] = ()
    goes_to: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


@frozen
class Absent:
    """Something that this version could send, and that this configuration does not.

    Attributes:
        what: What it is.
        name: Of the registry.
        lacks: What it is not on, where it is sent elsewhere.
        why: In a sentence.
        change: What would send it.
    """

    what: LeftOut
    name: str
    why: str
    change: str
    lacks: tuple[str, ...] = ()


@frozen
class Explanation:
    """Everything that is sent, and everything that is not.

    Attributes:
        live: The configuration.
        sent: What can leave, the most personal first.
        not_sent: What the configuration leaves out.
    """

    live: Live
    sent: tuple[Entry, ...] = field(repr=False)
    not_sent: tuple[Absent, ...] = field(repr=False)

    def entries(self, *what: What) -> list[Entry]:
        """What can leave, of some kinds."""
        return [each for each in self.sent if each.what in what]

    def to_dict(self) -> dict[str, Any]:
        """The explanation as JSON has it."""
        destinations = [
            {"id": str(number), **asdict(each), "encryption": each.encryption}
            for number, each in enumerate(self.live.destinations, 1)
        ]
        return {
            "cxtrace": version(),
            "configuration": {**self.live.to_dict(), "destinations": destinations},
            "sent": [asdict(each) for each in self.sent],
            "not_sent": [asdict(each) for each in self.not_sent],
            "never_sent": list(NEVER),
            "cannot_be_said": list(LIMITS),
        }


def explain(live: Live) -> Explanation:
    """What a configuration sends, and what it does not."""
    in_force = [rule for rule in RULES if rule.holds(live)]
    sent: list[tuple[Group, dict[str, str]]] = []
    whole: list[Absent] = []
    single: dict[tuple[str, str, str], list[str]] = {}
    for group in groups(live):
        rule = _covering(in_force, group, None)
        if rule is not None:
            whole.append(Absent(group.kind, group.name, rule.why, rule.change))
            continue
        kept = {}
        for name, condition in group.attributes.items():
            rule = _covering(in_force, group, name)
            if rule is None:
                kept[name] = condition
            else:
                single.setdefault((name, rule.why, rule.change), []).append(group.name)
        sent.append((group, kept))
    entries = [*_attributes(sent, live), *_groups(sent, live), *_frame(live)]
    there = {name for _, kept in sent for name in kept}
    return Explanation(
        live,
        tuple(sorted(entries, key=lambda each: list(CLASSES).index(each.pii_class))),
        (*_unsent(single, there), *whole, *_lost(groups(live), single, there)),
    )


def _covering(rules: Sequence[Rule], group: Group, attribute: str | None) -> Rule | None:
    return next((rule for rule in rules if rule.covers(group, attribute)), None)


def _unsent(
    single: Mapping[tuple[str, str, str], Sequence[str]], there: set[str]
) -> Iterator[Absent]:
    """Attributes that a rule of their own leaves out, of some groups or of all."""
    for (name, why, change), lacks in single.items():
        yield Absent("attribute", name, why, change, tuple(lacks) if name in there else ())


def _lost(
    every: Iterator[Group], single: Mapping[tuple[str, str, str], object], there: set[str]
) -> Iterator[Absent]:
    """Attributes that stand only on what is left out."""
    told = {name for name, _, _ in single}
    lost: dict[str, list[str]] = {}
    for group in every:
        for name in group.attributes:
            if name not in there and name not in told:
                lost.setdefault(name, []).append(group.name)
    for name, on in lost.items():
        yield Absent("attribute", name, f"It stands only on {', '.join(on)}.", "See there.")


def attribute_of(name: str) -> Attribute:
    """What the registry has about a name; that of a resource may be anybody's."""
    if name == _baggage.SIGNATURE:
        return SIGNATURE
    return registry().attributes.get(name, _OF_OTHERS)


def _attributes(sent: Sequence[tuple[Group, dict[str, str]]], live: Live) -> Iterator[Entry]:
    uses: dict[str, list[tuple[Group, Use]]] = {}
    for group, kept in sent:
        for name, condition in kept.items():
            use = Use(group.kind, group.name, condition, _consent(group, name, live))
            uses.setdefault(name, []).append((group, use))
    for name, found in uses.items():
        about = attribute_of(name)
        consent = {state for _, use in found for state in use.consent}
        every = (place for group, _ in found for place in _goes_to(group, live, name))
        goes_to = dict.fromkeys(every)
        yield Entry(
            "attribute",
            f"{name}.<key>" if about.is_template else name,
            about.meaning,
            about.pii_class,
            about.cardinality,
            PURPOSES[about.purpose],
            consent=tuple(state for state in CONSENTS if state in consent),
            uses=tuple(use for _, use in found),
            goes_to=tuple(goes_to),
            keys=_keys(name, live),
        )


def _keys(name: str, live: Live) -> tuple[str, ...]:
    return live.journey_map.context if name == names.CONTEXT and live.journey_map else ()


def _groups(sent: Sequence[tuple[Group, dict[str, str]]], live: Live) -> Iterator[Entry]:
    """Events and metrics, which say something by being there."""
    families: dict[str, str] = {}
    for name, about in registry().attributes.items():
        families.setdefault(kind_of(name), about.purpose)
    for group, kept in sent:
        if group.kind in {"event", "metric"}:
            yield Entry(
                "event" if group.kind == "event" else "metric",
                group.name,
                group.meaning,
                min((attribute_of(name).pii_class for name in kept), key=list(CLASSES).index),
                None,
                PURPOSES[families[kind_of(group.name)]],
                condition_of(group),
                _consent(group, None, live),
                attributes=tuple(kept),
                goes_to=_goes_to(group, live),
            )


def _frame(live: Live) -> Iterator[Entry]:
    for kind, name, about in FRAME:
        if is_in_frame(kind, name, live):
            group = Group(kind, name, "", {})
            yield Entry(
                "frame",
                f"{_AROUND[kind]}: {name}",
                about.meaning,
                about.pii_class,
                about.cardinality,
                PURPOSES[about.purpose],
                goes_to=(EVERYBODY,) if kind == "baggage" else _goes_to(group, live),
            )


def _consent(group: Group, attribute: str | None, live: Live) -> tuple[str, ...]:
    if not is_gated(group, attribute):
        return CONSENTS
    return tuple(state for state in CONSENTS if is_allowed(state, live))


def _goes_to(group: Group, live: Live, attribute: str = "") -> tuple[str, ...]:
    if group.kind in {"baggage", "line"}:
        return ("baggage" if group.kind == "baggage" else "lines",)
    wanted = {
        "traces": group.kind != "metric" and (group.kind != "event" or _is_on_spans(group, live)),
        "metrics": group.kind in {"metric", "resource"},
        "logs": group.kind == "resource" or (group.kind == "event" and _is_logged(group, live)),
    }
    numbered = enumerate(live.destinations, 1)
    takers = ((number, each) for number, each in numbered if wanted[each.signal])
    return tuple(str(number) for number, each in takers if each.lets_through(attribute))


def _is_on_spans(event: Group, live: Live) -> bool:
    """Whether an event, or what stands around any, is on spans."""
    if event.name == names.EXCEPTION:
        return True
    return live.has_span_events or (event.name == TIME and live.has_exceptions)


def _is_logged(event: Group, live: Live) -> bool:
    return live.has_log_events and event.name != names.EXCEPTION
