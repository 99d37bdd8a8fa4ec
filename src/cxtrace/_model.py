"""The facts of a journey map as frozen classes, and the closed sets that only the map uses.

The classes hold what they are given: it is the reader of the map that checks names, references and
weights. To check objects that you built yourself, load what ``JourneyMap.dump`` wrote of them.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import attrs

from cxtrace.attributes import Channel, Initiator, Phase, PromiseSource, TouchpointType

PromiseMetric = Literal[
    "touchpoint.duration",
    "touchpoint.effort",
    "touchpoint.interactions",
    "touchpoint.frictions",
    "journey.duration",
    "handoff.duration",
    "complaint.resolution.duration",
    "feedback.normalized_score",
    "delivered",
]
"""What a promise may be about: the name of one of our metrics without its ``cx.``, or ``delivered``
for a value that only the code knows and reports with ``deliver()``.
"""

PromiseOp = Literal["<=", "<", ">=", ">"]
"""How the delivered value must compare with the target for the promise to be kept."""

TimeUnit = Literal["ms", "s", "min", "h", "d", "wk"]
"""UCUM units that a promise about a duration may be written in."""

Importance = Literal["normal", "critical"]
"""How much hangs on a touchpoint; the words are those of a Grafana Faro user action."""


def freeze(value: Any) -> Any:
    """Give a read-only copy of plain data: mappings become proxies, lists become tuples."""
    if isinstance(value, Mapping):
        return MappingProxyType({key: freeze(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    return value


def _names(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


def _channels(value: Iterable[Channel]) -> tuple[Channel, ...]:
    return tuple(value)


def _weights(value: Mapping[str, float]) -> Mapping[str, float]:
    return MappingProxyType(dict(value))


def _routes(value: Mapping[str, Iterable[str]]) -> Mapping[str, tuple[str, ...]]:
    return MappingProxyType({name: tuple(steps) for name, steps in value.items()})


def _settings(value: Mapping[str, Any]) -> Mapping[str, Any]:
    frozen: Mapping[str, Any] = freeze(value)
    return frozen


def _many_settings(value: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    return tuple(_settings(item) for item in value)


@attrs.frozen
class Function:
    """A function of the business, such as sales or IT: someone who can own a touchpoint."""

    name: str
    contact: str | None = None
    """Where to reach the people: a channel, a mail address, a link."""
    happy: str | None = None
    """What a happy customer means to this function, as a comparison; stored, not evaluated."""


@attrs.frozen
class Stage:
    """A stage of the relationship between a customer and the company."""

    name: str
    phase: Phase
    """Before, during or after the time in which the person is a customer."""
    order: int
    """Place among the stages; lower is earlier."""


@attrs.frozen
class Promise:
    """A promise made to the customer, and how to measure whether it is kept."""

    id: str
    claim: str
    """The promise in the words that the customer heard."""
    source: PromiseSource
    metric: PromiseMetric
    op: PromiseOp
    target: float
    """What is promised, in ``unit``."""
    unit: str
    """A UCUM unit such as ``s``, ``d``, ``%`` or ``{action}``."""
    objective: float | None = None
    """Share of customers, between 0 and 1, for whom the promise must hold."""


@attrs.frozen
class Touchpoint:
    """A place where customer and company meet."""

    name: str
    stage: str
    owner: str
    """The one function that answers for the touchpoint."""
    channels: tuple[Channel, ...] = attrs.field(default=(), converter=_channels)
    initiator: Initiator | None = None
    type: TouchpointType | None = None
    influence: Mapping[str, float] = attrs.field(factory=dict, converter=_weights, hash=False)
    """Share of influence of each function, summing to 1."""
    interactions: tuple[str, ...] = attrs.field(default=(), converter=_names)
    """The micro-interactions that are planned here."""
    expected_actions: int | None = None
    """How many actions the customer should need."""
    promises: tuple[str, ...] = attrs.field(default=(), converter=_names)
    """Ids of the promises that are made here."""
    friction: Mapping[str, Any] = attrs.field(factory=dict, converter=_settings, hash=False)
    """Settings of friction detectors by kind of friction; stored, not interpreted."""
    match: tuple[Mapping[str, Any], ...] = attrs.field(
        default=(), converter=_many_settings, hash=False
    )
    """Where the touchpoint is in code that stays untouched; stored, not interpreted."""
    importance: Importance | None = None
    description: str | None = None


@attrs.frozen
class Journey:
    """A way that customers go, from touchpoint to touchpoint, towards a goal."""

    name: str
    goal: str | None = None
    """The touchpoint at which the journey has succeeded."""
    routes: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict, converter=_routes, hash=False)
    """Touchpoints in order, by name of the route."""
    description: str | None = None


@attrs.frozen
class Place:
    """Where in the files something is defined."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"
