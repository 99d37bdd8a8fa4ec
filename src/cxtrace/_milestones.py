"""What a touchpoint means to its journey: start, change of stage, hand-off, promise, end."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry.context import Context
from opentelemetry.trace import Span

from cxtrace import _clock, _events
from cxtrace import attributes as names
from cxtrace._instruments import Instruments
from cxtrace._journeys import HANDOFF, JourneyState
from cxtrace.context import Identity, Journey, Place, present

if TYPE_CHECKING:
    from cxtrace._model import Promise


class Spot(NamedTuple):
    """Where an event happens: on whose journey, on which span.

    Attributes:
        context: Holds the span, for exemplars and log records.
    """

    journey: Journey
    identity: Identity
    span: Span
    context: Context

    def ids(self) -> dict[str, Any]:
        """Name and, as consent allows, id of the journey."""
        journey = self.journey
        refused = journey.state is not None and journey.state.refused
        return dict(journey.linked if self.identity.linkable and not refused else journey.named)


class Wait(NamedTuple):
    """The time from a hand-off until the customer is taken over.

    Attributes:
        giver: The function that handed the customer over.
        taker: The function that took them over.
        seconds: How long that took.
    """

    giver: str
    taker: str
    seconds: float


def arrive(
    state: JourneyState, place: Place, spot: Spot, meters: Instruments | None, version: str | None
) -> Wait | None:
    """The customer arrives at a touchpoint: a journey may begin, a stage change, a wait be over.

    Returns:
        The wait to be taken over, if that is over now.
    """
    stage = place.stage
    if state.begins_here:
        state.begins_here = False
        _tell_start(spot, stage, version)
    if stage is not None and stage != state.stage:
        before, state.stage = state.stage, stage
        if before is not None:
            _tell_transition(spot, before, stage, meters)
    handoff = state.handoff
    if handoff is None or handoff[1] != place.owner:
        return None
    giver, taker, since = handoff
    state.handoff = None
    state.spend(HANDOFF, since)
    return Wait(giver, taker, max(_clock.wall() - since, 0.0))


def _tell_start(spot: Spot, stage: str | None, version: str | None) -> None:
    identity = spot.identity
    found = {
        **spot.ids(),
        names.STAGE_NAME: stage,
        names.MAP_VERSION: version,
        names.CUSTOMER_KIND: identity.kind,
        names.CUSTOMER_KEY_ID: identity.details.get(names.CUSTOMER_KEY_ID),
        names.CUSTOMER_PSEUDONYM: identity.details.get(names.CUSTOMER_PSEUDONYM),
    }
    _events.tell(spot.span, spot.context, names.EVENT_JOURNEY_START, present(found))


def _tell_transition(spot: Spot, before: str, after: str, meters: Instruments | None) -> None:
    stages = {names.TRANSITION_FROM_STAGE: before, names.TRANSITION_TO_STAGE: after}
    _events.tell(spot.span, spot.context, names.EVENT_STAGE_TRANSITION, {**spot.ids(), **stages})
    if meters is not None:
        found = {names.JOURNEY_NAME: spot.journey.name, **stages}
        labels = {label: meters.free(label, value) for label, value in found.items()}
        meters.cell(names.METRIC_STAGE_TRANSITIONS, labels)(1, spot.context)


def waited(meters: Instruments | None, spot: Spot, wait: Wait) -> None:
    """The customer has waited between two functions."""
    if meters is not None:
        found = {
            names.HANDOFF_FROM_FUNCTION: wait.giver,
            names.HANDOFF_TO_FUNCTION: wait.taker,
            names.JOURNEY_NAME: spot.journey.name,
        }
        labels = {label: meters.free(label, value) for label, value in found.items()}
        meters.cell(names.METRIC_HANDOFF_DURATION, labels)(wait.seconds, spot.context)


def begin_promises(state: JourneyState, promises: Iterable["Promise"]) -> None:
    """What these promise begins now."""
    now = _clock.wall()
    for promise in promises:
        state.promises[promise.id] = now


def take_time(state: JourneyState, promise: "Promise") -> float | None:
    """Seconds that a promise has run, which are then spent; None if its beginning is not known."""
    runs = promise.begins is not None
    began = state.promises.pop(promise.id, None) if runs else state.started
    if runs and began is not None:
        state.spend(promise.id, began)
    return None if began is None else max(_clock.wall() - began, 0.0)


def end(
    state: JourneyState,
    outcome: str,
    stage: str | None,
    spot: Spot,
    meters: Instruments | None,
) -> bool:
    """The journey ends. Told once for each; whether it was told now."""
    if state.ended:
        return False
    state.ended = True
    journey = spot.journey
    found = {
        **spot.ids(),
        names.JOURNEY_OUTCOME: outcome,
        names.JOURNEY_ROUTE: journey.route,
        names.STAGE_NAME: stage,
    }
    _events.tell(spot.span, spot.context, names.EVENT_JOURNEY_END, present(found))
    if meters is not None and state.started is not None:
        name = meters.free(names.JOURNEY_NAME, journey.name)
        labels = {names.JOURNEY_NAME: name, names.JOURNEY_OUTCOME: outcome}
        if journey.route is not None and names.JOURNEY_ROUTE in meters.opt_in:
            labels[names.JOURNEY_ROUTE] = meters.free(names.JOURNEY_ROUTE, journey.route)
        lasted = max(_clock.wall() - state.started, 0.0)
        meters.cell(names.METRIC_JOURNEY_DURATION, labels)(lasted, spot.context)
    return True
