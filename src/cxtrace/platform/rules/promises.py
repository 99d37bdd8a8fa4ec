"""The promises of a map that can be watched over, and who answers for them."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Final

from attrs import frozen

from cxtrace._model import Promise, Touchpoint
from cxtrace.journey_map import JourneyMap

LAGGING: Final = frozenset({"complaint.resolution.duration", "feedback.normalized_score"})
"""Metrics of promises that speak when the customer has complained or judged already."""

_LEAST: Final = 1e-12
"""Share of customers that an objective leaves at least: what is divided by is not 0."""


@frozen
class Watched:
    """A promise with an objective.

    Attributes:
        promise: As the map has it.
        objective: Share of customers for whom it must hold.
        places: The touchpoints at which it is measured, in the order of the map.
    """

    promise: Promise
    objective: float
    places: tuple[Touchpoint, ...]

    @property
    def budget(self) -> float:
        """Share of customers for whom it may be broken."""
        return max(round(1 - self.objective, 12), _LEAST)

    @property
    def owners(self) -> tuple[str, ...]:
        """The functions that answer for those touchpoints."""
        return tuple(dict.fromkeys(place.owner for place in self.places))

    @property
    def indicator(self) -> str:
        """``leading`` where it is measured before a customer complains, else ``lagging``."""
        return "lagging" if self.promise.metric in LAGGING else "leading"


def watched(journey_map: JourneyMap) -> Iterator[Watched]:
    """The promises that have an objective and are measured somewhere, in the order of the map."""
    for name, places in places_of(journey_map).items():
        promise = journey_map.promises[name]
        if promise.objective is not None and places:
            yield Watched(promise, promise.objective, places)


def places_of(journey_map: JourneyMap) -> Mapping[str, tuple[Touchpoint, ...]]:
    """The touchpoints at which each promise is measured; over whole journeys, those of goals."""
    ends = defaultdict(set)
    for promise in journey_map.promises.values():
        if promise.ends is not None:
            ends[promise.ends].add(promise.id)
    whole = {each.id for each in journey_map.promises.values() if _is_whole(each)}
    last = _last(journey_map) if whole else set()
    found: dict[str, list[Touchpoint]] = {name: [] for name in journey_map.promises}
    for point in journey_map.touchpoints.values():
        here = {*point.promises, *ends[point.name], *(whole if point.name in last else ())}
        for name in here & found.keys():
            found[name].append(point)
    return {name: tuple(points) for name, points in found.items()}


def _is_whole(promise: Promise) -> bool:
    return promise.metric == "journey.duration" and promise.ends is None


def _last(journey_map: JourneyMap) -> set[str]:
    """Where journeys succeed; without any goal, wherever they lead."""
    journeys = journey_map.journeys.values()
    goals = {journey.goal for journey in journeys if journey.goal is not None}
    return goals or set(chain.from_iterable(chain(*each.routes.values()) for each in journeys))
