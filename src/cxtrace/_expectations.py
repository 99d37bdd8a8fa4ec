"""What the journey map expects of one touchpoint, looked up once."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cxtrace.context import Journey, Place

if TYPE_CHECKING:
    from cxtrace._happy import Predicate
    from cxtrace._model import FrictionRule, Promise
    from cxtrace.attributes import Phase
    from cxtrace.journey_map import JourneyMap


_EMPTY: Final[Mapping[Any, Any]] = MappingProxyType({})


class Expectations(NamedTuple):
    """All that is to be held against a visit.

    Attributes:
        version: Of the map.
        phase: Of the stage.
        by_customer: Whether the customer begins it, so that it is an action of theirs.
        actions: How many they should need.
        influence: Share of each function in the touchpoint.
        measured: Promises that a visit keeps or breaks.
        begun: Promises whose time begins when a visit is completed.
        whole: Promises about a journey from end to end.
        promises: Every promise of the map, by id.
        goal_of: Names of the journeys that succeed here.
        rules: How friction is found here.
        happiness: What a happy customer means to each function.
        steps: Place on each route, by journey and route.
        stage_order: Place among the stages.
    """

    version: str | None = None
    phase: "Phase | None" = None
    by_customer: bool = False
    actions: int | None = None
    influence: Mapping[str, float] = _EMPTY
    measured: "tuple[Promise, ...]" = ()
    begun: "tuple[Promise, ...]" = ()
    whole: "tuple[Promise, ...]" = ()
    promises: "Mapping[str, Promise]" = _EMPTY
    goal_of: frozenset[str] = frozenset()
    rules: "tuple[FrictionRule, ...]" = ()
    happiness: "tuple[tuple[str, Predicate], ...]" = ()
    steps: Mapping[tuple[str, str], int] = _EMPTY
    stage_order: int | None = None

    def step(self, journey: Journey) -> int | None:
        """How far on its way a customer is who comes here; None where that cannot be told."""
        if journey.route is None:
            return self.stage_order
        return self.steps.get((journey.name, journey.route))


NOTHING = Expectations()
"""Of a touchpoint without a map."""


def expectations_of(journey_map: "JourneyMap | None", place: Place) -> Expectations:
    """What ``journey_map`` expects at ``place``; also of a touchpoint that it does not know."""
    if journey_map is None:
        return NOTHING
    name = place.touchpoint
    planned = journey_map.touchpoints.get(name)
    stage = None if place.stage is None else journey_map.stages.get(place.stage)
    promises = journey_map.promises.values()
    return Expectations(
        version=journey_map.version,
        phase=None if stage is None else stage.phase,
        by_customer=planned is not None and planned.initiator == "customer",
        actions=None if planned is None else planned.expected_actions,
        influence=_EMPTY if planned is None else planned.influence,
        measured=tuple(p for p in journey_map.promises_at(name) if _is_measured(p, name)),
        begun=tuple(promise for promise in promises if promise.begins == name),
        whole=tuple(
            promise
            for promise in promises
            if promise.metric == "journey.duration" and promise.ends is None
        ),
        promises=journey_map.promises,
        goal_of=frozenset(j.name for j in journey_map.journeys.values() if j.goal == name),
        rules=journey_map.friction_at(name) if planned is not None else (),
        happiness=tuple(journey_map.happiness.items()),
        steps={
            (journey.name, route): steps.index(name)
            for journey in journey_map.journeys.values()
            for route, steps in journey.routes.items()
            if name in steps
        },
        stage_order=None if stage is None else stage.order,
    )


def _is_measured(promise: "Promise", touchpoint: str) -> bool:
    """Whether a promise that is made at a touchpoint is kept or broken there, and not later."""
    return promise.metric != "journey.duration" or promise.ends == touchpoint
