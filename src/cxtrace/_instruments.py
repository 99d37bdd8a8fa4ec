"""The metrics of the registry, and how a value gets into them at little cost.

A *cell* is one instrument with one set of labels. Touchpoints keep the cells that they need, so the
way from a value to its sum has no look-up of labels. No label is ever a customer's or a journey's.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from opentelemetry import metrics
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation

from cxtrace import _guard, _journeys
from cxtrace import attributes as names
from cxtrace._version import version

if TYPE_CHECKING:
    from cxtrace.journey_map import JourneyMap

Cell: TypeAlias = Callable[[float, Context], None]
"""Takes a value, and the context whose span may become its exemplar."""

Labels: TypeAlias = dict[str, Any]
Bind: TypeAlias = Callable[[Any, Labels], Cell]

_MINUTE: Final = 60.0
_HOUR: Final = 3_600.0
_DAY: Final = 86_400.0

_HUMAN: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3_600.0)
_DAYS: Final = tuple(days * _DAY for days in (1, 3, 7, 30, 90, 365))
_JOURNEY: Final = (_MINUTE, 10 * _MINUTE, _HOUR, 6 * _HOUR, *_DAYS)
_WAIT: Final = (*_HUMAN[:-1], _HOUR, 6 * _HOUR, *_DAYS[:4])
_REPAIR: Final = (_HOUR, 4 * _HOUR, *(days * _DAY for days in (1, 2, 3, 7, 14, 30, 90)))
_ACTIONS: Final = (1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0)
_SHARES: Final = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 6.0)
_TENTHS: Final = tuple(tenth / 10 for tenth in range(11))

OTHER: Final = "_OTHER"
"""The value of a label that has too many, or one that might name a person."""

_MOST_CELLS: Final = 2_000
"""Of one instrument, with labels that no map names; OpenTelemetry's own limit for a metric."""
_MOST_VALUES: Final = 50
_NAMES_SOMEBODY: Final = re.compile(
    r"\d{4}|(?:\d[ ()./+-]*){7}|[0-9a-fA-F]{16}|[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-|@|%40|v1\.[\w-]{22}"
)

_FREE: Final = (
    names.NUDGE_ID,
    names.FEATURE_FLAG_VARIANT,
    names.HANDOFF_FROM_FUNCTION,
    names.HANDOFF_TO_FUNCTION,
    names.JOURNEY_NAME,
    names.OWNER_FUNCTION,
    names.VALUE_CURRENCY,
)
"""Labels of signals whose values code chooses."""

_CHOSEN: Final = frozenset(
    (
        *_FREE,
        names.CUSTOMER_SEGMENT,
        names.ERROR_TYPE,
        names.INTERACTION_NAME,
        names.JOURNEY_ROUTE,
        names.STAGE_NAME,
        names.TOUCHPOINT_NAME,
        names.TRANSITION_FROM_STAGE,
        names.TRANSITION_TO_STAGE,
    )
)
"""Labels of anything whose values code chooses, where the map does not."""


class Spec(NamedTuple):
    """An instrument of the registry.

    Attributes:
        boundaries: Of a histogram's buckets.
        promise: The metric of those promises whose targets T and 4 T become boundaries too.
    """

    kind: str
    unit: str
    brief: str
    boundaries: Sequence[float] = ()
    promise: str | None = None


SPECS: Final[Mapping[str, Spec]] = {
    names.METRIC_TOUCHPOINT_DURATION: Spec(
        "histogram", "s", "Duration of touchpoints.", _HUMAN, "touchpoint.duration"
    ),
    names.METRIC_TOUCHPOINT_EFFORT: Spec(
        "histogram", "{action}", "Customer actions used per touchpoint.", _ACTIONS
    ),
    names.METRIC_TOUCHPOINT_INTERACTIONS: Spec("counter", "{interaction}", "Micro-interactions."),
    names.METRIC_TOUCHPOINT_FRICTIONS: Spec("counter", "{friction}", "Frictions."),
    names.METRIC_STAGE_TRANSITIONS: Spec("counter", "{transition}", "Stage transitions."),
    names.METRIC_JOURNEY_DURATION: Spec(
        "histogram", "s", "Duration of ended journeys.", _JOURNEY, "journey.duration"
    ),
    names.METRIC_PROMISE_EVALUATIONS: Spec("counter", "{evaluation}", "Promise evaluations."),
    names.METRIC_PROMISE_DELIVERED_RATIO: Spec(
        "histogram",
        "1",
        "What was delivered as a share of what was promised; 1 is as promised, and more is worse.",
        _SHARES,
    ),
    names.METRIC_EMOTION_SIGNALS: Spec("counter", "{signal}", "Emotion signals."),
    names.METRIC_NUDGE_EXPOSURES: Spec("counter", "{exposure}", "Nudge exposures."),
    names.METRIC_NUDGE_OUTCOMES: Spec("counter", "{outcome}", "Nudge outcomes."),
    names.METRIC_FEEDBACK_RESPONSES: Spec("counter", "{response}", "Feedback responses."),
    names.METRIC_FEEDBACK_NORMALIZED_SCORE: Spec(
        "histogram", "1", "Feedback score scaled to 0..1.", _TENTHS
    ),
    names.METRIC_COMPLAINT_UNRESOLVED: Spec(
        "updowncounter", "{complaint}", "Complaints not yet resolved."
    ),
    names.METRIC_COMPLAINT_RESOLUTION_DURATION: Spec(
        "histogram",
        "s",
        "Time from opening to resolution.",
        _REPAIR,
        "complaint.resolution.duration",
    ),
    names.METRIC_MENTIONS: Spec("counter", "{mention}", "Mentions."),
    names.METRIC_HANDOFF_DURATION: Spec(
        "histogram",
        "s",
        "Time a customer waits between two functions.",
        _WAIT,
        "handoff.duration",
    ),
    names.METRIC_VALUE_ATTRIBUTED: Spec(
        "counter",
        "1",
        "Value attributed to a function: amount times influence, in `cx.value.currency`.",
    ),
    names.METRIC_FUNCTION_VERDICTS: Spec(
        "counter", "{verdict}", "Verdicts of business functions on the customer's happiness."
    ),
}
"""Every instrument but ``cx.journey.active``, which is observed and not counted."""

_ACTIVE: Final = Spec("observable", "{journey}", "Journeys in progress.")


def bind(instrument: Any, labels: Labels) -> Cell:
    """A cell by OpenTelemetry's public calls: right with every provider."""
    put = getattr(instrument, "record", None) or instrument.add

    def cell(value: float, context: Context) -> None:
        put(value, labels, context)

    return cell


class Instruments:
    """The instruments of one meter.

    Args:
        meter: Of OpenTelemetry's API.
        bind: Makes a cell; by default through the public calls.
        journey_map: Its promises become boundaries, so that shares of kept promises are exact.
        opt_in: Names of the metrics and labels that somebody wants and the registry leaves open.
    """

    def __init__(
        self,
        meter: Meter,
        bind: Bind = bind,
        journey_map: "JourneyMap | None" = None,
        opt_in: frozenset[str] = frozenset(),
    ) -> None:
        self.opt_in = opt_in
        self._bind = bind
        self._cells: dict[tuple[str, ...], Cell] = {}
        self._chosen: dict[str, int] = {}
        self._values: dict[str, set[str]] = {}
        self._told_active: dict[str, int] = {}
        self._planned = {} if journey_map is None else _planned(journey_map)
        self._made = {
            name: _make(meter, name, spec, _boundaries(spec, journey_map))
            for name, spec in SPECS.items()
        }
        if names.METRIC_JOURNEY_ACTIVE in opt_in:
            meter.create_observable_up_down_counter(
                names.METRIC_JOURNEY_ACTIVE, [self._active], _ACTIVE.unit, _ACTIVE.brief
            )

    def cell(self, name: str, labels: Labels) -> Cell:
        """The cell of an instrument and its labels, made once for each.

        Past the limit, what no map names is ``_OTHER``: each cell stays in the SDK for ever.
        """
        key = (name, *labels, *labels.values())
        cell = self._cells.get(key)
        if cell is None:
            folded = {label: self._folded(label, value) for label, value in labels.items()}
            if folded != labels:
                made = self._chosen.get(name, 0)
                if made >= _MOST_CELLS:
                    _guard.count("metrics.cells_past_limit")
                    return self.cell(name, folded)
                self._chosen[name] = made + 1
            cell = self._cells[key] = self._bind(self._made[name], labels)
        return cell

    def _folded(self, label: str, value: Any) -> Any:
        return OTHER if label in _CHOSEN and value not in self._planned.get(label, ()) else value

    def fit(self, label: str, value: Any) -> Any:
        """A value of a signal as a label: of closed sets and the map as it is, else ``free``."""
        return self.free(label, value) if label in _FREE else value

    def free(self, label: str, value: str) -> str:
        """A value that code chose, fit for a label: of the map, or one of few and of no person."""
        if value in self._planned.get(label, ()):
            return value
        known = self._values.setdefault(label, set())
        if value in known:
            return value
        if len(known) >= _MOST_VALUES or _NAMES_SOMEBODY.search(value):
            _guard.count(f"metrics.label_not_kept:{label}")
            return OTHER
        known.add(value)
        return value

    def _active(self, _: CallbackOptions) -> Iterable[Observation]:
        # One that was told of is told of again when it is down to zero.
        counts = self._told_active
        counts.update(dict.fromkeys(counts, 0))
        for name in _journeys.memory.under_way():
            label = self.free(names.JOURNEY_NAME, name)
            counts[label] = counts.get(label, 0) + 1
        return [Observation(number, {names.JOURNEY_NAME: name}) for name, number in counts.items()]


def _planned(journey_map: "JourneyMap") -> Mapping[str, frozenset[str]]:
    """What the map names needs no room among the values that code chooses."""
    functions, stages = frozenset(journey_map.functions), frozenset(journey_map.stages)
    routes = (route for journey in journey_map.journeys.values() for route in journey.routes)
    interactions = (
        name for point in journey_map.touchpoints.values() for name in point.interactions
    )
    return {
        names.TOUCHPOINT_NAME: frozenset(journey_map.touchpoints),
        names.STAGE_NAME: stages,
        names.TRANSITION_FROM_STAGE: stages,
        names.TRANSITION_TO_STAGE: stages,
        names.OWNER_FUNCTION: functions,
        names.HANDOFF_FROM_FUNCTION: functions,
        names.HANDOFF_TO_FUNCTION: functions,
        names.JOURNEY_NAME: frozenset(journey_map.journeys),
        names.JOURNEY_ROUTE: frozenset(routes),
        names.INTERACTION_NAME: frozenset(interactions),
    }


def _make(meter: Meter, name: str, spec: Spec, boundaries: Sequence[float]) -> Any:
    if spec.kind == "histogram":
        return meter.create_histogram(
            name, spec.unit, spec.brief, explicit_bucket_boundaries_advisory=boundaries
        )
    if spec.kind == "counter":
        return meter.create_counter(name, spec.unit, spec.brief)
    return meter.create_up_down_counter(name, spec.unit, spec.brief)


def boundaries(name: str, journey_map: "JourneyMap | None") -> Sequence[float]:
    """The buckets of a histogram under a map, in its unit; empty for what is no histogram."""
    return _boundaries(SPECS[name], journey_map)


def _boundaries(spec: Spec, journey_map: "JourneyMap | None") -> Sequence[float]:
    found = set(spec.boundaries)
    if spec.promise is not None and journey_map is not None:
        for promise in journey_map.promises.values():
            if promise.metric == spec.promise and promise.seconds is not None:
                # Apdex: satisfied up to T, tolerating up to 4 T.
                found.update((promise.seconds, 4 * promise.seconds))
    return sorted(found)


def instruments_of(
    provider: MeterProvider | None,
    bind: Bind,
    journey_map: "JourneyMap | None",
    opt_in: frozenset[str],
) -> Instruments | None:
    """The instruments of ``provider``, or else of the global one; None where nobody has set one."""
    if provider is None and not has_meter_provider():
        return None
    meter = metrics.get_meter("cxtrace", version(), provider)
    return Instruments(meter, bind, journey_map, opt_in)


def has_meter_provider() -> bool:
    """Whether somebody has set a meter provider that is not the API's stand-in."""
    return not type(metrics.get_meter_provider()).__module__.startswith("opentelemetry.metrics")
