"""What a delivery tells, before it is said: signals, and of whom and where they are."""

import functools
import inspect
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any, Concatenate, ParamSpec

from attrs import evolve, field, frozen

from cxtrace import _guard
from cxtrace._closed_sets import checked
from cxtrace._handles import TouchpointHandle
from cxtrace._journey import customer, journey
from cxtrace._touchpoint import touchpoint
from cxtrace.attributes import Channel, Consent, CustomerKind, NudgeResult
from cxtrace.typing import CustomerId

P = ParamSpec("P")


def _later(method: Callable[Concatenate[TouchpointHandle, P], object]) -> "Callable[P, Signal]":
    @functools.wraps(method)
    def signal(*args: P.args, **kwargs: P.kwargs) -> "Signal":
        return Signal(method.__name__, args, tuple(sorted(kwargs.items())))

    signature = inspect.signature(method)
    signal.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=list(signature.parameters.values())[1:], return_annotation="Signal"
    )
    return signal


@frozen
class Signal:
    """A signal that is to be said: ``Signal.complaint("opened")`` as ``tp.complaint("opened")``.

    Two that say the same are equal, so a translator can be tested without a receiver.
    """

    verb: str
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()
    answer: NudgeResult | None = None

    complaint = staticmethod(_later(TouchpointHandle.complaint))
    deliver = staticmethod(_later(TouchpointHandle.deliver))
    emotion = staticmethod(_later(TouchpointHandle.emotion))
    feedback = staticmethod(_later(TouchpointHandle.feedback))
    forecast = staticmethod(_later(TouchpointHandle.forecast))
    friction = staticmethod(_later(TouchpointHandle.friction))
    handoff = staticmethod(_later(TouchpointHandle.handoff))
    mention = staticmethod(_later(TouchpointHandle.mention))
    nudge = staticmethod(_later(TouchpointHandle.nudge))
    value = staticmethod(_later(TouchpointHandle.value))

    def answered(self, result: NudgeResult) -> "Signal":
        """Of a nudge: the same, and ``accepted``, ``declined``, ``ignored`` or ``reversed``."""
        return evolve(self, answer=result)

    def say(self, to: TouchpointHandle) -> None:
        """Say it of an open touchpoint. Never raises."""
        try:
            said = getattr(to, self.verb)(*self.args, **dict(self.kwargs))
            result = checked("nudge.result", self.answer, NudgeResult)
            if result is not None:
                getattr(said, result)()
        except Exception as error:  # noqa: BLE001
            _guard.swallow("webhooks", error)


def _signals(given: Signal | Iterable[Signal]) -> tuple[Signal, ...]:
    found = (given,) if isinstance(given, Signal) else tuple(given)
    if not all(isinstance(each, Signal) for each in found):
        raise TypeError('a visit has signals such as Signal.complaint("opened")')
    return found


@frozen
class Visit:
    """What a delivery tells of one customer at one touchpoint.

    Args:
        signals: One or several, such as ``Signal.feedback("nps", 9)``.
        customer: Your identifier of the customer. It becomes a pseudonym at once, and must be the
            one that your services give to ``cxtrace.customer``.
        kind: As for ``cxtrace.customer``.
        segment: As for ``cxtrace.customer``.
        consent: As for ``cxtrace.customer``.
        journey: Name of the journey, as in the map.
        journey_id: Which walk through it: the number of a ticket joins what is told of that ticket.
        touchpoint: Where; by default the receiver's.
        channel: Through which channel; by default the receiver's.

    Raises:
        TypeError: What is to be said is no ``Signal``.
        ValueError: There is the id of a journey, and no journey.
    """

    signals: tuple[Signal, ...] = field(converter=_signals)
    customer: CustomerId | None = field(default=None, kw_only=True, repr=False)
    kind: CustomerKind | None = field(default=None, kw_only=True)
    segment: str | None = field(default=None, kw_only=True)
    consent: Consent | None = field(default=None, kw_only=True)
    journey: str | None = field(default=None, kw_only=True)
    journey_id: CustomerId | None = field(default=None, kw_only=True, repr=False)
    touchpoint: str | None = field(default=None, kw_only=True)
    channel: Channel | None = field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.journey_id is not None and self.journey is None:
            raise ValueError("a visit with a journey_id needs the name of the journey")


def say(visit: Visit, where: str, channel: Channel | None) -> None:
    """Say all that a visit tells, at this touchpoint unless it names its own. Never raises."""
    try:
        with ExitStack() as blocks:
            if visit.journey is not None:
                id_ = visit.journey_id
                walk = journey(visit.journey, id=None if id_ is None else str(id_))
                blocks.enter_context(walk)
            whose = (visit.customer, visit.kind, visit.segment, visit.consent)
            if any(each is not None for each in whose):
                blocks.enter_context(_customer(visit))
            here = touchpoint(visit.touchpoint or where, channel=visit.channel or channel)
            opened = blocks.enter_context(here)
            for signal in visit.signals:
                signal.say(opened)
    except Exception as error:  # noqa: BLE001
        _guard.swallow("webhooks", error)


def _customer(visit: Visit) -> customer:
    return customer(visit.customer, kind=visit.kind, segment=visit.segment, consent=visit.consent)
