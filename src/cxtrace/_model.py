"""The facts of a journey map as frozen classes, and the closed sets that only the map uses.

The classes hold what they are given: it is the reader of the map that checks names, references and
weights. To check objects that you built yourself, load what ``JourneyMap.dump`` wrote of them.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, Literal

import attrs

from cxtrace.attributes import (
    Channel,
    CustomerKind,
    FrictionSeverity,
    FrictionType,
    Initiator,
    Outcome,
    Phase,
    PromiseSource,
    TouchpointType,
)

PromiseMetric = Literal[
    "touchpoint.duration",
    "touchpoint.success",
    "touchpoint.effort",
    "touchpoint.wait_time",
    "touchpoint.interactions",
    "touchpoint.frictions",
    "journey.duration",
    "handoff.duration",
    "complaint.resolution.duration",
    "feedback.normalized_score",
    "delivered",
]
"""What a promise may be about: the name of one of our metrics without its ``cx.``; or
``touchpoint.success``, 1 for the outcome ``completed`` and 0 for every other;
``touchpoint.wait_time``; or ``delivered`` for a value that only the code knows and reports with
``deliver()``.
"""

TIME_METRICS: Final[frozenset[str]] = frozenset(
    {
        "touchpoint.duration",
        "touchpoint.wait_time",
        "journey.duration",
        "handoff.duration",
        "complaint.resolution.duration",
    }
)
"""The metrics of promises that are times, and need a unit of time."""

PromiseOp = Literal["<=", "<", ">=", ">"]
"""How the delivered value must compare with the target for the promise to be kept."""

TimeUnit = Literal["ms", "s", "min", "h", "d", "wk"]
"""UCUM units that a promise about a time, and the duration of a rule, may be written in."""

SECONDS: Final[Mapping[str, float]] = MappingProxyType(
    {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0, "wk": 604_800.0}
)
"""How many seconds each unit of time has."""

Importance = Literal["normal", "critical"]
"""How much hangs on a touchpoint; the words are those of a Grafana Faro user action."""


def in_seconds(value: float, unit: str) -> float | None:
    """The same time in seconds; ``None`` if the unit is no unit of time."""
    factor = SECONDS.get(unit)
    if factor is None:
        return None
    # A division keeps 9 ms at 0.009, where the product is 0.009000000000000001.
    return value * factor if factor >= 1 else value / (1 / factor)


def _names(value: Iterable[str]) -> tuple[str, ...]:
    return tuple(value)


def _channels(value: Iterable[Channel]) -> tuple[Channel, ...]:
    return tuple(value)


def _weights(value: Mapping[str, float]) -> Mapping[str, float]:
    return MappingProxyType(dict(value))


def _routes(value: Mapping[str, Iterable[str]]) -> Mapping[str, tuple[str, ...]]:
    return MappingProxyType({name: tuple(steps) for name, steps in value.items()})


@attrs.frozen
class Function:
    """A function of the business, such as sales or IT: someone who can own a touchpoint."""

    name: str
    contact: str | None = None
    """Where to reach the people: a channel, a mail address, a link."""
    happy: str | None = None
    """What a happy customer means to this function, as a comparison of facts; it is parsed in
    ``JourneyMap.happiness``.
    """


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
    begins: str | None = None
    """For ``journey.duration``: the touchpoint at whose end the time begins to run; by default it
    runs from the beginning of the journey.
    """
    ends: str | None = None
    """For ``journey.duration``: the touchpoint at whose end the time is measured; by default at the
    end of the journey.
    """
    exceeded_at: float | None = None
    """In ``unit``: what is delivered as good as this, or better, exceeds the promise. By default no
    promise is exceeded.
    """

    @property
    def seconds(self) -> float | None:
        """The target in seconds; ``None`` if the unit is no unit of time."""
        return in_seconds(self.target, self.unit)

    def in_unit(self, seconds: float) -> float:
        """A time in the unit of a promise that is about a time."""
        return seconds / SECONDS[self.unit]


FRICTION_TYPES: Final[Mapping[str, FrictionType]] = MappingProxyType(
    {
        "repeat_action": "repeat_action",
        "error_streak": "error",
        "validation_loop": "validation_rejected",
        "backtrack": "backtrack",
        "slow": "slow",
        "repeat_contact": "repeat_contact",
    }
)
"""The rules that find friction, each with the kind of friction that it finds."""


@attrs.frozen
class FrictionRule:
    """A rule that finds friction in what customers do."""

    name: str
    """One of ``FRICTION_TYPES``."""
    count: int | None = None
    """How many times it must happen; ``None`` where the rule does not count."""
    within: float | None = None
    """Seconds within which it must happen that often."""
    after: float | None = None
    """Seconds after which a touchpoint is slow; ``None`` stands for the target of its promise."""
    severity: FrictionSeverity = "medium"

    @property
    def type(self) -> FrictionType:
        """The kind of friction that the rule finds."""
        return FRICTION_TYPES[self.name]

    @property
    def detector(self) -> str:
        """Name and version of the rule, as in ``cx.friction.detector``."""
        return f"{self.name}@1"


FRICTION_RULES: Final[Mapping[str, FrictionRule]] = MappingProxyType(
    {
        rule.name: rule
        for rule in (
            FrictionRule("repeat_action", count=3, within=10.0),
            FrictionRule("error_streak", count=3, within=600.0, severity="high"),
            FrictionRule("validation_loop", count=3, within=300.0, severity="high"),
            FrictionRule("backtrack", severity="low"),
            FrictionRule("slow"),
            FrictionRule("repeat_contact", count=3, within=86_400.0),
        )
    }
)
"""Every rule with what stands for the keys that a map leaves out."""


def _rules(value: Mapping[str, FrictionRule]) -> Mapping[str, FrictionRule]:
    return MappingProxyType(dict(value))


@attrs.frozen
class Friction:
    """The rules that find friction: at one touchpoint, or by default at all."""

    rules: Mapping[str, FrictionRule] = attrs.field(factory=dict, converter=_rules, hash=False)
    """The rules by name."""
    suppress: tuple[str, ...] = attrs.field(default=(), converter=_names)
    """Names of rules that are switched off."""


@attrs.frozen
class Teller:
    """A part of a request that tells who the customer is, or which journey it belongs to.

    Exactly one of ``header``, ``cookie``, ``path``, ``query``, ``session``, ``user`` and ``claim``
    is given.
    """

    header: str | None = None
    """Name of a header, or of the metadata of a call or a message."""
    cookie: str | None = None
    path: str | None = None
    """Name of a parameter in the route, as in ``/orders/{order}``."""
    query: str | None = None
    """Name of a parameter in the query string."""
    session: str | None = None
    """Key of the session, where the application has loaded it."""
    user: str | None = None
    """Attribute of the user whom the application has authenticated."""
    claim: str | None = None
    """Claim of a token that the application has verified."""
    kind: CustomerKind | None = None


@attrs.frozen
class OutcomeRule:
    """What an answer means to the customer; all that is given must hold."""

    outcome: Outcome
    status: str | None = None
    """Status code: ``200``, or ``4xx`` for all that begin so."""
    redirect: str | None = None
    """Path that the answer leads to, with ``{name}`` for a part that varies."""
    header: str | None = None
    """Name of a header of the answer."""
    value: str | None = None
    """What the header says; by default it only has to be there."""


def _tellers(value: Iterable[Teller]) -> tuple[Teller, ...]:
    return tuple(value)


def _outcomes(value: Iterable[OutcomeRule]) -> tuple[OutcomeRule, ...]:
    return tuple(value)


@attrs.frozen
class Match:
    """Where a touchpoint is in code that stays untouched.

    Exactly one of ``route``, ``function``, ``task``, ``consume`` and ``rpc`` is given.
    """

    route: str | None = None
    """Method and path template: ``POST /basket/add/{pk}``."""
    function: str | None = None
    """Module and qualified name: ``package.module:Class.method``."""
    task: str | None = None
    """Name of a Celery task."""
    consume: str | None = None
    """Name of a topic or queue."""
    rpc: str | None = None
    """Service and method of gRPC: ``shop.Orders/Place``."""
    outcome: tuple[OutcomeRule, ...] = attrs.field(default=(), converter=_outcomes)
    """What the answer means; the first rule that holds counts."""
    customer: tuple[Teller, ...] = attrs.field(default=(), converter=_tellers)
    """Who the customer is; asked before the rules for every request."""
    journey: tuple[Teller, ...] = attrs.field(default=(), converter=_tellers)
    """Which journey this is; asked before the rules for every request."""


@attrs.frozen
class Requests:
    """What every request, task and message tells."""

    customer: tuple[Teller, ...] = attrs.field(default=(), converter=_tellers)
    """Who the customer is; the first that tells something counts."""
    journey: tuple[Teller, ...] = attrs.field(default=(), converter=_tellers)
    """Which journey this is: what is told identifies it."""


def _matches(value: Iterable[Match]) -> tuple[Match, ...]:
    return tuple(value)


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
    friction: Friction = Friction()
    """The rules for friction here; ``JourneyMap.friction_at`` gives those that take effect."""
    match: tuple[Match, ...] = attrs.field(default=(), converter=_matches)
    """Where the touchpoint is in code that stays untouched."""
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
