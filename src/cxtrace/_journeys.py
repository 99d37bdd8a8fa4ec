"""What is remembered of the journeys under way: since when, at which stage, what is promised.

The memory is this process's own and bounded. What other services need of it travels with the
request, as the clock that is part of the baggage's signature.
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from cxtrace import _guard
from cxtrace._friction import Trail
from cxtrace._withdrawals import NO, YES, has_withdrawn
from cxtrace.context import Identity

if TYPE_CHECKING:
    from cxtrace.attributes import Consent

MAX_JOURNEYS: Final = 10_000
"""Journeys remembered in one process; the one longest out of use is forgotten first."""

_MOST_TOLD: Final = 4
"""Open promises that one clock tells of."""

_MOST_LEARNT: Final = 100
"""Open promises of one journey that are taken over from callers."""

HANDOFF: Final = "--"
"""Stands for the hand-off among what is spent."""

# No character of these needs to be escaped in a header.
_MOMENT: Final = r"[0-9]{1,14}"
_OPEN: Final = rf"([a-z0-9_.]{{1,64}})(?:--([a-z0-9_.]{{1,64}}))?-({_MOMENT})"
_CLOCK: Final = re.compile(rf"(?:{_MOMENT})?(?:~{_OPEN}){{0,{_MOST_TOLD + 1}}}", re.ASCII)
_NAMES: Final = re.compile(r"[a-z0-9_.]{1,128}", re.ASCII)
_ONE_OPEN: Final = re.compile(_OPEN, re.ASCII)


class JourneyState:
    """What this process knows of one customer's way through one journey.

    Attributes:
        started: When it began, in seconds since 1970, or None where that is not known.
        is_ours: Whether it began in this process.
        begins_here: Whether it began in this process, and no touchpoint has said so yet.
        stage: The stage that the customer was at last.
        promises: Since when a promise runs that spans several touchpoints, by its id.
        handoff: From which function to which the customer is handed over, and since when.
        complained: Since when a complaint is open.
        customer: Pseudonym of the customer who was last on the way, or None.
        epoch: Id of the key under which its customer is named, which stays.
        refused: What the customer said who refused on the way, until one there agrees.
        spent: Since when what is measured by now had run, promises by their id. Callers go on
            telling of it, for they cannot know.
        trails: How far the customer has come, by route; by the order of stages where it is None.
        ended: Whether the journey's end was told.
        is_walked: Whether it is a walkthrough, and no customer's.
    """

    __slots__ = (
        "begins_here", "complained", "customer", "ended", "epoch", "handoff", "is_ours",
        "is_walked", "promises", "refused", "spent", "stage", "started", "trails",
    )  # fmt: skip

    def __init__(self) -> None:
        self.started: float | None = None
        self.is_ours = False
        self.begins_here = False
        self.stage: str | None = None
        self.promises: dict[str, float] = {}
        self.handoff: tuple[str, str, float] | None = None
        self.complained: float | None = None
        self.customer: str | None = None
        self.epoch: str | None = None
        self.trails: dict[str | None, Trail] = {}
        self.ended = False
        self.is_walked = False
        self.refused: Consent | None = None
        self.spent: dict[str, float] = {}

    def hear(self, identity: Identity) -> None:
        """What a customer on the way says of consent counts for the journey; silence does not."""
        if identity.marks:
            self.is_walked = True
        if identity.pseudonym is not None:
            self.customer = identity.pseudonym
        if identity.consent in NO:
            self.refused = identity.consent
        elif identity.consent in YES:
            self.refused = None

    def consent(self, identity: Identity) -> Identity:
        """Who a customer is of whose consent nothing is said, on a way where somebody refused."""
        if identity.consent != "unknown":
            return identity
        if self.refused is not None:
            return identity.refused(self.refused)
        has_refused = self.customer is not None and has_withdrawn(self.customer)
        return identity.refused() if has_refused else identity

    def spend(self, what: str, since: float) -> None:
        """What has run since then is measured, and measured once."""
        self.spent[what] = since

    def turns_back(self, route: str | None, step: int) -> bool:
        """Whether the customer goes back by coming to this step of the route."""
        trail = self.trails.get(route)
        if trail is None:
            trail = self.trails.setdefault(route, Trail())
        return trail.reach(step)

    def clock(self) -> str:
        """All that other services need to measure what ends there, or an empty text."""
        started = "" if self.started is None else _written(self.started)
        if not self.promises and self.handoff is None:
            return started
        promises = list(self.promises.copy().items())[-_MOST_TOLD:]
        told = [f"{promise}-{_written(since)}" for promise, since in promises]
        if self.handoff is not None:
            giver, taker, since = self.handoff
            if _NAMES.fullmatch(giver + taker):
                told.append(f"{giver}--{taker}-{_written(since)}")
        return "~".join((started, *told))

    def learn(self, clock: str) -> None:
        """Take over what a calling service told; a clock that makes no sense says nothing."""
        if not _CLOCK.fullmatch(clock):
            _guard.count("baggage.clock_not_understood")
            return
        started, _, told = clock.partition("~")
        if started:
            self.started = min(_read(started), self.started or _read(started))
        for name, taker, moment in _ONE_OPEN.findall(told):
            since = _read(moment)
            if since <= self.spent.get(HANDOFF if taker else name, -1.0):
                continue
            if taker:
                self.handoff = (name, taker, since)
            elif len(self.promises) < _MOST_LEARNT:
                self.promises.setdefault(name, since)


def _written(seconds: float) -> str:
    return str(int(seconds * 1_000))


def _read(milliseconds: str) -> float:
    return int(milliseconds) / 1_000


class JourneyMemory:
    """The journeys that this process has seen last."""

    def __init__(self, most: int = MAX_JOURNEYS) -> None:
        self._most = most
        # Reentrant, for a signal handler or a finaliser may open a journey while we look.
        self._lock = threading.RLock()
        self._states: OrderedDict[tuple[str, str], JourneyState] = OrderedDict()

    def state_of(self, name: str, journey_id: str) -> JourneyState:
        """What is known of a journey; nothing yet, where it was not seen before."""
        key = name, journey_id
        with self._lock:
            state = self._states.get(key)
            if state is None:
                state = self._states[key] = JourneyState()
                if len(self._states) > self._most:
                    self._states.popitem(last=False)
                    _guard.count("journey.forgotten")
            else:
                self._states.move_to_end(key)
        return state

    def knows(self, name: str, journey_id: str) -> bool:
        """Whether a journey was seen before, and not forgotten."""
        return (name, journey_id) in self._states

    def under_way(self) -> Iterator[str]:
        """Names of the journeys that began in this process and have not ended, one for each."""
        with self._lock:
            states = list(self._states.items())
        for (name, _), state in states:
            if state.is_ours and not (state.ended or state.is_walked):
                yield name


memory: JourneyMemory = JourneyMemory()
"""The memory of this process."""


def forget_all() -> None:
    """Begin anew: in a forked child, and for tests."""
    global memory  # noqa: PLW0603
    memory = JourneyMemory()


_guard.in_child(forget_all)
