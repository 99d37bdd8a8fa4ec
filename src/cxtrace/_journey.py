"""``journey()``, ``customer()`` and ``identify()``: who is on the way through what."""

import os
from functools import cache
from typing import Any

from opentelemetry.context import Context, get_current
from opentelemetry.trace import get_current_span

from cxtrace import _clock, _guard, _runtime
from cxtrace._closed_sets import checked, text
from cxtrace._handles import current_touchpoint
from cxtrace._identity import identity_of, is_same, withdraw
from cxtrace._noun import Surroundings
from cxtrace._plan import checked_name, refuse_function
from cxtrace._scope import RequestScope
from cxtrace._touchpoint import outermost
from cxtrace._wrap import block_of
from cxtrace.attributes import Consent, CustomerKind, JourneyOutcome
from cxtrace.context import (
    Block,
    CXContext,
    Identity,
    Journey,
    cx_of,
    make,
    with_cx,
)
from cxtrace.typing import CustomerId


class JourneyHandle(Block):
    """The open block of a journey.

    Attributes:
        name: As in the journey map.
        id: Identifies this one walk through the journey. Keep it, for example in the session,
            to go on with the same journey in the next request.
    """

    __slots__ = ("_journey", "id", "name")

    def __init__(self, previous: Context, journey: Journey) -> None:
        # Not through the class above: a call more for every journey.
        self.previous = previous
        self.ended = False
        self.name = journey.name
        self.id = journey.id
        self._journey = journey

    def outcome(self, outcome: JourneyOutcome) -> "JourneyHandle":
        """Say how the journey ended. Reaching the goal that the map names needs no word.

        The first word counts, once for each journey. Never raises.

        Args:
            outcome: ``achieved``, ``abandoned``, ``failed`` or ``superseded``.
        """
        how = checked("journey.outcome", outcome, JourneyOutcome)
        if how is not None and self._journey.state is not None:
            try:
                _end(self._journey, how)
            except Exception as error:  # noqa: BLE001
                _guard.swallow("journey.outcome", error)
        return self


class CustomerHandle(Block):
    """The open block of a customer.

    Attributes:
        pseudonym: What is sent in place of the identifier, or None where consent forbids it.
    """

    __slots__ = ("pseudonym",)

    def __init__(self, previous: Context, pseudonym: str | None) -> None:
        self.previous = previous
        self.ended = False
        self.pseudonym = pseudonym


class journey(Surroundings[JourneyHandle]):  # noqa: N801  used as a verb
    """All inside belongs to one customer's way through one journey. Makes no span of its own.

    Works in the same places as ``touchpoint``. Inside a journey of the same name, and without an
    ``id``, the journey goes on, the one of the calling service included; else one begins.

    Args:
        name: As in the journey map: ``first_order``.
        id: Go on with this journey. An opaque token of at most 64 letters, digits, ``. _ ~ -``
            is sent as it stands; anything else, such as an e-mail address, as a keyed hash.
        route: Name of the route through the journey, as in the map.

    Raises:
        TypeError: The name is missing, or what is decorated is not a function.
    """

    __slots__ = ("_id", "_name", "_route")

    def __init__(
        self,
        name: str,
        *,
        id: str | None = None,  # noqa: A002  the contract's word
        route: str | None = None,
    ) -> None:
        super().__init__()
        refuse_function(name, "journey")
        self._name = checked_name(name, "journey")
        self._id = id
        self._route = None if route is None else checked_name(route, "route")

    def _enter(self) -> Context:
        context = get_current()
        cx = cx_of(context) or outermost(context)
        entered = self._journey(cx.journey)
        scope, state = in_epoch(cx.scope, entered), entered.state
        before = scope.identity
        # Where nobody has said anything, as when most journeys begin, there is nothing to be heard.
        is_named = before is not _runtime.current.anonymous
        if state is not None and (is_named or state.refused or state.customer):
            state.hear(before)
            identity = state.consent(before)
            if identity is not before:
                scope = RequestScope(identity, scope)
        block = JourneyHandle(context, entered)
        inner = (scope, entered, cx.place, cx.interaction, block, cx.handle)
        return with_cx(context, make(CXContext, inner))

    def _journey(self, outer: Journey | None) -> Journey:
        _warn_unknown(self._name)
        if self._id is not None:
            return known(self._name, _checked_id(self._name, self._id), self._route)
        if outer is not None and outer.name == self._name and outer.id:
            return known(self._name, outer.id, self._route or outer.route)
        begun = known(self._name, new_id(), self._route)
        if begun.state is not None:
            begun.state.started = _clock.wall()
            begun.state.is_ours = begun.state.begins_here = True
        return begun

    def _handle(self, context: Context | None) -> JourneyHandle:
        if context is None:
            return JourneyHandle(Context(), Journey(self._name, ""))
        entered: JourneyHandle = block_of(context)
        return entered


class customer(Surroundings[CustomerHandle]):  # noqa: N801  used as a verb
    """All inside is done for this customer.

    Works in the same places as ``touchpoint``. The identifier becomes a pseudonym at once, by a
    keyed hash; it is not kept and never sent.

    Args:
        id: Your identifier of the customer; None for one of whom nothing is known.
        tenant: Of whom the customer is one, where you serve several companies. Pseudonyms of two
            tenants cannot be linked; nothing else of the tenant is sent.
        kind: ``person``, ``account``, ``household``, ``anonymous`` or ``walkthrough``.
        segment: A customer segment of your organisation, such as ``smb``.
        consent: ``granted``, ``denied``, ``withdrawn``, ``not_required`` or ``unknown``; by
            default what the enclosing block says. Under ``denied`` and ``withdrawn`` neither the
            pseudonym nor the journey's id is sent; a word that is none of these is a ``denied``.

    Raises:
        TypeError: What is decorated is not a function.
    """

    __slots__ = ("_consent", "_id", "_kind", "_segment", "_tenant")

    def __init__(
        self,
        id: CustomerId | None,  # noqa: A002  the contract's word
        *,
        tenant: CustomerId | None = None,
        kind: CustomerKind | None = None,
        segment: str | None = None,
        consent: Consent | None = None,
    ) -> None:
        super().__init__()
        self._id = id
        self._tenant = tenant
        self._kind: CustomerKind | None = kind
        self._segment = segment
        self._consent: Consent | None = consent

    def __repr__(self) -> str:
        return "<customer>"

    def _enter(self) -> Context | None:
        if _runtime.is_idle():
            return None
        context = get_current()
        cx = cx_of(context) or outermost(context)
        outer, journey = cx.scope, cx.journey
        state = None if journey is None else journey.state
        found = identity_of(
            self._id, self._kind, self._segment, self._consent, outer.identity, state, self._tenant
        )
        if state is not None:
            state.hear(found)
        if not found.linkable and is_same(self._id, self._tenant, outer.identity):
            outer.identify(found, _runtime.current.tracing)
        scope = RequestScope(found, outer, settled=True)
        block = CustomerHandle(context, found.pseudonym)
        inner = (scope, journey, cx.place, cx.interaction, block, cx.handle)
        return with_cx(context, make(CXContext, inner))

    def _handle(self, context: Context | None) -> CustomerHandle:
        if context is None:
            return CustomerHandle(Context(), None)
        entered: CustomerHandle = block_of(context)
        return entered


def identify(
    id: CustomerId,  # noqa: A002  the contract's word
    *,
    tenant: CustomerId | None = None,
    kind: CustomerKind | None = None,
    segment: str | None = None,
    consent: Consent | None = None,
) -> None:
    """Say who the customer is, as soon as it is known. Never raises.

    Reaches the spans that are still open in this request, the server's included, also from a
    thread of a pool or a dependency that ran in a copied context.

    Args:
        id: Your identifier of the customer; only its pseudonym is sent.
        tenant: As for ``customer``.
        kind: As for ``customer``.
        segment: As for ``customer``.
        consent: As for ``customer``.
    """
    try:
        if _runtime.is_idle():
            return
        context = get_current()
        cx = cx_of(context)
        if cx is None:
            _guard.count("identify.outside_of_request")
            cx = outermost(context)
        state = state_of(cx.journey)
        found = identity_of(id, kind, segment, consent, cx.identity, state, tenant)
        remember_consent(cx.journey, found)
        if id is None and found.consent == "withdrawn":
            withdraw(cx.identity)
        cx.scope.identify(found, _runtime.current.tracing)
    except Exception as error:  # noqa: BLE001
        _guard.swallow("identify", error)


def in_epoch(scope: RequestScope, journey: Journey | None) -> RequestScope:
    """The scope with its customer under the key of the journey, which is the customer's at first.

    A journey that begins is under the newest key, whoever its customer will turn out to be.
    """
    state = None if journey is None else journey.state
    if state is None:
        return scope
    key_id = scope.identity.key_id
    if key_id is None:
        keys = _runtime.current.key
        if state.epoch is None and keys is not None:
            state.epoch = keys.newest.key_id
        return scope
    if state.epoch != key_id and state.epoch in scope.identity.epochs:
        return scope.under(state.epoch)
    state.epoch = key_id
    return scope


def state_of(journey: Journey | None) -> Any:
    """What this process remembers of a journey, or None."""
    return None if journey is None else journey.state


def new_id() -> str:
    """A random journey id of 128 bits, in hexadecimal."""
    return os.urandom(16).hex()


def _end(journey: Journey, outcome: JourneyOutcome) -> None:
    touchpoint = current_touchpoint()
    if touchpoint.endings is not None:
        touchpoint.endings.end_journey(touchpoint, journey, outcome)
        return
    # Heavy to import for those who never end a journey by hand.
    from cxtrace import _milestones

    context = get_current()
    cx = cx_of(context)
    identity = _runtime.current.anonymous if cx is None else cx.identity
    spot = _milestones.Spot(journey, identity, get_current_span(context), context)
    meters = None if identity.marks else _runtime.current.instruments()
    _milestones.end(journey.state, outcome, journey.state.stage, spot, meters)


def remember_consent(journey: Journey | None, identity: Identity) -> None:
    """What the customer says of consent counts for the journey, also where the block has ended."""
    if journey is not None and journey.state is not None:
        journey.state.hear(identity)


def known(name: str, journey_id: str, route: str | None) -> Journey:
    """The journey with what is remembered of it; nothing is while nobody listens."""
    if _runtime.is_idle():
        return Journey(name, journey_id, route)
    state = _journeys().memory.state_of(name, journey_id)
    return Journey(name, journey_id, route, state)


@cache
def _ids() -> Any:
    # Heavy to import for those who never give an id; and to import it each time takes 1.5 µs.
    from cxtrace import _journey_ids

    return _journey_ids


@cache
def _journeys() -> Any:
    # Heavy to import for those to whom nobody listens.
    from cxtrace import _journeys

    return _journeys


def _checked_id(name: str, given: object) -> str:
    found = text(given)
    if found:
        made: str = _ids().of(name, found)
        return made
    _guard.count("refused.journey_id")
    return new_id()


def _warn_unknown(name: str) -> None:
    journey_map = _runtime.current.journey_map
    if journey_map is not None and name not in journey_map.journeys:
        _guard.count("journey.not_in_map")
        _guard.warn_once(
            f"journey.not_in_map:{name}",
            "cxtrace: the journey map %r has no journey %r",
            journey_map.name,
            name,
        )
