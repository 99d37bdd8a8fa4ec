"""What was captured, as frozen values in the words of the journey map."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from attrs import field, frozen

from cxtrace import attributes as names


def _read_only(value: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(value))


@frozen
class Signal:
    """An event of the registry: something that was said, found or reached.

    Attributes:
        name: Of the event: ``cx.friction``, ``cx.nudge.outcome``.
        touchpoint: Where, or None outside of any.
        at: Seconds since the capture began.
        attributes: Of the event, by their full names.
    """

    name: str
    touchpoint: str | None
    at: float
    attributes: Mapping[str, Any] = field(converter=_read_only, hash=False)

    @property
    def kind(self) -> str:
        """``friction``, ``nudge`` and so on; also ``journey``, ``stage`` and ``touchpoint``."""
        return self.name.split(".")[1]


@frozen
class Promise:
    """One evaluation of a promise.

    Attributes:
        id: As in the journey map.
        result: ``kept``, ``broken``, ``exceeded`` or ``unmeasured``.
        target: What was promised, in ``unit``.
        delivered: What was delivered, in ``unit``; None where it was not measured.
        unit: Of the map.
        gap: Relative; positive is worse than promised. None where it was not measured.
        touchpoint: Where it was evaluated.
    """

    id: str
    result: str
    target: float
    delivered: float | None
    unit: str
    gap: float | None
    touchpoint: str | None


@frozen
class Effort:
    """What a touchpoint took out of the customer.

    Attributes:
        actions: Actions of the customer.
        retries: How many of them were repetitions.
        wait_time: Seconds of waiting.
    """

    actions: int
    retries: int
    wait_time: float


@frozen
class Touchpoint:
    """One visit of a touchpoint that has ended.

    Attributes:
        name: As in the journey map.
        outcome: ``completed``, ``failed``, ``abandoned``, ``handed_off`` or ``deferred``.
        error: Class of the exception, or the reason given to ``fail``; else None.
        stage: Of the journey.
        owner: The accountable function.
        journey: Name of the journey.
        journey_id: Which walk through it; None where consent forbids to say.
        customer: The pseudonym: ``cx.pseudonym("cust-42")`` gives that of a customer you know.
        parent: Name of the touchpoint around this one.
        started: Seconds from the beginning of the capture.
        duration: Seconds.
        effort: None where the customer did nothing here.
        interactions: Names of the micro-interactions, in order.
        signals: What was said and found here, in order.
        attributes: Of the span, by their full names.
    """

    name: str
    outcome: str
    error: str | None
    stage: str | None
    owner: str | None
    journey: str | None
    journey_id: str | None
    customer: str | None
    parent: str | None
    started: float
    duration: float
    effort: Effort | None
    interactions: tuple[str, ...]
    signals: tuple[Signal, ...] = field(repr=False)
    attributes: Mapping[str, Any] = field(converter=_read_only, repr=False, hash=False)

    @property
    def happy(self) -> Mapping[str, bool]:
        """What each function that judges it thought: ``{"it": True, "sales": False}``."""
        start = f"{names.FUNCTION_HAPPY}."
        return {
            key.removeprefix(start): value
            for key, value in self.attributes.items()
            if key.startswith(start)
        }


@frozen
class Journey:
    """One walk through a journey, as far as it was captured.

    Attributes:
        name: As in the journey map.
        id: Which walk; None where consent forbids to say.
        outcome: How it ended, or None where it did not end.
        touchpoints: In the order in which they began.
    """

    name: str
    id: str | None
    outcome: str | None
    touchpoints: tuple[Touchpoint, ...] = field(repr=False)

    @property
    def route(self) -> tuple[str, ...]:
        """Names of the touchpoints, in the order in which they began."""
        return tuple(touchpoint.name for touchpoint in self.touchpoints)


@frozen
class MetricPoint:
    """One instrument with one set of labels.

    Attributes:
        labels: By their full names.
        sum: Of all values.
        count: Of values in a histogram; None for a counter.
    """

    labels: Mapping[str, Any] = field(converter=_read_only, hash=False)
    sum: float
    count: int | None


@frozen
class Metric:
    """A metric, or that part of it which has the labels that were asked for.

    Attributes:
        name: Of the registry.
        points: One for each set of labels.
        is_histogram: Whether values are counted, and not only summed.
    """

    name: str
    points: tuple[MetricPoint, ...]
    is_histogram: bool

    @property
    def sum(self) -> float:
        """Of all values; 0 where nothing was measured."""
        return sum((point.sum for point in self.points), 0.0)

    @property
    def count(self) -> int:
        """How many values were measured.

        Raises:
            TypeError: The metric is a counter, which knows its sum only.
        """
        if not self.is_histogram:
            raise TypeError(f"{self.name} is a counter: ask for its sum")
        return sum(point.count or 0 for point in self.points)
